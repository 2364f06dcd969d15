"""Properties of blocks in formats drawn at random, and the exact oracle on what they make."""

from __future__ import annotations

from typing import Any

import blocks_oracle as oracle
import lowp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import DETERMINISTIC, STOCHASTIC, assert_same

Array = np.ndarray[Any, Any]

POWERS = ("floor", "ceil", "even", "rceil")
RULES = (*POWERS, "amax", "four_six", "three_quarters")
SCALES = ("float8_e8m0fnu", "float8_e4m3fn", "ue5m3", "ue4m3f", "ue3m2", "bfloat16", "float32")


@st.composite
def block_formats(
    draw: st.DrawFn,
    rules: tuple[str, ...] = RULES,
    scales: tuple[str, ...] = SCALES,
    roundings: tuple[str, ...] = DETERMINISTIC,
) -> lowp.BlockFormat:
    """Elements of any exponent and mantissa, or of a codebook, in blocks of any size."""
    exponent, mantissa = draw(st.integers(0, 5)), draw(st.integers(1, 5))
    kind = draw(st.sampled_from(("float", "float", "float", "int", "book")))
    element: Any = f"e{exponent}m{mantissa}"
    if kind == "int":
        element = f"int{draw(st.integers(2, 8))}"
    elif kind == "book" and roundings == DETERMINISTIC:
        values = draw(st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True))
        element = sorted(v / 8 for v in values)
        if max(abs(v) for v in element) == 0:
            element = [0.0, 1.0]
    shape = draw(st.sampled_from((1, 2, 3, 7, 8, 16, 32, 100, "row", "tensor")))
    return lowp.BlockFormat(
        element,
        scale := draw(st.sampled_from(scales)),
        shape,
        draw(st.sampled_from(rules)),
        rounding=draw(st.sampled_from(roundings)),
        outer=draw(st.sampled_from(("none", "none", "tensor"))),
        # Wide scale formats leave no room for an outer scale of their largest value.
        outer_scale_max=min(256.0, lowp.format(scale).max),
    )


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Rows of a few exponents, with zeros of both signs."""
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from((0, 3, 30)))
    x = rng.normal(size=shape) * np.exp2(rng.integers(-spread, spread + 1, shape))
    x = x * 2.0 ** draw(st.sampled_from((0, 0, -100, 60)))
    zeros = rng.random(shape) < draw(st.sampled_from((0, 0.2, 1)))
    x[zeros] = np.where(rng.random(zeros.sum()) < 0.5, 0.0, -0.0)
    return x.astype(dtype)


@given(block_formats(), arrays())
@settings(max_examples=150)
def test_any_format_is_its_definition(f: lowp.BlockFormat, x: Array) -> None:
    scales, values = oracle.quantized_rows(x, f)
    assert_same(lowp.quantize(x, f), values, x, note=str(f))
    tensor = lowp.encode(x, f)
    assert_same(tensor.scale_values().ravel(), scales, note=str(f))


@given(
    block_formats((*RULES, "mse", "mean_abs", "std", "shrink"), roundings=lowp.ROUNDINGS), arrays()
)
@settings(max_examples=200)
def test_quantize_is_decode_of_encode(f: lowp.BlockFormat, x: Array) -> None:
    y = lowp.quantize(x, f, seed=3)
    for packed in (True, False):
        tensor = lowp.encode(x, f, seed=3, packed=packed and f.element_bits <= 8)
        assert_same(tensor.decode(), y, x, note=str(f))
    assert lowp.block_format(f.name) == f


INWARD = (*(r for r in DETERMINISTIC if r.startswith("nearest")), "toward_zero")


@given(block_formats(("floor",), ("float8_e8m0fnu",), INWARD), arrays())
@settings(max_examples=150)
def test_what_floor_gives_stays(f: lowp.BlockFormat, x: Array) -> None:
    # Saturation and rounding keep the largest in its binade, where both sides of zero are alike.
    if not isinstance(f.element, lowp.Format) or f.element.is_twos_complement:
        return
    f = f.replace(outer="none")
    once = lowp.quantize(x, f)
    assert_same(lowp.quantize(once, f), once, note=str(f))
    again = lowp.encode(once, f)
    assert_same(again.decode(), once, note=str(f))


@given(block_formats(roundings=DETERMINISTIC), arrays())
@settings(max_examples=150)
def test_results_stay_under_their_own_scales(f: lowp.BlockFormat, x: Array) -> None:
    f = f.replace(outer="none")
    tensor = lowp.encode(x, f)
    once = tensor.decode()
    # A scale near the carrier's end rounds its products: there they need not come back.
    with np.errstate(all="ignore"):
        usual = np.abs(once[once != 0]).min(initial=1) > 1e-30
    if usual and np.isfinite(once).all() and f.fields["rounding"].startswith("nearest"):
        twice = lowp.quantize(once, f, scales=tensor.scale_values())
        assert_same(twice, once, note=str(f))


@given(block_formats(POWERS, ("float8_e8m0fnu",)), arrays(), st.integers(-20, 20))
@settings(max_examples=100)
def test_powers_of_two_pass_through_power_of_two_scales(
    f: lowp.BlockFormat, x: Array, power: int
) -> None:
    # Scales have limits; stay within.
    f, x = f.replace(outer="none"), np.where(np.abs(x) < 2.0**-60, 0 * x, x).astype(np.float64)
    x[np.all(x == 0, 1)] = 1
    scale = 2.0**power
    assert_same(lowp.quantize(x * scale, f), lowp.quantize(x, f) * scale, note=str(f))


@given(block_formats(roundings=(*DETERMINISTIC[:3], "toward_zero", "to_odd")), arrays())
@settings(max_examples=100)
def test_signs_pass_through_symmetric_formats(f: lowp.BlockFormat, x: Array) -> None:
    if isinstance(f.element, lowp.Format) and not f.element.is_twos_complement:
        assert_same(lowp.quantize(-x, f), -lowp.quantize(x, f), note=str(f))


@given(block_formats(roundings=STOCHASTIC), arrays())
@settings(max_examples=80)
def test_stochastic_results_are_neighbours_of_the_exact_ones(f: lowp.BlockFormat, x: Array) -> None:
    y = lowp.quantize(x, f, seed=11)
    down = lowp.quantize(x, f, rounding="toward_negative")
    up = lowp.quantize(x, f, rounding="toward_positive")
    near = lowp.quantize(x, f)
    # A search compares nearest results whatever the rounding is, so scales agree.
    assert ((y == down) | (y == up) | (y == near)).all()
