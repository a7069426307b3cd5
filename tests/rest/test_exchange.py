"""One request and its answer, on every plain route alike."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from starlette.types import Message

from sipbridge.errors import AgainstPolicy, QuotaExceeded, StoreUnavailable
from sipbridge.rest.exchange import Exchange, Reply, json_reply, tail_of
from sipbridge.rest.faults import Refused, no_resource
from sipbridge.rest.origins import Origins

PAGE = "https://pages.example"


async def served(
    outcome: Reply | Exception,
    method: str = "GET",
    counted: list[str] | None = None,
    kind: str = "http",
    **headers: str,
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of a request whose route answers or raises this."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def work(given: Mapping[str, str], trace: str) -> Reply:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    exceeded = (lambda quota: None) if counted is None else counted.append
    exchange = Exchange(Origins([PAGE]), exceeded=exceeded)
    pairs = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    scope = {"type": kind, "method": method, "path": "/x", "headers": pairs}
    status = await exchange.serve(scope, send, work)
    if kind == "websocket":
        return status, {}, sent
    assert status == sent[0]["status"]
    body = sent[1]["body"]
    answered = {n.decode(): v.decode() for n, v in sent[0]["headers"]}
    return status, answered, orjson.loads(body) if body else None


async def test_a_reply_is_sent_with_its_request_id() -> None:
    status, headers, body = await served(json_reply({"a": 1}), x_request_id="r-1")
    assert (status, body) == (200, {"a": 1})
    assert headers["x-request-id"] == "r-1"
    assert headers["content-length"] == "7"


async def test_no_content_has_no_length() -> None:
    status, headers, body = await served(Reply(204))
    assert (status, body) == (204, None)
    assert "content-length" not in headers


@pytest.mark.parametrize(
    ("error", "status", "ident"),
    [
        (no_resource("/x"), 404, "SVC0002"),
        (AgainstPolicy("no", rule="identity"), 403, "POL0001"),
        (StoreUnavailable("no"), 503, "SVC0001"),
    ],
)
async def test_what_a_route_raises_is_a_fault(error: Exception, status: int, ident: str) -> None:
    assert isinstance(error, Refused | AgainstPolicy | StoreUnavailable)
    got, headers, body = await served(error, x_request_id="r-2")
    assert (got, body["error"]["messageId"], body["error"]["requestId"]) == (status, ident, "r-2")
    assert headers["content-type"] == "application/json"


async def test_a_quota_is_counted_and_says_when() -> None:
    counted: list[str] = []
    error = QuotaExceeded("contracts", "too many", retry_after=2.5)
    status, headers, _ = await served(error, counted=counted)
    assert (status, headers["retry-after"], counted) == (429, "3", ["contracts"])


async def test_our_own_mistake_is_logged_and_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        status, _, body = await served(ZeroDivisionError("secret"), x_request_id="r-3")
    assert (status, body["error"]["variables"]) == (500, ["internal"])
    assert "secret" not in str(body)
    assert "r-3" in caplog.text and "ZeroDivisionError" in caplog.text


async def test_cors_goes_with_replies_faults_and_preflights() -> None:
    for outcome in (json_reply(1), StoreUnavailable("no")):
        _, headers, _ = await served(outcome, origin=PAGE)
        assert headers["access-control-allow-origin"] == PAGE
    status, headers, _ = await served(ZeroDivisionError(), method="OPTIONS", origin=PAGE)
    assert status == 204  # the route is not asked
    assert "PATCH" in headers["access-control-allow-methods"]
    status, headers, _ = await served(json_reply(1), origin="https://evil.example", host="gw")
    assert status == 403
    assert "access-control-allow-origin" not in headers


async def test_a_websocket_is_turned_away() -> None:
    status, _, sent = await served(ZeroDivisionError(), kind="websocket")
    assert status == 403
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_the_tail_of_a_path_stays_as_it_was_written() -> None:
    scope = {"path": "/a/b c", "raw_path": b"/a/b%20c"}
    assert tail_of(scope, "/a") == "b%20c"
    assert tail_of({"path": "/a"}, "/a") == ""
