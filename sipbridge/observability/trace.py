"""The SIP trace: every message as it went over the wire, without what opens doors.

A tap of the driver, switched on by `log.sip_trace`. Digest answers, any other credentials and passwords in
URIs are blanked; everything else, bodies too, is personal but needed to understand a peer. Bytes that are no
UTF-8 are shown as escapes.
"""

import re
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from sipbridge.observability.logs import logger
from sipbridge.sip.flow import Flow

CREDENTIALS = re.compile(
    rb"(?im)^((?:Proxy-)?Authorization[ \t]*:[ \t]*)(\S+)((?:[^\r\n]|\r?\n[ \t])*)"
)
"""The header field with its folded lines."""
SECRETS = re.compile(rb"(?i)\b(response|cnonce)([ \t]*=[ \t]*)(\"[^\"]*\"?|[^,\s]*)")
URI_PASSWORD = re.compile(rb"(?i)(sips?:[^\s:@<>;,\"]+):[^\s@<>\"]*@")
BLANK = b"***"
MAX_SHOWN = 8192
"""Bytes of one message; longer ones are cut, a log line is no capture file."""


def redacted(data: bytes) -> bytes:
    """The message with secrets blanked."""
    shown = CREDENTIALS.sub(blank, data)
    return URI_PASSWORD.sub(rb"\1:" + BLANK + b"@", shown)


def blank(found: re.Match[bytes]) -> bytes:
    """Of Digest the parameters that prove something, of any other scheme everything."""
    name, scheme, rest = found.groups()
    if scheme.lower() != b"digest":
        return name + scheme + b" " + BLANK
    return name + scheme + SECRETS.sub(rb"\1\2" + BLANK, rest)


Tap = Callable[[bytes, Flow, float, str], None]
"""Data, flow, now, trace: what the driver calls for each message."""


def chain(*taps: Tap | None) -> Tap | None:
    """One tap that calls all of them, None if there is none."""
    given = [tap for tap in taps if tap is not None]
    if len(given) < 2:
        return given[0] if given else None

    def all_of_them(data: bytes, flow: Flow, now: float, trace: str) -> None:
        for tap in given:
            tap(data, flow, now, trace)

    return all_of_them


class SipTrace:
    """`tap_in` and `tap_out` of a driver."""

    def __init__(self, log: FilteringBoundLogger | None = None) -> None:
        self.log = log if log is not None else logger("sipbridge.trace")

    def tap_in(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        self.show("sip.in", data, flow, trace)

    def tap_out(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        self.show("sip.out", data, flow, trace)

    def show(self, event: str, data: bytes, flow: Flow, trace: str) -> None:
        host, port = flow.remote
        self.log.info(
            event,
            peer=f"{flow.protocol}:{host}:{port}",
            trace=trace,
            size=len(data),
            message=redacted(data[:MAX_SHOWN]).decode("utf-8", "backslashreplace"),
        )
