from collections.abc import Mapping

import pytest

from sipbridge.sip.defects import MAX_FAMILIAR, MAX_SOUND, SOUND, Defect, defects, first_defect
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request, Response

FIELDS = {
    "Via": "SIP/2.0/UDP 192.0.2.4:5062;branch=z9hG4bKa;rport",
    "From": '"W" <sip:w@example.com>;tag=aa',
    "To": "<sip:r@example.com>",
    "Call-ID": "c1@192.0.2.4",
    "CSeq": "7 SUBSCRIBE",
    "Max-Forwards": "70",
    "Contact": "<sip:w@192.0.2.4:5062>",
    "Event": "presence",
    "Expires": "600",
}


def subscribe(
    uri: str = "sip:r@example.com", method: str = "SUBSCRIBE", **changes: str | None
) -> Request:
    fields = dict(FIELDS)
    for name, value in changes.items():
        if value is None:
            del fields[name.replace("_", "-")]
        else:
            fields[name.replace("_", "-")] = value
    return Request(method, uri, Headers(fields.items()))


def without(name: str) -> Request:
    request = subscribe()
    request.headers.remove(name)
    return request


def the_defect(request: Request | Response) -> Defect:
    defect = first_defect(request)
    assert defect is not None
    return defect


def test_a_sound_request_has_none() -> None:
    assert first_defect(subscribe()) is None
    assert defects(subscribe()) == []
    assert first_defect(subscribe().response(200, to_tag="x")) is None


def test_what_rfc_2543_left_out_is_no_defect() -> None:
    old = subscribe(Via="SIP/2.0/UDP a", From="<sip:w@example.com>", Max_Forwards=None)
    assert first_defect(old) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,"),
        ("From", "Bell, Alexander <sip:a@b>;tag=1"),
        ("From", "ralph@example.com"),
        ("To", '"Mr. J. User <sip:j@b>'),
        ("To", "< sip:a@b >"),
        ("Call-ID", ""),
        ("CSeq", "2147483648 SUBSCRIBE"),
        ("CSeq", "7 INVITE"),
        ("Max-Forwards", "300"),
        ("Expires", "soon"),
        ("Contact", '"Joe" <sip:joe@example.org>;;;;'),
        ("Contact", "sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
        ("Contact", "<nothing>"),
        ("Event", "pre sence"),
        ("Route", "sip:a b"),
        ("Record-Route", "<sip:2001:db8::1>"),
        ("Content-Type", "nonsense"),
        ("Subscription-State", ";expires=1"),
        ("Accept", "a/b;;"),
    ],
)
def test_broken_grammar_is_malformed(name: str, text: str) -> None:
    defect = the_defect(subscribe(**{name.replace("-", "_"): text}))
    assert (defect.status, defect.malformed) == (400, True)
    assert defect.field


@pytest.mark.parametrize(
    "uri", ["<sip:r@example.com>", "sip:2001:db8::10", "sip:", "nothing", "sip:%zz@a"]
)
def test_a_broken_request_uri_is_malformed(uri: str) -> None:
    assert (the_defect(subscribe(uri)).status, the_defect(subscribe(uri)).malformed) == (400, True)


def test_an_endless_request_uri_gets_its_own_status() -> None:
    assert the_defect(subscribe("sip:" + "a" * 5000)).status == 414


def test_the_second_line_is_looked_at_too() -> None:
    request = subscribe()
    request.headers.add("Via", "broken")
    assert the_defect(request).field == "Via"


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_missing_headers_are_sound_text_but_not_enough(name: str) -> None:
    defect = the_defect(without(name))
    assert (defect.status, defect.malformed, defect.field) == (400, False, name)


def test_without_via_nobody_can_be_answered() -> None:
    defect = the_defect(subscribe(Via=None))
    assert (defect.status, defect.malformed) == (None, True)


@pytest.mark.parametrize(
    "name", ["From", "To", "Call-ID", "CSeq", "Event", "Expires", "Max-Forwards"]
)
def test_single_headers_stand_once(name: str) -> None:
    request = subscribe()
    request.headers.add(name, FIELDS[name])
    defect = the_defect(request)
    assert (defect.status, defect.malformed, defect.field) == (400, False, name)


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("sips:r@example.com", None),
        ("pres:r@example.com", None),
        ("tel:+49-30-12345", 416),
        ("soap.beep://192.0.2.103:3002", 416),
        ("nobodyKnowsThisScheme:totallyopaquecontent", 416),
        ("sip:r@example.com?Route=%3Csip:x%3E", 400),
    ],
)
def test_request_uris(uri: str, status: int | None) -> None:
    defect = first_defect(subscribe(uri))
    assert (defect.status if defect else None) == status


def test_required_extensions() -> None:
    defect = the_defect(subscribe(Require="eventlist, nothingSupportsThis"))
    assert (defect.status, defect.headers) == (420, (("Unsupported", "nothingSupportsThis"),))
    assert first_defect(subscribe(Require="eventlist")) is None
    assert first_defect(subscribe(Require="recipient-list-subscribe")) is None
    assert first_defect(subscribe(Require="eventlist"), frozenset()) is not None
    assert first_defect(subscribe(Proxy_Require="anything")) is None
    cancel = subscribe(method="CANCEL", CSeq="7 CANCEL", Require="anything")
    assert first_defect(cancel) is None


def test_events_need_their_headers() -> None:
    assert the_defect(subscribe(Event=None)).status == 489
    assert the_defect(subscribe(Contact=None)).status == 400
    notify = subscribe(method="NOTIFY", CSeq="7 NOTIFY")
    assert (the_defect(notify).status, the_defect(notify).field) == (400, "Subscription-State")
    publish = subscribe(method="PUBLISH", CSeq="7 PUBLISH", Contact=None)
    assert first_defect(publish) is None


def test_headers_we_do_not_use_are_not_judged() -> None:
    odd = subscribe(
        Date="Fri, 01 Jan 2010 16:00:00 EST",
        Warning="1812 overture",
        Unknown=";;,,;;,;",
        Retry_After="never",
    )
    assert first_defect(odd) is None


def test_a_defective_response_is_dropped() -> None:
    answer = subscribe(CSeq="9292394834772304023312 SUBSCRIBE").response(503)
    assert the_defect(answer).malformed
    contact = subscribe().response(200, headers=[("Contact", "<nowhere>")])
    assert the_defect(contact).field
    assert first_defect(subscribe().response(200, headers=[("Expires", "soon")])) is None


def test_all_defects_are_listed_the_malformed_first() -> None:
    request = subscribe("tel:1", From=None, To="", Event=None, Require="x")
    assert [d.status for d in defects(request)] == [400, 400, 416, 420, 489]
    assert [d.malformed for d in defects(request)] == [True, False, False, False, False]


def notify_with(changes: Mapping[str, str | None]) -> Request:
    fields = FIELDS | {"CSeq": "2 NOTIFY", "Subscription-State": "active"}
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    pairs = [(name, changed.get(name, value)) for name, value in {**fields, **changed}.items()]
    return Request(
        "NOTIFY", "sip:r@example.com", Headers((n, v) for n, v in pairs if v is not None)
    )


def test_what_was_sound_once_is_sound_again_and_only_that() -> None:
    notify = subscribe(method="NOTIFY", CSeq="1 NOTIFY", Subscription_State="active")
    assert first_defect(notify) is None
    for _ in range(2):
        again = subscribe(method="NOTIFY", CSeq="2 NOTIFY", Subscription_State="active;expires=5")
        assert first_defect(again) is None
        broken_ones: list[dict[str, str | None]] = [
            {"CSeq": "2 SUBSCRIBE"},
            {"Via": None},
            {"Via": "SIP/2.0/UDP 192.0.2.15;;,;,,"},
            {"Subscription_State": None},
            {"Subscription_State": ";expires=5"},
            {"Event": None},
            {"Event": ";id=1"},
            {"Contact": "<sip:w@192.0.2.4:99999>"},
            {"Max_Forwards": "many"},
            {"Require": "unknown"},
        ]
        for changes in broken_ones:
            broken = notify_with(changes)
            assert defects(broken), changes
            assert first_defect(broken) == defects(broken)[0]


@pytest.mark.parametrize("name", ["Event", "Contact", "Via", "CSeq", "Record-Route", "From"])
def test_a_second_line_is_judged_too(name: str) -> None:
    assert first_defect(subscribe()) is None
    request = subscribe()
    request.headers.add(name, ";;")
    defect = first_defect(request)
    assert defect is not None and defect.field == name


def test_addresses_outside_known_dialogs_are_judged_each_time() -> None:
    assert first_defect(subscribe()) is None
    assert first_defect(subscribe(From="Bell, Alexander <sip:a@b>;tag=1")) is not None
    assert first_defect(subscribe(To="<sip:r@exa mple.com>")) is not None
    assert first_defect(subscribe(Call_ID="a b")) is not None
    assert first_defect(subscribe(Record_Route="<sip:p@exa mple.com>")) is not None


def test_only_so_many_sound_requests_are_remembered() -> None:
    SOUND.clear()
    for n in range(MAX_SOUND + 10):
        assert first_defect(subscribe(Contact=f"<sip:w{n}@192.0.2.4>")) is None
    assert len(SOUND) == 10
    assert first_defect(subscribe(Contact=f"<sip:{'w' * MAX_FAMILIAR}@192.0.2.4>")) is None
    assert len(SOUND) == 10
