"""Settings of the test run: hypothesis without a clock, so that a slow machine fails no test.

`--hypothesis-profile=random` draws other examples in every run.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "random",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# The same examples in every run: a failure is never a matter of luck.
settings.register_profile("lowp", settings.get_profile("random"), derandomize=True)
settings.load_profile("lowp")


@pytest.fixture
def plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantize tensors of the CPU as those of a device without kernels."""
    at: Any = importlib.import_module("lowp.torch._quantize")
    host = at._quantize_host

    def on_device(x: Any, format: str, axis: int, scales: Any, options: dict[str, Any]) -> Any:
        with monkeypatch.context() as inner:  # what the plain path does not know is the host's
            inner.setattr(at, "_quantize_host", host)
            return at._on_device(x, at.parse(format), axis=axis, **options)

    monkeypatch.setattr(at, "_quantize_host", on_device)
