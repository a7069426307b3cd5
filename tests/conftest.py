"""What all tests share.

Hypothesis judges what is computed, not how long a busy machine took for it: what hangs is ended by pytest's
time limit, and what must be fast has a benchmark.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
