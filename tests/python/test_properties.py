"""What must hold for any format, mode, saturation and carrier; formats are drawn at random.

Each example takes the probes of its format (values, midpoints, quarters, what lies beside them, the
specials), so that one example stands for thousands of inputs.
"""

from __future__ import annotations

import math
from fractions import Fraction

import lowp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import (
    DETERMINISTIC,
    NEAREST,
    STOCHASTIC,
    SYMMETRIC,
    UP_TO_16_BITS,
    all_codes,
    assert_same,
    carriers,
    descriptors,
    exact,
    fits_float32,
    probes,
    random_floats,
)

FORMATS = descriptors(max_bits=10)
ROUNDINGS = st.sampled_from(lowp.ROUNDINGS)
SATURATIONS = st.sampled_from(lowp.SATURATIONS)
DTYPES = st.sampled_from((np.float32, np.float64))
SEEDS = st.integers(0, 2**64 - 1)


def carrier_of(f: lowp.Format, dtype: type) -> type:
    return dtype if dtype == np.float64 or fits_float32(f) else np.float64


def inputs(f: lowp.Format, dtype: type, most: int = 2000) -> np.ndarray:
    x = probes(f, dtype)
    return np.ascontiguousarray(x[:: 1 + x.size // most])


def sorted_numbers(f: lowp.Format, dtype: type) -> np.ndarray:
    x = probes(f, dtype)
    return np.unique(x[~np.isnan(x)])


# ---- the definition ---------------------------------------------------------------------------


@given(FORMATS, ROUNDINGS, SATURATIONS, DTYPES, st.integers(1, 32), SEEDS)
@settings(max_examples=300)
def test_quantize_and_encode_equal_the_definition(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, bits: int, seed: int
) -> None:
    x = inputs(f, carrier_of(f, dtype), 400)
    random = np.random.default_rng(seed).integers(0, 1 << bits, x.size, dtype=np.uint32)
    how = {"rounding": rounding, "saturation": saturation, "random_bits": bits}
    got = lowp.quantize(x, f, random=random, **how)
    codes = lowp.encode(x, f, random=random, nan=f.nan_code or 0, **how)
    for value, r, y, code in zip(
        x.tolist(), random.tolist(), got.tolist(), codes.tolist(), strict=True
    ):
        want = lowp.spec.quantize(value, f, random=r, **how)
        assert_same(np.float64(y), np.float64(want), np.array([value]), f"{f} {how} {r}")
        if math.isnan(want) and not f.has_nan:
            assert code == 0
        else:
            assert code == lowp.spec.encode(value, f, random=r, **how), (f, how, value, r)


@given(descriptors(max_bits=40), ROUNDINGS, SATURATIONS, DTYPES, st.integers(1, 32), SEEDS)
@settings(max_examples=200)
def test_wide_formats_equal_the_definition_too(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, bits: int, seed: int
) -> None:
    x = inputs(f, carrier_of(f, dtype), 200)
    random = np.random.default_rng(seed).integers(0, 1 << bits, x.size, dtype=np.uint32)
    how = {"rounding": rounding, "saturation": saturation, "random_bits": bits}
    got = lowp.quantize(x, f, random=random, **how)
    want = [
        lowp.spec.quantize(value, f, random=r, **how)
        for value, r in zip(x.tolist(), random.tolist(), strict=True)
    ]
    assert_same(got, np.array(want), x, f"{f} {how}")


@pytest.mark.slow
@pytest.mark.parametrize("name", UP_TO_16_BITS)
def test_every_mode_and_saturation_of_a_registered_format_equals_the_definition(name: str) -> None:
    f = lowp.format(name)
    for dtype in carriers(f):
        x = inputs(f, dtype, 3000)
        random = np.random.default_rng(1).integers(0, 1 << 7, x.size, dtype=np.uint32)
        for rounding in lowp.ROUNDINGS:
            for saturation in lowp.SATURATIONS:
                how = {"rounding": rounding, "saturation": saturation, "random_bits": 7}
                got = lowp.quantize(x, f, random=random, **how)
                want = [
                    lowp.spec.quantize(v, f, random=r, **how)
                    for v, r in zip(x.tolist(), random.tolist(), strict=True)
                ]
                assert_same(got, np.array(want), x, f"{f} {how}")


@given(FORMATS, ROUNDINGS, SATURATIONS, st.floats(), st.integers(0, 2**32 - 1))
@settings(max_examples=500)
def test_a_python_float_gets_what_an_array_element_gets(
    f: lowp.Format, rounding: str, saturation: str, x: float, r: int
) -> None:
    how = {"rounding": rounding, "saturation": saturation}
    one = lowp.quantize(x, f, random=r, **how)
    many = lowp.quantize(np.array([x]), f, random=np.array([r], np.uint32), **how)
    assert_same(np.array([one]), many)
    assert type(one) is float


@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("e8m7_nosub", np.float32),
        ("e8m10_nosub", np.float32),
        ("e8m22_nosub", np.float32),
        ("e8m1b127fnuz_nan2_nosub", np.float32),
        ("e8m7_nosub", np.float64),
        ("e11m3_nosub", np.float64),
        ("e11m50_nosub", np.float64),
    ],
)
def test_without_subnormals_the_carriers_subnormals_are_no_values(
    name: str, dtype: type, rounding: str
) -> None:
    """Formats with the exponents of their carrier and no subnormals of their own."""
    f = lowp.format(name)
    rng = np.random.default_rng(1)
    parts = np.concatenate([rng.uniform(0, 1.2, 300), np.exp2(-rng.uniform(0, 30, 200)), [0.5]])
    x = (f.min_normal * np.concatenate([parts, -parts])).astype(dtype)
    random = rng.integers(0, 2**32, x.size, dtype=np.uint32)
    y = lowp.quantize(x, f, rounding=rounding, random=random)
    want = [
        lowp.spec.quantize(v, f, rounding=rounding, random=r)
        for v, r in zip(x.tolist(), random.tolist(), strict=True)
    ]
    assert_same(y, np.array(want), x, f"{name} {rounding}")
    codes = lowp.encode(x, f, rounding=rounding, random=random)
    assert_same(lowp.decode(codes, f, dtype=dtype), y, x)


@pytest.mark.parametrize("name", ["uint24", "int25", "e0m24", "uq1.23", "q1.23", "int24", "uint23"])
def test_fixed_point_with_all_the_bits_of_float32_is_right_or_refused(name: str) -> None:
    """24 bits without a hidden one: one more than the mantissa field of the carrier."""
    f = lowp.format(name)
    if f.mantissa_bits == 24 and not fits_float32(f):
        return
    x = inputs(f, np.float32, 500)
    for rounding in lowp.ROUNDINGS[:8]:
        y = lowp.quantize(x, f, rounding=rounding)
        want = [lowp.spec.quantize(v, f, rounding=rounding) for v in x.tolist()]
        assert_same(y, np.array(want), x, f"{name} {rounding}")
        codes = lowp.encode(x, f, rounding=rounding, nan=0)
        number = ~np.isnan(x)
        assert_same(lowp.decode(codes, f)[number], y[number])


# ---- idempotence, order, symmetry -------------------------------------------------------------


@given(FORMATS, ROUNDINGS, ROUNDINGS, SATURATIONS, DTYPES, SEEDS)
@settings(max_examples=300)
def test_what_is_on_the_grid_stays_there(
    f: lowp.Format, first: str, second: str, saturation: str, dtype: type, seed: int
) -> None:
    x = inputs(f, carrier_of(f, dtype))
    y = lowp.quantize(x, f, rounding=first, saturation=saturation, seed=seed)
    again = lowp.quantize(y, f, rounding=second, saturation=saturation, seed=seed + 1 & 2**64 - 1)
    assert_same(again, y, x)


@given(FORMATS, ROUNDINGS, DTYPES, SEEDS)
@settings(max_examples=300)
def test_exact_values_are_moved_by_no_mode_and_no_random_bits(
    f: lowp.Format, rounding: str, dtype: type, seed: int
) -> None:
    values = f.values().astype(carrier_of(f, dtype))
    for saturation in lowp.SATURATIONS:
        y = lowp.quantize(values, f, rounding=rounding, saturation=saturation, seed=seed)
        assert y.tobytes() == values.tobytes()
    for r in (0, 1, 2**31, 2**32 - 1):
        random = np.full(values.size, r, np.uint32)
        assert np.array_equal(lowp.quantize(values, f, rounding=rounding, random=random), values)


@given(FORMATS, st.sampled_from(DETERMINISTIC), SATURATIONS, DTYPES)
@settings(max_examples=300)
def test_a_larger_number_never_gets_a_smaller_value(
    f: lowp.Format, rounding: str, saturation: str, dtype: type
) -> None:
    x = sorted_numbers(f, carrier_of(f, dtype))
    y = lowp.quantize(x, f, rounding=rounding, saturation=saturation)
    y = y[~np.isnan(y)]  # overflow without an infinity
    assert (np.diff(y[np.isfinite(y)]) >= 0).all()
    assert (y[:-1] <= y[1:]).all()


@given(FORMATS, st.sampled_from(STOCHASTIC), DTYPES, st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_with_the_same_random_bits_stochastic_rounding_keeps_the_order(
    f: lowp.Format, rounding: str, dtype: type, r: int
) -> None:
    x = sorted_numbers(f, carrier_of(f, dtype))
    x = x[x >= 0]  # away from zero is up here
    random = np.full(x.size, r, np.uint32)
    y = lowp.quantize(x, f, rounding=rounding, saturation="finite", random=random)
    assert (np.diff(y) >= 0).all()


@given(FORMATS, st.sampled_from(SYMMETRIC), SATURATIONS, DTYPES, SEEDS)
@settings(max_examples=300)
def test_symmetric_modes_treat_both_signs_alike(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, seed: int
) -> None:
    if not f.is_signed or f.is_twos_complement:
        return
    x = inputs(f, carrier_of(f, dtype))
    how = {"rounding": rounding, "saturation": saturation, "seed": seed}
    plus, minus = lowp.quantize(x, f, **how), lowp.quantize(-x, f, **how)
    np.testing.assert_array_equal(plus, -minus)
    if f.has_neg_zero and f.has_zero:
        number = ~np.isnan(plus)
        assert np.array_equal(np.signbit(plus[number]), ~np.signbit(minus[number]))


@given(FORMATS, SATURATIONS, DTYPES)
@settings(max_examples=200)
def test_toward_positive_mirrors_toward_negative(
    f: lowp.Format, saturation: str, dtype: type
) -> None:
    if not f.is_signed or f.is_twos_complement:
        return
    x = inputs(f, carrier_of(f, dtype))
    up = lowp.quantize(x, f, rounding="toward_positive", saturation=saturation)
    down = lowp.quantize(-x, f, rounding="toward_negative", saturation=saturation)
    np.testing.assert_array_equal(up, -down)


# ---- codes ------------------------------------------------------------------------------------


@given(descriptors(max_bits=12), ROUNDINGS, SATURATIONS, DTYPES, SEEDS)
@settings(max_examples=300)
def test_encode_inverts_decode_on_canonical_codes(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, seed: int
) -> None:
    """Canonical: the codes that conversions give. Not so: other NaNs, and where there are no
    subnormals those that decode to zero; infinities only as far as the saturation keeps them."""
    codes = all_codes(f)
    values = lowp.decode(codes, f, dtype=carrier_of(f, dtype))
    again = lowp.encode(
        values, f, rounding=rounding, saturation=saturation, seed=seed, nan=f.nan_code or 0
    )
    canonical = ~np.isnan(values) & ~(np.isinf(values) & (saturation == "finite"))
    magnitude = codes & np.array((1 << (f.bits - f.is_signed)) - 1, codes.dtype)
    if not f.has_subnormals and f.has_zero:
        canonical &= ~((magnitude > 0) & (magnitude < 1 << f.mantissa_bits))
    assert np.array_equal(again[canonical], codes[canonical])
    if f.has_nan:
        assert (again[np.isnan(values)] == f.nan_code).all()


@given(FORMATS, ROUNDINGS, SATURATIONS, DTYPES, SEEDS)
@settings(max_examples=300)
def test_decode_of_encode_is_quantize(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, seed: int
) -> None:
    x = inputs(f, carrier_of(f, dtype))
    how = {"rounding": rounding, "saturation": saturation, "seed": seed}
    y = lowp.quantize(x, f, **how)
    codes = lowp.encode(x, f, nan=f.nan_code or 0, **how)
    assert not (codes.astype(np.uint64) >> np.uint64(f.bits)).any()
    back = lowp.decode(codes, f, dtype=x.dtype)
    number = ~np.isnan(y) if not f.has_nan else np.ones(y.shape, bool)
    assert_same(back[number], y[number], x[number])


# ---- which neighbour --------------------------------------------------------------------------


def in_range(f: lowp.Format, x: np.ndarray) -> np.ndarray:
    keep = np.isfinite(x) & (x <= f.max) & (x >= f.lowest)
    return np.ascontiguousarray(x[keep])


@given(FORMATS, DTYPES)
@settings(max_examples=200)
def test_directed_modes_bracket_with_neighbouring_values(f: lowp.Format, dtype: type) -> None:
    x = in_range(f, probes(f, carrier_of(f, dtype)))
    up = lowp.quantize(x, f, rounding="toward_positive").astype(np.float64)
    down = lowp.quantize(x, f, rounding="toward_negative").astype(np.float64)
    values = f.values()
    assert (down <= x).all()
    assert (x <= up).all()
    distance = np.searchsorted(values, up) - np.searchsorted(values, down)
    assert np.array_equal(distance, ~np.isin(x, values))
    inward = lowp.quantize(x, f, rounding="toward_zero")
    outward = lowp.quantize(x, f, rounding="away_from_zero")
    assert np.array_equal(inward, np.where(x > 0, down, up))
    assert np.array_equal(outward, np.where(x > 0, up, down))
    for rounding in lowp.ROUNDINGS:
        y = lowp.quantize(x, f, rounding=rounding)
        assert ((y == down) | (y == up)).all()


@given(FORMATS, DTYPES)
@settings(max_examples=100)
def test_nearest_is_nearest_and_ties_go_where_they_say(f: lowp.Format, dtype: type) -> None:
    x = in_range(f, inputs(f, carrier_of(f, dtype), 800))
    down = lowp.quantize(x, f, rounding="toward_negative")
    up = lowp.quantize(x, f, rounding="toward_positive")
    results = {r: lowp.quantize(x, f, rounding=r) for r in NEAREST}
    codes = lowp.encode(x, f, rounding="nearest_ties_to_even")
    for i, value in enumerate(x.tolist()):
        below, above = exact(value) - exact(down[i]), exact(up[i]) - exact(value)
        got = {r: results[r][i] for r in NEAREST}
        if below != above:
            nearest = down[i] if below < above else up[i]
            assert set(got.values()) == {nearest}, (f, value)
        elif below:
            outer, inner = (up[i], down[i]) if value > 0 else (down[i], up[i])
            assert got["nearest_ties_to_away"] == outer, (f, value)
            assert got["nearest_ties_to_zero"] == inner, (f, value)
            assert got["nearest_ties_to_even"] in (inner, outer)
            # Without subnormals the smallest normal number's code is even like zero's, as long as
            # there is a mantissa: then the tie goes to zero, the lower code.
            odd_pair = (lowp.encode(inner, f) ^ lowp.encode(outer, f)) & 1
            assert codes[i] % 2 == 0 or not odd_pair, (f, value)


@given(st.integers(2, 7), st.booleans(), st.integers(-3, 3), DTYPES)
def test_without_a_mantissa_even_is_the_parity_of_the_code(
    exponent_bits: int, is_signed: bool, shift: int, dtype: type
) -> None:
    bias = (1 << (exponent_bits - 1)) - 1 + shift
    f = lowp.Format(exponent_bits=exponent_bits, mantissa_bits=0, bias=bias, is_signed=is_signed)
    values = f.values()[f.values() >= 0]
    ties = ((values[:-1] + values[1:]) / 2).astype(carrier_of(f, dtype))
    for sign in (1, -1) if is_signed else (1,):
        codes = lowp.encode(sign * ties, f)
        assert (codes % 2 == 0).all()
        odd = lowp.encode(sign * ties, f, rounding="to_odd")
        assert (odd % 2 == 1).all()


@given(FORMATS, DTYPES)
@settings(max_examples=200)
def test_round_to_odd_gives_exact_values_or_odd_codes(f: lowp.Format, dtype: type) -> None:
    x = in_range(f, probes(f, carrier_of(f, dtype)))
    if f.is_twos_complement or not f.has_subnormals:
        x = x[np.abs(x) >= f.min_normal]  # zero and the smallest normal may both be even
    x = x[~np.isin(x, f.values())]
    codes = lowp.encode(x, f, rounding="to_odd")
    assert (codes % 2 == 1).all()


# ---- stochastic -------------------------------------------------------------------------------


def steps_away(rounding: str, d: Fraction, bits: int) -> int:
    """How many of the 2^bits random integers step away from zero, by the definition in P3109."""
    scaled = d * 2**bits
    if rounding == "stochastic_a":
        return math.floor(scaled)
    if rounding == "stochastic_b":  # floor(2 scaled) + 2R + 1 >= 2^(bits + 1)
        return (math.floor(2 * scaled) + 1) // 2
    if rounding == "stochastic_c":
        return round(scaled)  # half to even
    return 2 ** (bits - 1) if d else 0


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("rounding", STOCHASTIC)
def test_the_odds_over_all_random_integers_are_those_of_the_definition(
    rounding: str, bits: int
) -> None:
    """a is exact where d is a multiple of 2^-N and else low by less than 2^-N; b and c are the
    nearest multiple, up or down: their expectation is off by at most 2^-(N+1) of a quantum."""
    every = np.arange(1 << bits, dtype=np.uint32)
    for name, low, gap in (
        ("float8_e4m3fn", 1.0, 0.125),
        ("float8_e4m3fn", 0.0, 2.0**-9),  # below the smallest value
        ("float8_e4m3fn", 3 * 2.0**-9, 2.0**-9),  # between subnormals
        ("e4m3fn_nosub", 0.0, 2.0**-6),  # below the smallest normal number
        ("float8_e8m0fnu", 1.0, 1.0),
        ("q1.6", 0.5, 2.0**-6),
    ):
        f = lowp.format(name)
        for numerator in range(0, 4 << bits, 3 if bits > 5 else 1):
            d = Fraction(numerator, 4 << bits)
            for dtype in (np.float32, np.float64):
                x = np.full(every.size, low + float(d) * gap, dtype)
                y = lowp.quantize(x, f, rounding=rounding, random=every, random_bits=bits)
                up = int((y == low + gap).sum())
                assert int((y == low).sum()) == every.size - up
                assert up == steps_away(rounding, d, bits), (name, d, dtype)
                error = abs(Fraction(up, 1 << bits) - d)
                if rounding == "stochastic_a":
                    assert error < Fraction(1, 1 << bits)
                    assert error == 0 or numerator % 4
                elif rounding != "stochastic_equal":
                    assert error <= Fraction(1, 2 << bits)


@pytest.mark.parametrize("rounding", STOCHASTIC)
def test_negative_numbers_have_the_odds_of_positive_ones(rounding: str) -> None:
    every = np.arange(256, dtype=np.uint32)
    for x in (1.03, 0.0007, 0.01, 17.3):
        how = {"rounding": rounding, "random": every, "random_bits": 8}
        plus = lowp.quantize(np.full(256, x), "float8_e4m3fn", **how)
        minus = lowp.quantize(np.full(256, -x), "float8_e4m3fn", **how)
        assert_same(minus, -plus)


@pytest.mark.parametrize("divisor", [2, 3, 5, 16, 1000, 2**20])
def test_far_below_the_smallest_value_the_odds_are_right(divisor: int) -> None:
    """Where a shift of the mantissa would run out of bits: x is small / divisor."""
    for name in ("float8_e4m3fn", "float4_e2m1fn", "float16"):
        small = lowp.format(name).min_subnormal
        for dtype in (np.float32, np.float64):
            x = np.full(1 << 16, small / divisor, dtype)
            d = exact(float(x[0])) / exact(small)
            # R spread evenly over 32 bits: a comb of 65536 integers has the odds to 2^-16.
            comb = (np.arange(1 << 16, dtype=np.uint64) << np.uint64(16)).astype(np.uint32)
            for rounding in ("stochastic_a", "stochastic_b", "stochastic_c"):
                y = lowp.quantize(x, name, rounding=rounding, random=comb)
                assert set(np.unique(y)) <= {0.0, dtype(small)}
                assert abs(Fraction(int((y > 0).sum()), 1 << 16) - d) <= Fraction(1, 1 << 16)


def test_stochastic_equal_is_a_fair_coin_that_leaves_exact_values() -> None:
    for x in (1.0001, 1.06, 1.1249, 1e-9):
        y = lowp.quantize(np.full(1 << 16, x), "float8_e4m3fn", rounding="stochastic_equal", seed=3)
        share = (np.unique(y, return_counts=True)[1] / y.size).tolist()
        assert share == pytest.approx([0.5, 0.5], abs=0.01)


def test_random_rounding_is_unbiased_over_the_generators_bits() -> None:
    x = np.random.default_rng(7).uniform(-8, 8, 1 << 19)
    y = lowp.quantize(x, "float8_e4m3fn", rounding="stochastic_a", seed=9)
    gap = lowp.quantize(x, "float8_e4m3fn", rounding="away_from_zero") - lowp.quantize(
        x, "float8_e4m3fn", rounding="toward_zero"
    )
    assert abs(np.mean((y - x) / np.where(gap, gap, 1))) < 5 * 0.41 / math.sqrt(x.size)


# ---- NaN, zero, the limits --------------------------------------------------------------------


@given(FORMATS, ROUNDINGS, SATURATIONS, DTYPES)
@settings(max_examples=200)
def test_a_nan_stays_the_nan_it_is(
    f: lowp.Format, rounding: str, saturation: str, dtype: type
) -> None:
    dtype = carrier_of(f, dtype)
    x = random_floats(1 << 12, dtype)
    word = np.uint32 if dtype == np.float32 else np.uint64
    x = (x.view(word) | np.array(np.inf, dtype).view(word) | word(1)).view(dtype)
    assert np.isnan(x).all()
    y = lowp.quantize(x, f, rounding=rounding, saturation=saturation)
    assert np.array_equal(y.view(word), x.view(word))  # sign, payload and signalling bit


@given(FORMATS, ROUNDINGS, SATURATIONS, DTYPES, SEEDS)
@settings(max_examples=200)
def test_negative_zero_comes_out_only_where_the_format_has_one(
    f: lowp.Format, rounding: str, saturation: str, dtype: type, seed: int
) -> None:
    x = inputs(f, carrier_of(f, dtype))
    y = lowp.quantize(x, f, rounding=rounding, saturation=saturation, seed=seed)
    zero = y == 0
    if f.has_neg_zero and f.has_zero:  # the sign of the input stays
        assert np.array_equal(np.signbit(y[zero]), np.signbit(x[zero]))
    else:
        assert not np.signbit(y[zero]).any()


def expected_beyond(
    f: lowp.Format, rounding: str, saturation: str, negative: bool, is_infinite: bool
) -> float:
    """The table of saturation, written out once more."""
    inward = {"toward_zero", "to_odd", "toward_positive" if negative else "toward_negative"}
    keeps_limit = saturation == "finite" or (
        not is_infinite and (saturation == "propagate" or rounding in inward)
    )
    if keeps_limit:
        return f.lowest if negative else f.max
    if f.has_inf and (f.is_signed or not negative):
        return -math.inf if negative else math.inf
    if f.has_nan:
        return math.nan
    return f.lowest if negative else f.max


@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
@pytest.mark.parametrize("saturation", lowp.SATURATIONS)
@pytest.mark.parametrize(
    "name",
    [
        "float8_e5m2",  # infinity and NaN
        "e4m3_nan0_inf",  # infinity, no NaN
        "float8_e4m3fn",  # NaN at the top, no infinity
        "float8_e4m3fnuz",  # NaN at the code of -0
        "float4_e2m1fn",  # neither
        "p3109_k8p3se",
        "p3109_k8p3sf",
        "p3109_k8p3ue",  # unsigned with infinity
        "p3109_k8p3uf",
        "ue5m3",
        "ue4m3f",  # unsigned, every code a number
        "e4m3fn_nosub",
        "float8_e8m0fnu",  # no zero
        "int8",
        "q0.7",
        "uint8",
        "e0m7",  # sign and magnitude fixed point
    ],
)
def test_the_table_of_saturation(name: str, saturation: str, rounding: str) -> None:
    f = lowp.format(name)
    for x in (math.inf, -math.inf, 1e30, -1e30, f.max * 4, -f.max * 4):
        if math.isfinite(x) and abs(x) < f.max * 3:  # e8m0 holds 1e30
            continue
        want = expected_beyond(f, rounding, saturation, x < 0, math.isinf(x))
        for dtype in (np.float32, np.float64):
            with np.errstate(over="ignore"):
                array = np.full(33, x, dtype)
            if np.isinf(array[0]) != math.isinf(x):
                continue
            y = lowp.quantize(array, f, rounding=rounding, saturation=saturation, seed=1)
            np.testing.assert_array_equal(y, np.full(33, want))
        np.testing.assert_equal(lowp.quantize(x, f, rounding=rounding, saturation=saturation), want)


@pytest.mark.parametrize("name", ["float8_e5m2", "float8_e4m3fn", "float4_e2m1fn", "int8"])
def test_what_rounds_to_the_largest_value_is_no_overflow(name: str) -> None:
    f = lowp.format(name)
    values = f.values()
    step = values[-1] - values[-2]
    assert lowp.quantize(f.max + step * 0.49, f) == f.max
    assert lowp.quantize(f.max + step * 0.49, f, saturation="none", rounding="toward_zero") == f.max
    got = lowp.quantize(f.max + step * 0.51, f)
    np.testing.assert_equal(got, expected_beyond(f, "nearest_ties_to_even", "none", False, False))
    # A tie with the first value that is not there: its code is even or odd as the line goes on.
    tie = lowp.quantize(f.max + step * 0.5, f)
    beyond = expected_beyond(f, "nearest_ties_to_even", "none", False, False)
    np.testing.assert_equal(tie, f.max if f.max_code % 2 == 0 else beyond)
