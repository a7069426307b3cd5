"""Persons of the People API, without a network."""

import orjson
import pytest

from sipbridge.errors import InvalidValue
from sipbridge.mapping.attributes import Activity
from sipbridge.rest.faults import Refused
from sipbridge.rest.people import MAX_PEOPLE, PeopleRoutes, iso
from sipbridge.rest.watch_models import Person
from sipbridge.uri import Uri
from tests.gateway.test_watching import ALICE, BOB, PEOPLE, House


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def people(house: House) -> PeopleRoutes:
    return PeopleRoutes(house.watching, PEOPLE)


async def shown(house: House, people: PeopleRoutes, name: str) -> dict[str, object]:
    reply = await people.get(house.bob, f"{people.ROOT}/{name}")
    found: dict[str, object] = orjson.loads(reply.body)
    Person.model_validate(found)
    return found


async def test_what_is_shared_is_shown_and_what_is_not_is_left_out(
    house: House, people: PeopleRoutes
) -> None:
    await house.publish(
        Activity.AVAILABLE,
        ("rpid.user-input", "active"),
        ("rpid.user-input.last-input", "2026-03-01T11:26:16.028Z"),
    )
    assert (await shown(house, people, "Y2lz"))["status"] == "pending"
    await house.grant_unasked()
    found = await shown(house, people, "sip%3Aalice%40example.com")
    assert found == {
        "id": "Y2lz",
        "type": "person",
        "displayName": "alice",
        "emails": ["alice@example.com"],
        "status": "active",
        "lastActivity": "2026-03-01T11:26:16.028Z",
    }
    await house.gateway.block(house.alice, Uri.parse(BOB))
    hidden = await shown(house, people, "Y2lz")
    assert "status" not in hidden and "lastActivity" not in hidden


async def test_me_is_the_caller_and_a_machine_is_nobody(house: House, people: PeopleRoutes) -> None:
    assert (await shown(house, people, "me"))["id"] == BOB
    for nobody in ("desk", "nobody", "", "%20"):
        with pytest.raises(Refused):
            await people.get(house.bob, f"{people.ROOT}/{nobody}")


@pytest.mark.parametrize(
    "query",
    [b"", b"id=", b"id=a&email=b", b"displayName=x", b"id=" + b"a," * (MAX_PEOPLE + 1)],
)
async def test_a_list_is_of_ids_or_of_addresses(
    house: House, people: PeopleRoutes, query: bytes
) -> None:
    with pytest.raises(InvalidValue):
        await people.several(house.bob, query)


async def test_who_is_not_found_is_named(house: House, people: PeopleRoutes) -> None:
    reply = await people.several(house.bob, b"id=Y2lz,nobody,sip%3Aalice%40example.com")
    found = orjson.loads(reply.body)
    assert [item["id"] for item in found["items"]] == ["Y2lz", "Y2lz"]
    assert found["notFoundIds"] == ["nobody"]
    reply = await people.several(house.bob, b"email=alice@example.com")
    assert "notFoundIds" not in orjson.loads(reply.body)
    assert ALICE.endswith(found["items"][0]["emails"][0])


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1445178376028, "2015-10-18T14:26:16.028Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (1714978089000, "2024-05-06T06:48:09.000Z"),
    ],
)
def test_times_of_the_other_interfaces(milliseconds: int, text: str) -> None:
    assert iso(milliseconds) == text
