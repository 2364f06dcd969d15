"""Blocks give the same bits on any instruction set and thread count; randomness is of the index."""

from __future__ import annotations

import hashlib
from typing import Any

import lowp
import numpy as np
import pytest
from samples import STOCHASTIC, assert_same_bits
from test_threads_isa import run

Array = np.ndarray[Any, Any]

PRESETS = lowp.block_formats()
SHAPES = [
    (1,),
    (31,),
    (1023,),
    (1024,),
    (1025,),
    (2047,),
    (2049,),
    (33, 130),
    (130, 33),
    (3, 70, 41),
]
HUGE = (1 << 21) + 13
MORE = (
    "mxfp4/mse", "nvfp4/shrink", "mxfp8_e4m3/even", "mxfp6_e3m2/rceil", "mxfp4/three_quarters",
    "fp4_ue5m3_16/mean_abs", "int4/24/bfloat16/std", "mxfp4/1", "nvfp4/5/outer=row", "float16/32",
    "mxfp4/compat=torchao", "mxfp4/compat=te", "mxfp4/compat=microxcaling", "nvfp4/compat=te",
    "nvfp4/compat=model_optimizer", "mxfp4/compat=model_optimizer",
    "float8_e4m3fn/column/float32/amax", "float8_e4m3fn/tensor/float32/std",
)  # fmt: skip


def inputs(shape: Any, dtype: Any) -> Array:
    """Wide ranges, and now and then a zero of either sign, an infinity or a NaN."""
    rng = np.random.default_rng(list(shape) if isinstance(shape, tuple) else [shape])
    x = np.asarray(rng.normal(size=shape) * np.exp2(rng.integers(-12, 12, shape)), dtype)
    at = rng.integers(0, max(x.size, 1), x.size // 300 + 2)
    x.reshape(-1)[at] = rng.choice(np.array([0, -0.0, np.inf, np.nan], dtype), len(at))
    return x


def results(x: Array, name: str, axis: int = -1, **how: Any) -> bytes:
    """All that the verbs make of x, NaNs made one."""
    f = lowp.block_format(name)
    y = lowp.quantize(x, f, axis=axis, **how)
    parts = [np.where(np.isnan(y), np.array(np.nan, y.dtype), y).tobytes()]
    tensor = lowp.encode(x, f, axis=axis, nan=0, **how)
    z = tensor.decode(threads=how.get("threads"))
    parts += [tensor.codes.tobytes(), tensor.scales.tobytes(), tensor.outer_scale.tobytes()]
    parts.append(np.where(np.isnan(z), np.array(np.nan, z.dtype), z).tobytes())
    return b"".join(parts)


def small_digest() -> str:
    """Every preset, rounding and more over shapes at the borders of chunks and of registers."""
    h = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        for shape in SHAPES:
            x = inputs(shape, dtype)
            for name in (*PRESETS, *MORE):
                f = lowp.block_format(name)
                if (isinstance(f.shape, tuple) or f.shape == "column") and len(shape) < 2:
                    continue
                h.update(results(x, name))
                if not isinstance(f.shape, tuple) and f.shape != "column" and len(shape) > 1:
                    h.update(results(x, name, axis=0))
        x = inputs((1025,), dtype)
        for name in ("mxfp4", "nvfp4", "mxint8", "fp8_row", "nf4", "mxfp6_e2m3/7"):
            for rounding in lowp.ROUNDINGS:
                how = {"rounding": rounding, "random_bits": 9, "seed": 5, "stream": 6}
                h.update(results(x, name, **how))
    return h.hexdigest()


def large_digest() -> str:
    h = hashlib.sha256()
    x = inputs(HUGE, np.float32)
    for name in (
        "mxfp4",
        "nvfp4",
        "fp8_tensor",
        "int8_row",
        "nf4",
        "mxfp6_e3m2",
        "float8_e4m3fn/tensor/float32/std",
    ):
        h.update(results(x, name))
    for name in ("mxfp4", "nvfp4"):
        h.update(results(x, name, rounding="stochastic_b", seed=7))
    for name in ("nvfp4_16x16", "deepseek_128x128", "float8_e4m3fn/column/float32/amax"):
        h.update(results(x[: 1023 * 2049].reshape(1023, 2049), name))
    return h.hexdigest()


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return [small_digest(), large_digest()]


@pytest.mark.parametrize("isa", lowp.isas())
def test_every_instruction_set_gives_the_same_blocks(isa: str, expected: list[str]) -> None:
    program = (
        "import lowp, test_block_bits as t; print(lowp.isa(), t.small_digest(), t.large_digest())"
    )
    done = run(program, LOWP_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, *expected]


@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", *STOCHASTIC])
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "fp8_tensor", "fp8_row", "mxfp6_e2m3/100"])
def test_any_number_of_threads_gives_the_same_blocks(name: str, rounding: str) -> None:
    for size in (
        (1024, 2048, HUGE) if rounding in ("nearest_ties_to_even", "stochastic_a") else (70001,)
    ):
        x = inputs(size, np.float32)
        how = {"rounding": rounding, "seed": 3}
        want = results(x, name, threads=1, **how)
        for threads in (2, 3, 7):
            assert results(x, name, threads=threads, **how) == want


TILES = (
    "nvfp4_16x16", "mxfp4/128x128", "nvfp4/tensor", "mxfp4/mse", "fp8_tensor/std", "nvfp4/7x1024",
    "mxfp8_e4m3/mean_abs/tensor",
)  # fmt: skip


@pytest.mark.parametrize("name", TILES)
def test_threads_share_tiles_and_searches_alike(name: str) -> None:
    x = inputs((300, 2049), np.float32)
    want = results(x, name, threads=1)
    for threads in (2, 3, 7):
        assert results(x, name, threads=threads) == want


# ---- randomness -------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", STOCHASTIC)
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxfp4/7", "fp8_tensor", "nf4", "mxfp4/4x8"])
def test_the_word_of_an_element_is_that_of_its_index_in_c_order(name: str, rounding: str) -> None:
    x = np.random.default_rng(1).normal(size=(40, 96)).astype(np.float32)
    for bits in (32, 5):
        words = lowp.random_bits(x.size, seed=8, stream=9).reshape(x.shape) >> np.uint32(32 - bits)
        how = {"rounding": rounding, "random_bits": bits}
        y = lowp.quantize(x, name, seed=8, stream=9, **how)
        assert_same_bits(lowp.quantize(x, name, seed=8, stream=9, **how), y)
        assert_same_bits(lowp.quantize(x, name, random=words, **how), y)
        assert_same_bits(lowp.encode(x, name, random=words, **how).decode(), y)
        assert not np.array_equal(lowp.quantize(x, name, seed=10, stream=9, **how), y)
        if lowp.block_format(name).shape in (32, 16):
            part = lowp.quantize(x[24:], lowp.block_format(name).replace(outer="none"),
                                 random=words[24:], **how)  # fmt: skip
            whole = lowp.quantize(
                x, lowp.block_format(name).replace(outer="none"), random=words, **how
            )
            assert_same_bits(part, np.ascontiguousarray(whole[24:]))
        along = lowp.quantize(x, name, axis=0, random=words, **how) if "x" not in name[4:] else y
        assert along.shape == x.shape


def test_the_axis_of_blocks_does_not_move_the_words() -> None:
    x = np.random.default_rng(2).normal(size=(64, 32)).astype(np.float32)
    words = lowp.random_bits(x.size, seed=1).reshape(x.shape)
    along = lowp.quantize(x, "mxfp4", axis=0, rounding="stochastic_a", seed=1)
    turned = lowp.quantize(x.T, "mxfp4", rounding="stochastic_a", random=words.T)
    assert_same_bits(along, np.ascontiguousarray(turned.T))


@pytest.mark.parametrize("rounding", ["stochastic_a", "stochastic_b", "stochastic_c"])
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxint8"])
def test_stochastic_rounding_is_unbiased(name: str, rounding: str) -> None:
    x = np.random.default_rng(3).normal(size=128).astype(np.float32)
    # Scales that are rounded down clip what lies above M: leave nothing there.
    f = lowp.block_format(name if name == "nvfp4" else f"{name}/rceil")
    f = f.replace(scale_rounding="toward_positive")
    runs = 4000
    many = np.broadcast_to(x, (runs, 128))
    y = lowp.quantize(np.ascontiguousarray(many), f, rounding=rounding, seed=4).astype(np.float64)
    gap = y.max(0) - y.min(0)
    # Each mean is off by more than five standard deviations of a coin with a chance below 1e-6.
    assert (np.abs(y.mean(0) - x) <= 5 * gap / 2 / np.sqrt(runs) + 1e-6 * np.abs(x)).all()
    assert (gap > 0).mean() > 0.9


def test_scales_round_stochastically_by_words_of_their_own() -> None:
    x = np.full((4096, 16), 1.1, np.float32)
    f = lowp.BlockFormat(
        "float4_e2m1fn", "float8_e4m3fn", 16, "amax", scale_rounding="stochastic_a"
    )
    scales = lowp.encode(x, f, seed=5).scale_values()[:, 0]
    ideal = float(np.float32(1.1) / np.float32(6))
    low, high = np.unique(scales)
    assert low < ideal < high
    assert abs(scales.mean() - ideal) < 5 * (high - low) / 2 / 64
    words = lowp.random_bits(4096, seed=5, stream=1 << 63)
    want = lowp.quantize(np.full(4096, np.float32(ideal)), "float8_e4m3fn", rounding="stochastic_a",
                         random=words)  # fmt: skip
    assert np.array_equal(scales, want)
    assert np.array_equal(lowp.encode(x, f, seed=5, threads=3).scale_values()[:, 0], scales)
