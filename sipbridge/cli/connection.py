"""Where `publish` and `watch` connect: their common options as one value."""

from dataclasses import dataclass
from pathlib import Path

from sipbridge.errors import ConfigurationError, ParseError
from sipbridge.sip.locate import PORTS
from sipbridge.transports.tls import Tls
from sipbridge.uri import Uri, parse_hostport

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
SECURED = ("tls", "wss")
LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Connection:
    """host, port, transport: of the presence server. from_: who we are; None: up to the command.

    user: for digest, "" the user part of `from_`. password: None when there is none. tls: whom to trust,
    where the transport is secure.
    """

    host: str
    port: int
    transport: str
    from_: Uri | None
    user: str
    password: str | None
    tls: Tls | None = None


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
        raise ConfigurationError("--transport", f"one of {', '.join(TRANSPORTS)}")
    tls = trusted(transport, ca_file, insecure)
    try:
        host, port = parse_hostport(server or LOCAL)
    except ParseError as error:
        raise ConfigurationError("--server", str(error)) from None
    identity = address("--from", from_) if from_ else None
    password = first_line(password_file) if password_file else None
    port = port or PORTS.get(transport, 5060)
    return Connection(host, port, transport, identity, user, password, tls)


def trusted(transport: str, ca_file: Path | None, insecure: bool) -> Tls | None:
    """Whom to trust; None where nothing is secured. Raises ConfigurationError naming the option."""
    if transport not in SECURED:
        if ca_file is not None or insecure:
            option = "--insecure" if insecure else "--ca-file"
            raise ConfigurationError(option, f"needs --transport {' or '.join(SECURED)}")
        return None
    if ca_file is not None and insecure:
        raise ConfigurationError("--insecure", "checks nothing: not together with --ca-file")
    try:
        return Tls(ca=ca_file, verify="none" if insecure else "peer")
    except ConfigurationError as error:
        raise ConfigurationError("--ca-file", error.expected) from None


def address(option: str, text: str) -> Uri:
    """A SIP or PRES address. Raises ConfigurationError naming the option."""
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ConfigurationError(option, f"{error}; write it like sip:alice@example.com") from None
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
