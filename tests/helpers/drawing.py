"""Settings of hypothesis for what tests draw: the same each time, however long each takes."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

bounded = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
unshrunk = settings(bounded, phases=[Phase.generate])
"""The same for what takes a solver or a compiler: to shrink an example would take minutes."""
