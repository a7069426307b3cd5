"""Which pages may call, on every kind of route."""

import httpx2
import pytest

from sipbridge.rest import BasicAuthenticator, RestSettings, create_app
from sipbridge.rest.faults import Refused
from sipbridge.rest.origins import Origins
from tests.rest.conftest import ALICE, PresenceHouse, accounts

PAGE = "https://pages.example"
JSON = {"content-type": "application/json"}


def headers_for(
    origin: str, allowed: tuple[str, ...], method: str = "GET", **more: str
) -> dict[str, str]:
    given = {"origin": origin, "host": "gw.example:8080", **more}
    return {n.decode(): v.decode() for n, v in Origins(allowed).check(given, method)}


def test_a_listed_page_may_use_what_the_browser_knows() -> None:
    found = headers_for(PAGE, (PAGE,))
    assert found["access-control-allow-origin"] == PAGE
    assert found["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_the_star_never_comes_with_credentials(method: str) -> None:
    found = headers_for(PAGE, ("*",), method)
    assert found["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in found


def test_a_listed_page_beside_the_star_keeps_its_credentials() -> None:
    assert headers_for(PAGE, ("*", PAGE))["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_what_needs_no_preflight_is_refused_under_the_star(kind: str) -> None:
    with pytest.raises(Refused):
        headers_for(PAGE, ("*",), "POST", **{"content-type": kind})
    assert headers_for(PAGE, ("*",), "POST", **JSON)
    assert headers_for(PAGE, (PAGE,), "POST", **{"content-type": kind})


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://[", "ftp://gw.example:8080"]
)
def test_other_pages_are_refused(origin: str) -> None:
    with pytest.raises(Refused):
        headers_for(origin, (PAGE,))


@pytest.mark.parametrize("path", ["/health/live", "/openapi.json", "/docs", "/nowhere"])
async def test_pages_of_the_framework_follow_the_same_rule(path: str) -> None:
    settings = RestSettings(allowed_origins=(PAGE,))
    app = create_app(PresenceHouse(), [BasicAuthenticator(accounts())], settings=settings)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw.example") as http:
        http.headers["X-Request-ID"] = "r-1"
        plain = await http.get(path)
        listed = await http.get(path, headers={"Origin": PAGE})
        foreign = await http.get(path, headers={"Origin": "https://evil.example"})
    assert listed.status_code == plain.status_code
    assert listed.content == plain.content
    assert listed.headers["content-type"] == plain.headers["content-type"]
    assert listed.headers["access-control-allow-origin"] == PAGE
    assert foreign.status_code == 403


async def test_a_preflight_names_our_headers() -> None:
    app = create_app(
        PresenceHouse(),
        [BasicAuthenticator(accounts())],
        settings=RestSettings(allowed_origins=(PAGE,)),
    )
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw.example") as http:
        answer = await http.options("/rest/presence/presence", headers={"Origin": PAGE, **ALICE})
    assert answer.status_code == 204
    named = answer.headers["access-control-allow-headers"]
    for header in ("Authorization", "X-Session-ID", "X-Presence-Identity", "X-Presence-Expires"):
        assert header in named
