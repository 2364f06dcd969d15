"""lowp.error and its kin on arrays of a GPU: every measure has the CPU's bits."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not torch.cuda.is_available():
    pytest.skip("no GPU that PyTorch can use", allow_module_level=True)
pytest.importorskip("lowp._cuda", reason="this lowp was built without CUDA")

import lowp  # noqa: E402
from lowp import _device_measures  # noqa: E402

Tensor = Any
FORMATS = ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int8", "float16", "bfloat16"]
BLOCKS = ["mxfp4", "mxfp8_e4m3", "nvfp4", "fp8_tensor", "int8_row", "nf4"]


def values(n: int, dtype: Any = np.float32, *, special: bool = False) -> np.ndarray:
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n) * 10.0 ** rng.integers(-4, 3, n)
    x[rng.random(n) < 0.01] = 0
    if special:
        for v in (math.nan, math.inf, -math.inf, -0.0):
            x[rng.integers(0, n, max(1, n // 50))] = v
    return x.astype(dtype)


def assert_same(got: lowp.Error, wanted: lowp.Error) -> None:
    for f in fields(wanted):
        a, b = getattr(got, f.name), getattr(wanted, f.name)
        assert a == b or (math.isnan(a) and math.isnan(b)), (f.name, a, b)
    if wanted.histogram is None:
        assert got.histogram is None
    else:
        np.testing.assert_array_equal(got.histogram, wanted.histogram)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_errors_of_formats_are_the_cpus(name: str, special: bool) -> None:
    for n in (1, 100, 65_536, 200_001):
        for dtype in (np.float32, np.float64, np.float16):
            x = values(n, dtype, special=special)
            assert_same(lowp.error(torch.from_numpy(x).cuda(), name), lowp.error(x, name))


@pytest.mark.parametrize("name", BLOCKS)
def test_errors_of_block_formats_are_the_cpus(name: str) -> None:
    for special in (False, True):
        x = values(96 * 160, special=special).reshape(96, 160)
        for axis in (-1, 0):
            if name == "int8_row" and axis == 0:
                continue
            got = lowp.error(torch.from_numpy(x).cuda(), name, axis=axis)
            assert_same(got, lowp.error(x, name, axis=axis))


def test_errors_with_random_bits_are_the_cpus() -> None:
    x = values(150_000)
    options: dict[str, Any] = {"rounding": "stochastic_a", "seed": 3, "stream": 8}
    for name in ("float8_e4m3fn", "mxfp4"):
        got = lowp.error(torch.from_numpy(x).cuda(), name, **options)
        assert_same(got, lowp.error(x, name, **options))


def test_errors_of_given_values_are_the_cpus() -> None:
    x = values(70_000, special=True)
    q = lowp.quantize(x, "float8_e4m3fn")
    here = lowp.error(x, q)
    assert_same(lowp.error(torch.from_numpy(x).cuda(), torch.from_numpy(q).cuda()), here)
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    assert_same(lowp.error(cupy.asarray(x), cupy.asarray(q)), here)
    with pytest.raises(ValueError, match="shape"):
        lowp.error(torch.zeros(3, device="cuda"), torch.zeros(4, device="cuda"))
    with pytest.raises(TypeError, match="one place"):
        lowp.error(torch.zeros(3, device="cuda"), torch.zeros(3))


def test_strided_empty_and_bfloat16_tensors_are_measured() -> None:
    x = torch.randn(300, 200, generator=torch.Generator().manual_seed(2))
    assert_same(lowp.error(x.cuda().t(), "mxfp4"), lowp.error(x.t().numpy(), "mxfp4"))
    half = x.bfloat16()
    assert_same(lowp.error(half.cuda(), "mxfp4"), lowp.error(half.float().numpy(), "mxfp4"))
    assert_same(
        lowp.error(torch.zeros(0, device="cuda"), "float8_e4m3fn"),
        lowp.error(np.zeros(0, np.float32), "float8_e4m3fn"),
    )


def test_code_histograms_are_the_cpus() -> None:
    x = values(100_000, special=True)
    for name in ("float8_e4m3fn", "bfloat16", "mxfp4", "nf4"):
        there = lowp.code_histogram(torch.from_numpy(x).cuda(), name)
        np.testing.assert_array_equal(there, lowp.code_histogram(x, name))


def test_rows_blocks_and_chunks_are_left_to_the_cpu() -> None:
    x = torch.zeros(4, 32, device="cuda")
    with pytest.raises(TypeError, match="CPU"):
        lowp.error(x, "mxfp4", per="row")
    with pytest.raises(TypeError, match="as a whole"):
        lowp.Meter("mxfp4").update(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_amax_is_the_largest_magnitude(dtype: torch.dtype) -> None:
    x = torch.randn(64, 4096, generator=torch.Generator().manual_seed(3)).to(dtype)
    there = x.cuda()
    amax = _device_measures.amax
    assert torch.equal(amax(there).cpu(), x.abs().amax().reshape(1))
    assert torch.equal(amax(there, (1, 0)).cpu(), x.abs().amax(1))
    assert torch.equal(amax(there, (1, 32)).cpu(), x.abs().reshape(-1, 32).amax(1))
    assert torch.equal(amax(there, (1, 0), 0).cpu(), x.abs().amax(0))
    tiles = x.abs().reshape(4, 16, 256, 16).amax((1, 3)).reshape(-1)
    assert torch.equal(amax(there, (16, 16)).cpu(), tiles)
    there[3, 5] = float("-inf")
    assert amax(there).isinf().all()
    there[3, 6] = float("nan")
    assert amax(there).isnan().all()
