"""Plays interop cases: files that say what is started, what is done and what must be seen.

A case is a TOML file. Its head says what it is about (`title`, what it `proves`, `sections` of the RFCs),
`[kamailio]`, `[peer]` (SIPp or an old library as a server) and `[bridge]` what is started, `variants` which
transports and features it is played with; one with `brief = false` is left out when time is short.
`[[steps]]` follow: each has `do`, the word for what happens (the functions of this module named `do_…`),
its arguments, and what is expected. `{name}` in a text is replaced by what an earlier step saved under that
name.

The runner knows neither a test framework nor how the product is made; it only talks to it.
"""

import asyncio
import json
import shutil
import tempfile
import time
import tomllib
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.actors import (
    ActorFailed,
    Application,
    Baresip,
    BayeuxClient,
    Bridge,
    Cutter,
    DeskPhone,
    Kamailio,
    OldServer,
    Printing,
    SippServer,
    WebPhone,
    run_sipp,
    sipp_version,
)
from tests.interop.wire import Message, Talker
from tests.transports.certificates import Authority

CASES = Path(__file__).resolve().parent / "cases"
STEP_SECONDS = 12.0
"""How long an expected event may take; Kamailio notices expiry up to ten seconds late."""
ASK_AGAIN_SECONDS = 0.3
PIDF = "application/pidf+xml"
SECURE = ("tls", "wss")


class NotSeen(Exception):
    """Something expected did not happen, or something else did."""


FORESEEN = (NotSeen, ActorFailed, OSError)
"""TimeoutError is one. Their texts say enough."""


@dataclass
class Verdict:
    """What came of one case in one variant."""

    case: str
    title: str
    variant: str
    peers: dict[str, str]
    sections: list[str]
    verdict: str
    seconds: float
    seen: str = ""


@dataclass
class Case:
    """One file, read."""

    name: str
    title: str
    proves: str
    sections: list[str]
    variants: list[dict[str, Any]]
    kamailio: dict[str, Any] | None
    bridge: dict[str, Any] | None
    steps: list[dict[str, Any]]
    peer: dict[str, Any] | None = None
    """The bridge's presence server: SIPp with `scenario` and `calls`, or made with an old `library`."""

    @classmethod
    def read(cls, path: Path) -> "Case":
        tree = tomllib.loads(path.read_text())
        return cls(
            path.parent.name,
            tree["title"],
            " ".join(tree.get("proves", "").split()),
            tree["sections"],
            tree.get("variants", [{"transport": "udp"}]),
            tree.get("kamailio"),
            tree.get("bridge"),
            tree["steps"],
            tree.get("peer"),
        )


def all_cases() -> list[Case]:
    """Every case, in the order of their numbers."""
    return [Case.read(path) for path in sorted(CASES.glob("*/case.toml"))]


@dataclass
class Stage:
    """A case while it is played."""

    transport: str
    by: str = "long-polling"
    """How Bayeux clients connect."""
    ending: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Stops whoever was started, the last one first."""
    wrong: list[str] = field(default_factory=list)
    """What went wrong, the first thing first."""
    kamailio: Kamailio | None = None
    bridge: Bridge | None = None
    authority: Authority | None = None
    """Signs everybody's certificates where the case is played over TLS."""
    talkers: dict[str, Talker] = field(default_factory=dict)
    applications: dict[str, Application] = field(default_factory=dict)
    phones: dict[str, Baresip] = field(default_factory=dict)
    clients: dict[str, BayeuxClient] = field(default_factory=dict)
    web_phones: dict[str, WebPhone] = field(default_factory=dict)
    desk_phones: dict[str, DeskPhone] = field(default_factory=dict)
    cutter: Cutter | None = None
    peer: SippServer | OldServer | None = None
    saved: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, dict[str, str]] = field(default_factory=dict)

    def ends_with(self, stop: Callable[[], Awaitable[None]]) -> None:
        """This is done in the end; what goes wrong with it keeps nobody else from being stopped."""

        async def try_to_stop() -> None:
            try:
                await stop()
            except Exception as failed:
                self.wrong.append(f"at the end: {said(failed)}")

        self.ending.push_async_callback(try_to_stop)

    def server(self, step: Mapping[str, Any]) -> tuple[str, int]:
        """Whom a SIP step talks to: `at`, else Kamailio if there is one, else the bridge."""
        at = step.get("at", "kamailio" if self.kamailio else "bridge")
        if at == "kamailio":
            assert self.kamailio is not None
            return self.kamailio.at(self.transport)
        assert self.bridge is not None
        return self.bridge.sip(self.transport)

    @property
    def trusted(self) -> str:
        """The file of authorities, "" where nothing is secured."""
        return str(self.authority.ca) if self.authority is not None else ""

    async def talker(self, step: Mapping[str, Any]) -> Talker:
        name = step["who"]
        if name not in self.talkers:
            uri = f"sip:{name}@example.com"
            talker = Talker(uri, self.server(step), self.transport, f"pw-{name}", self.trusted)
            await talker.open()
            self.ends_with(talker.close)
            self.talkers[name] = talker
        return self.talkers[name]

    async def application(self, step: Mapping[str, Any]) -> Application:
        name = step["who"]
        if name not in self.applications:
            assert self.bridge is not None
            application = Application(self.bridge.ready["http"], name)
            await application.open()
            self.ends_with(application.close)
            self.applications[name] = application
        return self.applications[name]

    def fill(self, value: Any) -> Any:
        """`{name}` replaced by what was saved, everywhere in a value."""
        if isinstance(value, str):
            for name, text in self.saved.items():
                value = value.replace("{" + name + "}", text)
            return value
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        return [self.fill(v) for v in value] if isinstance(value, list) else value


# --- what can be done -----------------------------------------------------------------------------------


async def do_rest(stage: Stage, step: dict[str, Any]) -> None:
    """An application calls: `method`, `path`, `json`; expects `status`, and more of the answer.

    `result`: inside the answer's result. `answer`: the whole answer, nothing more and nothing less. `fault`:
    its messageId, with `variables`. `location`: the header. With `until = true` the call is repeated until
    the answer is as expected.
    """
    application = await stage.application(step)
    deadline = time.monotonic() + STEP_SECONDS
    while True:
        status, answer, headers = await application.call(
            step["method"], stage.fill(step["path"]), stage.fill(step.get("json"))
        )
        if status == step.get("status", 204) and as_expected(stage, step, answer, headers):
            return
        if not step.get("until") or time.monotonic() > deadline:
            raise NotSeen(f"{step['method']} {step['path']}: {status} {json.dumps(answer)}")


def as_expected(
    stage: Stage, step: Mapping[str, Any], answer: Any, headers: Mapping[str, str]
) -> bool:
    """Is the answer of an application's call what the step expects?"""
    if "answer" in step and answer != stage.fill(step["answer"]):
        return False
    if "result" in step and not contains(answer["result"], stage.fill(step["result"])):
        return False
    if "location" in step and headers.get("Location") != stage.fill(step["location"]):
        return False
    if "fault" not in step:
        return True
    error = answer["error"]
    variables = stage.fill(step.get("variables", error["variables"]))
    return bool(error["messageId"] == step["fault"] and error["variables"] == variables)


async def do_listen(stage: Stage, step: dict[str, Any]) -> None:
    """An application subscribes to its channel; `by` is long-polling or websocket."""
    application = await stage.application(step)
    channel = f"/bayeux/app_{step['who']}/presence"
    await application.listen(channel, step.get("by", stage.by))


async def do_notification(stage: Stage, step: dict[str, Any]) -> None:
    """A Bayeux notification of `kind` arrives whose body has what `has` says; others before are skipped.

    With `is` the next notification has this body, nothing more and nothing less. With `next = true` none of
    this kind comes before.
    """
    application = await stage.application(step)
    skipped: list[Any] = []
    try:
        async with asyncio.timeout(step.get("seconds", STEP_SECONDS)):
            while "is" not in step or not skipped:
                message = await application.inbox.get()
                body = message.get(step["kind"])
                if "is" in step:
                    fits = message == {step["kind"]: stage.fill(step["is"])}
                else:
                    fits = body is not None and contains(body, stage.fill(step.get("has", {})))
                if fits:
                    return
                skipped.append(message)
                if body is not None and step.get("next"):
                    break
    except TimeoutError:
        pass
    wanted = step.get("is", step.get("has"))
    raise NotSeen(f"no {step['kind']} with {wanted}; seen: {skipped}")


async def do_notifications(stage: Stage, step: dict[str, Any]) -> None:
    """Bayeux notifications of `kind` arrive, one with what each of `each` says, in any order."""
    application = await stage.application(step)
    lacking = [stage.fill(has) for has in step["each"]]
    seen: list[Any] = []
    try:
        async with asyncio.timeout(STEP_SECONDS):
            while lacking:
                seen.append(await application.inbox.get())
                body = seen[-1].get(step["kind"])
                lacking = [has for has in lacking if body is None or not contains(body, has)]
    except TimeoutError:
        raise NotSeen(f"no {step['kind']} with {lacking}; seen: {seen}") from None


async def do_quiet(stage: Stage, step: dict[str, Any]) -> None:
    """Nothing of `kind` waits for the application; follows a step that would have brought it earlier."""
    application = await stage.application(step)
    while not application.inbox.empty():
        message = application.inbox.get_nowait()
        if step["kind"] in message:
            raise NotSeen(f"unexpected {message}")


def document(stage: Stage, step: Mapping[str, Any], uri: str) -> bytes:
    """A phone's PIDF: `activity`, `place`, `note`, `basic`, or `body` as text."""
    if "body" in step:
        return str(stage.fill(step["body"])).encode()
    parts = []
    if "activity" in step:
        note = f"<r:note>{step['note']}</r:note>" if "note" in step else ""
        parts.append(f"<r:activities>{note}<r:{step['activity']}/></r:activities>")
    if "place" in step:
        parts.append(f"<r:place-type><l:{step['place']}/></r:place-type>")
    name = step.get("tuple", "t-" + step["who"])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
        ' xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"'
        f' xmlns:l="urn:ietf:params:xml:ns:location-type" entity="{uri}"><tuple id="{name}"><status>'
        f"<basic>{step.get('basic', 'open')}</basic></status></tuple>"
        f'<d:person id="p-{name}">{"".join(parts)}</d:person></presence>'
    ).encode()


async def do_publish(stage: Stage, step: dict[str, Any]) -> None:
    """PUBLISH: `activity` … for a body, `none = true` for none, `if_match`, `expires`; expects `status`."""
    talker = await stage.talker(step)
    body = b"" if step.get("none") else document(stage, step, talker.uri)
    headers = [f"Event: {step.get('event', 'presence')}", f"Expires: {step.get('expires', 600)}"]
    if "if_match" in step:
        headers.append(f"SIP-If-Match: {stage.fill(step['if_match'])}")
    if body:
        headers.append(f"Content-Type: {step.get('content_type', PIDF)}")
    answer = await talker.ask("PUBLISH", talker.uri, headers, body)
    expect_answer(stage, step, answer)


async def do_subscribe(stage: Stage, step: dict[str, Any]) -> None:
    """SUBSCRIBE to `to`; later `refresh`, `leave` and `notify` name it by its watcher and target."""
    talker = await stage.talker(step)
    target = f"sip:{step['to']}@example.com"
    event = step.get("event", "presence")
    key = f"{step['who']}>{step['to']}>{event}"
    known = stage.subscriptions.get(key, {})
    number = int(known.get("cseq", "0")) + 1
    headers = [f"Event: {event}", f"Expires: {step.get('expires', 600)}"]
    headers += step.get("headers", [])
    tag = known.get("tag", f"w{len(stage.subscriptions)}{number}")
    answer = await talker.ask(
        "SUBSCRIBE",
        known.get("contact", target),
        headers,
        call_id=known.get("call_id", ""),
        cseq=number,
        from_tag=tag,
        to=target,
        to_tag=known.get("to_tag", ""),
    )
    expect_answer(stage, step, answer)
    if answer is not None and answer.status in (200, 202):
        contact = answer.get("contact").split(">")[0].lstrip("<") or target
        stage.subscriptions[key] = {
            "call_id": answer.get("call-id"),
            "tag": tag,
            "to_tag": answer.tag("to"),
            "cseq": answer.get("cseq").split(" ")[0],
            "contact": contact,
        }


async def do_notify(stage: Stage, step: dict[str, Any]) -> None:
    """A NOTIFY arrives: `state` begins Subscription-State, `has` is in the body, `lacks` is not.

    The whole message has `at_most` so many bytes.
    """
    talker = await stage.talker(step)

    def fits(m: Message) -> bool:
        if not m.start.startswith("NOTIFY ") or not m.get("subscription-state").startswith(
            step.get("state", "")
        ):
            return False
        if m.get("event").split(";")[0] != step.get("event", "presence"):
            return False
        return all(word.encode() in m.body for word in step.get("has", [])) and (
            not step.get("empty") or not m.body
        )

    found = await talker.wait_for(fits, STEP_SECONDS)
    if found is None:
        others = [m.start + " | " + m.get("subscription-state") for m in talker.inbox]
        raise NotSeen(f"no NOTIFY with {step.get('state', '')} {step.get('has', '')}: {others}")
    for word in step.get("lacks", []):
        if word.encode() in found.body:
            raise NotSeen(f"{word!r} is in the NOTIFY: {found.body.decode('utf-8', 'replace')}")
    if len(found.raw) > step.get("at_most", len(found.raw)):
        raise NotSeen(f"the NOTIFY has {len(found.raw)} bytes")


async def do_request(stage: Stage, step: dict[str, Any]) -> None:
    """Any request outside dialogs: `method`, `target`, `headers`, `body`; expects `status` and `answers`."""
    talker = await stage.talker(step)
    answer = await talker.ask(
        step["method"],
        stage.fill(step.get("target", talker.uri)),
        stage.fill(step.get("headers", [])),
        stage.fill(step.get("body", "")).encode(),
        authorize=step.get("authorize", True),
    )
    expect_answer(stage, step, answer)


async def do_raw(stage: Stage, step: dict[str, Any]) -> None:
    """A message just as written (`text`, line ends made CRLF); expects a response with `status`."""
    talker = await stage.talker(step)
    saved = {**stage.saved, "address": talker.address}
    text = step["text"].strip("\n")
    for name, value in saved.items():
        text = text.replace("{" + name + "}", value)
    talker.write((text.replace("\n", "\r\n") + "\r\n\r\n").encode())
    answer = await talker.wait_for(lambda m: m.status is not None and m.status >= 200, STEP_SECONDS)
    expect_answer(stage, step, answer)


async def put_xcap(stage: Stage, path: str, kind: str, body: str) -> None:
    """Put a document on Kamailio's XCAP server."""
    import aiohttp

    assert stage.kamailio is not None
    url = f"http://127.0.0.1:{stage.kamailio.http_port}/xcap-root/{path}"
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": f"application/{kind}+xml"}
        async with session.put(url, data='<?xml version="1.0"?>' + body, headers=headers) as got:
            if got.status not in (200, 201):
                raise NotSeen(f"XCAP PUT: {got.status} {await got.text()}")


async def do_rules(stage: Stage, step: dict[str, Any]) -> None:
    """Put presence rules of user `of` on Kamailio's XCAP server: decisions and whom they are for."""
    rules = "".join(
        f'<cp:rule id="{word}"><cp:conditions><cp:identity>'
        + "".join(f'<cp:one id="sip:{name}@example.com"/>' for name in step[word])
        + f"</cp:identity></cp:conditions><cp:actions><pr:sub-handling>{word}</pr:sub-handling>"
        "</cp:actions><cp:transformations/></cp:rule>"
        for word in ("allow", "confirm", "polite-block", "block")
        if step.get(word)
    )
    body = (
        '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
        f' xmlns:pr="urn:ietf:params:xml:ns:pres-rules">{rules}</cp:ruleset>'
    )
    path = f"pres-rules/users/sip:{step['of']}@example.com/index"
    await put_xcap(stage, path, "auth-policy", body)


async def do_list(stage: Stage, step: dict[str, Any]) -> None:
    """Put a resource list on Kamailio's XCAP server: list `name` of user `of` has these `members`."""
    entries = "".join(f'<rl:entry uri="sip:{name}@example.com"/>' for name in step["members"])
    body = (
        '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"'
        ' xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
        f'<service uri="sip:{step["name"]}@example.com"><list>{entries}</list>'
        "<packages><package>presence</package></packages></service></rls-services>"
    )
    path = f"rls-services/users/sip:{step['of']}@example.com/index"
    await put_xcap(stage, path, "rls-services", body)


async def do_sipp(stage: Stage, step: dict[str, Any]) -> None:
    """A SIPp scenario, `calls` times; `from` an address other than the usual one."""
    await run_sipp(
        step["scenario"],
        stage.server(step),
        stage.transport,
        step.get("calls", 10),
        step.get("rate", 20),
        step.get("from", "127.0.0.1"),
    )


async def do_peer_done(stage: Stage, step: dict[str, Any]) -> None:
    """The SIPp server has seen all its calls, and all were as its scenario demands."""
    assert isinstance(stage.peer, SippServer)
    await stage.peer.done()


async def do_stop_bridge(stage: Stage, step: dict[str, Any]) -> None:
    """SIGTERM: the bridge says its goodbyes and ends."""
    assert stage.bridge is not None
    await stage.bridge.halt()


async def do_baresip(stage: Stage, step: dict[str, Any]) -> None:
    """Start baresip as `who`: `registers`, `watches` contacts, or `publishes`."""
    phone = Baresip(step["who"], stage.server(step), stage.transport, stage.trusted)
    stage.phones[step["who"]] = phone
    stage.ends_with(phone.stop)
    watches, publishes = step.get("watches", []), step.get("publishes", False)
    await phone.start(watches, publishes, step.get("registers", False))


async def do_baresip_says(stage: Stage, step: dict[str, Any]) -> None:
    """baresip prints what fits `pattern`; `command` is typed first, and again after each pause."""
    phone = stage.phones[step["who"]]
    for _ in range(int(STEP_SECONDS / ASK_AGAIN_SECONDS)):
        if "command" in step:
            phone.command(step["command"])
        try:
            await phone.wait_for(step["pattern"], ASK_AGAIN_SECONDS)
        except TimeoutError:
            continue
        return
    raise NotSeen(f"baresip never printed {step['pattern']!r}: {phone.output[-1500:]}")


async def do_baresip_command(stage: Stage, step: dict[str, Any]) -> None:
    """Type `command` into baresip."""
    stage.phones[step["who"]].command(step["command"])


async def do_desk_phone(stage: Stage, step: dict[str, Any]) -> None:
    """Start the phone `client` as `who`; it `watches` somebody, or `publishes` a word."""
    server, transport = stage.server(step), stage.transport
    phone = DeskPhone(step["client"], step["who"], server, transport, stage.trusted)
    stage.desk_phones[step["who"]] = phone
    stage.ends_with(phone.stop)
    what = "watch" if "watches" in step else "publish"
    await phone.start(what, step.get("watches") or step["publishes"])


async def do_desk_says(stage: Stage, step: dict[str, Any]) -> None:
    """The phone prints what fits `pattern`, or `both` of two in either order, as datagrams come."""
    if "both" in step:
        one, other = step["both"]
        pattern = rf"(?s){one}.*?{other}|{other}.*?{one}"
    else:
        pattern = step["pattern"]
    await stage.desk_phones[step["who"]].wait_for(pattern, 2 * STEP_SECONDS)


async def do_desk_tell(stage: Stage, step: dict[str, Any]) -> None:
    """Type `command` on the phone's terminal."""
    stage.desk_phones[step["who"]].tell(step["command"])


async def do_web_phone(stage: Stage, step: dict[str, Any]) -> None:
    """Start a browser's user agent, `client` sipjs or jssip, as `who`, over the case's kind of WebSocket."""
    assert stage.bridge is not None
    host, port = stage.bridge.sip(stage.transport)
    url = f"{stage.transport}://{host}:{port}"
    phone = WebPhone(step["client"], step["who"], url, stage.trusted)
    stage.web_phones[step["who"]] = phone
    stage.ends_with(phone.stop)
    await phone.start()
    await phone.next("connected", STEP_SECONDS)


async def do_web_tell(stage: Stage, step: dict[str, Any]) -> None:
    """A command for the browser's user agent: `command` publish, unpublish, watch (`peer`) or leave."""
    phone = stage.web_phones[step["who"]]
    command = {"do": step["command"], "peer": step.get("peer", "")}
    if step["command"] == "publish":
        command["body"] = document(stage, step, f"sip:{step['who']}@example.com").decode()
    phone.tell(command)


async def do_web_says(stage: Stage, step: dict[str, Any]) -> None:
    """The browser's user agent says `event` with a `state` that begins so, and `words` in its body."""
    phone = stage.web_phones[step["who"]]
    async with asyncio.timeout(STEP_SECONDS):
        while True:
            said = await phone.next(step["event"], STEP_SECONDS)
            begins = str(said.get("state", "")).startswith(step.get("state", ""))
            if begins and all(word in said.get("body", "") for word in step.get("words", [])):
                return


async def do_restart_kamailio(stage: Stage, step: dict[str, Any]) -> None:
    """Stop Kamailio and start it on the same port with empty tables, and what `with` says in addition."""
    assert stage.kamailio is not None
    await stage.kamailio.restart(step.get("with", []))


async def do_metric(stage: Stage, step: dict[str, Any]) -> None:
    """A number of the bridge reaches `at_least`, or is `exactly` so; `labels` must all be on its line.

    Asked until it does. `exactly` follows the steps that could have brought more.
    """
    import aiohttp

    assert stage.bridge is not None
    deadline = time.monotonic() + 2 * STEP_SECONDS
    labels = [f'{name}="{value}"' for name, value in step["labels"].items()]
    while True:
        async with (
            aiohttp.ClientSession() as session,
            session.get(stage.bridge.ready["http"] + "/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        fitting = [n for n in lines if n.startswith(step["name"]) and all(x in n for x in labels)]
        seen = sum(float(line.rsplit(" ", 1)[1]) for line in fitting)
        if seen == step["exactly"] if "exactly" in step else seen >= step["at_least"]:
            return
        if time.monotonic() > deadline:
            raise NotSeen(f"{step['name']} {labels} is {seen:g}")


async def do_client(stage: Stage, step: dict[str, Any]) -> None:
    """Start a foreign Bayeux `client` as `who`, `by` a transport, through a proxy that can cut.

    It has to subscribe to its own channel, and has to be denied another application's. By `fallback` it tries
    WebSockets, which the proxy refuses, and has to go on with long-polling.
    """
    assert stage.bridge is not None
    host, port = stage.bridge.ready["http"].removeprefix("http://").rsplit(":", 1)
    stage.cutter = Cutter(host, int(port), no_websockets=stage.by == "fallback")
    stage.ends_with(stage.cutter.stop)
    await stage.cutter.start()
    base = f"http://127.0.0.1:{stage.cutter.port}"
    client = BayeuxClient(step["client"], step["who"], base, stage.by)
    stage.clients[step["who"]] = client
    stage.ends_with(client.stop)
    await client.start()
    if not (await client.next("subscribe", STEP_SECONDS))["successful"]:
        raise NotSeen("the own channel was refused")
    client.taken = 0
    if (await client.next("denied", STEP_SECONDS))["successful"]:
        raise NotSeen("another application's channel was not refused")
    if stage.by == "fallback" and not stage.cutter.refused:
        raise NotSeen("the client never tried a WebSocket")


async def do_series(stage: Stage, step: dict[str, Any]) -> None:
    """`who` publishes `count` notes one after the other; client `at` is told of each, in order, once.

    With `cut_every` the client's connections are cut after so many publications, before it can have seen the
    last ones; nothing may be lost or repeated all the same. With `after_restart` the state of before may come
    once in front.
    """
    application = await stage.application(step)
    client = stage.clients[step["at"]]
    notes = [f"{step.get('name', 'n')} {n}" for n in range(1, step["count"] + 1)]
    cut_every = step.get("cut_every", 0)
    seen: list[str] = []
    for number, note in enumerate(notes, 1):
        attribute = {"typeAndValue": {"unionElement": "Activity", "activity": "Busy"}, "note": note}
        status, answer, _ = await application.call(
            "PUT", "/rest/presence/presence", {"presence": [attribute]}
        )
        if status != 204:
            raise NotSeen(f"publish: {status} {answer}")
        if cut_every and number % cut_every == 0 and stage.cutter is not None:
            stage.cutter.cut()
        while len(seen) < number:
            told = (await client.next("message", STEP_SECONDS))["data"].get("statusChanged")
            if told is not None:
                seen += [a["note"] for a in told["changedAttributes"] if "note" in a]
            if step.get("after_restart") and seen[:1] == [stage.saved["last note"]]:
                seen.clear()
    if seen != notes:
        raise NotSeen(f"in order and once is {notes}, seen {seen}")
    stage.saved["last note"] = notes[-1]


async def do_client_told(stage: Stage, step: dict[str, Any]) -> None:
    """The foreign client gets a message of `kind` that has what `has` says; others before are skipped."""
    client = stage.clients[step["who"]]
    while True:
        message = (await client.next("message", STEP_SECONDS))["data"]
        if step["kind"] in message and contains(message[step["kind"]], step.get("has", {})):
            return


async def do_restart_bridge(stage: Stage, step: dict[str, Any]) -> None:
    """SIGTERM, then start on the same ports with the same state; `who` has to handshake again by itself."""
    assert stage.bridge is not None
    await stage.bridge.restart()
    client = stage.clients[step["who"]]
    await client.next("handshake", 3 * STEP_SECONDS)


VERBS: dict[str, Callable[[Stage, dict[str, Any]], Awaitable[None]]] = {
    name.removeprefix("do_"): verb
    for name, verb in list(globals().items())
    if name.startswith("do_")
}


def expect_answer(stage: Stage, step: Mapping[str, Any], answer: Message | None) -> None:
    """`status` of a final response, `answers` as {header: text it contains}; `save` as {name: header}."""
    if answer is None:
        raise NotSeen(f"{step['do']}: no answer")
    if answer.status != step.get("status", 200):
        raise NotSeen(f"{step['do']}: {answer.start}")
    for name, text in step.get("answers", {}).items():
        if text.lower() not in answer.get(name).lower():
            raise NotSeen(f"{step['do']}: {name} is {answer.get(name)!r}")
    for name, header in step.get("save", {}).items():
        stage.saved[name] = answer.get(header)


def contains(seen: object, wanted: object) -> bool:
    """Is `wanted` found in `seen`? Objects: every member; lists: every element somewhere; else equal."""
    if isinstance(wanted, dict):
        return isinstance(seen, dict) and all(
            k in seen and contains(seen[k], v) for k, v in wanted.items()
        )
    if isinstance(wanted, list):
        if not wanted:
            return seen == []
        return isinstance(seen, list) and all(any(contains(s, w) for s in seen) for w in wanted)
    return seen == wanted


# --- playing ------------------------------------------------------------------------------------------


def names_of(case: Case) -> list[str]:
    """The foreign programs a case meets."""
    words = {step["do"] for step in case.steps}
    found = ["kamailio"] if case.kamailio is not None else []
    peer = case.peer or {}
    found += ["sipp"] if "sipp" in words or "scenario" in peer else []
    found += [peer["library"]] if "library" in peer else []
    found += ["baresip"] if "baresip" in words else []
    return list(
        dict.fromkeys([*found, *(step["client"] for step in case.steps if "client" in step)])
    )


def peers_of(case: Case) -> dict[str, str]:
    """The same with their versions."""
    return {name: version_of(name) for name in names_of(case)}


def version_of(name: str) -> str:
    known = {"kamailio": Kamailio.version, "sipp": sipp_version, "baresip": Baresip.version}
    if name in known:
        return known[name]()
    return (DeskPhone if name in DeskPhone.CLIENTS else Printing).version(name)


def variant_name(variant: Mapping[str, Any]) -> str:
    if "by" in variant:
        return str(variant["by"])
    words = [variant.get("transport", "udp"), *variant.get("with", [])]
    words += ["digest"] if variant.get("digest") else []
    words += [] if variant.get("listener", True) else ["calling-only"]
    return " ".join(words)


async def prepare(case: Case, variant: Mapping[str, Any], stage: Stage) -> None:
    if stage.transport in SECURE:
        folder = Path(tempfile.mkdtemp(prefix="sipbridge-certificates-"))
        stage.ending.callback(shutil.rmtree, folder, ignore_errors=True)
        stage.authority = Authority(folder)
    if case.kamailio is not None:
        extra = variant.get("with", [])
        wanted = {**case.kamailio, "with": [*case.kamailio.get("with", []), *extra]}
        stage.kamailio = Kamailio(wanted, stage.authority)
        stage.ends_with(stage.kamailio.stop)
        await stage.kamailio.start()
    if case.peer is not None:
        if "library" in case.peer:
            stage.peer = OldServer(case.peer["library"], stage.transport)
        else:
            stage.peer = SippServer(case.peer["scenario"], stage.transport, case.peer["calls"])
        stage.ends_with(stage.peer.stop)
        await stage.peer.start()
    if case.bridge is not None:
        hop = ""
        if stage.peer is not None:
            hop = f"sip:127.0.0.1:{stage.peer.port};transport={stage.transport}"
        if stage.kamailio is not None:
            host, port = stage.kamailio.at(stage.transport)
            hop = f"sip:{host}:{port};transport={stage.transport}"
        wanted = dict(case.bridge)
        if variant.get("digest"):
            wanted["agent"] = {**wanted.get("agent", {}), "authenticate": True}
        stage.bridge = Bridge(wanted, hop, sip_section(case.bridge, variant, stage))
        stage.ends_with(stage.bridge.stop)
        await stage.bridge.start()
        stage.saved["bridge"] = stage.bridge.ready["http"]


def sip_section(
    bridge: Mapping[str, Any], variant: Mapping[str, Any], stage: Stage
) -> dict[str, Any]:
    """Listener and certificate for the transport of the variant; without `listener` we only call."""
    if stage.transport not in (*SECURE, "ws"):
        return {}
    listens = variant.get("listener", True)
    section: dict[str, Any] = {"listen": [f"{stage.transport}:127.0.0.1:0"] if listens else []}
    if stage.authority is not None:
        pair = stage.authority.issue("bridge", ["127.0.0.1", "localhost"])
        section["tls"] = {
            "cert": str(pair.cert),
            "key": str(pair.key),
            "ca": str(stage.authority.ca),
            "verify": "mutual" if bridge.get("mutual") else "peer",
        }
    return section


async def act(case: Case, variant: Mapping[str, Any], stage: Stage) -> None:
    """Start the peers and do the steps, up to the first that goes wrong."""
    number = 0
    try:
        await prepare(case, variant, stage)
        for step in case.steps:
            number += 1
            async with asyncio.timeout(step.get("seconds", 3 * STEP_SECONDS)):
                await VERBS[step["do"]](stage, step)
    except Exception as failed:
        what = case.steps[number - 1]["do"] if number else "start"
        stage.wrong.append(f"step {number} ({what}): {said(failed)}")


async def play(case: Case, variant: Mapping[str, Any]) -> Verdict:
    """One case in one variant, from starting the peers to stopping them; whatever goes wrong is a verdict."""
    begun = time.monotonic()
    stage = Stage(variant.get("transport", "udp"), variant.get("by", "long-polling"))
    async with stage.ending:
        await act(case, variant, stage)
    seen = list(stage.wrong)
    if seen and stage.peer is not None:
        seen.append(f"the peer: {stage.peer.output}")
    if seen and stage.bridge is not None:
        seen.append("bridge log: " + "\n".join(stage.bridge.log[-15:]))
    return Verdict(
        case.name,
        case.title,
        variant_name(variant),
        peers_of(case),
        case.sections,
        "fail" if seen else "pass",
        round(time.monotonic() - begun, 2),
        "\n".join(seen),
    )


def said(failed: Exception) -> str:
    """What an error tells; of one that nobody thought of, where it came from as well."""
    if isinstance(failed, FORESEEN):
        return str(failed) or type(failed).__name__
    return "".join(traceback.format_exception(failed)).strip()
