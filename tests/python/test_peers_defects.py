"""Mistakes found in other libraries, each as a test that this one does not make it.

The numbers are those seen when the other library was run. What concerns blocks, products and
arithmetic is tested with those; here are the conversions.
"""

from __future__ import annotations

import math

import lowp
import ml_dtypes
import numpy as np
import pytest

# ---- Pychop 0.6.0 -----------------------------------------------------------------------------


def test_overflow_is_infinity_and_not_zero() -> None:
    x = np.array([65536.0, 70000.0, 131071.0])
    for dtype in (np.float32, np.float64):
        y = lowp.quantize(x.astype(dtype), "float16")
        assert np.array_equal(y, [math.inf] * 3)  # Pychop: 0
        assert np.array_equal(lowp.quantize(-x.astype(dtype), "float16"), [-math.inf] * 3)
        assert np.array_equal(
            lowp.quantize(x.astype(dtype), "float16", saturation="finite"), [65504.0] * 3
        )


def test_256_is_a_value_of_e4m3_and_not_zero() -> None:
    assert lowp.quantize(256.0, "float8_e4m3fn") == 256.0  # Pychop: 0
    assert lowp.quantize(256.0, "float8_e4m3") == math.inf  # IEEE layout: 240 is the largest


def test_stochastic_rounding_draws_new_bits_for_every_element() -> None:
    y = lowp.quantize(np.full(2000, 1.05), "float8_e4m3fn", rounding="stochastic_a")
    # The odds of 1.125 are 0.4: 800 +- 22. Pychop gives 1.0 two thousand times.
    assert set(np.unique(y)) == {1.0, 1.125}
    assert 690 < (y == 1.125).sum() < 910
    again = lowp.quantize(np.full(2000, 1.05), "float8_e4m3fn", rounding="stochastic_a")
    assert np.array_equal(y, again)  # the same seed, the same bits
    other = lowp.quantize(np.full(2000, 1.05), "float8_e4m3fn", rounding="stochastic_a", seed=1)
    assert not np.array_equal(y, other)


def test_the_exponent_just_below_a_power_of_two_is_that_of_the_lower_binade() -> None:
    below = math.nextafter(2.0**-5, 0.0)  # floor(log2(below)) is -5 in floating point
    assert lowp.quantize(below, "float8_e4m3fn", rounding="toward_zero") == 2.0**-6 * 1.875
    for e in range(-13, 16):
        for dtype in (np.float32, np.float64):
            x = np.nextafter(dtype(2.0**e), dtype(0))
            y = lowp.quantize(np.array([x]), "float8_e5m2", rounding="toward_zero")
            assert y[0] == 2.0 ** (e - 1) * 1.75


def test_float64_is_the_identity_on_small_numbers() -> None:
    x = np.array([1e-50, 1e-38, 1e-300, 5e-324, -1e-50])  # Pychop clamps at 1e-38
    for rounding in lowp.ROUNDINGS:
        assert np.array_equal(lowp.quantize(x, "float64", rounding=rounding), x)


def test_subnormals_keep_their_bits() -> None:
    x = 2.980232238769532e-08  # just above half of float16's smallest number
    assert lowp.quantize(x, "float16") == 5.960464477539063e-08  # Pychop: 0
    assert lowp.quantize(np.array([x]), "float16")[0] == 5.960464477539063e-08
    y = 0.25000000000000006
    assert lowp.quantize(y, "float4_e2m1fn") == 0.5  # Pychop: 0
    assert lowp.quantize(0.25, "float4_e2m1fn") == 0.0  # the tie goes to the even code
    assert lowp.encode(y, "float4_e2m1fn") == 1


@pytest.mark.parametrize(
    ("rounding", "positive", "negative"),
    [
        ("nearest_ties_to_zero", 1.0, -1.0),
        ("nearest_ties_to_away", 1.5, -1.5),
        ("nearest_ties_to_even", 1.0, -1.0),
    ],
)
def test_ties_know_zero_from_minus_infinity(
    rounding: str, positive: float, negative: float
) -> None:
    # Pychop: "ties to zero" goes to -infinity, "ties away" to +infinity.
    y = lowp.quantize(np.array([1.25, -1.25]), "float4_e2m1fn", rounding=rounding)
    assert list(y) == [positive, negative]


def test_a_tie_is_a_tie_to_the_last_bit() -> None:
    # Pychop takes everything within 1e-6 of a midpoint for a tie.
    for away, want in ((1e-7, 1.5), (-1e-7, 1.0), (2.0**-52, 1.5), (-(2.0**-52), 1.0)):
        for rounding in ("nearest_ties_to_even", "nearest_ties_to_zero", "nearest_ties_to_away"):
            assert lowp.quantize(1.25 + away, "float4_e2m1fn", rounding=rounding) == want


def test_round_to_odd_leaves_exact_values() -> None:
    values = lowp.format("float4_e2m1fn").values()  # Pychop: 1.0 becomes 1.5
    assert np.array_equal(lowp.quantize(values, "float4_e2m1fn", rounding="to_odd"), values)
    assert lowp.quantize(1.1, "float4_e2m1fn", rounding="to_odd") == 1.5
    assert lowp.quantize(1.6, "float4_e2m1fn", rounding="to_odd") == 1.5


@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
def test_negative_zero_nan_and_infinity_survive(rounding: str) -> None:
    x = np.array([-0.0, math.nan, math.inf, -math.inf])
    for dtype in (np.float32, np.float64):
        y = lowp.quantize(x.astype(dtype), "float16", rounding=rounding)
        assert y[0] == 0
        assert np.signbit(y[0])
        assert math.isnan(y[1])
        assert (y[2], y[3]) == (math.inf, -math.inf)


def test_complex_input_is_refused_and_not_halved() -> None:
    for x in (np.array([1 + 2j]), np.complex64(1 + 2j), 1 + 2j):
        with pytest.raises(TypeError, match=r"complex|real and imaginary"):
            lowp.quantize(x, "float16")


# ---- CPFloat ----------------------------------------------------------------------------------


def test_the_largest_e4m3_value_is_448_of_fn_and_240_of_ieee() -> None:
    # CPFloat: 480, the top exponent field with all mantissa bits, which is NaN in E4M3.
    assert lowp.format("float8_e4m3fn").max == 448.0
    assert lowp.format("float8_e4m3").max == 240.0
    assert lowp.quantize(1e9, "float8_e4m3fn", saturation="finite") == 448.0
    assert math.isnan(lowp.quantize(480.0, "float8_e4m3fn"))


@pytest.mark.parametrize("payload", [1, 2, 0x1000, 0x2000, 0x3FFFFF, 0x400000, 0x7FFFFF])
@pytest.mark.parametrize("sign", [0, 0x80000000])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "tensorfloat32", "float8_e5m2"])
def test_a_nan_of_any_payload_stays_nan(name: str, sign: int, payload: int) -> None:
    # CPFloat: a payload of 1 lies below the mantissa that is kept, and infinity is left.
    x = np.full(40, sign | 0x7F800000 | payload, np.uint32).view(np.float32)
    for rounding in lowp.ROUNDINGS:
        assert np.isnan(lowp.quantize(x, name, rounding=rounding)).all()
        codes = lowp.encode(x, name, rounding=rounding)
        assert np.array_equal(codes, np.full(40, lowp.format(name).nan_code))


@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", "stochastic_a", "stochastic_equal"])
def test_results_do_not_depend_on_the_number_of_threads(rounding: str) -> None:
    x = np.random.default_rng(1).normal(size=300_001).astype(np.float32)
    first = lowp.quantize(x, "float8_e4m3fn", rounding=rounding, seed=5, threads=1)
    for threads in (2, 3, 7):
        y = lowp.quantize(x, "float8_e4m3fn", rounding=rounding, seed=5, threads=threads)
        assert y.tobytes() == first.tobytes()


def test_no_seed_comes_from_the_clock() -> None:
    x = np.random.default_rng(1).normal(size=1000)
    calls = [lowp.quantize(x, "float4_e2m1fn", rounding="stochastic_a") for _ in range(3)]
    assert np.array_equal(calls[0], calls[1])
    assert np.array_equal(calls[1], calls[2])


# ---- gfloat -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ue5m3", "p3109_k8p3ue", "uint8", "float8_e8m0fnu"])
@pytest.mark.parametrize("saturation", lowp.SATURATIONS)
def test_an_unsigned_format_never_returns_a_negative_number(name: str, saturation: str) -> None:
    x = np.concatenate([-np.logspace(-60, 30, 400), [-math.inf, -0.0]])
    for rounding in lowp.ROUNDINGS:
        y = lowp.quantize(x, name, rounding=rounding, saturation=saturation)
        assert not (y < 0).any()
        assert not np.signbit(y[~np.isnan(y)]).any()


def test_a_format_without_subnormals_underflows() -> None:
    f = lowp.format("e4m3fn_nosub")
    small = f.min_normal
    x = np.array([1e-30, small * 0.49, small * 0.5, small * 0.51, small * 0.99])
    assert np.array_equal(lowp.quantize(x, f), [0, 0, 0, small, small])
    assert np.array_equal(lowp.quantize(x, f, rounding="toward_zero"), [0.0] * 5)
    assert np.array_equal(lowp.quantize(x, f, rounding="toward_positive"), [small] * 5)
    assert lowp.quantize(2.0**-130, "float8_e8m0fnu", saturation="finite") == 2.0**-127


# ---- ml_dtypes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [
        # Just above a midpoint, by less than float32 can tell: float32 first would see a tie.
        ("float8_e4m3fn", 1.0625 + 2.0**-40, 1.125),
        ("float8_e5m2", 1.125 + 2.0**-40, 1.25),
        ("bfloat16", 1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-7),
        ("float16", 1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-10),
        ("float4_e2m1fn", 1.25 + 2.0**-40, 1.5),
    ],
)
def test_float64_is_rounded_once(name: str, x: float, want: float) -> None:
    assert lowp.quantize(x, name) == want
    assert lowp.quantize(np.array([x]), name)[0] == want
    assert float(np.float64(np.float32(x)).astype(getattr(ml_dtypes, name, name))) != want


# ---- Universal --------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [2.0**-50, 2.0**-54, 2.0**-30])
def test_e2m1_of_a_quarter_and_a_bit_is_a_half(tail: float) -> None:
    assert lowp.quantize(0.25 + tail, "float4_e2m1fn") == 0.5  # Universal: 0 for 2^-50
    assert lowp.quantize(np.full(9, 0.25 + tail), "float4_e2m1fn").tolist() == [0.5] * 9


def test_nan_is_refused_where_no_code_means_it() -> None:
    # Universal: zero, without a word.
    for name in ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "int8"):
        with pytest.raises(ValueError, match="NaN"):
            lowp.encode(np.array([1.0, math.nan]), name)
        assert math.isnan(lowp.quantize(math.nan, name))


# ---- MPTorch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 10])
@pytest.mark.parametrize("rounding", ["stochastic_a", "stochastic_b", "stochastic_c"])
def test_k_random_bits_split_a_quantum_into_two_to_the_k_parts(bits: int, rounding: str) -> None:
    # MPTorch's mask keeps the wrong bits. For a cut-off part of j/2^k exactly j of the 2^k random
    # integers round up (b counts in half parts: the same j).
    every = np.arange(1 << bits, dtype=np.uint32)
    for j in {0, 1, (1 << bits) // 3, 1 << (bits - 1), (1 << bits) - 1}:
        x = np.full(every.size, 1 + j * 2.0**-bits * 0.125)
        y = lowp.quantize(x, "float8_e4m3fn", rounding=rounding, random=every, random_bits=bits)
        assert (y == 1.125).sum() == j
        assert (y == 1.0).sum() == every.size - j


@pytest.mark.parametrize("rounding", [r for r in lowp.ROUNDINGS if r.startswith("stochastic")])
def test_nan_stays_nan_under_stochastic_rounding(rounding: str) -> None:
    x = np.full(1000, math.nan, np.float32)  # MPTorch: 65504
    assert np.isnan(lowp.quantize(x, "float16", rounding=rounding)).all()
    assert np.isnan(lowp.quantize(x, "float16", rounding=rounding, saturation="finite")).all()
