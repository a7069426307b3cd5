"""Content-Encoding: what is unpacked, what is refused and how soon, and what is packed for whom."""

import gzip
import random
import tracemalloc
import zlib

import pytest

from sipbridge.sip.encoding import (
    CODINGS,
    HARMLESS,
    MAX_DECODED,
    MAX_MEMBERS,
    Undecodable,
    accepted_by,
    codings_of,
    decoded,
    packed,
    preferred,
)
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request

TEXT = b"<presence>" + b"".join(b"<tuple id='t%d'/>" % n for n in range(100)) + b"</presence>"


def bare(data: bytes) -> bytes:
    """Deflate data without any wrapping (RFC 1951)."""
    machine = zlib.compressobj(6, zlib.DEFLATED, -15)
    return machine.compress(data) + machine.flush()


def status_of(body: bytes, *codings: str) -> int | None:
    try:
        decoded(body, codings)
    except Undecodable as error:
        return error.status_hint
    return None


# --- reading


@pytest.mark.parametrize(
    ("body", "codings"),
    [
        (TEXT, []),
        (gzip.compress(TEXT), ["gzip"]),
        (zlib.compress(TEXT), ["deflate"]),
        (bare(TEXT), ["deflate"]),
        (gzip.compress(zlib.compress(TEXT)), ["deflate", "gzip"]),
        (gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), ["gzip"]),
    ],
    ids=["none", "gzip", "zlib", "bare deflate", "two layers", "two members"],
)
def test_a_body_is_what_it_was(body: bytes, codings: list[str]) -> None:
    assert decoded(body, codings) == TEXT


def test_an_empty_body_is_packed_and_unpacked() -> None:
    assert decoded(gzip.compress(b""), ["gzip"]) == b""
    assert decoded(zlib.compress(b""), ["deflate"]) == b""


@pytest.mark.parametrize(
    ("body", "codings", "status"),
    [
        (TEXT, ("br",), 415),
        (TEXT, ("gzip", "compress"), 415),
        (TEXT, ("gzip", "gzip", "gzip"), 415),
        (TEXT, ("gzip",), 400),
        (TEXT, ("deflate",), 400),
        (b"", ("gzip",), 400),
        (b"", ("deflate",), 400),
        (gzip.compress(TEXT)[:-1], ("gzip",), 400),
        (gzip.compress(TEXT)[:40], ("gzip",), 400),
        (zlib.compress(TEXT)[:-5], ("deflate",), 400),
        (zlib.compress(TEXT) + b"more", ("deflate",), 400),
        (gzip.compress(TEXT) + b"more", ("gzip",), 400),
        (gzip.compress(b"x") * (MAX_MEMBERS + 1), ("gzip",), 400),
        (gzip.compress(bytes(HARMLESS + 1)), ("gzip",), 413),
        (zlib.compress(bytes(10**7)), ("deflate",), 413),
        (bare(bytes(10**7)), ("deflate",), 413),
        (gzip.compress(gzip.compress(bytes(10**8))), ("gzip", "gzip"), 413),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, codings: tuple[str, ...], status: int) -> None:
    assert status_of(body, *codings) == status


def test_the_bound_holds_even_for_a_body_of_good_ratio() -> None:
    noise = random.Random(1).randbytes(MAX_DECODED // 2)
    assert status_of(gzip.compress(noise), "gzip") is None
    assert status_of(gzip.compress(noise * 2 + b"x"), "gzip") == 413


def test_a_bomb_costs_little_memory() -> None:
    """A gigabyte of zeros in a megabyte; a message could not even be that long."""
    machine = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    bomb = b"".join([machine.compress(block) for _ in range(64)]) + machine.flush()
    tracemalloc.start()
    try:
        assert status_of(bomb[:65_000], "gzip") == 413
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_DECODED


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bodies_are_refused_and_nothing_else_happens(seed: int) -> None:
    chances = random.Random(seed)
    for whole in (gzip.compress(TEXT), zlib.compress(TEXT), bare(TEXT)):
        for _ in range(50):
            data = bytearray(whole)
            for _ in range(chances.randint(1, 4)):
                data[chances.randrange(len(data))] = chances.randrange(256)
            for coding in CODINGS:
                assert status_of(bytes(data), coding) in (None, 400, 413)


@pytest.mark.parametrize(
    ("text", "codings"),
    [
        (None, []),
        ("", []),
        ("identity", []),
        ("GZIP", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("deflate, identity, gzip", ["deflate", "gzip"]),
        ("tar", ["tar"]),
    ],
)
def test_the_header_is_read_without_regard_of_case(text: str | None, codings: list[str]) -> None:
    pairs = [] if text is None else [("e", text)]
    assert codings_of(Request("PUBLISH", "sip:a@b", Headers(pairs))) == codings


# --- writing


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("*;q=0", ""),
        ("identity", ""),
        ("", ""),
        ("br, compress", ""),
        ("gzip;q=0", ""),
        ("gzip;q=no", ""),
        ("identity;q=1, gzip;q=0.5", ""),
        ("GZip ; Q=0.3", "gzip"),
        ("x-gzip", "gzip"),
    ],
)
def test_only_what_the_peer_accepts_is_used(accept: str, coding: str) -> None:
    assert preferred(accept) == coding


def test_a_peer_that_says_nothing_accepts_nothing() -> None:
    assert accepted_by(Request("SUBSCRIBE", "sip:a@b", Headers())) == ""
    broken = Headers([("Accept-Encoding", 'gzip;a="x, deflate')])
    assert accepted_by(Request("SUBSCRIBE", "sip:a@b", broken)) == ""
    two = Headers([("Accept-Encoding", "br"), ("Accept-Encoding", "deflate")])
    assert accepted_by(Request("SUBSCRIBE", "sip:a@b", two)) == "deflate"


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_packed_can_be_read_and_is_the_same_each_time(coding: str) -> None:
    small = packed(TEXT, coding)
    assert small is not None and len(small) < len(TEXT) / 3
    assert decoded(small, [coding]) == TEXT
    packed.cache_clear()
    assert packed(TEXT, coding) == small, "no time of day in it"


def test_what_does_not_get_smaller_stays_as_it_is() -> None:
    assert packed(TEXT, "") is None
    assert packed(b"x" * 30_000, "gzip") is None, "nobody would unpack it, we least of all"
    assert packed(TEXT[:200], "gzip") is None
    assert packed(random.Random(3).randbytes(2000), "gzip") is None
