"""Settings of the test run: hypothesis without a clock, so that a slow machine fails no test.

`--hypothesis-profile=random` draws other examples in every run.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "random",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# The same examples in every run: a failure is never a matter of luck.
settings.register_profile("lowp", settings.get_profile("random"), derandomize=True)
settings.load_profile("lowp")
