"""What is sent: a rich presence document of 1.2 kB, and the NOTIFY of 1.85 kB and 14 headers that carries it.

Written as text, not by the writer under test. `number` goes into a note, so that no two documents are alike
and each one is news.
"""

ACTIVITIES = (
    "meeting",
    "on-the-phone",
    "busy",
    "away",
    "travel",
    "meal",
    "presentation",
    "vacation",
)
PLACES = ("office", "train", "home", "restaurant", "airport", "cafe", "library", "hotel")

BODY = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    xmlns:lt="urn:ietf:params:xml:ns:location-type"
    entity="{entity}">
  <tuple id="bs35r9"><status><basic>open</basic></status>
    <dm:deviceID>urn:device:0003ba4811e3</dm:deviceID>
    <rpid:relationship><rpid:self/></rpid:relationship>
    <rpid:service-class><rpid:electronic/></rpid:service-class>
    <contact priority="0.8">{entity}</contact>
    <note xml:lang="en">at the desk</note>
    <timestamp>2026-05-04T10:11:12Z</timestamp></tuple>
  <dm:person id="p1">
    <rpid:activities><rpid:note>number {number}</rpid:note><rpid:{activity}/></rpid:activities>
    <rpid:place-type><lt:{place}/></rpid:place-type>
    <rpid:privacy><rpid:audio/></rpid:privacy>
    <rpid:sphere><rpid:work/></rpid:sphere>
    <dm:note xml:lang="en">back soon, please leave a message</dm:note>
    <dm:timestamp>2026-05-04T10:11:12Z</dm:timestamp></dm:person>
  <dm:device id="pc147"><rpid:user-input idle-threshold="600">active</rpid:user-input>
    <dm:deviceID>urn:device:0003ba4811e3</dm:deviceID>
    <dm:note>PC</dm:note></dm:device>
</presence>
"""

SMALL = """<?xml version="1.0" encoding="UTF-8"?>\r
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" \
xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{entity}"><tuple id="t1"><status><basic>open</basic>\
</status><note>n {number} </note></tuple><dm:person id="p1"><rpid:activities><rpid:{activity}/>\
</rpid:activities></dm:person></presence>"""

NOTIFY = """NOTIFY {target} SIP/2.0\r
Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch};rport\r
Record-Route: <sip:{host}:{port};lr=on;ftag=a6c85cf>\r
Max-Forwards: 70\r
From: <{entity}>;tag={local_tag}\r
To: <{watcher}>;tag={remote_tag}\r
Call-ID: {call_id}\r
CSeq: {cseq} NOTIFY\r
Contact: <sip:{host}:{port};transport=udp>\r
User-Agent: bench notifier 1.0\r
Allow: NOTIFY, SUBSCRIBE, PUBLISH, OPTIONS\r
Event: presence\r
Subscription-State: active;expires=3599\r
Content-Type: application/pidf+xml\r
Content-Length: {length}\r
\r
"""


def rich(entity: str, number: int) -> bytes:
    """About 1.2 kB: a tuple, a person with four kinds of attribute, a device."""
    activity, place = ACTIVITIES[number % 8], PLACES[number // 8 % 8]
    text = BODY.format(entity=entity, number=number, activity=activity, place=place)
    return text.encode()


def small(entity: str, number: int) -> bytes:
    """About 420 bytes, as soft phones publish."""
    activity = ("busy", "meeting")[number % 2]
    return SMALL.format(entity=entity, number=number, activity=activity).encode()


def notify(number: int, body: bytes | None = None) -> bytes:
    """A whole NOTIFY that belongs to no subscription."""
    content = rich("sip:user@example.com", number) if body is None else body
    head = NOTIFY.format(
        target="sip:app_bench@127.0.0.1:5060;transport=udp",
        host="127.0.0.1",
        port=5070,
        branch=f"{number:016x}",
        entity="sip:user@example.com",
        watcher="sip:bench@example.com",
        local_tag="1928301774",
        remote_tag="8f1c2a7be3d04455",
        call_id="843817637684230@998sdasdh09",
        cseq=number + 1,
        length=len(content),
    )
    return head.encode() + content
