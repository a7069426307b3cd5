"""Where `publish` and `watch` connect: their common options as one value."""

from dataclasses import dataclass
from pathlib import Path

from sipbridge.app.settings_tree import NOT_YET
from sipbridge.errors import ConfigurationError, ParseError
from sipbridge.uri import Uri, parse_hostport

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
SUPPORTED = ("udp", "tcp")


@dataclass(frozen=True, slots=True)
class Connection:
    """host, port, transport: of the presence server. from_: who we are; None: up to the command.

    user: for digest, "" the user part of `from_`. password: None when there is none.
    """

    host: str
    port: int
    transport: str
    from_: Uri | None
    user: str
    password: str | None

    @property
    def next_hop(self) -> str:
        """As a SIP URI, for `PeerPolicy.next_hops`."""
        return f"sip:{self.host}:{self.port};transport={self.transport}"


def connection(
    server: str,
    transport: str,
    from_: str,
    user: str,
    password_file: Path | None,
    ca_file: Path | None,
    insecure: bool,
) -> Connection:
    """The checked value. Raises ConfigurationError naming the option."""
    if transport not in TRANSPORTS:
        raise ConfigurationError("--transport", f"one of {', '.join(SUPPORTED)}")
    if transport not in SUPPORTED:
        raise ConfigurationError("--transport", f"{transport} is {NOT_YET}")
    if ca_file is not None or insecure:
        option = "--insecure" if insecure else "--ca-file"
        raise ConfigurationError(option, f"TLS is {NOT_YET}")
    try:
        host, port = parse_hostport(server)
    except ParseError as error:
        raise ConfigurationError("--server", str(error)) from None
    identity = address("--from", from_) if from_ else None
    password = first_line(password_file) if password_file else None
    return Connection(host, port or 5060, transport, identity, user, password)


def address(option: str, text: str) -> Uri:
    """A SIP or PRES address. Raises ConfigurationError naming the option."""
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ConfigurationError(option, str(error)) from None
    if uri.scheme not in ("sip", "pres"):
        raise ConfigurationError(
            option, f"{text!r} is not a SIP address like sip:alice@example.com"
        )
    return uri


def first_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigurationError("--password-file", f"{path}: {why}") from None
    if not lines or not lines[0]:
        raise ConfigurationError("--password-file", f"{path}: the first line is empty")
    return lines[0]
