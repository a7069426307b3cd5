"""What a call to the bridge raises.

    SipBridgeError
    └── PresenceError
        ├── Fault                 the bridge refused: status, fault_id, text, variables, detail, request_id
        │   ├── Unauthenticated   401: credentials are missing or wrong
        │   ├── ServiceFault      an SVC… fault: something is wrong with the request, or broke
        │   └── PolicyFault       a POL… fault: the request is well-formed and not allowed
        ├── Unreachable           no answer: refused, reset, timed out
        └── BadAnswer             an answer that is none of ours

Fault ids are those of Parlay X: `SVC0002` and its like name the part of the request that is at fault in their
variables, `POL0002` says that the presentity has not granted this.
"""

import json
from collections.abc import Mapping, Sequence

from sipbridge.errors import SipBridgeError


class PresenceError(SipBridgeError):
    """Root of what the SDK raises, beside `InvalidValue` for arguments that make no sense."""

    code = "client"


class Fault(PresenceError):
    """The bridge refused.

    status: of HTTP. fault_id: such as "SVC0002". text: with its variables filled in. variables: what fills
    them. detail: in plain words. request_id: finds the request in the bridge's log. retry_after: seconds, if
    it said so.
    """

    code = "client-fault"

    def __init__(
        self,
        status: int,
        fault_id: str,
        text: str,
        variables: Sequence[str] = (),
        *,
        detail: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {fault_id}: {text}" + (f" ({detail})" if detail else ""))
        self.status = status
        self.fault_id = fault_id
        self.text = text
        self.variables = tuple(variables)
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after


class Unauthenticated(Fault):
    """401: credentials are missing or wrong."""

    code = "client-unauthenticated"


class ServiceFault(Fault):
    """An SVC… fault: something is wrong with the request, or something broke."""

    code = "client-service-fault"


class PolicyFault(Fault):
    """A POL… fault: the request makes sense, and is not allowed."""

    code = "client-policy-fault"


class Unreachable(PresenceError):
    """There was no answer."""

    code = "client-unreachable"


class BadAnswer(PresenceError):
    """There was an answer, and it is none that this interface gives."""

    code = "client-bad-answer"


PLACES = 9
"""`%1` … `%9` in a text."""


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> PresenceError:
    """The error that a refusal stands for; both envelopes are read. headers: names in any case."""
    core = core_of(body)
    if core is None:
        return BadAnswer(f"HTTP {status} without a fault: {body[:200]!r}")
    variables = [str(v) for v in listed(core.get("variables"))]
    text = str(core.get("text", ""))
    for number, value in enumerate(variables[:PLACES], 1):
        text = text.replace(f"%{number}", value)
    fault_id = str(core.get("messageId", ""))
    named = {name.lower(): value for name, value in headers.items()}
    return kind_of(status, fault_id)(
        status,
        fault_id,
        text,
        variables,
        detail=str(core.get("detail", "")),
        request_id=str(core.get("requestId") or named.get("x-request-id", "")),
        retry_after=seconds(named.get("retry-after")),
    )


def kind_of(status: int, fault_id: str) -> type[Fault]:
    if status == 401:
        return Unauthenticated
    return {"SVC": ServiceFault, "POL": PolicyFault}.get(fault_id[:3], Fault)


def core_of(body: bytes) -> Mapping[str, object] | None:
    """The members of a fault, out of `error` (parlayx) or `requestError.….Exception` (oneapi)."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = value.get("error") if isinstance(value, dict) else None
    if found is None and isinstance(value, dict):
        wrapped = value.get("requestError")
        found = next(iter(wrapped.values()), None) if isinstance(wrapped, dict) else None
    return found if isinstance(found, dict) and "messageId" in found else None


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def seconds(text: str | None) -> float | None:
    """Retry-After as seconds; a date, which the bridge never sends, is passed over."""
    return float(text) if text and text.isascii() and text.isdecimal() else None
