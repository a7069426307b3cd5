"""The description is true: examples are accepted by the real routes, answers fit their schemas."""

from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

from sipbridge.rest import (
    admin,
    admin_models,
    create_app,
    ocsg_models,
    openapi,
    sessions,
    tickets,
    watch,
    watch_models,
)
from sipbridge.rest.ocsg import EVENTS, OPERATIONS
from tests.rest.conftest import ALICE, BOB, UPDATE, PresenceHouse, Site

MODELS = {model.__name__: model for model in ocsg_models.MODELS}
Json = dict[str, Any]


async def described() -> Json:
    transport = httpx2.ASGITransport(create_app(PresenceHouse(), []))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw") as http:
        found: Json = (await http.get("/openapi.json")).json()
    return found


def operations(whole: Json) -> list[tuple[str, str, Json]]:
    return [
        (path, method, operation)
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/rest/presence")
    ]


def twice(operation: Json) -> bool:
    """The second spelling of an operation."""
    named: str = operation["operationId"]
    return named.endswith(("ByPost", "ByQuery"))


def model_of(content: Json) -> type[ocsg_models.Model]:
    return MODELS[content["schema"]["$ref"].rpartition("/")[2]]


async def test_every_operation_is_described() -> None:
    whole = await described()
    titles = ", ".join(o["summary"] for _, _, o in operations(whole) if not twice(o))
    assert sorted(titles.split(", ")) == sorted(o.title for o in OPERATIONS.values())
    for _, _, operation in operations(whole):
        assert operation["security"] == [{"basic": []}, {"bearer": []}]
        assert {"400", "401", "403"} <= operation["responses"].keys()
    assert "/health/ready" in whole["paths"]


async def test_the_stream_is_described_where_it_is_mounted() -> None:
    assert EVENTS not in (await described())["paths"]
    whole = openapi.describe({}, frozenset({EVENTS}))
    assert whole["paths"][EVENTS]["get"]["operationId"] == "streamNotifications"


def whole_description() -> Json:
    mounts = frozenset({EVENTS, sessions.ROOT, admin.ROOT, tickets.ROOT, watch.ROOT})
    return openapi.describe({}, mounts, frozenset({"/docs"}))


def test_what_is_mounted_is_described() -> None:
    paths = whole_description()["paths"]
    assert "/rest/session_manager/session/{sessionId}" in paths
    assert "/admin/applications/{id}" in paths
    ids = [
        operation["operationId"]
        for methods in paths.values()
        for name, operation in methods.items()
        if name != "parameters"
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("root", "known", "examples"),
    [
        (admin.ROOT, admin_models.MODELS, 9),
        (watch.ROOT, (*watch_models.REQUESTS, *watch_models.ANSWERS), 12),
    ],
)
def test_every_other_example_fits_its_schema(
    root: str, known: tuple[type[BaseModel], ...], examples: int
) -> None:
    models = {model.__name__: model for model in known}
    checked = 0
    for path, methods in whole_description()["paths"].items():
        if not path.startswith(root):
            continue
        for name, operation in methods.items():
            if name == "parameters":
                continue
            parts = [operation.get("requestBody", {}), *operation["responses"].values()]
            for part in parts:
                content = part.get("content", {}).get("application/json", {})
                model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if model in models:
                    models[model].model_validate(content["example"])
                    checked += 1
    assert checked == examples


async def test_every_reference_leads_somewhere() -> None:
    whole = {**await described(), **whole_description()}
    known = whole["components"]["schemas"]
    wanted: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                wanted.append(node["$ref"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(whole)
    assert wanted
    assert {ref.removeprefix("#/components/schemas/") for ref in wanted} <= known.keys()


async def test_every_answer_example_fits_its_schema() -> None:
    checked = 0
    for _, _, operation in operations(await described()):
        for answer in operation["responses"].values():
            content = answer.get("content", {}).get("application/json")
            if content is None or "example" not in content:
                continue
            model_of(content).model_validate(content["example"])
            checked += 1
    assert checked > 20


async def test_the_examples_of_both_lists_fit() -> None:
    whole = await described()
    content = whole["paths"]["/rest/presence/subscription"]["get"]["responses"]["200"]["content"]
    examples = content["application/json"]["examples"]
    ocsg_models.OpenSubscriptions.model_validate(examples["open"]["value"])
    ocsg_models.Addresses.model_validate(examples["watchers"]["value"])


@pytest.mark.parametrize("name", sorted(set(OPERATIONS)))
async def test_every_request_example_is_accepted(site: Site, name: str) -> None:
    await site.ask("POST", "/subscription", openapi.SUBSCRIBE_EXAMPLE, BOB)
    if name in ("getUserPresence", "endPresenceNotification"):
        await site.ask("PUT", "/subscription", UPDATE)
        await site.ask("PUT", "/notification", openapi.START_EXAMPLE, BOB)
    operation = OPERATIONS[name]
    path = operation.path.replace("{watcher}", openapi.WATCHER["example"])
    path = path.replace("{correlator}", openapi.CORRELATOR["example"])
    path = path.replace("{query}", openapi.QUERY_EXAMPLE)
    path = path.replace("{presentity}", openapi.PRESENTITY["example"])
    caller = BOB if name in BY_BOB else ALICE
    answer = await site.ask(operation.method, path, BODIES.get(name), caller)
    assert answer.status_code == operation.success, answer.text
    assert site.finished[-1] == (name, operation.success)
    if name in RESULTS:
        RESULTS[name].model_validate(answer.json())


BY_BOB = {
    "startPresenceNotification",
    "endPresenceNotification",
    "getUserPresence",
    "leaveSubscription",
}
BODIES: dict[str, Json] = {
    "updateSubscriptionAuthorization": openapi.UPDATE_EXAMPLE,
    "subscribePresence": openapi.SUBSCRIBE_EXAMPLE,
    "startPresenceNotification": openapi.START_EXAMPLE,
    "publish": {"presence": openapi.ATTRIBUTE_EXAMPLES},
}
RESULTS: dict[str, type[ocsg_models.Model]] = {
    "getOpenSubscriptions": ocsg_models.OpenSubscriptions,
    "getMyWatchers": ocsg_models.Addresses,
    "startPresenceNotification": ocsg_models.Addresses,
    "getUserPresence": ocsg_models.PresenceResult,
}


async def test_request_examples_fit_their_schemas() -> None:
    checked = 0
    for _, _, operation in operations(await described()):
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            model_of(content).model_validate(content["example"])
            checked += 1
    assert checked == 6
    ocsg_models.PresenceQuery.model_validate_json(openapi.QUERY_EXAMPLE)
