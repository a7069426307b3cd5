"""Status objects as the browser plugin reads them, without a network."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from sipbridge.errors import AgainstPolicy, InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.mapping.attributes import Activity, Attribute
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import to_attributes
from sipbridge.rest.apheleia import Apheleia
from sipbridge.rest.exchange import Reply
from sipbridge.rest.faults import Refused
from sipbridge.rest.watch_models import StatusObject, Subscriptions
from sipbridge.uri import Uri
from tests.gateway.fakes import START
from tests.gateway.test_watching import ALICE, BOB, PEOPLE, House

PUBLIC = "https://presence.example.com"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def service(house: House) -> Apheleia:
    async def publish(
        caller: Caller, attributes: list[Attribute], expires: int | None = None
    ) -> None:
        await house.gateway.publish(caller, attributes, expires)

    return Apheleia(house.watching, PEOPLE, house.clock, publish, PUBLIC)


async def asked(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200
    found: dict[str, Any] = orjson.loads(reply.body)
    return found


async def test_a_status_object_with_and_without_an_end(house: House, service: Apheleia) -> None:
    await house.grant_unasked()
    until = START + timedelta(seconds=90)
    await house.gateway.publish(house.alice, to_attributes(Status.DND, at=START, until=until))
    shown = await asked(await service.one(house.bob, b"userId=Y2lz"))
    assert shown == {
        "url": f"{PUBLIC}/webex/apheleia/compositions?userId=Y2lz",
        "subject": "Y2lz",
        "status": "dnd",
        "statusTime": "2026-03-01T12:00:00.000Z",
        "expiresTTL": 90,
        "expiresTime": "2026-03-01T12:01:30.000Z",
        "vectorCounters": {},
        "suppressNotifications": False,
    }
    StatusObject.model_validate(shown)
    house.pass_seconds(91)
    shown = await asked(await service.one(house.bob, b"userId=sip%3Aalice%40example.com"))
    assert (shown["status"], shown["expiresTTL"]) == ("active", -1)
    assert "expiresTime" not in shown
    assert shown["url"] == f"{PUBLIC}/webex/apheleia/compositions?userId={ALICE}"


async def test_those_nobody_knows_are_not_in_the_list(house: House, service: Apheleia) -> None:
    answer = await asked(
        await service.several(house.bob, b'{"subjects": ["Y2lz", "nobody", "desk"]}')
    )
    (only,) = answer["statusList"]
    assert only["subject"] == "Y2lz"
    with pytest.raises(Refused):
        await service.one(house.bob, b"userId=nobody")
    for query in (b"", b"userId=a&userId=b"):
        with pytest.raises(InvalidValue):
            await service.one(house.bob, query)


async def test_a_subscription_that_is_too_long_is_cut_and_says_so(
    house: House, service: Apheleia
) -> None:
    body = b'{"subjects": ["Y2lz", "x"], "subscriptionTtl": 100000000}'
    answer = await asked(await service.subscribe(house.bob, body))
    Subscriptions.model_validate(answer)
    assert [(r["responseCode"], r["subscriptionTtl"]) for r in answer["responses"]] == [
        (200, 86_400),
        (404, 0),
    ]
    (wish,) = service.leases(house.bob).wishes.values()
    (update,), (envelope,) = service.updates([wish]), service.envelopes([wish])
    assert orjson.loads(envelope) == {
        "data": {"eventType": "apheleia.subscription_update", **orjson.loads(update)}
    }
    body = b'{"subjects": ["Y2lz"], "subscriptionTtl": 0}'
    await service.subscribe(house.bob, body)
    assert service.leases(house.bob).wishes == {}


async def test_one_sets_ones_own_status_and_nobody_elses(house: House, service: Apheleia) -> None:
    for subject in (b"Y2lz", b"alice@example.com", b"tel:+1-555-0100"):
        body = b'{"subject": "%b", "eventType": "call", "ttl": 60}' % subject
        await asked(await service.set_status(house.alice, body))
        record = house.gateway.registry.published["app_alice", house.alice.key]
        assert Activity.ON_THE_PHONE.value.encode() in record.attributes[0][1]
    for subject in (BOB.encode(), b"nobody", b""):
        with pytest.raises(AgainstPolicy):
            await service.set_status(
                house.alice, b'{"subject": "%b", "eventType": "call"}' % subject
            )
    assert house.watching.contact_of("Y2lz") == Uri.parse(ALICE)
