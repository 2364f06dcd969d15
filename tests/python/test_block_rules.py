"""Scale rules against their definition in exact arithmetic, at every exponent of the carrier."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import blocks_oracle as oracle
import lowp
import numpy as np
import pytest
from samples import assert_same, neighbours

POWERS = ("floor", "ceil", "even", "rceil")
ELEMENTS = (
    "float4_e2m1fn",
    "float8_e4m3fn",
    "float8_e5m2",
    "float6_e3m2fn",
    "float6_e2m3fn",
    "q1.6",
    "e0m3",
)
BINADES = {np.float32: range(-149, 128), np.float64: range(-1074, 1024, 3)}


def statistics_of(r: oracle.Rule, dtype: Any) -> np.ndarray[Any, Any]:
    """In each binade: its ends, M's significand, where `even` steps up, and their neighbours."""
    step = 2 - Fraction(1, 2 ** (r.top_bits + 1))
    significands = (1.0, float(Fraction(r.max) / Fraction(2) ** r.emax), float(step))
    points = [math.ldexp(s, e) for e in BINADES[dtype] for s in significands]
    x = np.unique(neighbours(np.array(points), dtype))
    return np.ascontiguousarray(x[np.isfinite(x) & (x > 0)])


def ideal_bytes(x: Any, kind: str, r: oracle.Rule) -> list[int]:
    """The E8M0 bytes of exact ideal scales, within the format's limits."""
    exponents = [
        oracle.floor_log2(oracle.power_of_two(Fraction(float(t)), kind, r)) for t in x.tolist()
    ]
    return [min(max(e, -127), 127) + 127 for e in exponents]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("kind", POWERS)
def test_powers_of_two_are_exact_in_every_binade(kind: str, element: str, dtype: Any) -> None:
    f = lowp.block_format(f"{element}/1/{kind}")
    x = statistics_of(oracle.rule_of(f), dtype)
    want = np.array(ideal_bytes(x, kind, oracle.rule_of(f)), np.uint8)
    got = lowp.encode(x, f).scales
    wrong = np.flatnonzero(got != want)
    assert not wrong.size, [(float(x[i]).hex(), got[i], want[i]) for i in wrong[:5]]
    # The sign does not matter, nor where in a block the largest stands, nor how long blocks are.
    for width in (5, 32):
        blocks = np.zeros((len(x), width), dtype)
        blocks[np.arange(len(x)), np.arange(len(x)) % width] = np.where(
            np.arange(len(x)) % 2, x, -x
        )
        assert np.array_equal(lowp.encode(blocks, f.replace(shape=width)).scales[:, 0], want)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("kind", POWERS)
def test_values_under_powers_of_two_are_exact_in_every_binade(kind: str, element: str) -> None:
    f = lowp.block_format(f"{element}/2/{kind}")
    x = statistics_of(oracle.rule_of(f), np.float32)[::3]
    blocks = np.stack([x, x * np.float32(-0.34375)], axis=1)
    scales, values = oracle.quantized_rows(blocks, f)
    assert_same(lowp.quantize(blocks, f), values, blocks)
    assert_same(lowp.encode(blocks, f).scale_values().ravel(), scales)


GOLDEN = {
    "float4_e2m1fn": {
        3: (126, 127, 126, 126), 3.5: (126, 127, 127, 127), 5: (127, 128, 127, 127),
        6: (127, 128, 127, 127), 6.0001: (127, 128, 127, 128), 7: (127, 128, 128, 128),
        448: (133, 134, 134, 134), 449: (133, 134, 134, 134), 500: (133, 134, 134, 134),
    },
    "float8_e4m3fn": {
        3: (120, 121, 120, 120), 3.5: (120, 121, 120, 120), 5: (121, 122, 121, 121),
        6: (121, 122, 121, 121), 7: (121, 122, 121, 121), 448: (127, 128, 127, 127),
        449: (127, 128, 127, 128), 500: (127, 128, 128, 128),
    },
}  # fmt: skip


@pytest.mark.parametrize("element", GOLDEN)
def test_scale_bytes_are_the_golden_ones(element: str) -> None:
    for amax, want in GOLDEN[element].items():
        x = np.full(32, 0.25, np.float32)
        x[7] = -amax
        got = [int(lowp.encode(x, f"{element}/32/{kind}").scales[0]) for kind in POWERS]
        assert tuple(got) == want, amax


# ---- scales that are no power of two ----------------------------------------------------------

SCALES = ("float8_e8m0fnu", "float8_e4m3fn", "ue5m3", "ue4m3", "bfloat16", "float32")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("element", ["float4_e2m1fn", "float8_e4m3fn", "int4", "e0m3"])
def test_amax_over_m_is_rounded_into_the_scale_format(element: str, scale: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    powers = rng.integers(-30, 30, (24, 1))
    x = (rng.normal(size=(24, 16)) * np.exp2(powers)).astype(dtype)
    for rounding in ("nearest_ties_to_even", "toward_positive", "toward_zero"):
        f = lowp.BlockFormat(element, scale, 16, "amax", scale_rounding=rounding)
        scales, values = oracle.quantized_rows(x, f)
        tensor = lowp.encode(x, f)
        assert_same(tensor.scale_values().ravel(), scales)
        assert_same(tensor.decode(), values, x)
        assert_same(lowp.quantize(x, f), values, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["mean_abs", "std", "three_quarters"])
@pytest.mark.parametrize("scale", ["float8_e8m0fnu", "float8_e4m3fn", "float32"])
def test_means_and_gains_follow_their_definition(scale: str, rule: str, dtype: Any) -> None:
    # Few bits, so that sums of magnitudes and of squares are exact in any order.
    x = (np.random.default_rng(4).integers(-999, 999, (16, 48)) / 128).astype(dtype)
    x[3] = 0
    f = lowp.block_format(f"float4_e2m1fn/16/{scale}/{rule}")
    scales, values = oracle.quantized_rows(x, f)
    assert_same(lowp.encode(x, f).scale_values().ravel(), scales)
    assert_same(lowp.quantize(x, f), values, x)


def test_three_quarters_divides_by_three_quarters_of_the_floor_scale() -> None:
    x = np.random.default_rng(5).normal(size=(8, 32))
    floor, gained = lowp.encode(x, "mxfp4"), lowp.encode(x, "mxfp4/three_quarters")
    assert np.array_equal(floor.scales, gained.scales)
    wanted = lowp.quantize(x, "mxfp4", scales=floor.scale_values()) * 0
    for row, scale in enumerate(floor.scale_values()[:, 0] * (4.0 / 3)):
        wanted[row] = lowp.quantize(x[row] / scale, "float4_e2m1fn", saturation="finite") * scale
    assert_same(gained.decode(), wanted)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 3.0, 0.1, 1e-3, 448.0])
def test_a_fixed_scale_is_that_scale_in_its_format_whatever_is_in_the_block(scale: float) -> None:
    x = np.float32([0, 1, -3, 1e30, 1e-30, 7, 0, 0])
    for of_scale in ("float32", "float8_e4m3fn", "float8_e8m0fnu"):
        f = lowp.BlockFormat("float4_e2m1fn", of_scale, 4, scale)
        assert f.rule == "fixed"
        assert f == lowp.block_format(f"float4_e2m1fn/4/{of_scale}/fixed={scale!r}")
        ideal = float(np.float32(scale))
        want = lowp.quantize(ideal, of_scale, saturation="finite")
        assert lowp.encode(x, f).scale_values().tolist() == [want, want]
        assert_same(lowp.quantize(x, f), oracle.quantized_rows(x, f)[1], x)


# ---- searches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["squared", "absolute"])
@pytest.mark.parametrize("scale", ["float8_e8m0fnu", "ue3m2", "e3m1", "bfloat16"])
@pytest.mark.parametrize("element", ["float4_e2m1fn", "int4", "e0m3"])
def test_a_search_takes_the_first_of_the_least_errors(element: str, scale: str, norm: str) -> None:
    # Values and results of few bits: errors are exact, and equal ones truly equal.
    x = (np.random.default_rng(6).integers(-64, 64, (3, 16)) / 4).astype(np.float32)
    x[0] = 0
    x[1, 1:] = 0
    for rule in ("mse", "shrink", "four_six"):
        f = lowp.BlockFormat(element, scale, 8, rule, error_norm=norm)
        scales, values = oracle.quantized_rows(x, f)
        assert_same(lowp.encode(x, f).scale_values().ravel(), scales, note=rule)
        assert_same(lowp.quantize(x, f), values, x, note=rule)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["mse", "four_six"])
def test_no_candidate_of_a_search_is_better_than_what_it_took(rule: str, dtype: Any) -> None:
    x = np.random.default_rng(7).normal(size=(6, 16)).astype(dtype)
    f = lowp.block_format(f"float4_e2m1fn/16/e4m1/{rule}")
    got = lowp.quantize(x, f)
    for block, result in zip(x.tolist(), got.tolist(), strict=True):
        r = oracle.rule_of(f)
        tried = oracle.candidates(oracle.ideal_scale(block, r, 1.0, dtype), r, dtype)
        errors = [
            oracle.error_of(block, oracle.elements(block, s, 1.0, r, dtype), "squared")
            for s in (oracle.scale_of(t, r) for t in tried)
        ]
        assert oracle.error_of(block, result, "squared") <= min(errors) * (1 + Fraction(1, 10**12))


def test_mse_is_never_worse_than_amax_and_four_six_never_worse_than_its_first() -> None:
    x = np.random.default_rng(8).standard_t(3, (64, 16))
    for scale in ("float8_e4m3fn", "float8_e8m0fnu"):
        squares = {
            rule: ((lowp.quantize(x, f"float4_e2m1fn/16/{scale}/{rule}") - x) ** 2).sum(1)
            for rule in ("amax", "mse", "four_six")
        }
        assert (squares["mse"] <= squares["four_six"] * (1 + 1e-12)).all()
        assert (squares["four_six"] <= squares["amax"] * (1 + 1e-12)).all()


def test_shrink_measures_the_power_of_2_4_over_a_grid_of_100() -> None:
    x = np.random.default_rng(9).normal(size=(4, 16)).astype(np.float32)
    f = lowp.block_format("int4/16/float32/shrink")
    assert (f.fields["search"], f.fields["error_norm"]) == ("shrink", "power_2_4")
    scales, values = oracle.quantized_rows(x, f)
    assert_same(lowp.encode(x, f).scale_values().ravel(), scales)
    assert_same(lowp.quantize(x, f), values)


def test_four_six_maps_the_largest_to_six_or_to_four() -> None:
    x = np.random.default_rng(10).normal(size=(256, 16)).astype(np.float32)
    codes = lowp.encode(x, "nvfp4_four_six", packed=False).element_codes() & 7
    assert set(np.unique(codes.max(1))) == {6, 7}


# ---- the whole definition over presets and rules ----------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", lowp.block_formats())
def test_every_preset_is_its_definition(name: str, dtype: Any) -> None:
    f = lowp.block_format(name)
    if isinstance(f.shape, tuple):
        f = f.replace(shape=16)  # tiles are lines of blocks elsewhere: test_block_verbs.py
    rng = np.random.default_rng(11)
    x = (rng.normal(size=(5, 80)) * np.exp2(rng.integers(-20, 20, (5, 1)))).astype(dtype)
    x[0, :3], x[1, 5], x[2], x[3, 70], x[4, 3] = 0, -0.0, 0, np.nan, np.inf
    scales, values = oracle.quantized_rows(x, f)
    assert_same(lowp.quantize(x, f), values, x)
    if f.scale.has_nan:
        tensor = lowp.encode(x, f)
        assert_same(tensor.scale_values().ravel(), scales)
        assert_same(tensor.decode(), values, x)


@pytest.mark.parametrize("rounding", [r for r in lowp.ROUNDINGS if not r.startswith("stochastic")])
@pytest.mark.parametrize("name", ["mxfp4", "mxint8", "nvfp4", "fp4_ue5m3_16", "fp8_row"])
def test_every_rounding_is_that_of_the_elements(name: str, rounding: str) -> None:
    rng = np.random.default_rng(12)
    x = (rng.normal(size=(3, 64)) * np.exp2(rng.integers(-40, 3, (3, 64)))).astype(np.float32)
    x[0, :8] = [0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 3, -3]
    f = lowp.block_format(name).replace(rounding=rounding)
    _, values = oracle.quantized_rows(x, f)
    assert_same(lowp.quantize(x, f), values, x)
    assert_same(lowp.quantize(x, name, rounding=rounding), values, x)
    assert_same(lowp.encode(x, f).decode(), values, x)
