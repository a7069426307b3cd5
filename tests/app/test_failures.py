"""Failed requests as errors: what was answered, what was not, and what could not be sent."""

import pytest

from sipbridge.app.failures import failure
from sipbridge.errors import RequestRejected, SignallingError, TransactionTimeout, TransportFailed


def test_an_answer_keeps_its_status_and_the_time_it_asks_for() -> None:
    error = failure(503, "Busy", 30.0)
    assert isinstance(error, RequestRejected)
    assert (error.status, error.retry_after) == (503, 30.0)
    assert "Busy" in str(error)


@pytest.mark.parametrize(
    ("reason", "kind"), [("timeout", TransactionTimeout), ("transport", TransportFailed)]
)
def test_without_an_answer_the_reason_decides_and_each_destination_is_named(
    reason: str, kind: type[SignallingError]
) -> None:
    error = failure(None, reason, None, "192.0.2.7: refused")
    assert type(error) is kind
    assert "192.0.2.7: refused" in str(error)


@pytest.mark.parametrize("status", [401, 407])
def test_an_application_is_told_that_the_bridge_is_not_believed_and_nothing_of_the_server(
    status: int,
) -> None:
    error = failure(status, "Unauthorized", None, "udp:192.0.2.7:5060 (a realm)")
    assert isinstance(error, RequestRejected) and error.status == status
    assert "wants other credentials of the bridge" in str(error)
    assert "192.0.2.7" not in str(error) and "realm" not in str(error)
