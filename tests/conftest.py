"""What all tests share.

Hypothesis judges what is computed, not how long a busy machine took for it: what hangs is ended by pytest's
time limit, and what must be fast has a benchmark.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long bytes are named by their argument: what is packed holds the time, and names must not change."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None
