"""Pages for people, whole without another server."""

import re
from html.parser import HTMLParser

import httpx2

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
