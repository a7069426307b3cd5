"""The fault tables are whole."""

import re
from collections.abc import Iterator

import orjson
import pytest

from sipbridge import errors
from sipbridge.rest.faults import (
    CLOSED_LIST,
    OPERATOR,
    REJECTED,
    RULES,
    TABLE,
    TEXTS,
    Envelope,
    Fault,
    Row,
    fault_of,
    filled,
    no_session,
    render,
    unauthenticated,
)


def tree(root: type[errors.SipBridgeError]) -> Iterator[type[errors.SipBridgeError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_every_error_class_has_a_row() -> None:
    assert {c.__name__ for c in tree(errors.SipBridgeError)} == {c.__name__ for c in TABLE}


@pytest.mark.parametrize("row", [*TABLE.values(), CLOSED_LIST, *RULES.values(), *REJECTED.values()])
def test_every_row_fills_the_places_of_its_text(row: Row) -> None:
    places = set(re.findall(r"%(\d)", TEXTS[row.id]))
    filled_by = {str(i) for i in range(1, len(row.variables) + 1)}
    assert places == filled_by or row is TABLE[errors.UnknownCorrelator]
    assert 400 <= row.status < 600


@pytest.mark.parametrize(
    ("error", "status", "ident", "variables"),
    [
        (errors.InvalidValue("x", part="count"), 400, "SVC0002", ("count",)),
        (
            errors.InvalidValue("x", part="metric", valid=("Day", "Year")),
            400,
            "SVC0003",
            ("metric", "Day, Year"),
        ),
        (errors.UnknownPresentity("x", part="presentity"), 400, "SVC0004", ("presentity",)),
        (errors.UnknownCorrelator("x", correlator="c"), 400, "SVC0002", ("correlator", "c")),
        (errors.CorrelatorInUse("c"), 409, "SVC0005", ("c", "reference.correlator")),
        (errors.AgainstPolicy("x", rule="unlimited"), 403, "POL0004", ()),
        (errors.AgainstPolicy("x", rule="count"), 403, "POL0005", ()),
        (errors.AgainstPolicy("x", rule="frequency"), 403, "POL0009", ()),
        (
            errors.AgainstPolicy("x", rule="group", part="presentity"),
            403,
            "POL0006",
            ("presentity",),
        ),
        (errors.AgainstPolicy("x", rule="other"), 403, "POL0001", ("other",)),
        (errors.TransactionTimeout("x"), 504, "SVC0001", ("timeout",)),
        (errors.RequestRejected(500, "Oops"), 502, "SVC0001", ("500",)),
        (errors.RequestRejected(403, "Forbidden"), 403, "POL0001", ("403",)),
        (errors.RequestRejected(404, "Not Found"), 400, "SVC0004", ("presentity",)),
        (errors.StoreUnavailable("x"), 503, "SVC0001", ("store-unavailable",)),
    ],
)
def test_errors_become_faults(
    error: errors.SipBridgeError, status: int, ident: str, variables: tuple[str, ...]
) -> None:
    fault = fault_of(error)
    assert (fault.status, fault.id, fault.variables) == (status, ident, variables)


def test_a_subclass_without_row_takes_its_ancestors() -> None:
    class Odd(errors.StoreUnavailable):
        code = "odd"

    assert fault_of(Odd("x")).status == 503


def test_retry_after_is_passed_on() -> None:
    fault = fault_of(errors.RequestRejected(503, "Service Unavailable", retry_after=17.4))
    assert fault.headers == ((b"retry-after", b"18"),)  # not a moment too early


def test_a_quota_says_when_to_come_back() -> None:
    fault = fault_of(errors.QuotaExceeded("contracts", "too many", retry_after=0.2))
    assert (fault.status, fault.id, fault.variables) == (429, "POL0001", ("contracts",))
    assert fault.headers == ((b"retry-after", b"1"),)


def test_a_general_exception_says_so() -> None:
    fault = no_session(404, "no such session").fault
    assert orjson.loads(render(fault, "t"))["error"]["type"] == "GeneralException"


def test_the_two_envelopes_hold_the_same() -> None:
    fault = Fault(400, "SVC0003", ("a", "b, c"), "why")
    core = {
        "messageId": "SVC0003",
        "text": "Invalid input value for message part %1, valid values are %2",
        "variables": ["a", "b, c"],
        "detail": "why",
        "requestId": "t",
    }
    assert orjson.loads(render(fault, "t"))["error"] == {
        "type": "org.csapi.schema.parlayx.common.v2_1.ServiceException",
        "message": "SVC0003: Invalid input value for message part a, valid values are b, c",
        **core,
    }
    oneapi = orjson.loads(render(fault, "t", Envelope.ONEAPI))
    assert oneapi == {"requestError": {"serviceException": core}}


def test_variables_fill_their_places() -> None:
    assert filled("%1 and %2", ("a", "b")) == "a and b"


def test_a_401_says_whose_credentials_would_do() -> None:
    assert "of an application" in unauthenticated(()).fault.detail
    assert "operator" in unauthenticated((), OPERATOR).fault.detail
