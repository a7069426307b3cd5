"""What whoever drives the cores reports beside the cores' own indications.

`app/network.py` reads documents and hands news to the gateway; these values say how that went, so that all
counting happens in `Metrics.observe` and all logging in `IndicationLog.observe`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentRefused:
    """A document from the network had to be refused as a whole. `media_type` as the peer named it."""

    media_type: str
    reason: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class DocumentTolerated:
    """A document was read although it breaks rules; `codes` are those of its deviations."""

    codes: tuple[str, ...]
    trace: str = ""


@dataclass(frozen=True, slots=True)
class CallerUnknown:
    """A request by HTTP did not prove who calls.

    missing: it brought no credentials, as clients do that wait to be asked; reason: what was wrong with
    those it brought; user: whom it claims to be, as it was written; address, path: whence and whereto.
    """

    missing: bool
    reason: str
    user: str = ""
    address: str = ""
    path: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class NotifyHandled:
    """A NOTIFY is through: parsed, mapped, in the applications' queues. seconds: since it was received."""

    seconds: float
    trace: str = ""
