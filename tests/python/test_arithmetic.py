"""Operations in a format: against fractions, in every mode; and on every kind of operand."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from samples import STOCHASTIC, Array, assert_same, assert_same_bits

FORMATS = (
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float4_e2m1fn",
    "float16",
    "bfloat16",
)
BINARY = ("add", "sub", "mul", "div", "remainder", "minimum", "maximum")


# ---- the oracle ------------------------------------------------------------------------------


@cache
def line(name: str) -> list[Fraction]:
    """Magnitudes by code and the one that would come next; all formats have a sign and zero."""
    f = lowp.format(name)
    codes = np.arange(f.max_code + 1, dtype=np.uint16 if f.bits > 8 else np.uint8)
    values = [Fraction(float(v)) for v in lowp.decode(codes, f, dtype=np.float64)]
    return [*values, 2 * values[-1] - values[-2]]


def steps(rounding: str, d: Fraction, odd: bool, negative: bool, bits: int, random: int) -> bool:
    """Whether a cut-off part d in (0, 1) of the gap steps away from zero."""
    half, count = Fraction(1, 2), 2**bits
    rules: dict[str, Callable[[], bool]] = {
        "nearest_ties_to_even": lambda: d > half or (d == half and odd),
        "nearest_ties_to_away": lambda: d >= half,
        "nearest_ties_to_zero": lambda: d > half,
        "toward_zero": lambda: False,
        "toward_positive": lambda: not negative,
        "toward_negative": lambda: negative,
        "away_from_zero": lambda: True,
        "to_odd": lambda: not odd,
        "stochastic_a": lambda: math.floor(d * count) + random >= count,
        "stochastic_b": lambda: math.floor(d * 2 * count) + 2 * random + 1 >= 2 * count,
        "stochastic_c": lambda: round(d * count) + random >= count,  # ties to even, as round does
        "stochastic_equal": lambda: 2 * random >= count,
    }
    return rules[rounding]()


def beyond(f: lowp.Format, rounding: str, saturation: str, negative: bool, infinite: bool) -> float:
    inward = ("toward_zero", "to_odd", "toward_positive" if negative else "toward_negative")
    saturates = saturation == "finite" or (
        not infinite and (saturation == "propagate" or rounding in inward)
    )
    if not saturates and (f.has_inf or f.has_nan):
        return math.copysign(math.inf if f.has_inf else math.nan, -1 if negative else 1)
    return -f.max if negative else f.max


def project(
    x: Fraction | float, name: str, rounding: str, saturation: str, bits: int = 32, random: int = 0
) -> float:
    """x as a value of the format; a float is a zero with its sign, an infinity or NaN."""
    f, magnitudes = lowp.format(name), line(name)
    if isinstance(x, float) and not math.isfinite(x):
        return x if math.isnan(x) else beyond(f, rounding, saturation, x < 0, infinite=True)
    negative = math.copysign(1, x) < 0 if isinstance(x, float) else x < 0
    magnitude = abs(Fraction(x))
    if magnitude >= magnitudes[-1]:
        return beyond(f, rounding, saturation, negative, infinite=False)
    code = bisect_right(magnitudes, magnitude) - 1
    d = (magnitude - magnitudes[code]) / (magnitudes[code + 1] - magnitudes[code])
    code += d > 0 and steps(rounding, d, code % 2 == 1, negative, bits, random)
    if code > f.max_code:
        return beyond(f, rounding, saturation, negative, infinite=False)
    value = float(magnitudes[code])
    return -value if negative and (code or f.has_neg_zero) else value


def exact_result(verb: str, x: float, y: float, rounding: str) -> Fraction | float:
    """The real result; a float where it is a zero, an infinity or NaN."""
    if verb in ("add", "sub"):
        other = -y if verb == "sub" else y
        if math.isfinite(x) and math.isfinite(y) and (x != -other):
            return Fraction(x) + Fraction(other)
        if math.isfinite(x) and math.copysign(1, x) != math.copysign(1, other):
            return -0.0 if rounding == "toward_negative" and math.isfinite(y) else x + other
        return x + other
    if not (math.isfinite(x) and math.isfinite(y) and x and y):
        with np.errstate(all="ignore"):
            function = {"mul": np.multiply, "div": np.divide}[verb]
            return float(function(np.float64(x), np.float64(y)))
    return operator.mul(Fraction(x), Fraction(y)) if verb == "mul" else Fraction(x) / Fraction(y)


def operands(name: str, dtype: Any, count: int, seed: int) -> Array:
    """Values of the format, others near them, and any floats."""
    rng = np.random.default_rng(seed)
    f = lowp.format(name)
    codes = rng.integers(0, 1 << f.bits, count).astype(np.uint16 if f.bits > 8 else np.uint8)
    values = lowp.decode(codes, f, dtype=dtype)
    kind = rng.integers(0, 6, count)
    values = np.where(kind == 1, values * dtype(1.0009765625), values)
    values = np.where(kind == 2, rng.standard_normal(count).astype(dtype), values)
    word = np.uint32 if dtype == np.float32 else np.uint64
    anything = rng.integers(0, np.iinfo(word).max, count, dtype=word, endpoint=True).view(dtype)
    return np.where(kind == 3, anything, values).astype(dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("verb", ["add", "sub", "mul", "div"])
def test_results_are_the_exact_ones_projected_once(verb: str, name: str, dtype: Any) -> None:
    rng = np.random.default_rng(7)
    for i, rounding in enumerate(lowp.ROUNDINGS):
        saturation, bits = lowp.SATURATIONS[i % 3], (32, 5, 1, 13)[i % 4]
        x, y = (operands(name, dtype, 60, 100 * i + k) for k in (0, 1))
        random = rng.integers(0, 2**bits, 60).astype(np.uint32)
        got = getattr(lowp, verb)(
            x, y, name, rounding=rounding, saturation=saturation, random_bits=bits, random=random
        )
        want = [
            project(exact_result(verb, a, b, rounding), name, rounding, saturation, bits, int(r))
            for a, b, r in zip(x.tolist(), y.tolist(), random, strict=True)
        ]
        assert_same(got, np.array(want, dtype), x, f"{verb} {name} {rounding} {saturation}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_fma_is_rounded_once(name: str) -> None:
    for i, rounding in enumerate(r for r in lowp.ROUNDINGS if r not in STOCHASTIC):
        x, y, z = (operands(name, np.float32, 80, 10 * i + k) for k in range(3))
        finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
        x, y, z = x[finite], y[finite], z[finite]
        z[::5] = -x[::5] * y[::5]
        got = lowp.fma(x, y, z, name, rounding=rounding)
        for a, b, c, value in zip(x.tolist(), y.tolist(), z.tolist(), got.tolist(), strict=True):
            exact = Fraction(a) * Fraction(b) + Fraction(c) if math.isfinite(c) else None
            if exact:  # zeros have their own test
                want = project(exact, name, rounding, "none")
                assert_same(np.array(value), np.array(want), note=f"{a} {b} {c}")


@pytest.mark.parametrize("name", FORMATS)
def test_sqrt_lies_between_the_squares_of_midpoints(name: str) -> None:
    magnitudes = line(name)[:-1]
    x = np.abs(operands(name, np.float32, 300, 3))
    x = x[np.isfinite(x) & (x > 0)]
    for a, root in zip(x.tolist(), lowp.sqrt(x, name).tolist(), strict=True):
        if not math.isfinite(root) or Fraction(root) == magnitudes[-1]:
            continue
        code = magnitudes.index(Fraction(root))
        low = (magnitudes[max(code - 1, 0)] + magnitudes[code]) / 2
        high = (magnitudes[code] + magnitudes[code + 1]) / 2
        assert low**2 <= Fraction(a) <= high**2


def test_remainder_is_exact_and_then_rounded() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal(300) * 10.0 ** rng.integers(-5, 20, 300)
    y = rng.standard_normal(300)
    want = [math.remainder(a, b) for a, b in zip(x, y, strict=True)]
    assert_same(lowp.remainder(x, y, "float64"), np.array(want))
    assert_same(lowp.remainder(x, y, "bfloat16"), lowp.quantize(np.array(want), "bfloat16"))


def test_minimum_and_maximum_propagate_nan_and_those_of_numbers_do_not() -> None:
    x = np.array([1, np.nan, -0.0, 0.0, 3.3, np.nan], np.float32)
    y = np.array([2, 5, 0.0, -0.0, -3.3, np.nan], np.float32)
    assert_same(
        lowp.minimum(x, y, "float16"), np.array([1, np.nan, -0.0, -0.0, -3.3, np.nan], np.float16)
    )
    assert_same(
        lowp.maximum(x, y, "float16"), np.array([2, np.nan, 0.0, 0.0, 3.3, np.nan], np.float16)
    )
    assert_same(lowp.minimum_number(x, y, "float16")[1:2], np.array([5], np.float32))
    assert_same(lowp.maximum_number(x, y, "float16")[1:2], np.array([5], np.float32))
    assert np.isnan(lowp.minimum_number(x, y, "float16")[5])


# ---- operands --------------------------------------------------------------------------------


def test_bfloat16_fma_is_not_rounded_twice() -> None:
    assert lowp.fma(1.5, 1.0078125, -(2.0**-100), "bfloat16") == 1.5078125


def test_floats_give_a_float_and_numpy_scalars_one_of_their_dtype() -> None:
    assert type(lowp.add(1.0, 2.0, "float8_e4m3fn")) is float
    assert lowp.sqrt(2.0, "float8_e4m3fn") == 1.375
    result = lowp.mul(np.float32(1.5), np.float32(1.5), "float8_e4m3fn")
    assert type(result) is np.float32
    assert result == 2.25
    assert type(lowp.mul(np.float16(1.5), 1.5, "float8_e4m3fn")) is np.float16


def test_operands_broadcast_and_may_have_strides() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    y = np.arange(6, dtype=np.float32)
    want = lowp.quantize(x + y, "float8_e4m3fn")
    assert_same_bits(lowp.add(x, y, "float8_e4m3fn"), want)
    assert_same_bits(lowp.add(y, x, "float8_e4m3fn"), want)
    assert_same_bits(lowp.add(x[:, ::-2], y[::-2], "float8_e4m3fn"), want[:, ::-2].copy())
    assert_same_bits(lowp.add(x.T, y[:, None], "float8_e4m3fn"), want.T.copy())
    outer = lowp.mul(y[:, None], y, "float8_e4m3fn")
    assert_same_bits(outer, lowp.quantize(y[:, None] * y, "float8_e4m3fn"))
    assert lowp.add(np.zeros((0, 3), np.float32), y[:3], "float16").shape == (0, 3)


def test_one_value_stands_for_all() -> None:
    x = np.arange(1000, dtype=np.float32)
    want = lowp.mul(x, np.full_like(x, 0.75), "bfloat16")
    for factor in (
        0.75,
        np.float32(0.75),
        np.array(0.75, np.float32),
        np.array([0.75], np.float32),
    ):
        assert_same_bits(lowp.mul(x, factor, "bfloat16"), want)
        assert_same_bits(lowp.mul(factor, x, "bfloat16"), want)


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_halves_give_halves(half: Any) -> None:
    x = np.array([1.5, 2, -3, 0.1], dtype=half)
    result = lowp.add(x, x[::-1], "float8_e5m2")
    assert result.dtype == x.dtype
    wide = x.astype(np.float32)
    assert_same(result.astype(np.float32), lowp.add(wide, wide[::-1].copy(), "float8_e5m2"))
    with pytest.raises(ValueError, match="does not hold every value"):
        lowp.add(x, x, "float32")


def test_out_may_be_an_operand() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 5000)).astype(np.float32)
    want = lowp.sub(x, y, "float16")
    for target in (x.copy(), y.copy()):
        a, b = (target, y) if np.array_equal(target, x) else (x, target)
        assert lowp.sub(a, b, "float16", out=target) is target
        assert_same_bits(target, want)
    shifted = np.concatenate([x, [np.float32(0)]])
    lowp.sub(shifted[:-1], y, "float16", out=shifted[1:])  # overlaps otherwise: copied first
    assert_same_bits(shifted[1:], want)


@pytest.mark.parametrize("verb", BINARY)
def test_stochastic_words_are_those_of_the_element_whatever_the_threads(verb: str) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 70000)).astype(np.float32)
    options: dict[str, Any] = {"rounding": "stochastic_b", "random_bits": 12}
    words = lowp.random_bits(x.size, seed=3, stream=9) >> 20
    want = getattr(lowp, verb)(x, y, "float8_e4m3fn", random=words, **options)
    for threads in (1, 2, 3):
        got = getattr(lowp, verb)(
            x, y, "float8_e4m3fn", seed=3, stream=9, threads=threads, **options
        )
        assert_same_bits(got, want)


# ---- refusals --------------------------------------------------------------------------------


def test_mixed_dtypes_are_refused() -> None:
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="x of float32 and y of float64"):
        lowp.add(x, x.astype(np.float64), "float8_e4m3fn")
    with pytest.raises(TypeError, match="float16"):
        lowp.fma(x, 1.0, x.astype(np.float16), "float8_e4m3fn")
    with pytest.raises(TypeError, match="got int 1"):
        lowp.add(x, 1, "float8_e4m3fn")
    with pytest.raises(TypeError, match="int64"):
        lowp.add(np.arange(3), np.arange(3), "float8_e4m3fn")


def test_a_float_that_the_arrays_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"y is 0\.1, which float32 does not hold"):
        lowp.mul(np.ones(3, np.float32), 0.1, "float8_e4m3fn")
    assert lowp.mul(np.ones(3), 0.1, "float64")[0] == 0.1


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(4,\)"):
        lowp.div(np.ones(3), np.ones(4), "float8_e4m3fn")
    with pytest.raises(ValueError, match=r"out must have shape \(3,\)"):
        lowp.div(np.ones(3), np.ones(3), "float8_e4m3fn", out=np.ones(4))
    with pytest.raises(ValueError, match="random must have the shape"):
        lowp.div(
            np.ones(3),
            np.ones(3),
            "float8_e4m3fn",
            rounding="stochastic_a",
            random=np.zeros(4, np.uint32),
        )


def test_misspelt_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"no argument 'ronding'; did you mean 'rounding'"):
        lowp.add(1.0, 2.0, "float16", ronding="toward_zero")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="block format"):
        lowp.add(1.0, 2.0, "mxfp4")
    with pytest.raises(ValueError, match="float32 does not hold"):
        lowp.add(np.array([1], np.float32), np.array([1], np.float32), "float64")


def test_a_float_beside_half_arrays_must_be_one_of_their_values() -> None:
    with pytest.raises(ValueError, match="float16 does not hold"):
        lowp.pow(np.float16([2]), 1 + 2.0**-20, "float16")
    with pytest.raises(ValueError, match="float16 does not hold"):
        lowp.minimum(np.float16([1]), 1e6, "float16")


def test_a_numpy_scalar_is_not_narrowed_to_the_arrays_dtype() -> None:
    x = np.ones(3, np.float32)
    for verb in (lowp.mul, lowp.pow):
        with pytest.raises(TypeError, match=r"y of float64: a NumPy scalar .* pass float\(y\)"):
            verb(x, np.float64(0.5), "float16")
        assert_same_bits(verb(x, float(np.float64(0.5)), "float16"), verb(x, 0.5, "float16"))
    assert lowp.mul(np.ones(3), np.float64(0.5), "float16").dtype == np.float64
