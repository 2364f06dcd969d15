"""Arrays of float16 and bfloat16 give the bits that the same values as float32 give."""

from __future__ import annotations

import tracemalloc
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from lowp import _halves

bfloat16 = np.dtype(ml_dtypes.bfloat16)
HALVES = [np.dtype(np.float16), bfloat16]
FORMATS = [
    "float8_e4m3fn",
    "float8_e5m2",
    "float4_e2m1fn",
    "float8_e4m3fnuz",
    "int8",
    "e4m7",
    "e3m2",
]
BLOCKS = [
    "mxfp4",
    "mxfp8_e4m3",
    "nvfp4",
    "nvfp4/rounding=stochastic_a",
    "float8_e4m3fn/row/float32/amax",
    "float8_e4m3fn/16x16/float32/amax",
    "int8/column/float32/amax",
    "float8_e5m2/tensor/float32/amax",
]


def every_half(dtype: np.dtype[Any]) -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(dtype)


def numbers(shape: Any, dtype: np.dtype[Any]) -> np.ndarray:
    return (np.random.default_rng(2).normal(size=shape) * 3).astype(dtype)


def codes_of(y: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The codes of float32 values that a half holds, NaN as the quiet one."""
    return np.asarray(lowp.encode(np.asarray(y, np.float32), str(dtype)))


def assert_halves(got: Any, wanted: np.ndarray) -> None:
    """`got` holds the values of a float32 array."""
    array = np.asarray(got)
    assert array.shape == wanted.shape
    assert np.array_equal(array.view(np.uint16), codes_of(wanted, array.dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
def test_every_half_is_quantized_as_its_value_in_float32(
    dtype: np.dtype[Any], rounding: str
) -> None:
    x = every_half(dtype)
    wide = np.asarray(lowp.decode(x.view(np.uint16), str(dtype)))
    for name in FORMATS:
        for saturation in lowp.SATURATIONS:
            options: dict[str, Any] = {"rounding": rounding, "saturation": saturation, "seed": 5}
            assert_halves(lowp.quantize(x, name, **options), lowp.quantize(wide, name, **options))
        codes = lowp.encode(x, name, rounding=rounding, nan=1)
        assert np.array_equal(codes, lowp.encode(wide, name, rounding=rounding, nan=1))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_every_code_is_decoded_to_the_half_of_its_value(dtype: np.dtype[Any], name: str) -> None:
    bits = lowp.format(name).bits
    for code_dtype in (np.uint8, np.uint16, np.uint64)[bits > 8 :]:
        codes = np.arange(1 << bits).astype(code_dtype)
        assert_halves(lowp.decode(codes, name, dtype=dtype), np.asarray(lowp.decode(codes, name)))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_halves_are_those_of_float32(dtype: np.dtype[Any], name: str) -> None:
    x = numbers((3, 40, 96), dtype)
    wide = x.astype(np.float32)
    y = lowp.quantize(x, name, seed=3, threads=2)
    assert_halves(y, lowp.quantize(wide, name, seed=3))
    ours, theirs = lowp.encode(x, name, seed=3), lowp.encode(wide, name, seed=3)
    assert np.array_equal(ours.codes, theirs.codes)
    assert np.array_equal(ours.scales, theirs.scales)
    assert np.array_equal(ours.outer_scale, theirs.outer_scale)
    assert ours.dtype == dtype
    assert_halves(ours.decode(), theirs.decode())
    if "column" not in name and "x" not in name:
        assert_halves(lowp.quantize(x, name, axis=0), lowp.quantize(wide, name, axis=0))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_scales_of_the_caller_see_the_blocks_of_halves_as_float32(dtype: np.dtype[Any]) -> None:
    x = numbers((4, 64), dtype)
    seen = []

    def rule(blocks: np.ndarray) -> np.ndarray:
        seen.append(blocks.dtype)
        return np.abs(blocks).max(axis=1) / 6

    assert_halves(
        lowp.quantize(x, "mxfp4", scales=rule),
        lowp.quantize(x.astype(np.float32), "mxfp4", scales=rule),
    )
    assert seen == [np.float32, np.float32]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4"])
def test_results_go_to_out_of_any_strides_or_place(dtype: np.dtype[Any], name: str) -> None:
    x = numbers((8, 64), dtype)
    wanted = np.asarray(lowp.quantize(x, name)).view(np.uint16)
    for out in (
        np.empty_like(x),
        x.copy(),
        np.empty((64, 8), dtype).T,
        np.empty((8, 128), dtype)[:, ::2],
    ):
        source = out if out.base is None and np.array_equal(out, x) else x
        assert lowp.quantize(source, name, out=out) is out
        assert np.array_equal(np.ascontiguousarray(out).view(np.uint16), wanted)
    memory = np.concatenate([x.ravel(), x.ravel()[:64]])
    shifted = memory[64:].reshape(8, 64)
    lowp.quantize(memory[:512].reshape(8, 64).copy(), name, out=shifted)
    assert np.array_equal(shifted.view(np.uint16), wanted)
    memory[:512] = x.ravel()
    lowp.quantize(memory[:512].reshape(8, 64), name, out=memory[64:].reshape(8, 64))
    assert np.array_equal(memory[64:].reshape(8, 64).view(np.uint16), wanted)


def test_random_bits_go_on_across_panels_and_threads() -> None:
    x = numbers(30_001, bfloat16)
    wide = x.astype(np.float32)
    for threads in (1, 2, 7):
        y = lowp.quantize(x, "float8_e4m3fn", rounding="stochastic_a", seed=9, threads=threads)
        assert_halves(y, lowp.quantize(wide, "float8_e4m3fn", rounding="stochastic_a", seed=9))
    random = np.random.default_rng(4).integers(0, 8, x.shape)
    options: dict[str, Any] = {"rounding": "stochastic_b", "random_bits": 3, "random": random}
    assert_halves(
        lowp.quantize(x, "float8_e5m2", **options), lowp.quantize(wide, "float8_e5m2", **options)
    )


def test_no_array_of_float32_is_made() -> None:
    x = numbers(1 << 20, bfloat16)
    for name in ("float8_e4m3fn", "nvfp4"):
        lowp.quantize(x, name)  # imports and the like
        tracemalloc.start()
        lowp.quantize(x, name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.1 * x.nbytes


# ---- codes of other libraries -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ["float8_e4m3fn", "nvfp4"])
def test_codes_of_halves_are_worked_on_as_the_halves(dtype: np.dtype[Any], name: str) -> None:
    x = numbers((16, 64), dtype)
    codes = x.view(np.uint16)
    wanted = np.asarray(lowp.quantize(x, name, axis=0)).view(np.uint16)
    assert np.array_equal(_halves.quantize(codes, str(dtype), name, axis=0), wanted)
    strided = np.repeat(codes, 2, axis=1)[:, ::2]
    assert np.array_equal(_halves.quantize(strided, str(dtype), name, axis=0), wanted)
    same = codes.copy()
    assert _halves.quantize(same, lowp.format(str(dtype)), name, axis=0, out=same) is same
    assert np.array_equal(same, wanted)
    encoded = _halves.encode(codes, str(dtype), name)
    back = _halves.decode(encoded, str(dtype), None if name == "nvfp4" else name)
    assert np.array_equal(back, np.asarray(lowp.quantize(x, name)).view(np.uint16))
    out = np.empty_like(codes)
    assert _halves.decode(encoded, str(dtype), None if name == "nvfp4" else name, out=out) is out
    assert np.array_equal(out, back)


def test_what_is_no_array_of_codes_of_halves_is_refused() -> None:
    codes = np.zeros(4, np.uint16)
    with pytest.raises(TypeError, match="array of uint16; got float16"):
        _halves.quantize(codes.view(np.float16), "float16", "float8_e4m3fn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="half must be float16 or bfloat16; got float8_e5m2"):
        _halves.quantize(codes, "float8_e5m2", "float4_e2m1fn")
    with pytest.raises(ValueError, match="float16 does not hold every value of bfloat16"):
        _halves.quantize(codes, "float16", "bfloat16")
    with pytest.raises(ValueError, match="float16 does not hold every element of bfloat16/16"):
        _halves.quantize(codes, "float16", "bfloat16/16")
    with pytest.raises(ValueError, match="bfloat16 does not hold every value of float16"):
        _halves.decode(codes, "bfloat16", "float16")
    with pytest.raises(ValueError, match="out must have shape"):
        _halves.quantize(codes, "float16", "float8_e4m3fn", out=codes[:2])
    with pytest.raises(TypeError, match="'sed' is none of the options"):
        _halves.quantize(codes, "float16", "float8_e4m3fn", sed=1)
    with pytest.raises(ValueError, match="the input has NaN"):
        _halves.encode(np.full(3, 0x7E00, np.uint16), "float16", "float4_e2m1fn")


def test_a_format_holds_another_if_it_has_its_digits_and_range() -> None:
    half, brain = lowp.format("float16"), lowp.format("bfloat16")
    assert half.holds(lowp.format("float8_e5m2"))
    assert half.holds(half)
    assert not half.holds(brain)
    assert not brain.holds(half)
    assert brain.holds(lowp.format("float8_e8m0fnu"))
    assert not half.holds(lowp.format("float8_e8m0fnu"))
