"""What the tests of the SIP core share."""

import pytest

from tests.harness.pair import Pair


@pytest.fixture
def pair() -> Pair:
    """Alice and Bob, a wire and a clock."""
    return Pair()
