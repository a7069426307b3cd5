from collections.abc import Sequence

import pytest

from sipbridge.events.compositor import OPERATIONS, Change, Compositor
from sipbridge.events.package import EventPackage
from sipbridge.sip.address import NameAddr
from sipbridge.sip.message import Response
from sipbridge.uri import Uri
from tests.events.peers import TO_BOB, TOY
from tests.events.toy import ToyAuthority
from tests.harness.pair import Pair

KIND = ("Content-Type", "application/x-toy")
CREATED, REFRESHED, MODIFIED = Change.CREATED, Change.REFRESHED, Change.MODIFIED
REMOVED, EXPIRED = Change.REMOVED, Change.EXPIRED


class World:
    """A compositor for the toy package, and PUBLISHs made by hand."""

    def __init__(self, *, max_publications: int = 100) -> None:
        self.pair = Pair()
        self.authority = ToyAuthority(self.pair.bob)
        self.compositor = Compositor(
            self.pair.bob,
            {"toy": TOY, "other": EventPackage("other", ("a/b",))},
            self.authority,
            max_publications=max_publications,
        )
        self.responses: list[Response] = []
        self.etag = ""

    def publish(
        self,
        body: bytes = b"",
        *,
        match: str | None = None,
        expires: int | None = None,
        event: str | None = "toy",
        headers: Sequence[tuple[str, str]] = (KIND,),
        to: str = "sip:carol@example.com",
    ) -> Response | None:
        """One PUBLISH; returns its answer, None while there is none."""
        fields = [*(headers if body else ())]
        if event is not None:
            fields.append(("Event", event))
        if match is not None:
            fields.append(("SIP-If-Match", match))
        if expires is not None:
            fields.append(("Expires", str(expires)))
        address = NameAddr.parse(f"<{to}>")
        request = self.pair.alice.new_request(
            "PUBLISH", to, from_=address, to=address, headers=fields, body=body
        )
        before = len(self.responses)
        self.pair.alice.request(request, self, self.pair.now, policy=TO_BOB)
        self.pair.turn()
        if len(self.responses) == before:
            return None
        response = self.responses[-1]
        self.etag = response.sip_etag or self.etag
        return response

    def status(self, body: bytes = b"", **how: object) -> int:
        response = self.publish(body, **how)  # type: ignore[arg-type]
        assert response is not None
        return response.status

    def receive_response(self, response: Response, now: float) -> None:
        self.responses.append(response)

    def request_failed(self, reason: str, now: float) -> None:
        raise AssertionError(reason)

    @property
    def changes(self) -> list[Change]:
        return [change for _, change in self.authority.changes]

    @property
    def bodies(self) -> list[bytes]:
        return [p.body for p in self.compositor.by_etag.values()]


# --- the table of operations ----------------------------------------------------------------------------

EXPECTED: dict[tuple[bool, bool, bool], tuple[int, list[Change]]] = {
    (True, False, False): (200, [CREATED, CREATED]),
    (False, True, False): (200, [CREATED, REFRESHED]),
    (True, True, False): (200, [CREATED, MODIFIED]),
    (False, True, True): (200, [CREATED, REMOVED]),
    (True, True, True): (200, [CREATED, REMOVED]),
    (True, False, True): (200, [CREATED]),
    (False, False, False): (400, [CREATED]),
    (False, False, True): (400, [CREATED]),
}


@pytest.mark.parametrize("facts", OPERATIONS, ids=str)
def test_every_row_of_the_table(facts: tuple[bool, bool, bool]) -> None:
    body, match, zero = facts
    world = World()
    world.publish(b"first")
    status, changes = EXPECTED[facts]
    assert (
        world.status(
            b"second" if body else b"",
            match=world.etag if match else None,
            expires=0 if zero else None,
        )
        == status
    )
    assert world.changes == changes


# --- the life of a publication --------------------------------------------------------------------------


def test_every_success_brings_a_new_tag_and_the_granted_time() -> None:
    world = World()
    tags = []
    for body in (b"one", b"", b"two", b""):
        response = world.publish(body, match=world.etag or None, expires=100)
        assert response is not None
        assert response.expires == 100
        tags.append(response.sip_etag)
    assert len(set(tags)) == 4
    assert None not in tags
    assert world.bodies == [b"two"]
    assert len({id for id, _ in world.authority.changes}) == 1


def test_a_used_tag_gets_412() -> None:
    world = World()
    world.publish(b"one")
    first = world.etag
    world.publish(b"two", match=first)
    assert world.status(b"three", match=first) == 412
    assert world.status(match=first) == 412
    assert world.bodies == [b"two"]


@pytest.mark.parametrize("tag", ["nothing", "a.1287.99.3.0"])
def test_an_unknown_tag_gets_412_with_and_without_body(tag: str) -> None:
    world = World()
    assert world.status(b"one", match=tag) == 412
    assert world.status(match=tag) == 412
    assert world.status(match=tag, expires=0) == 412


def test_a_tag_of_another_resource_or_package_gets_412() -> None:
    world = World()
    world.publish(b"one")
    assert world.status(match=world.etag, to="sip:dave@example.com") == 412
    assert world.status(match=world.etag, event="other") == 412


def test_several_publications_of_one_resource_stand_beside_each_other() -> None:
    world = World()
    world.publish(b"one")
    world.publish(b"two")
    assert sorted(world.bodies) == [b"one", b"two"]


def test_a_publication_runs_out_unless_it_is_refreshed() -> None:
    world = World()
    world.publish(b"one", expires=100)
    world.pair.pass_seconds(90)
    world.publish(match=world.etag, expires=100)
    world.pair.pass_seconds(90)
    assert world.changes == [CREATED, REFRESHED]
    world.pair.pass_seconds(11)
    assert world.changes == [CREATED, REFRESHED, EXPIRED]
    assert world.status(match=world.etag) == 412


def test_a_removal_leaves_nothing_behind() -> None:
    world = World()
    world.publish(b"one")
    response = world.publish(match=world.etag, expires=0)
    assert response is not None
    assert response.expires == 0
    assert world.bodies == []
    world.pair.pass_seconds(10_000)
    assert world.changes == [CREATED, REMOVED]
    assert len(world.pair.bob.deadlines) == 0


def test_the_same_bytes_again_are_a_refresh_and_not_read_again() -> None:
    world = World()
    world.publish(b"one")
    world.publish(b"one", match=world.etag)
    assert world.changes == [CREATED, REFRESHED]
    assert world.authority.reads == 1


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [None, "dialog"])
def test_an_unknown_event_gets_489_and_hears_what_there_is(event: str | None) -> None:
    world = World()
    response = world.publish(b"one", event=event)
    assert response is not None
    assert response.status == 489
    assert response.allow_events == ["toy", "other"]


@pytest.mark.parametrize(
    ("asked", "status", "granted"),
    [(None, 200, 600), (10, 200, 10), (9, 423, None), (5000, 200, 1000)],
)
def test_expires_is_defaulted_bounded_and_lowered(
    asked: int | None, status: int, granted: int | None
) -> None:
    world = World()
    response = world.publish(b"one", expires=asked)
    assert response is not None
    assert (response.status, response.expires) == (status, granted)
    assert response.min_expires == (10 if status == 423 else None)
    assert len(world.bodies) == (1 if granted else 0)


@pytest.mark.parametrize("headers", [[("Content-Type", "text/plain")], []])
def test_another_content_type_gets_415_with_accept(headers: list[tuple[str, str]]) -> None:
    world = World()
    response = world.publish(b"one", headers=headers)
    assert response is not None
    assert (response.status, response.accept) == (415, ["application/x-toy"])


def test_a_body_in_an_unknown_coding_gets_415_with_accept_encoding() -> None:
    world = World()
    response = world.publish(b"one", headers=[KIND, ("Content-Encoding", "br")])
    assert response is not None
    assert response.status == 415
    assert response.headers.get("Accept-Encoding") == "gzip, deflate"


def test_the_case_and_parameters_of_a_content_type_do_not_count() -> None:
    assert (
        World().status(b"x", headers=[("Content-Type", "Application/X-TOY;charset=utf-8")]) == 200
    )


def test_a_document_that_cannot_be_read_gets_400_that_says_why() -> None:
    world = World()
    response = world.publish(b"bad")
    assert response is not None
    assert response.status == 400
    warning = response.headers.get("Warning") or ""
    assert warning.startswith('399 sipbridge "no  toy')
    assert "line 1" in warning
    assert warning.count('"') == 2
    assert world.bodies == []


def test_a_bad_change_leaves_the_publication_and_its_tag_alone() -> None:
    world = World()
    world.publish(b"one")
    assert world.status(b"bad", match=world.etag) == 400
    assert world.bodies == [b"one"]
    assert world.status(match=world.etag) == 200


def test_what_the_authority_refuses_comes_first_and_in_its_words() -> None:
    world = World()
    world.authority.status = 404
    response = world.publish(b"bad", event="dialog")
    assert response is not None
    assert response.status == 404
    assert response.headers.get("X-Why") == "because"


def test_beyond_the_limit_comes_503_but_what_is_there_lives_on() -> None:
    world = World(max_publications=1)
    world.publish(b"one")
    response = world.publish(b"two")
    assert response is not None
    assert (response.status, response.retry_after) == (503, 60)
    assert world.status(b"three", match=world.etag) == 200


def test_options_tell_of_publish_and_its_types() -> None:
    world = World()
    assert world.pair.bob.accepted("PUBLISH") == ["application/x-toy", "a/b"]
    assert world.pair.bob.allow_events == ["toy", "other"]


# --- the store ------------------------------------------------------------------------------------------


def test_the_200_waits_for_the_commit() -> None:
    world = World()
    world.pair.commit_at_once = False
    world.authority.storing = True
    assert world.publish(b"one") is None
    core, number, change = world.pair.stored[-1]
    assert change == world.authority.kept[0]
    core.committed(number, world.pair.now)
    world.pair.turn()
    assert world.responses[-1].status == 200


def test_when_the_store_fails_a_new_publication_is_withdrawn() -> None:
    world = World()
    world.pair.commit_at_once = False
    world.authority.storing = True
    world.publish(b"one")
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.responses[-1].status == 500
    assert world.bodies == []
    assert world.changes == [CREATED, REMOVED]


def test_when_storing_a_change_fails_the_old_tag_is_good_again() -> None:
    world = World()
    world.publish(b"one")
    world.pair.commit_at_once = False
    world.authority.storing = True
    world.publish(b"two", match=world.etag)
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.responses[-1].status == 500
    world.authority.storing = False
    assert world.status(b"three", match=world.etag) == 200
    assert world.bodies == [b"three"]


def test_removal_and_expiry_are_kept_too() -> None:
    world = World()
    world.publish(b"one", expires=100)
    world.publish(b"two", expires=100)
    world.publish(match=world.etag, expires=0)
    world.pair.pass_seconds(101)
    assert [c for _, c in world.authority.kept] == [CREATED, CREATED, REMOVED, EXPIRED]


# --- restart --------------------------------------------------------------------------------------------


def restore(world: World, remaining: float) -> None:
    carol = Uri.parse("sip:carol@example.com")
    world.compositor.restore(
        "id1", TOY, carol, "tag1", KIND[1], b"one", world.pair.now, age=50.0, remaining=remaining
    )


def test_after_a_restart_the_tag_is_still_good() -> None:
    world = World()
    restore(world, 100.0)
    assert world.status(match="tag1") == 200
    assert world.authority.changes == [("id1", REFRESHED)]


def test_a_publication_that_ran_out_meanwhile_expires_at_once() -> None:
    world = World()
    restore(world, -100.0)
    world.pair.pass_seconds(0)
    assert world.changes == [EXPIRED]
    assert world.status(match="tag1") == 412
