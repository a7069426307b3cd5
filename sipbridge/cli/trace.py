"""`sipbridge trace`: SIP messages as a text ladder, from a capture file or from a running bridge.

A file is pcap or pcapng (tcpdump, Wireshark, `trace.pcap` of a bridge). A running bridge is asked at its
operator routes, `--url http://127.0.0.1:8080/admin`, until the command is interrupted. With `--json` each
message is a line of JSON instead: `{"at", "protocol", "source", "destination", "message"}`.
"""

import base64
import http.client
import json
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from sipbridge.cli.files import complain, print_json, wrong
from sipbridge.errors import ParseError
from sipbridge.observability.capture import Captured, Selection, spelled
from sipbridge.observability.ladder import Ladder
from sipbridge.observability.pcap import CaptureError, read
from sipbridge.observability.trace import redacted
from sipbridge.uri import parse_hostport

CONNECT_SECONDS = 10.0
UNSEEN = dict.fromkeys((*range(32), *range(127, 160)), ".")
"""Control characters would let a message write to the terminal as it likes."""


def show(messages: Iterator[Captured], as_json: bool) -> int:
    """Print them as they come; how many there were."""
    ladder, count = Ladder(), 0
    for message in messages:
        count += 1
        if as_json:
            print_json(described(message), line=True)
            continue
        for line in ladder.lines(message):
            print(line.translate(UNSEEN), flush=True)
    return count


def described(message: Captured) -> dict[str, object]:
    return {
        "at": message.at,
        "protocol": message.protocol,
        "source": spelled(message.source),
        "destination": spelled(message.destination),
        "message": redacted(message.data).decode("utf-8", "backslashreplace"),
    }


def from_file(path: Path, selection: Selection, as_json: bool) -> int:
    """Exit status: 1 when the file is damaged or holds nothing that is wanted."""
    try:
        count = show(filter(selection.wants, read(path)), as_json)
    except OSError as error:
        return wrong(f"--pcap {path}: {error.strerror}")
    except CaptureError as error:
        complain(f"{path}: {error}")
        return 1
    if not count:
        complain(f"{path}: no SIP message that is wanted")
    return 0 if count else 1


def from_bridge(url: str, password: str, selection: Selection, as_json: bool) -> int:
    """Exit status: 1 when the bridge cannot be reached, refuses or goes away."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with closing(connected(url)) as connection:
            asked = {k: v for k in Selection.__slots__ if (v := getattr(selection, k))}
            token = base64.b64encode(f"admin:{password}".encode()).decode()
            path = urlsplit(url).path.rstrip("/") + "/trace?" + urlencode(asked)
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            if answer.status != 200:
                complain(refusal(url, answer.status))
                return 1
            complain("tracing; interrupt to end")
            show(received(answer), as_json)
    except KeyboardInterrupt:
        return 0
    except (OSError, http.client.HTTPException) as error:
        complain(f"{url}: {error}")
        return 1
    complain(f"{url}: the bridge has ended the trace")
    return 1


def refusal(url: str, status: int) -> str:
    told = {
        401: "the password of the operator is wrong: --password-file",
        404: f"no operator routes at {url}: is admin.password_hash set, does the URL end in /admin?",
    }
    return told.get(status, f"{url}: HTTP {status}")


def connected(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    made = (
        http.client.HTTPSConnection(
            host, port, timeout=CONNECT_SECONDS, context=ssl.create_default_context()
        )
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    )
    made.connect()
    assert isinstance(made.sock, socket.socket)
    made.sock.settimeout(None)  # from here on silence is no failure
    return made


def received(answer: http.client.HTTPResponse) -> Iterator[Captured]:
    """The messages of a running trace."""
    for line in answer:
        if not line.strip():
            continue
        told = json.loads(line)
        if "lost" in told:
            complain(f"{told['lost']} messages lost: this terminal is too slow")
            continue
        ends = read_end(told["source"]), read_end(told["destination"])
        data = told["message"].encode("utf-8", "surrogateescape")
        yield Captured(told["at"], data, told["protocol"], *ends, told["outgoing"], told["trace"])


def read_end(text: str) -> tuple[str, int]:
    try:
        host, port = parse_hostport(text)
    except ParseError:
        host, port = text.rpartition(":")[0], 0
    return host.strip("[]"), port or 0


def check_url(url: str) -> str | None:
    """What is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        return None
    return f"--url {url}: http://HOST:PORT/admin is expected"


def run(
    pcap: Path | None,
    url: str,
    password: str | None,
    selection: Selection,
    as_json: bool,
) -> int:
    if (pcap is None) == (not url):
        return wrong("one of --pcap FILE and --url ADMIN is needed")
    if pcap is not None:
        return from_file(pcap, selection, as_json)
    if fault := check_url(url):
        return wrong(fault)
    if password is None:
        return wrong("--url needs --password-file FILE: the operator's password, its first line")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return from_bridge(url, password, selection, as_json)
