"""Many contacts for one request."""

from collections.abc import Coroutine

import pytest

from sipbridge.gateway.surveys import AT_A_TIME, Survey
from sipbridge.gateway.wording import Contact
from sipbridge.mapping.bems import UNKNOWN
from tests.gateway.fakes import run_now


async def look(contact: str) -> Contact:
    return Contact(contact, UNKNOWN)


def test_contacts_are_answered_together_in_the_order_asked() -> None:
    answers: list[list[Contact]] = []
    jobs: list[Coroutine[object, object, None]] = []
    names = [f"user{n}@example.com" for n in range(3 * AT_A_TIME)]
    Survey(names, look, answers.append, jobs.append).begin()
    assert len(jobs) == AT_A_TIME
    for job in reversed(jobs):
        assert answers == []
        run_now(job)
    (found,) = answers
    assert [contact.contact for contact in found] == names


def test_nobody_is_answered_too() -> None:
    answers: list[list[Contact]] = []
    Survey([], look, answers.append, run_now).begin()
    assert answers == [[]]


def test_an_error_of_ours_does_not_leave_the_request_open() -> None:
    answers: list[list[Contact]] = []

    async def broken(contact: str) -> Contact:
        raise RuntimeError(contact)

    with pytest.raises(RuntimeError):
        Survey(["a@b"], broken, answers.append, run_now).begin()
    assert answers == [[]]
