"""Messages: bytes to dictionaries, replies and events to bytes, error strings.

What a client sends is an array of messages or one message; what it gets is always an array. A reply holds
`channel`, `successful`, the `id` of the request if it had one, and what the request calls for. An event
holds `channel` and `data` and nothing else: a `clientId` would hand the session to others, a `successful` or
an `id` makes client libraries take the event for a reply.

Errors are `code:args:message`. Clients parse args and message with a grammar that allows letters, digits and
`- _ ! ~ ( ) $ @ / * .` and space, so an argument here is always a name that passed `channels`.

Advice is always whole: one client library resets what is missing to its own defaults, another replaces the
whole object. `interval` is 0 in all advice that says `retry`, because a client exists that sleeps that many
seconds instead of milliseconds; the one exception tells two pollers of one session apart.
"""

import base64
from collections.abc import Iterable, Mapping

import orjson

from sipbridge.errors import ParseError

Message = Mapping[str, object]
"""One message as it came: JSON object with a string `channel`."""

MAX_MESSAGES = 100
"""Messages in one request; clients batch a handful of subscribes."""

MAX_ID = 64
"""Characters of a message id; UUIDs, which some clients send, have 36."""

MAX_NUMBER = 2**53
"""Beyond it sums of milliseconds mean nothing."""

VERSION_UNSUPPORTED = "300::version_unsupported"
TYPES_UNSUPPORTED = "301::connection_types_unsupported"
VERSION_MISSING = "400::version_missing"
TYPE_MISSING = "400::connection_type_missing"
AUTHENTICATION_FAILED = "401::authentication_failed"
SESSION_UNKNOWN = "402::session_unknown"
SUBSCRIPTION_MISSING = "403::subscription_missing"
TOO_MANY_SUBSCRIPTIONS = "403::too_many_subscriptions"
CHANNEL_INVALID = "405::channel_invalid"
SUBSCRIPTION_INVALID = "405::subscription_invalid"
MESSAGE_ID_INVALID = "405::message_id_invalid"
CONNECT_SUPERSEDED = "409::connect_superseded"
TOO_MANY_SESSIONS = "503::too_many_sessions"
SHUTTING_DOWN = "503::shutting_down"

ADVICE_NONE = {"reconnect": "none", "interval": 0}
ADVICE_HANDSHAKE = {"reconnect": "handshake", "interval": 0}
ADVICE_LATER = {"reconnect": "handshake", "interval": 5000}


def denied(channel: str, what: str) -> str:
    """`403:<channel>:subscribe_denied` and its like; the channel must be well-formed."""
    return f"403:{channel}:{what}_denied"


def unknown_meta(channel: str) -> str:
    return f"404:{channel}:unknown_meta_channel"


def decode(body: bytes | str) -> list[Message]:
    """Read a request: an array of messages, or one. Raises ParseError with what is wrong."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error}", field="body") from None
    messages = value if isinstance(value, list) else [value]
    if not messages:
        raise ParseError("no message", field="body")
    if len(messages) > MAX_MESSAGES:
        raise ParseError(f"more than {MAX_MESSAGES} messages", field="body")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("channel"), str):
            raise ParseError("a message is an object with a channel", field="body")
    return messages


def encode(parts: Iterable[bytes]) -> bytes:
    """The array of these serialised messages."""
    return b"[" + b",".join(parts) + b"]"


def event(channel: str, data: bytes) -> bytes:
    """One event message; `data` is JSON already, and the channel's grammar needs no escapes."""
    return b'{"channel":"' + channel.encode() + b'","data":' + data + b"}"


def reply(request: Message, fields: Mapping[str, object], ident: object = None) -> bytes:
    """The successful reply to a request. `ident` is the id to echo."""
    return render(request, True, fields, ident)


def failure(request: Message, error: str, fields: Mapping[str, object], ident: object) -> bytes:
    """The reply to a refused request."""
    return render(request, False, {"error": error, **fields}, ident)


def render(
    request: Message, successful: bool, fields: Mapping[str, object], ident: object
) -> bytes:
    said: dict[str, object] = {} if ident is None else {"id": ident}
    said["channel"] = request["channel"]
    said["successful"] = successful
    said.update(fields)
    return orjson.dumps(said)


def has_good_id(message: Message) -> bool:
    """No id, any number, or a string of at most 64 characters."""
    ident = message.get("id")
    if isinstance(ident, str):
        return len(ident) <= MAX_ID
    return ident is None or is_number(ident)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def real(value: object) -> float:
    """A number of reasonable size (JavaScript's whole numbers); 0.0 for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER:
        return float(value)
    return 0.0


def number(holder: object, name: str) -> float | None:
    """A member that is a number >= 0 in something that may be an object, else None."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(min(value, MAX_NUMBER))
    return None


def extension(message: Message, name: str) -> object:
    """A member of `ext`, None if there is none."""
    ext = message.get("ext")
    return ext.get(name) if isinstance(ext, dict) else None


def authorization(message: Message) -> str | None:
    """The Authorization header that `ext.authentication` stands for, None if there is none.

    Browsers cannot set headers on a WebSocket; they send `{"user", "credentials"}` (Basic) or `{"token"}`
    (Bearer) in the handshake.
    """
    given = extension(message, "authentication")
    if not isinstance(given, dict):
        return None
    user, secret, token = given.get("user"), given.get("credentials"), given.get("token")
    if isinstance(user, str) and isinstance(secret, str) and ":" not in user:
        return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
    if isinstance(token, str) and token.isascii() and token.isprintable():
        return f"Bearer {token}"
    return None


def asks_too_new(minimum: object) -> bool:
    """Is `minimumVersion` above 1.0? Words that are no version ask nothing."""
    if not isinstance(minimum, str):
        return False
    major, _, minor = minimum.partition(".")
    if not major.isdecimal():
        return False
    return int(major) > 1 or (int(major) == 1 and minor.isdecimal() and int(minor) > 0)
