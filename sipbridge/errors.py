"""The error tree.

    SipBridgeError                    code
    ├── ConfigurationError            full key, what was expected
    ├── ProtocolError                 status_hint; never raised itself
    │   ├── LocalProtocolError        our caller asked for the illegal
    │   └── RemoteProtocolError       the peer sent it
    │       ├── ParseError            which field, which offset
    │       └── DocumentError         which element, which line
    │           ├── PatchError        which word of RFC 5261
    │           └── FilterError       what of a filter is not served
    ├── SignallingError               talking to the presence server failed
    │   ├── TransactionTimeout
    │   ├── TransportFailed
    │   └── RequestRejected           status, reason, retry_after
    │       └── NotAList              a subscription to a list was none
    ├── GatewayError                  the operation is refused
    │   ├── UnknownPresentity  UnknownWatcher  UnknownCorrelator
    │   ├── UnknownApplication CorrelatorInUse  InvalidValue
    │   ├── InvalidGroup              which group
    │   ├── NotAuthorized
    │   ├── NotEnforceable            the decision would change nothing
    │   ├── SessionOver  ActionPending
    │   ├── DependencyFailed  DependsOnItself  UnknownDependency
    │   ├── AgainstPolicy             which rule of the operator
    │   └── QuotaExceeded             which quota, when to come back
    └── StoreError                    StoreUnavailable, ConcurrentChange

The type says whose fault it is. Inside the program an error rises untouched; only the edges translate:
`rest/faults.py` to an HTTP status and a fault body, `sip/user_agent.py` to a final response. Each class
has a stable `code` for logs and metrics.
"""


class SipBridgeError(Exception):
    """Root of everything this package raises on purpose."""

    code = "error"


class ConfigurationError(SipBridgeError):
    """A configuration key is missing, unknown or wrong.

    `key` is the full dotted key, `expected` says what would be right.
    """

    code = "configuration"

    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"{key}: {expected}")
        self.key = key
        self.expected = expected


class ProtocolError(SipBridgeError):
    """Somebody broke a protocol; `status_hint` is the SIP status that says so (None: stay silent)."""

    code = "protocol"
    status_hint: int | None = 400

    def __init__(self, message: str, *, status_hint: int | None = None) -> None:
        super().__init__(message)
        if status_hint is not None:
            self.status_hint = status_hint


class LocalProtocolError(ProtocolError):
    """Our own caller asked for something the protocol forbids."""

    code = "local-protocol"
    status_hint = 500


class RemoteProtocolError(ProtocolError):
    """The peer sent something the RFC forbids."""

    code = "remote-protocol"


class ParseError(RemoteProtocolError):
    """Text or bytes do not follow a grammar. `field` names the part, `offset` counts from its start."""

    code = "parse"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        offset: int | None = None,
        status_hint: int | None = None,
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message, status_hint=status_hint)
        self.field = field
        self.offset = offset


class DocumentError(RemoteProtocolError):
    """A document has to be refused as a whole. `path` names the element, `line` counts from 1."""

    code = "document"
    status_hint = 400

    def __init__(self, message: str, *, path: str = "", line: int | None = None) -> None:
        where = f" ({path}, line {line})" if path and line else f" (line {line})" if line else ""
        super().__init__(message + where)
        self.reason = message
        self.path = path
        self.line = line


class PatchError(DocumentError):
    """A partial document does not fit what it is about. `fault` is the word of RFC 5261 §5.1."""

    code = "patch"

    def __init__(self, message: str, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class FilterError(DocumentError):
    """An event filter asks for what we do not serve (RFC 4660 §5.2)."""

    code = "filter"
    status_hint = 488


class SignallingError(SipBridgeError):
    """Talking to the presence server failed."""

    code = "signalling"


class TransactionTimeout(SignallingError):
    """No final response within 64*T1 (RFC 3261 §17.1.2.2, timer F)."""

    code = "timeout"


class TransportFailed(SignallingError):
    """The request could not be handed to the network."""

    code = "transport"


class RequestRejected(SignallingError):
    """The peer answered with a final response other than 2xx. `retry_after` in seconds."""

    code = "rejected"

    def __init__(self, status: int, reason: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class NotAList(RequestRejected):
    """The peer knows no list there: it refused, or took the subscription for one to a single resource."""

    code = "not-a-list"


class GatewayError(SipBridgeError):
    """A gateway operation is refused. `part` names the part of the input that is at fault."""

    code = "gateway"

    def __init__(self, message: str, *, part: str = "") -> None:
        super().__init__(message)
        self.part = part


class UnknownPresentity(GatewayError):
    """No such presentity here, or its domain is not ours."""

    code = "unknown-presentity"


class UnknownWatcher(GatewayError):
    """The presentity has never seen this watcher."""

    code = "unknown-watcher"


class UnknownCorrelator(GatewayError):
    """The application has no live notification under this correlator."""

    code = "unknown-correlator"

    def __init__(self, message: str, *, part: str = "correlator", correlator: str = "") -> None:
        super().__init__(message, part=part)
        self.correlator = correlator


class UnknownApplication(GatewayError):
    """No application has this id."""

    code = "unknown-application"


class CorrelatorInUse(GatewayError):
    """The application has a live notification under this correlator already."""

    code = "correlator-in-use"

    def __init__(self, correlator: str, *, part: str = "reference.correlator") -> None:
        super().__init__(f"correlator {correlator} is in use", part=part)
        self.correlator = correlator


class InvalidValue(GatewayError):
    """A value makes no sense. `valid` lists what would, where the list is closed."""

    code = "invalid-value"

    def __init__(self, message: str, *, part: str, valid: tuple[str, ...] = ()) -> None:
        super().__init__(message, part=part)
        self.valid = valid


class NotAuthorized(GatewayError):
    """The presentity, or a policy, has not granted this."""

    code = "not-authorized"


class AgainstPolicy(GatewayError):
    """The operator's limits do not allow this. `rule` says which, in one word such as "count" or "group"."""

    code = "against-policy"

    def __init__(self, message: str, *, rule: str, part: str = "") -> None:
        super().__init__(message, part=part)
        self.rule = rule


class NotEnforceable(GatewayError):
    """A decision that would bind nobody: the watcher is served by a presence server that does not ask us."""

    code = "not-enforceable-at-presence-server"


class InvalidGroup(GatewayError):
    """A group that is none: it has no members."""

    code = "invalid-group"

    def __init__(self, group: str, message: str = "", *, part: str = "presentity") -> None:
        super().__init__(message or f"{group} has no members", part=part)
        self.group = group


class SessionOver(GatewayError):
    """There is no such session, or it has ended."""

    code = "session-over"


class ActionPending(GatewayError):
    """The same is in progress already."""

    code = "action-pending"


class DependencyFailed(GatewayError):
    """A request that this one depends on has failed, so it was not performed."""

    code = "dependency-failed"


class DependsOnItself(GatewayError):
    """A request depends on itself, at once or round several corners."""

    code = "depends-on-itself"


class UnknownDependency(GatewayError):
    """A request depends on one that is not in its batch."""

    code = "unknown-dependency"


class QuotaExceeded(GatewayError):
    """The application has, or asks, too much for the moment. `retry_after` in seconds."""

    code = "quota"

    def __init__(self, quota: str, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.quota = quota
        self.retry_after = retry_after


class StoreError(SipBridgeError):
    """The store could not do what it was asked."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store cannot be reached or written."""

    code = "store-unavailable"


class ConcurrentChange(StoreError):
    """Somebody else changed the row meanwhile."""

    code = "concurrent-change"
