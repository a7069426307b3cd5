"""A presence server made with sippy's messages and transactions: sippy_server.py HOST PORT TRANSPORT

Keeps one publication for each presentity, shows it to whoever subscribes, and knows no other event package.
It has UDP only.
"""

import secrets
import sys
from typing import Any

from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.SipAddress import SipAddress
from sippy.SipConf import SipConf
from sippy.SipContact import SipContact
from sippy.SipContentType import SipContentType
from sippy.SipFrom import SipFrom
from sippy.SipHeader import SipHeader
from sippy.SipRequest import SipRequest
from sippy.SipTo import SipTo
from sippy.SipTransactionManager import SipTransactionManager
from sippy.SipURL import SipURL

HOST, PORT, TRANSPORT = sys.argv[1:]
LIFE = "600"


class Silent:
    """What sippy wants its log written to."""

    def write(self, *words: object, **more: object) -> None:
        pass


def value(message: Any, name: str) -> str:
    """The text of a header that sippy does not know."""
    found = message.getHFs(name)
    return str(found[0]).partition(": ")[2].strip() if found else ""


def own_contact() -> Any:
    return SipContact(address=SipAddress(url=SipURL(f"sip:{HOST}:{PORT}")))


class Watcher:
    """The dialog of one SUBSCRIBE."""

    def __init__(self, request: Any, response: Any) -> None:
        self.call_id = request.getHFBCopy("call-id")
        self.here = SipFrom(address=response.getHFBody("to").address.getCopy())
        self.there = SipTo(address=request.getHFBody("from").address.getCopy())
        self.target = request.getHFBody("contact").getUrl().getCopy()
        self.back = request.getSource()
        self.cseq = 0


class Server:
    def __init__(self) -> None:
        SipConf.my_address = HOST
        settings = {"_sip_address": HOST, "_sip_port": int(PORT), "_sip_logger": Silent()}
        self.transactions = SipTransactionManager(settings, self.asked)
        self.tags: dict[str, str] = {}
        self.documents: dict[str, str] = {}
        self.watchers: dict[str, dict[str, Watcher]] = {}

    def asked(self, request: Any, transaction: Any) -> tuple[Any, None, None]:
        method = request.getMethod()
        user = request.getHFBody("to").getUrl().username
        if method == "PUBLISH":
            return (self.publish(request, user), None, None)
        if method == "SUBSCRIBE":
            return (self.subscribe(request, user), None, None)
        return (request.genResponse(501, "Not Implemented"), None, None)

    def publish(self, request: Any, user: str) -> Any:
        if value(request, "sip-if-match") != self.tags.get(user, ""):
            return request.genResponse(412, "Conditional Request Failed")
        life = request.getHFBody("expires").getNum()
        self.tags[user] = secrets.token_hex(4)
        response = request.genResponse(200, "OK")
        response.appendHeader(SipHeader(name="sip-etag", bodys=self.tags[user]))
        response.appendHeader(SipHeader(name="expires", body=request.getHFBCopy("expires")))
        if life == 0:
            del self.tags[user], self.documents[user]
        elif request.getBody() is not None:
            self.documents[user] = str(request.getBody())
        for watcher in self.watchers.get(user, {}).values():
            ED2.callFromThread(self.notify, watcher, user)
        return response

    def subscribe(self, request: Any, user: str) -> Any:
        if value(request, "event") != "presence":
            return request.genResponse(489, "Bad Event")
        response = request.genResponse(200, "OK")
        if response.getHFBody("to").getTag() is None:
            response.getHFBody("to").genTag()
        response.appendHeader(SipHeader(name="contact", body=own_contact()))
        response.appendHeader(SipHeader(name="expires", body=request.getHFBCopy("expires")))
        watchers = self.watchers.setdefault(user, {})
        call_id = str(request.getHFBody("call-id"))
        watcher = watchers.setdefault(call_id, Watcher(request, response))
        state = f"active;expires={LIFE}"
        if request.getHFBody("expires").getNum() == 0:
            del watchers[call_id]
            state = "terminated;reason=timeout"
        ED2.callFromThread(self.notify, watcher, user, state)
        return response

    def notify(self, watcher: Watcher, user: str, state: str = f"active;expires={LIFE}") -> None:
        watcher.cseq += 1
        document = self.documents.get(user)
        request = SipRequest(
            method="NOTIFY",
            ruri=watcher.target,
            target=(watcher.back, TRANSPORT),
            fr0m=watcher.here,
            to=watcher.there,
            callid=watcher.call_id,
            cseq=watcher.cseq,
            contact=own_contact(),
            body=MsgBody(document, SipContentType("application/pidf+xml")) if document else None,
        )
        request.appendHeader(SipHeader(name="event", bodys="presence"))
        request.appendHeader(SipHeader(name="subscription-state", bodys=state))
        self.transactions.newTransaction(request, self.answered)

    def answered(self, response: Any) -> None:
        print("NOTIFY", response.scode, flush=True)


Server()
print("listening", flush=True)
ED2.loop()
