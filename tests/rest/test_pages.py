"""Pages for people, whole without another server."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from sipbridge.rest import admin, create_app, openapi, pages, sessions
from sipbridge.rest.ocsg import EVENTS, OPERATIONS
from tests.rest.conftest import PresenceHouse


class Links(HTMLParser):
    """What a page loads, where it leads, and what can be led to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if (given.get("href") or "").startswith("#"):
            self.targets.add(str(given["href"])[1:])
        self.loaded += [value for name, value in attrs if name == "src" and value]
        if tag in ("script", "link", "iframe"):
            self.loaded.append(tag)


async def page(path: str) -> str:
    transport = httpx2.ASGITransport(create_app(PresenceHouse(), []))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw") as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    return answer.text


async def test_the_description_needs_no_other_server() -> None:
    text = await page("/docs")
    assert Links(text).loaded == []
    assert "//cdn" not in text


async def test_the_description_names_every_operation_and_schema() -> None:
    text = await page("/docs")
    for operation in OPERATIONS.values():
        assert operation.title in text
    for model in ("SubscribeRequest", "FaultBody", "TimeMetric"):
        assert f'id="{model}"' in text


def test_every_link_of_the_whole_description_leads_somewhere() -> None:
    whole = {"info": {"title": "t", "version": "1"}, "paths": {}}
    mounts = frozenset({EVENTS, sessions.ROOT, admin.ROOT})
    links = Links(pages.description(openapi.describe(whole, mounts)).decode())
    assert links.targets <= links.ids
    assert len(links.targets) > 25


def test_what_stands_in_a_description_is_text() -> None:
    evil = "<script>alert(1)</script>"
    whole = {
        "info": {"title": evil, "version": evil, "description": evil},
        "paths": {
            f"/{evil}": {
                "get": {
                    "summary": evil,
                    "description": evil,
                    "parameters": [{"name": evil, "in": "query", "description": evil}],
                    "responses": {
                        "200": {
                            "description": evil,
                            "content": {evil: {"example": evil, "schema": {"$ref": f"#/{evil}"}}},
                        }
                    },
                }
            }
        },
        "components": {"schemas": {evil: {"x": evil}}},
    }
    assert not re.search("<script", pages.description(whole).decode())


@pytest.fixture
async def house() -> AsyncIterator[httpx2.AsyncClient]:
    """A bridge with a BEMS front."""
    app = create_app(PresenceHouse(), [], mounts={"/bems": nothing, "/elsewhere": nothing})
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw") as http:
        yield http


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """A front that nobody asks."""


async def test_who_has_only_the_address_is_told_what_is_where(house: httpx2.AsyncClient) -> None:
    answer = await house.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    places = answer.json()
    assert "/bems/jsonrpc" in places and "/presence/subscriptions" not in places
    for path in ("/docs", "/openapi.json", "/health/ready", "/rest/presence/index.html"):
        assert path in places
        assert (await house.get(path)).status_code == 200


async def test_a_browser_gets_it_as_a_page(house: httpx2.AsyncClient) -> None:
    answer = await house.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<a href="/docs">/docs</a>' in answer.text and "/bems/jsonrpc" in answer.text
    assert Links(answer.text).loaded == []


async def test_an_unknown_path_is_answered_with_where_to_look(house: httpx2.AsyncClient) -> None:
    answer = await house.get("/rest/presense")
    assert answer.status_code == 404
    detail = answer.json()["error"]["detail"]
    assert detail == "there is nothing at /rest/presense; GET / says what is where"
