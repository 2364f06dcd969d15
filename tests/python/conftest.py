"""Settings of the test run: hypothesis without a clock, so that a slow machine fails no test.

`--hypothesis-profile=random` draws other examples in every run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
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
    host = at.quantize_host

    def on_device(x: Any, found: Any, axis: int, scales: Any, options: dict[str, Any]) -> Any:
        with monkeypatch.context() as inner:  # what the plain path does not know is the host's
            inner.setattr(at, "quantize_host", host)
            return at._on_device(x, found, axis=axis, **options)

    monkeypatch.setattr(at, "quantize_host", on_device)


@pytest.fixture(params=["cpu", "cuda"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call a function with arrays as they are, or, where a GPU is, with copies of them there."""
    if request.param == "cpu":
        return lambda function, *arrays, **options: function(*arrays, **options)
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch can use")
    pytest.importorskip("lowp._cuda", reason="this lowp was built without CUDA")

    def there(x: Any) -> Any:
        return torch.from_numpy(x).cuda() if isinstance(x, np.ndarray) else x

    def on_gpu(function: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        result = function(*map(there, arrays), **{k: there(v) for k, v in options.items()})
        assert result.is_cuda
        return result.cpu().numpy()

    return on_gpu
