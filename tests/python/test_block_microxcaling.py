"""microxcaling's own results, bit for bit, and exactly where its logarithms make them different."""

from __future__ import annotations

from typing import Any

import lowp
import numpy as np
import pytest
from test_block_compat import INPUTS, MICROXCALING, X, same

Array = np.ndarray[Any, Any]

FORMATS = {
    "fp8_e4m3": "mxfp8_e4m3", "fp8_e5m2": "mxfp8_e5m2", "fp6_e3m2": "mxfp6_e3m2",
    "fp6_e2m3": "mxfp6_e2m3", "fp4_e2m1": "mxfp4", "int8": "mxint8",
}  # fmt: skip
ROUNDINGS = ("nearest_ties_to_away", "nearest_ties_to_even", "toward_zero")


def compatible(short: str) -> lowp.BlockFormat:
    return lowp.block_format(FORMATS[short], compat="microxcaling")


def scaled(x: Array, f: lowp.BlockFormat) -> tuple[Array, lowp.Format]:
    """Magnitudes that the elements have to represent, and their format."""
    assert isinstance(f.element, lowp.Format)
    with np.errstate(all="ignore"):
        scales = np.asarray(lowp.encode(x, f).scale_values(), np.float32)
        return np.abs(x) / np.repeat(scales, 32, 1), f.element


def rounds_below_the_first_tie(x: Array, f: lowp.BlockFormat) -> Array:
    """It rounds as floor(|x| + 1/2), whose sum rounds up to 1 for the number just below 1/2."""
    a, element = scaled(x, f)
    quanta = a / np.float32(element.min_subnormal)
    return np.asarray(quanta == np.nextafter(np.float32(0.5), np.float32(0)))


def exponent_is_too_large(x: Array, f: lowp.BlockFormat) -> Array:
    """It finds an element's binade by log2 in float32, too high just below a power of two: there
    the quantum of its truncation is twice as large."""
    a, element = scaled(x, f)
    if element.exponent_bits == 0:
        return np.zeros(a.shape, bool)
    with np.errstate(all="ignore"):
        logarithm = np.log2(a.astype(np.float64)).astype(np.float32)
        exact = np.frexp(a)[1] - 1
        return np.asarray(
            np.isfinite(a) & (np.floor(logarithm) > exact) & (exact + 1 > element.emin)
        )


@pytest.mark.parametrize("short", FORMATS)
@pytest.mark.parametrize("name", INPUTS)
def test_values_are_those_of_microxcaling(name: str, short: str) -> None:
    x, f = X[name], compatible(short)
    wanted = MICROXCALING[f"{name}/{short}"]
    for rounding, want in zip(ROUNDINGS[: len(wanted)], wanted, strict=False):
        with_rounding = f.replace(rounding=rounding)
        got = lowp.quantize(x, with_rounding)
        where = rounds_below_the_first_tie(x, f)
        if rounding == "toward_zero":
            where = exponent_is_too_large(x, f)
        elif short == "int8":
            where = np.zeros(x.shape, bool)
        assert np.array_equal(~same(got, want), where), rounding
        assert same(lowp.encode(x, with_rounding).decode(), got).all()


def test_ties_away_is_its_default() -> None:
    assert compatible("fp4_e2m1").fields["rounding"] == "nearest_ties_to_away"
    # Its INT8 is sign and magnitude: -2 is left out.
    assert compatible("int8").element == lowp.format("e0m7")
    assert compatible("int8").element_max == 127 / 64


@pytest.mark.parametrize("short", FORMATS)
@pytest.mark.parametrize("name", INPUTS[4:])
def test_scales_are_its_shared_exponents(name: str, short: str) -> None:
    f = compatible(short)
    assert isinstance(f.element, lowp.Format)
    shared = MICROXCALING[f"{name}/shared_exponent"] - f.element.emax
    want = np.where(shared > 127, np.nan, np.exp2(np.maximum(shared, -127).astype(np.float64)))
    # It takes a block of zeros for one of 2^-126, which shows where emax is 0 and changes no value.
    some = (X[name] != 0).any(1)
    assert same(lowp.encode(X[name], f).scale_values()[some], want[some]).all()


@pytest.mark.parametrize("short", FORMATS)
def test_its_flush_of_subnormal_blocks_is_the_one_thing_not_modelled(short: str) -> None:
    got, want = lowp.quantize(X["edges"], compatible(short)), MICROXCALING[f"edges/{short}"][3]
    kept = MICROXCALING["edges/shared_exponent"][:, 0] > -127
    kept |= np.isnan(MICROXCALING["edges/shared_exponent"][:, 0])
    where = rounds_below_the_first_tie(X["edges"], compatible(short)) & (short != "int8")
    assert np.array_equal(~same(got[kept], want[kept]), where[kept])
    assert not want[~kept].any()


@pytest.mark.parametrize("short", ["fp4_e2m1", "fp8_e4m3", "int8"])
@pytest.mark.parametrize("kind", ["ragged40", "ragged20", "axis0", "axis0_ragged20"])
def test_short_blocks_and_the_other_axis_are_its_own(kind: str, short: str) -> None:
    normal = X["normal"]
    x = {
        "ragged40": normal[:8, :40], "ragged20": normal[:8, :20],
        "axis0": normal, "axis0_ragged20": normal[:20, :16],
    }[kind]  # fmt: skip
    axis = 0 if kind.startswith("axis0") else -1
    assert same(
        lowp.quantize(x, compatible(short), axis=axis), MICROXCALING[f"{kind}/{short}"]
    ).all()
