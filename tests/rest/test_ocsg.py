"""The nine operations, through every door that is documented or seen."""

from urllib.parse import quote

import httpx2
import orjson
import pytest

from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.mapping.attributes import Activity, AttributeKind
from sipbridge.rest import Envelope, RestSettings, Style
from sipbridge.rest.ocsg import DOORS, OPERATIONS
from tests.rest.conftest import (
    ALICE,
    BOB,
    MEETING,
    START,
    SUBSCRIBE,
    UPDATE,
    PresenceHouse,
    Site,
)

QUERY = '{"presentity":"sip:alice@example.com","attributes":["Activity","Place"]}'
BOB_PATH = "sip%3Abob%40example.com"


def fault(answer: httpx2.Response) -> tuple[int, str, list[str]]:
    error = answer.json()["error"]
    assert answer.headers["X-Request-ID"] == error["requestId"]
    return answer.status_code, error["messageId"], error["variables"]


# --- the story ----------------------------------------------------------------------------------------


async def test_a_watcher_asks_is_seen_is_granted_sees_and_is_blocked(site: Site) -> None:
    assert (await site.ask("POST", "/subscription", SUBSCRIBE, BOB)).status_code == 204
    listed = await site.ask("GET", "/subscription?status=open")
    assert listed.status_code == 200
    assert listed.headers["Content-Type"] == "application/json"
    (entry,) = listed.json()["result"]
    assert entry == {
        "application": "Desk app",
        "attributes": ["Activity", "Place", "Privacy", "Sphere", "Communication", "Other"],
        "watcher": "sip:bob@example.com",
    }
    assert (await site.ask("PUT", "/subscription", UPDATE)).status_code == 204
    assert (await site.ask("GET", "/subscription?status=open")).json() == {"result": []}
    watchers = await site.ask("GET", "/subscription?filter=watcher")
    assert watchers.json() == {"result": ["sip:bob@example.com"]}

    published = await site.ask("PUT", "/presence", {"presence": [MEETING]})
    assert (published.status_code, published.content) == (204, b"")
    seen = await site.ask("GET", f"/presence?query={quote(QUERY)}", headers=BOB)
    assert seen.json() == {"result": [MEETING]}

    started = await site.ask("PUT", "/notification", START, BOB)
    assert started.status_code == 201
    assert started.json() == {"result": []}
    assert started.headers["Location"] == "http://gw.example:8001/rest/presence/notifications"
    assert fault(await site.ask("PUT", "/notification", START, BOB)) == (
        409,
        "SVC0005",
        ["watch-1", "reference.correlator"],
    )
    ended = await site.ask("DELETE", "/notification/watch-1", headers=BOB)
    assert (ended.status_code, ended.content) == (204, b"")

    assert (await site.ask("DELETE", f"/subscription/{BOB_PATH}")).status_code == 204
    gone = await site.ask("GET", f"/presence?query={quote(QUERY)}", headers=BOB)
    assert fault(gone) == (400, "SVC0002", ["presentity"])
    assert ("blockSubscription", 204) in site.finished
    assert ("getUserPresence", 400) in site.finished


async def test_an_unapproved_presentity_is_a_success_that_names_it(site: Site) -> None:
    answer = await site.ask("PUT", "/notification", START, BOB)
    assert (answer.status_code, answer.json()) == (201, {"result": ["sip:alice@example.com"]})


async def test_an_undecided_watcher_is_refused_for_privacy(site: Site) -> None:
    await site.ask("POST", "/subscription", SUBSCRIBE, BOB)
    answer = await site.ask("GET", f"/presence?query={quote(QUERY)}", headers=BOB)
    assert fault(answer) == (403, "POL0002", ["sip:alice@example.com"])
    assert answer.json()["error"]["message"] == (
        "POL0002: Privacy verification failed for address sip:alice@example.com, request is refused"
    )
    assert answer.json()["error"]["type"] == "org.csapi.schema.parlayx.common.v2_1.PolicyException"


# --- doors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", ["/subscription", "/subscriptions"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_singular_and_plural_put_and_post_lead_to_the_same(
    site: Site, resource: str, method: str
) -> None:
    assert (await site.ask(method, resource, SUBSCRIBE, BOB)).status_code == 204
    assert len((await site.ask("GET", f"{resource}?status=open")).json()["result"]) == 1
    assert (await site.ask(method, resource, UPDATE)).status_code == 204
    assert len((await site.ask("GET", f"{resource}?filter=watcher")).json()["result"]) == 1
    assert (await site.ask("DELETE", f"{resource}/{BOB_PATH}")).status_code == 204


async def test_post_starts_and_publishes_too(site: Site) -> None:
    assert (await site.ask("POST", "/notification", START, BOB)).status_code == 201
    assert (await site.ask("POST", "/presence", {"presence": [MEETING]})).status_code == 204


@pytest.mark.parametrize("path", ["/subscription/sip:bob@example.com", f"/subscription/{BOB_PATH}"])
async def test_block_takes_the_watcher_from_the_path(site: Site, path: str) -> None:
    await site.acquainted()
    assert (await site.ask("DELETE", path)).status_code == 204


async def test_block_takes_the_watcher_from_the_query(site: Site) -> None:
    await site.acquainted()
    assert (await site.ask("DELETE", f"/subscription?watcher={BOB_PATH}")).status_code == 204


async def test_path_variables_are_decoded_exactly_once(site: Site) -> None:
    await site.acquainted()
    start = {**START, "reference": {**START["reference"], "correlator": "a%2Fb/c ä"}}  # type: ignore[dict-item]
    assert (await site.ask("PUT", "/notification", start, BOB)).status_code == 201
    path = "/notification/" + quote("a%2Fb/c ä", safe="")
    assert (await site.ask("DELETE", path, headers=BOB)).status_code == 204


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("", "query"),
        ("?", "query"),
        ("?status=open&filter=watcher", "query"),
        ("?status=open&status=open", "query"),
        ("?status=closed", "status"),
        ("?filter=x", "filter"),
        ("?other=x", "query"),
    ],
)
async def test_lists_are_chosen_by_exactly_one_word(site: Site, query: str, part: str) -> None:
    answer = await site.ask("GET", f"/subscription{query}")
    assert fault(answer) == (400, "SVC0003", [part, "status=open, filter=watcher"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/subscription", "GET, PUT, POST, DELETE"),
        ("GET", "/notification", "PUT, POST, DELETE"),
        ("DELETE", "/presence", "GET, PUT, POST"),
        ("GET", "/subscription/x?status=open", "DELETE"),
        ("PUT", "/notification/x", "DELETE"),
    ],
)
async def test_other_methods_name_those_that_are(
    site: Site, method: str, path: str, allowed: str
) -> None:
    answer = await site.ask(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed


async def test_nothing_lies_below_presence(site: Site) -> None:
    assert (await site.ask("GET", "/presence/x")).status_code == 404
    assert (await site.ask("DELETE", "/presence/x")).status_code == 404


def test_every_operation_has_a_door() -> None:
    behind = {door for doors in DOORS.values() for door in doors.values() if isinstance(door, str)}
    picked = set(OPERATIONS) - behind
    assert picked == {
        "getOpenSubscriptions",
        "getMyWatchers",
        "subscribePresence",
        "updateSubscriptionAuthorization",
        "blockSubscription",
        "leaveSubscription",
    }


# --- tolerance ----------------------------------------------------------------------------------------

SPELLINGS = [
    f"query={quote(QUERY)}",
    f"query={quote(QUERY, safe='')}",
    f"query=%22{quote(QUERY)}%22",
    f'query="{quote(QUERY)}"',
    f"query={QUERY}",
    f"query={quote(quote(QUERY))}",
    f"query={quote(quote(chr(34) + QUERY + chr(34)))}",
    quote(QUERY),
    QUERY,
    "query=" + quote(QUERY.replace('":', '": ')).replace("%20", "+"),
    f"other=1&query={quote(QUERY)}&more=2",
]


@pytest.mark.parametrize("query", SPELLINGS)
async def test_the_query_object_is_read_in_every_spelling(site: Site, query: str) -> None:
    await site.acquainted()
    await site.ask("PUT", "/presence", {"presence": [MEETING]})
    sent: list[bytes] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message.get("body", b""))

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/rest/presence/presence",
        "raw_path": b"/rest/presence/presence",
        "query_string": query.encode(),
        "headers": [(b"authorization", BOB["Authorization"].encode())],
    }
    await site.app(scope, receive, send)
    assert orjson.loads(sent[-1]) == {"result": [MEETING]}


async def test_a_telephone_number_keeps_its_plus(site: Site) -> None:
    number = {**SUBSCRIBE, "presentity": "tel:+15551234"}
    await site.ask("POST", "/subscription", number, BOB)
    for query in ('{"presentity":"tel:+15551234"}', quote('{"presentity":"tel:+15551234"}')):
        answer = await site.ask("GET", f"/presence?query={query}", headers=BOB)
        assert fault(answer) == (403, "POL0002", ["tel:+15551234"])


@pytest.mark.parametrize(
    "query", ["", "query=", "query=x", "query=[]", "query=%FF", "x=1", "query=3"]
)
async def test_what_is_no_query_object_is_named(site: Site, query: str) -> None:
    answer = await site.ask("GET", f"/presence?{query}", headers=BOB)
    assert fault(answer) == (400, "SVC0002", ["query"])


async def test_scalars_may_be_strings_and_unknown_members_are_ignored(site: Site) -> None:
    await site.acquainted()
    start = {
        **START,
        "checkImmediate": "true",
        "frequency": {"metric": "Minute", "units": "5"},
        "count": "7",
        "duration": None,
        "attributes": None,
        "criteria": "Busy",
        "unheard": {"of": 1},
    }
    assert (await site.ask("PUT", "/notification", start, BOB)).status_code == 201
    wanted = site.house.contracts["app_bob", "watch-1"]
    assert wanted.check_immediate is True
    assert wanted.frequency == TimeMetric(Metric.MINUTE, 5)
    assert (wanted.count, wanted.duration, wanted.attributes) == (7, None, frozenset())


async def test_decisions_may_be_words_and_lists_of_one(site: Site) -> None:
    await site.ask("POST", "/subscription", SUBSCRIBE, BOB)
    decision = {"decision": "true", "presenceAttribute": ["Activity"]}
    answer = await site.ask("PUT", "/subscription", {**UPDATE, "decisions": [decision]})
    assert answer.status_code == 204
    assert [*site.house.granted.values()] == [{AttributeKind.ACTIVITY}]


async def test_the_interface_name_is_kept_but_not_needed(site: Site) -> None:
    named = {**SUBSCRIBE, "reference": {**SUBSCRIBE["reference"], "interfaceName": "P"}}  # type: ignore[dict-item]
    await site.ask("POST", "/subscription", SUBSCRIBE, BOB)
    await site.ask("POST", "/subscription", named, BOB)
    assert [r.interface_name for r in site.house.references] == ["", "P"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/presence", b"", ("SVC0002", ["body"])),
        ("/presence", b"{", ("SVC0002", ["body"])),
        ("/presence", b"[]", ("SVC0002", ["body"])),
        ("/presence", {}, ("SVC0002", ["presence"])),
        ("/presence", {"presence": {}}, ("SVC0002", ["presence"])),
        ("/presence", {"presence": [3]}, ("SVC0002", ["presence[0]"])),
        (
            "/presence",
            {"presence": [{"typeAndValue": {"unionElement": "Mood"}}]},
            (
                "SVC0003",
                [
                    "presence[0].typeAndValue.unionElement",
                    "Activity, Place, Privacy, Sphere, Communication, Other",
                ],
            ),
        ),
        ("/notification", {**START, "presentity": None}, ("SVC0002", ["presentity"])),
        ("/notification", {**START, "presentity": "alice"}, ("SVC0002", ["presentity"])),
        ("/notification", {**START, "reference": None}, ("SVC0002", ["reference"])),
        ("/notification", {**START, "reference": {}}, ("SVC0002", ["reference.endpoint"])),
        (
            "/notification",
            {**START, "reference": {"endpoint": "/bayeux/app_bob", "correlator": " "}},
            ("SVC0002", ["reference.correlator"]),
        ),
        ("/notification", {**START, "frequency": None}, ("SVC0002", ["frequency"])),
        (
            "/notification",
            {**START, "frequency": {"metric": "Fortnight", "units": 1}},
            (
                "SVC0003",
                [
                    "frequency.metric",
                    "Millisecond, Second, Minute, Hour, Day, Week, Month, Year",
                ],
            ),
        ),
        (
            "/notification",
            {**START, "frequency": {"metric": "Day", "units": 1.5}},
            ("SVC0002", ["frequency.units"]),
        ),
        ("/notification", {**START, "count": "many"}, ("SVC0002", ["count"])),
        ("/notification", {**START, "count": 2**31}, ("SVC0002", ["count"])),
        (
            "/notification",
            {**START, "checkImmediate": None},
            ("SVC0003", ["checkImmediate", "true, false"]),
        ),
        ("/notification", {**START, "attributes": [1]}, ("SVC0003", None)),
        ("/subscription", {**UPDATE, "decisions": None}, ("SVC0002", ["decisions"])),
        ("/subscription", {**UPDATE, "watcher": ""}, ("SVC0002", ["watcher"])),
        ("/subscription", {**UPDATE, "watcher": "sip:x@y"}, ("SVC0002", ["watcher"])),
        (
            "/subscription",
            {**UPDATE, "decisions": [{"presenceAttribute": "Activity"}]},
            ("SVC0003", ["decisions[0].decision", "true, false"]),
        ),
        ("/subscription", {**SUBSCRIBE, "application": None}, ("SVC0002", ["application"])),
    ],
)
async def test_what_makes_no_sense_is_named(
    site: Site, path: str, body: object, expected: tuple[str, list[str] | None]
) -> None:
    await site.acquainted()
    status, ident, variables = fault(await site.ask("PUT", path, body))
    assert (status, ident) == (400, expected[0])
    assert expected[1] is None or variables == expected[1]


@pytest.mark.parametrize(
    ("method", "path", "part"),
    [
        ("DELETE", "/notification/nothing", "correlator"),
        ("DELETE", "/notification", "correlator"),
        ("DELETE", "/subscription/sip%3Astranger%40example.com", "watcher"),
        ("DELETE", "/subscription/bob", "watcher"),
        ("DELETE", "/subscription", "watcher"),
        ("DELETE", "/subscription?presentity=sip%3Astranger%40example.com", "presentity"),
        ("DELETE", "/subscription?presentity=", "presentity"),
    ],
)
async def test_unknown_names_are_svc0002(site: Site, method: str, path: str, part: str) -> None:
    status, ident, variables = fault(await site.ask(method, path))
    assert (status, ident, variables[0]) == (400, "SVC0002", part)


async def test_the_failed_end_names_the_notification(site: Site) -> None:
    answer = await site.ask("DELETE", "/notification/watch-9")
    assert answer.json()["error"]["variables"] == ["correlator", "watch-9"]


async def test_a_watcher_leaves(site: Site) -> None:
    await site.acquainted()
    path = "/subscription?presentity=sip%3Aalice%40example.com"
    assert (await site.ask("DELETE", path, headers=BOB)).status_code == 204
    assert fault(await site.ask("DELETE", path, headers=BOB)) == (400, "SVC0002", ["presentity"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ()),
        ("Reachable", ("Reachable",)),
        (["Busy", "UnReachable"], ("Busy", "UnReachable")),
        ([], ()),
    ],
)
async def test_criteria_are_read(site: Site, given: object, words: tuple[str, ...]) -> None:
    await site.acquainted()
    answer = await site.ask("PUT", "/notification", {**START, "criteria": given}, BOB)
    assert answer.status_code == 201
    assert site.house.contracts["app_bob", "watch-1"].criteria == words


@pytest.mark.parametrize(
    ("given", "part"), [("busy", "criteria"), (["Busy", "Gone"], "criteria[1]"), (7, "criteria")]
)
async def test_other_criteria_are_refused(site: Site, given: object, part: str) -> None:
    answer = await site.ask("PUT", "/notification", {**START, "criteria": given}, BOB)
    assert fault(answer) == (400, "SVC0003", [part, "Reachable, UnReachable, Busy"])


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, None), ("0", 0), ("3600", 3600), (" 60 ", 60)]
)
async def test_how_long_a_publication_lives(site: Site, given: str | None, seconds: int) -> None:
    headers = ALICE if given is None else {**ALICE, "X-Presence-Expires": given}
    answer = await site.ask("PUT", "/presence", {"presence": [MEETING]}, headers)
    assert answer.status_code == 204
    assert site.house.lifetimes == [seconds]


@pytest.mark.parametrize("given", ["-1", "soon", "1.5", "", "9" * 5000, "4294967296"])
async def test_a_senseless_lifetime_is_refused(site: Site, given: str) -> None:
    headers = {**ALICE, "X-Presence-Expires": given}
    answer = await site.ask("PUT", "/presence", {"presence": [MEETING]}, headers)
    assert fault(answer) == (400, "SVC0002", ["X-Presence-Expires"])
    assert site.house.published == {}


# --- writing ------------------------------------------------------------------------------------------


async def test_scalars_are_strings_and_absent_members_null_on_request() -> None:
    site = Site(PresenceHouse(), RestSettings(style=Style(True, True)))
    means = {"contact": "sip:alice@example.com", "priority": 0.8, "type": "Phone"}
    value = {"unionElement": "Communication", "communication": {"means": [means]}}
    async with site.http:
        await site.acquainted()
        grant = {"decision": True, "presenceAttribute": "Communication"}
        await site.ask("PUT", "/subscription", {**UPDATE, "decisions": [grant]})
        await site.ask("PUT", "/presence", {"presence": [{"typeAndValue": value}]})
        query = quote('{"presentity":"sip:alice@example.com"}')
        answer = await site.ask("GET", f"/presence?query={query}", headers=BOB)
    written = {
        "unionElement": "Communication",
        "communication": {"means": [{**means, "priority": "0.8"}]},
    }
    assert answer.json() == {
        "result": [{"lastChange": None, "note": None, "typeAndValue": written}]
    }


async def test_the_oneapi_envelope_wraps_the_same_members() -> None:
    site = Site(PresenceHouse(), RestSettings(envelope=Envelope.ONEAPI))
    async with site.http:
        answer = await site.ask("DELETE", "/notification/x")
        denied = await site.ask("GET", "/presence", headers={})
    wrapped = answer.json()["requestError"]["serviceException"]
    assert (wrapped["messageId"], wrapped["variables"]) == ("SVC0002", ["correlator", "x"])
    assert denied.json()["requestError"]["policyException"]["messageId"] == "POL0001"


async def test_location_names_the_public_address() -> None:
    site = Site(PresenceHouse(), RestSettings(public_url="https://gw.example.com/edge"))
    async with site.http:
        answer = await site.ask("PUT", "/notification", START, BOB)
    assert answer.headers["Location"] == "https://gw.example.com/edge/rest/presence/notifications"


async def test_published_values_reach_the_gateway_typed(site: Site) -> None:
    await site.ask("PUT", "/presence", {"presence": [MEETING]}, ALICE)
    ((kept,),) = [list(v.values()) for v in site.house.published.values()]
    assert kept.value is Activity.MEETING


@pytest.mark.parametrize(
    ("query", "part", "like"),
    [
        ("sip:alice@example.com", "query", 'query={"presentity": "sip:alice@example.com"}'),
        (quote('{"presentity":"alice@example.com"}'), "presentity", "like sip:alice@example.com"),
    ],
)
async def test_who_writes_an_address_otherwise_is_told_how(
    site: Site, query: str, part: str, like: str
) -> None:
    answer = await site.ask("GET", f"/presence?query={query}", headers=BOB)
    error = answer.json()["error"]
    assert (answer.status_code, error["variables"]) == (400, [part])
    assert like in error["detail"]
