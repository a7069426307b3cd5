"""Failed requests to presence servers, as errors for whoever waits."""

from sipbridge.errors import RequestRejected, SignallingError, TransactionTimeout, TransportFailed

WHO_WE_ARE = (
    "the presence server wants other credentials of the bridge for this application; "
    "the log of the bridge says which"
)
"""Not more: the application cannot change them, and they are not its affair."""


def failure(
    status: int | None, reason: str, retry_after: float | None, tried: str = ""
) -> SignallingError:
    """A failed request as one typed error. tried: what became of each destination."""
    story = f": {tried}" if tried else ""
    if status in (401, 407):
        story = f": {WHO_WE_ARE}"
    if status is not None:
        return RequestRejected(status, f"{reason}{story}", retry_after)
    if reason == "timeout":
        return TransactionTimeout(f"the presence server did not answer{story}")
    return TransportFailed(f"{reason or 'the presence server cannot be reached'}{story}")
