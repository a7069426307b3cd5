"""Names to addresses."""

import pytest

from sipbridge.transports import resolver
from sipbridge.transports.resolver import lookup


async def test_localhost_has_an_address_once() -> None:
    found = await lookup("localhost")
    assert "127.0.0.1" in found or "::1" in found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("host", ["no such host", "a" * 300])
async def test_what_is_no_name_has_none(host: str) -> None:
    assert await lookup(host) == []


async def test_a_slow_resolver_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUP_TIMEOUT", 0.0)
    assert await lookup("localhost") == []
