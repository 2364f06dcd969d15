"""lowp.error and its sums: the numbers, the special inputs, and that chunks do not matter."""

from __future__ import annotations

import math
from fractions import Fraction

import lowp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowp import measures

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def test_the_measures_of_a_worked_example_are_the_numbers_on_paper() -> None:
    # e2m1 holds 0, 0.5, 1, 1.5, 2, 3, 4, 6: 1.25 ties to 1, 5 ties to 4, 0.1 becomes 0.
    e = lowp.error(np.array([1.25, 5.0, 0.1, 0.0, 3.0]), "float4_e2m1fn")
    noise, signal = 0.25**2 + 1.0 + 0.1**2, 1.25**2 + 25.0 + 0.1**2 + 9.0
    assert e.relative_mse == pytest.approx(noise / signal, rel=1e-15)
    assert e.sqnr_db == pytest.approx(-10 * math.log10(noise / signal), rel=1e-15)
    assert e.max_relative_error == 1.0
    assert (e.flushed, e.clipped, e.count) == (0.25, 0.0, 5)


def test_nan_and_infinite_inputs_are_counted_and_otherwise_left_out() -> None:
    x = np.array([math.nan, math.inf, -math.inf, 1.25], np.float32)
    e = lowp.error(x, "float4_e2m1fn")
    assert (e.count, e.nan_count, e.inf_count) == (4, 1, 2)
    assert e == measures.Error(**{
        **{name: getattr(lowp.error(x[3:], "float4_e2m1fn"), name) for name in e.__slots__},
        "count": 4,
        "nan_count": 1,
        "inf_count": 2,
    })  # fmt: skip


def test_empty_input_has_no_error() -> None:
    e = lowp.error(np.array([], np.float32), "float8_e4m3fn")
    assert e == measures.Error(math.inf, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)


def test_zeros_and_exact_values_have_infinite_decibels() -> None:
    for x in (np.zeros(3), np.array([1.0, -2.0, 448.0])):
        e = lowp.error(x, "float8_e4m3fn")
        assert (e.sqnr_db, e.relative_mse, e.max_relative_error) == (math.inf, 0.0, 0.0)


def test_a_finite_value_that_becomes_nan_or_infinity_is_an_infinite_error() -> None:
    for name in ("float8_e4m3fn", "float8_e5m2"):
        e = lowp.error(np.array([1.0, 1e6]), name, saturation="none")
        assert (e.sqnr_db, e.relative_mse, e.max_relative_error) == (-math.inf, math.inf, math.inf)
        assert e.clipped == 0.5


def test_saturation_reaches_the_quantizer() -> None:
    e = lowp.error(np.array([500.0]), "float8_e4m3fn", saturation="finite")
    assert e.max_relative_error == pytest.approx(52 / 500)
    assert e.clipped == 1.0


def test_a_value_just_above_max_that_rounds_to_max_counts_as_clipped() -> None:
    assert lowp.error(np.array([448.0, 449.0]), "float8_e4m3fn").clipped == 0.5


def test_a_zero_that_does_not_stay_zero_is_an_infinite_relative_error() -> None:
    e = lowp.error(np.array([0.0, 1.0]), np.array([2.0, 1.0]))
    assert (e.max_relative_error, e.relative_mse) == (math.inf, 4.0)


def test_given_quantized_values_the_clipped_share_is_not_known() -> None:
    e = lowp.error(np.array([1.0]), np.array([1.0]))
    assert math.isnan(e.clipped)


def test_float64_values_near_its_limits_neither_overflow_nor_vanish() -> None:
    for scale in (1e300, 1e-300):
        e = lowp.error(np.array([1.0, 2.0]) * scale, np.array([1.0, 2.2]) * scale)
        assert e.relative_mse == pytest.approx(0.04 / 5, rel=1e-12)


def test_a_format_wider_than_float32_is_measured_in_float64() -> None:
    e = lowp.error(np.array([0.1], np.float32), "float64")
    assert e.relative_mse == 0.0


def test_lists_and_half_precision_are_taken_and_integers_are_refused() -> None:
    assert lowp.error([1.25], "float4_e2m1fn") == lowp.error(np.float16([1.25]), "float4_e2m1fn")
    with pytest.raises(TypeError, match="got int64"):
        lowp.error(np.arange(3, dtype=np.int64), "float8_e4m3fn")


def test_different_shapes_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        lowp.error(np.zeros(2), np.zeros(3))


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="flaot8"):
        lowp.error(np.zeros(2), "flaot8_e4m3fn")


@given(st.lists(FINITE, max_size=40), st.data())
def test_sums_of_parts_in_any_order_are_the_sums_of_the_whole_multiset(
    values: list[float], data: st.DataObject
) -> None:
    x = np.array(values, np.float64)
    q = lowp.quantize(x, "float8_e5m2", saturation="finite")
    # Blocks of one element make float64 sums exact: only the addition of Sums is tested.
    parts = [measures.measure(x[i : i + 1], q[i : i + 1]) for i in range(len(x))]
    shuffled = data.draw(st.permutations(parts))
    whole = sum(shuffled, measures.Sums(clipped=None))
    assert whole == sum(parts, measures.Sums(clipped=None))
    # The square of a float32 is a float64, so that even this is exact.
    assert whole.signal == sum((Fraction(v) ** 2 for v in values), Fraction(0))


def test_chunks_of_whole_blocks_give_the_same_bits_as_the_whole() -> None:
    x = np.random.default_rng(1).standard_normal(5 * measures.BLOCK + 17).astype(np.float32)
    q = lowp.quantize(x, "float8_e4m3fn")
    whole = measures.measure(x, q)
    for blocks in (1, 2, 3):
        step = blocks * measures.BLOCK
        parts = [measures.measure(x[i : i + step], q[i : i + step]) for i in range(0, x.size, step)]
        assert sum(parts, measures.Sums(clipped=None)) == whole


def test_error_of_a_format_is_error_of_its_quantized_values() -> None:
    x = np.random.default_rng(2).standard_normal((64, 65)).astype(np.float32)
    for rounding in ("nearest_ties_to_even", "toward_zero", "stochastic_a"):
        direct = lowp.error(x, "float6_e3m2fn", rounding=rounding, seed=5)
        q = lowp.quantize(x, "float6_e3m2fn", rounding=rounding, seed=5)
        given_q = lowp.error(x, q)
        assert direct.sqnr_db == given_q.sqnr_db
        assert direct.flushed == given_q.flushed
