"""The description of the BEMS fronts: its examples fit its schemas, and so do real answers."""

from typing import Any

import jsonschema_rs
import pytest

from sipbridge.rest import openapi, openapi_bems
from tests.app.rig import application, site
from tests.rest.devices import LOOKUP, call, device, token_of

Json = Any
WHOLE = openapi.describe({}, frozenset({"/bems"}))


def check(value: Json, schema: Json) -> None:
    whole = {**schema, "components": WHOLE["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(value)


def contents() -> list[Json]:
    found = []
    for path, methods in WHOLE["paths"].items():
        for operation in methods.values():
            if path.startswith(("/bems", "/presence")):
                found += [operation.get("requestBody", {}), operation["responses"]["200"]]
    listed = [
        part["content"]["application/json"] for part in found if "application/json" in str(part)
    ]
    return listed


def test_every_example_fits() -> None:
    assert len(contents()) == 6
    for content in contents():
        check(content["example"], content["schema"])


def test_the_schemas_refuse_what_is_no_answer() -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        check({"id": "c1", "error": None}, openapi_bems.ANSWER)
    with pytest.raises(jsonschema_rs.ValidationError):
        check({"contacts": [{"id": "a", "availability": 7}], "sequence": "1"}, openapi_bems.LIST)


async def test_real_answers_and_messages_fit() -> None:
    bob = application("bob", auth_tokens=[token_of("bob")])
    async with site(applications=[application("alice"), bob]) as here, device(here.base) as phone:
        batch = [
            call("c1", "BeginSession", gdAuthToken=token_of("bob"), presence="busy"),
            call("c2", "RegisterTempRemotePresence", contactId="sip:alice@example.com"),
            call("c3", "RegisterTempRemotePresence", contactId="sip:alice@elsewhere.example"),
            call("c4", "GetContactsState", contactIds=["bob@example.com"], dependencies="c1"),
            call("c5", "AcceptChat"),
        ]
        _, answers = await phone.post(batch)
        check(answers, openapi_bems.one_or_many("BemsAnswer"))
        messages = [await phone.message() for _ in range(5)]
        for message in messages:
            check(message, openapi_bems.MESSAGE)
        assert {m.get("id") for m in messages} == {"c1", "c2", "c3", "c4", None}
        body = {"contacts": ["bob@example.com", "x"], "notify": "key"}
        given = {"X-Good-GD-AuthToken": token_of("bob")}
        async with phone.http.post(here.base + LOOKUP, json=body, headers=given) as answer:
            check(await answer.json(), openapi_bems.LIST)
