"""Profiles of presence servers: those that come with us, the user's own, and what they change on the wire."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sipbridge.app.profiles import Profile, folder, known, load_profile
from sipbridge.app.settings import ConfigurationErrors, load
from sipbridge.errors import ConfigurationError
from sipbridge.sip.policy import PeerPolicy
from tests.app.rig import (
    PLACEHOLDER,
    Application,
    attributes,
    configuration,
    document,
    presence_server,
    remote,
    site,
    until,
    values,
)

CAROL = "sip:carol@example.com"
HERE = Path(__file__).parent
NAMES = ["asterisk", "cisco", "flexisip", "freeswitch", "ims", "kamailio", "opensips"]


def test_these_profiles_come_with_us() -> None:
    assert known() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_profile_is_in_order_and_each_of_its_lines_has_a_reason(name: str) -> None:
    profile = load_profile("k", name, HERE)
    assert isinstance(profile, Profile)
    lines = (folder() / f"{name}.toml").read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            assert "#" in line or before.startswith("#"), line


def test_a_profile_fills_in_the_policy_and_leaves_the_rest() -> None:
    policy = PeerPolicy(
        "x", next_hops=("sip:192.0.2.1",), capabilities=frozenset({"eventlist", "winfo"})
    )
    asterisk = load_profile("k", "asterisk", HERE).applied(policy)
    assert asterisk.capabilities == {"eventlist"}
    assert asterisk.next_hops == policy.next_hops
    assert (asterisk.conditional, asterisk.rate_control) == (False, False)
    ims = load_profile("k", "ims", HERE).applied(policy)
    assert ims.strict_documents and ims.expires == 3600
    assert load_profile("k", "", HERE).applied(PeerPolicy()) == PeerPolicy()


def test_an_own_profile_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("winfo = false\nevent_names = {presence = 'Presence'}\n")
    profile = load_profile("k", "mine.toml", tmp_path)
    assert profile.applied(PeerPolicy()).event_name("presence") == "Presence"
    assert load_profile("k", str(tmp_path / "mine.toml"), HERE) == profile


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "kamalio",
            "",
            "peers: no profile 'kamalio'; there are asterisk, cisco, flexisip, freeswitch,",
        ),
        ("absent.toml", "", "absent.toml: No such file"),
        ("mine.toml", "fetsh = true", "mine.toml: fetsh: Extra inputs are not permitted"),
        ("mine.toml", "fetch = 'yes please'", "mine.toml: fetch: Input should be a valid boolean"),
        ("mine.toml", "fetch =", "is not TOML"),
        (
            "mine.toml",
            "event_names = {presence = 'a b'}",
            "event_names.presence: String should match",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    if text:
        (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_profile("peers", name, tmp_path)
    assert said in str(raised.value)


def test_check_config_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "sipbridge.toml"
    path.write_text(
        "[presence_server]\nmode = 'remote'\nnext_hop = 'sip:192.0.2.1'\nprofile = 'kamalio'\n"
        "[[peers]]\nmatch = '*'\nprofile = 'x'\n[[peers]]\nmatch = 'a b'\n"
    )
    with pytest.raises(ConfigurationErrors) as raised:
        load(path, environ={})
    text = str(raised.value)
    assert "presence_server.profile: no profile 'kamalio'" in text
    assert "peers[0].profile: no profile 'x'" in text
    assert "peers[1].match: 'a b' is not '*', a domain or '*.example.com'" in text


@pytest.mark.parametrize(
    ("entries", "profile", "probe"),
    [
        (
            [{"match": "partner.example", "profile": "ims"}, {"match": "*", "probe": 3.0}],
            "ims",
            10.0,
        ),
        ([{"match": "*.example", "probe": 5.0}], "", 5.0),
        ([{"match": "PARTNER.example", "probe": 5.0}], "", 5.0),
        ([{"match": "192.0.2.9", "probe": 5.0}], "", 5.0),
        ([{"match": "elsewhere.example", "probe": 5.0}], "", 10.0),
        ({"probe": 5.0}, "", 5.0),
    ],
)
def test_the_first_entry_that_matches_counts(entries: object, profile: str, probe: float) -> None:
    partner = {"domain": "partner.example", **remote("sip:192.0.2.9;transport=tcp")}
    settings = load(None, configuration(presence_servers=[partner], peers=entries), environ={})
    found = settings.peer_for(settings.presence_servers[0], "partner.example")
    assert (found.profile, found.probe) == (profile, probe)


async def test_a_server_that_takes_no_publications_is_not_sent_any() -> None:
    async with presence_server() as server:
        wanted = {**remote(server), "profile": "asterisk"}
        async with site(presence_server=wanted) as here:
            bob = here.application("bob")
            body = {"presence": attributes(Activity="Meeting")}
            status, answer = await bob.ask("PUT", "/rest/presence/presence", body)
            assert (status, answer["error"]["messageId"]) == (502, "SVC0001")
            await bob.subscribe(CAROL)
            await server.subscription(CAROL)
            methods = {m.start.split(" ")[0] for m in server.got}
            assert "PUBLISH" not in methods
            assert [m.get("event") for m in server.requests("SUBSCRIBE")] == [
                "presence"
            ]  # no winfo


async def test_what_a_server_makes_up_is_no_news() -> None:
    """After a restart that lost publications, Kamailio may show everybody as open."""
    async with (
        presence_server() as server,
        site(presence_server={**remote(server), "profile": "kamailio"}) as here,
    ):
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked, PLACEHOLDER)
        assert await server.response("NOTIFY", 1) == 200
        _, answer = await bob.presence(CAROL)
        assert values(answer["result"]) == {"Activity": "Meeting"}
        server.notify(asked, document("travel"))
        await bob.told_status(Activity="Travel")
        assert bob.inbox.empty()


async def test_what_may_be_old_is_called_so_until_a_document_comes() -> None:
    async with (
        presence_server() as server,
        site(peers={"probe": 1.0}, presence_server=remote(server)) as here,
    ):
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        assert "X-Presence-Stale" not in (await shown(bob))[1]
        server.silent = {"OPTIONS", "SUBSCRIBE"}
        await until(lambda: shown(bob), lambda seen: seen[1].get("X-Presence-Stale") == "true")
        assert (await shown(bob))[0] == {"Activity": "Meeting"}
        status, body = await bob.ask("GET", "/health/ready")
        assert (status, body["checks"]["peer remote"]) == (200, "failed")
        server.silent = set()
        again = await server.subscription(CAROL, index=1)
        server.notify(asked)
        assert await server.response("NOTIFY", 1) == 200
        assert (await shown(bob))[1].get("X-Presence-Stale") == "true"  # that said nothing
        assert again.get("call-id") == asked.get("call-id")
        server.notify(asked, document("meeting"))
        await until(lambda: shown(bob), lambda seen: "X-Presence-Stale" not in seen[1])


async def test_a_204_to_who_holds_the_document_says_that_it_is_not_old() -> None:
    async with (
        presence_server() as server,
        site(peers={"probe": 1.0}, presence_server=remote(server)) as here,
    ):
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"), etag="e1")
        await bob.told("notifySubscription")
        server.silent = {"OPTIONS", "SUBSCRIBE"}
        await until(lambda: shown(bob), lambda seen: seen[1].get("X-Presence-Stale") == "true")
        server.silent, server.quiet = set(), True
        again = await server.subscription(CAROL, index=1)
        assert again.get("suppress-if-match") == "e1"
        await until(lambda: shown(bob), lambda seen: "X-Presence-Stale" not in seen[1])
        assert (await shown(bob))[0] == {"Activity": "Meeting"}
        assert server.responses("NOTIFY") == [200]


async def shown(bob: Application) -> tuple[dict[str, object], Mapping[str, str]]:
    status, answer = await bob.presence(CAROL)
    assert status == 200
    return values(answer["result"]), bob.headers
