"""sippy, the stack of a B2BUA of 2003, as a phone: sippy_client.py HOST PORT TRANSPORT NAME PASSWORD
LOCAL_PORT FOLDER watch|publish WORD

Watches WORD, or publishes WORD as its activity. Each line of standard input is a command after that: `publish
WORD`, `refresh`, `unpublish`, `leave`. What it is told goes to standard output; it runs until it is ended.
The library knows calls; PUBLISH and SUBSCRIBE are made with its messages and its transactions, over UDP.
"""

import re
import sys
import threading
from typing import Any

from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.SipAddress import SipAddress
from sippy.SipConf import SipConf
from sippy.SipContact import SipContact
from sippy.SipContentType import SipContentType
from sippy.SipExpires import SipExpires
from sippy.SipFrom import SipFrom
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipTo import SipTo
from sippy.SipTransactionManager import SipTransactionManager
from sippy.SipURL import SipURL

HOST, PORT, TRANSPORT, NAME, PASSWORD, LOCAL_PORT, FOLDER, WHAT, WORD = sys.argv[1:]
SERVER = ((HOST, int(PORT)), TRANSPORT)


class Silent:
    """What sippy wants its log written to."""

    def write(self, *words: object, **more: object) -> None:
        pass


def document(activity: str) -> str:
    return (
        '<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
        ' xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
        f' entity="sip:{NAME}@example.com"><tuple id="t1"><status><basic>open</basic></status></tuple>'
        f'<d:person id="p1"><r:activities><r:{activity}/></r:activities></d:person></presence>'
    )


class Phone:
    def __init__(self) -> None:
        SipConf.my_address = HOST
        self.settings: dict[str, Any] = {
            "_sip_address": HOST,
            "_sip_port": int(LOCAL_PORT),
            "_sip_logger": Silent(),
        }
        self.transactions = SipTransactionManager(self.settings, self.asked)
        self.settings["_sip_tm"] = self.transactions
        self.tag = ""
        self.dialog: dict[str, Any] = {}

    def request(self, method: str, name: str, expires: int, body: str = "", **more: Any) -> Any:
        """A request with Event and Contact; more: what a dialog adds to it."""
        sender = SipFrom(address=SipAddress(url=SipURL(f"sip:{NAME}@example.com")))
        sender.genTag()
        contact = SipContact(address=SipAddress(url=SipURL(f"sip:{NAME}@{HOST}:{LOCAL_PORT}")))
        target = f"sip:{name}@example.com"
        parts = {"ruri": SipURL(target), "fr0m": sender, **more}
        parts.setdefault("to", SipTo(address=SipAddress(url=SipURL(target))))
        made = SipRequest(
            method=method,
            target=SERVER,
            contact=contact,
            expires=SipExpires(number=expires),
            body=MsgBody(body, SipContentType("application/pidf+xml")) if body else None,
            **parts,
        )
        made.appendHeader(SipHeader(name="event", bodys="presence"))
        return made

    def send(self, request: Any, then: Any, may_answer: bool = True) -> None:
        def answered(response: Any) -> None:
            if response.scode < 200:
                return
            if response.scode == 401 and may_answer:
                self.send(self.with_credentials(request, response), then, may_answer=False)
                return
            print(request.getMethod(), response.scode, flush=True)
            then(request, response)

        self.transactions.newTransaction(request, answered)

    def with_credentials(self, request: Any, response: Any) -> Any:
        """The same request for the first challenge that the library can answer."""
        for challenge in response.getHFBodys("www-authenticate"):
            supported, qop = challenge.supportedAlgorithm()
            if supported:
                value = challenge.genAuthHF(
                    NAME, PASSWORD, request.getMethod(), str(request.getRURI()), qop=qop
                )
                request.appendHeader(SipHeader(name="authorization", body=value))
                break
        request.getHFBody("via").genBranch()
        request.getHFBody("cseq").incCSeqNum()
        return request

    def publish(self, body: str = "", expires: int = 600) -> None:
        request = self.request("PUBLISH", NAME, expires, body)
        if self.tag:
            request.appendHeader(SipHeader(name="sip-if-match", bodys=self.tag))

        def then(request: Any, response: Any) -> None:
            tags = response.getHFs("sip-etag")
            self.tag = str(tags[0]).partition(": ")[2] if tags else ""

        self.send(request, then)

    def watch(self, name: str) -> None:
        def then(request: Any, response: Any) -> None:
            if response.scode >= 300:
                return
            self.dialog = {
                "name": name,
                "fr0m": request.getHFBCopy("from"),
                "to": response.getHFBCopy("to"),
                "callid": request.getHFBCopy("call-id"),
                "cseq": request.getHFBody("cseq").getCSeqNum(),
                "ruri": response.getHFBody("contact").getUrl().getCopy(),
            }

        self.send(self.request("SUBSCRIBE", name, 600), then)

    def again(self, expires: int) -> None:
        """SUBSCRIBE within the dialog."""
        self.dialog["cseq"] += 1
        parts = {key: value for key, value in self.dialog.items() if key != "name"}
        request = self.request("SUBSCRIBE", self.dialog["name"], expires, **parts)

        def then(request: Any, response: Any) -> None:
            self.dialog["cseq"] = request.getHFBody("cseq").getCSeqNum()

        self.send(request, then)

    def asked(self, request: Any, transaction: Any) -> tuple[Any, None, None]:
        """A request came in."""
        if request.getMethod() != "NOTIFY":
            return (request.genResponse(501, "Not Implemented"), None, None)
        state = str(request.getHFs("subscription-state")[0]).partition(": ")[2]
        body = str(request.getBody() or "")
        found = re.search(r"activities[^>]*>\s*<(?:\w+:)?([\w-]+)", body)
        print("NOTIFY", state.split(";")[0], found[1] if found else "nothing", flush=True)
        return (request.genResponse(200, "OK"), None, None)

    def do(self, line: str) -> None:
        word, _, argument = line.strip().partition(" ")
        if word == "publish":
            self.publish(document(argument))
        elif word == "unpublish":
            self.publish(expires=0)
        elif word == "watch":
            self.watch(argument)
        elif word == "refresh" and WHAT == "publish":
            self.publish()
        elif word in ("refresh", "leave"):
            self.again(300 if word == "refresh" else 0)


def read_commands(phone: Phone) -> None:
    for line in sys.stdin:
        ED2.callFromThread(phone.do, line)


phone = Phone()
print("begun", flush=True)
phone.do(f"{WHAT} {WORD}")
threading.Thread(target=read_commands, args=(phone,), daemon=True).start()
ED2.loop()
