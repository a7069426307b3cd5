"""One POST against real receivers: failing, slow, redirecting, talkative, and behind the wrong address."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from sipbridge.webhooks.client import MAX_RESPONSE, Client
from sipbridge.webhooks.targets import Target
from tests.webhooks.receivers import receiver

BODY = b'{"statusEnd":{"correlator":"w-1"}}'


@contextlib.asynccontextmanager
async def client(
    *addresses: str,
    allow_private: bool = True,
    seconds: float = 5.0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A client; with addresses, these are where every name leads, one list after the other."""
    asked = list(addresses)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [asked.pop(0)] if len(asked) > 1 else asked

    made = Client(
        allow_private=allow_private,
        timeout=seconds,
        connections=4,
        resolve=resolve if addresses else None,
        ssl_context=ssl_context,
    )
    try:
        yield made
    finally:
        await made.close()


Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def spoken(speak: Speaker) -> AsyncIterator[int]:
    """The port of a server that says what it likes."""
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await speak(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.get_running_loop().create_task(talk(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    await asyncio.wait_for(asyncio.gather(*talks), 5)
    server.close()
    await server.wait_closed()


async def test_a_request_arrives_as_it_was_meant() -> None:
    async with receiver() as there, client() as ours:
        target = Target.parse(there.url("/in?key=a%2Fb"))
        outcome = await ours.post(target, [(b"webhook-id", b"a-1")], BODY)
        got = there.got[0]
    assert (outcome.delivered, outcome.reason) == (True, "204")
    assert (got.path, got.body) == ("/in?key=a%2Fb", BODY)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["content-length"] == str(len(BODY))
    assert got.headers["host"] == f"127.0.0.1:{there.port}"
    assert got.headers["webhook-id"] == "a-1"
    assert got.headers["user-agent"].startswith("sipbridge/")


async def test_the_connection_serves_the_next_request() -> None:
    async with receiver(web.Response(text="thanks")) as there, client() as ours:
        for _ in range(3):
            assert (await ours.post(Target.parse(there.url()), [], BODY)).delivered
        assert len({got.connection for got in there.got}) == 1


@pytest.mark.parametrize("status", [400, 404, 410, 500, 503])
async def test_an_error_is_no_delivery(status: int) -> None:
    async with receiver(status) as there, client() as ours:
        outcome = await ours.post(Target.parse(there.url()), [], BODY)
    assert (outcome.delivered, outcome.reason) == (False, str(status))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiver() as elsewhere:
        moved = web.Response(status=status, headers={"Location": elsewhere.url()})
        async with receiver(moved) as there, client() as ours:
            outcome = await ours.post(Target.parse(there.url()), [], BODY)
        assert (outcome.delivered, outcome.reason) == (False, str(status))
        assert elsewhere.got == []


async def test_retry_after_is_read() -> None:
    answer = web.Response(status=503, headers={"Retry-After": "7"})
    dated = web.Response(status=503, headers={"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT"})
    async with receiver(answer, dated) as there, client() as ours:
        target = Target.parse(there.url())
        assert (await ours.post(target, [], BODY)).retry_after == 7.0
        assert (await ours.post(target, [], BODY)).retry_after == 0.0


async def test_who_never_answers_is_left() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with receiver(silent) as there, client(seconds=0.2) as ours:
        began = time.monotonic()
        outcome = await ours.post(Target.parse(there.url()), [], BODY)
    assert (outcome.delivered, outcome.reason) == (False, "timeout")
    assert time.monotonic() - began < 3


async def test_who_answers_byte_by_byte_for_ever_is_left() -> None:
    """Each read succeeds in time; only the bound on the whole attempt ends it."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with spoken(drip) as port, client(seconds=0.3) as ours:
        outcome = await ours.post(Target.parse(f"http://127.0.0.1:{port}/"), [], BODY)
    assert (outcome.delivered, outcome.reason) == (False, "timeout")


async def test_a_header_without_end_is_refused() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()

    async with spoken(flood) as port, client() as ours:
        outcome = await ours.post(Target.parse(f"http://127.0.0.1:{port}/"), [], BODY)
    assert (outcome.delivered, outcome.reason) == (False, "protocol")


async def test_a_huge_answer_is_not_read() -> None:
    """It counts by its status; the connection is cut and the receiver cannot keep us reading."""
    written = 0

    async def huge(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            while written < 500_000_000:
                await answer.write(b"x" * 65536)
                written += 65536
        return answer

    async with receiver(huge) as there, client() as ours:
        target = Target.parse(there.url())
        first = await ours.post(target, [], BODY)
        second = await ours.post(target, [], BODY)
        assert first.delivered and second.delivered
        assert there.got[0].connection != there.got[1].connection
    # What the sockets' buffers took; of the rest nothing was asked for.
    assert written < 100 * MAX_RESPONSE + 20_000_000


async def test_nobody_there() -> None:
    async with receiver() as gone:
        target = Target.parse(gone.url())
    async with client() as ours:
        outcome = await ours.post(target, [], BODY)
    assert (outcome.delivered, outcome.reason) == (False, "connection")


async def test_no_http_is_no_delivery() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()

    async with spoken(shout) as port, client() as ours:
        outcome = await ours.post(Target.parse(f"http://127.0.0.1:{port}/"), [], BODY)
    assert not outcome.delivered
    assert outcome.reason in ("protocol", "connection")


# --- addresses


async def test_a_name_that_leads_inside_is_not_connected_to() -> None:
    async with receiver() as there, client("127.0.0.1", allow_private=False) as ours:
        target = Target.parse(f"http://hooks.example.com:{there.port}/")
        outcome = await ours.post(target, [], BODY)
        assert (outcome.delivered, outcome.reason) == (False, "address")
        assert there.got == []


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "2130706433", "127.1", "127.0.0.1"])
async def test_every_spelling_of_loopback_is_seen_through(host: str) -> None:
    """With the machine's own resolver."""
    async with receiver() as there, client(allow_private=False) as ours:
        outcome = await ours.post(Target.parse(f"http://{host}:{there.port}/"), [], BODY)
        assert not outcome.delivered
        assert outcome.reason in ("address", "connection")  # no such name is as good
        assert there.got == []


async def test_the_judged_address_is_the_one_connected_to() -> None:
    """Asked again, the name would lead elsewhere; it is not asked again."""
    asked = 0

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ["127.0.0.1"] if asked == 1 else ["127.0.0.2"]

    ours = Client(allow_private=True, timeout=5, connections=1, resolve=resolve)
    async with receiver() as there:
        outcome = await ours.post(Target.parse(f"http://rebinding.invalid:{there.port}/"), [], BODY)
        assert outcome.delivered, outcome
        assert there.got[0].headers["host"] == f"rebinding.invalid:{there.port}"
    await ours.close()
    assert asked == 1


async def test_of_several_addresses_only_good_ones_are_tried() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["0.0.0.0", "ff02::1", "127.0.0.1"]

    ours = Client(allow_private=True, timeout=5, connections=1, resolve=resolve)
    async with receiver() as there:
        assert (
            await ours.post(Target.parse(f"http://x.invalid:{there.port}/"), [], BODY)
        ).delivered
    await ours.close()


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as there, client() as ours:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert (await ours.post(Target.parse(there.url()), [], BODY)).delivered
        assert (len(proxy.got), len(there.got)) == (0, 1)


# --- TLS: the name is proved although the address was connected to


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for `name` that is its own authority, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


@pytest.mark.parametrize(
    ("asked", "delivered"), [("hooks.example.com", True), ("other.example.com", False)]
)
async def test_a_certificate_must_fit_the_name(tmp_path: Path, asked: str, delivered: bool) -> None:
    cert, private = certificate(tmp_path, "hooks.example.com")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(cert, private)
    trusting = ssl.create_default_context(cafile=str(cert))
    async with receiver(tls=served) as there, client("127.0.0.1", ssl_context=trusting) as ours:
        outcome = await ours.post(Target.parse(f"https://{asked}:{there.port}/"), [], BODY)
        assert outcome.delivered is delivered, outcome
        assert len(there.got) == delivered
