"""lowp.error and its sums: the numbers, the special inputs, and that chunks do not matter."""

from __future__ import annotations

import itertools
import math
import pickle
from fractions import Fraction
from pathlib import Path

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


# ---- the measures beside the error ---------------------------------------------------------------


def test_gain_cosine_and_absolute_error_are_the_numbers_on_paper() -> None:
    x, q = np.array([3.0, 4.0]), np.array([3.0, 5.0])
    e = lowp.error(x, q)
    assert e.gain == (9 + 20) / 25
    assert e.cosine == pytest.approx(29 / (5 * math.sqrt(34)), rel=1e-15)
    assert e.max_absolute_error == 1.0
    assert lowp.error(x, -q).cosine == -e.cosine


def test_gain_and_cosine_where_a_side_is_zero_or_all_is_exact() -> None:
    zero, one = np.zeros(2), np.ones(2)
    assert (lowp.error(zero, zero).gain, lowp.error(zero, zero).cosine) == (1.0, 1.0)
    assert (lowp.error(one, zero).gain, lowp.error(one, zero).cosine) == (0.0, 0.0)
    assert math.isnan(lowp.error(zero, one).gain)
    assert lowp.error(zero, one).cosine == 0.0
    infinite = lowp.error(np.array([1e6]), "float8_e5m2")
    assert math.isnan(infinite.gain)
    assert math.isnan(infinite.cosine)
    assert (infinite.max_absolute_error, infinite.max_ulp) == (math.inf, math.inf)


def test_a_ratio_beyond_float64_is_infinite() -> None:
    e = lowp.error(np.array([1e-200]), np.array([1e200]))
    assert (e.relative_mse, e.gain, e.cosine) == (math.inf, math.inf, 1.0)


def test_nearest_errs_by_half_an_ulp_and_directed_rounding_by_nearly_one() -> None:
    x = np.random.default_rng(3).standard_normal(4096)
    for name in ("float8_e4m3fn", "float16", "bfloat16", "q3.4", "float6_e3m2fn", "e4m3fnuz"):
        nearest = lowp.error(x, name, saturation="finite")
        assert 0.49 < nearest.max_ulp <= 0.5
        directed = lowp.error(x, name, rounding="toward_zero", saturation="finite")
        assert 0.97 < directed.max_ulp < 1.0


def test_ulps_are_those_of_the_largest_and_of_the_smallest_numbers_beyond_them() -> None:
    # Between 256 and 448 the ulp of e4m3fn is 32, below 2^-6 it is 2^-9.
    assert lowp.error([512.0], "float8_e4m3fn", saturation="finite").max_ulp == 2.0
    assert lowp.error([2.0**-12], "float8_e4m3fn").max_ulp == 0.125
    assert lowp.error([130.25], "int8", saturation="finite").max_ulp == 3.25


def test_the_share_of_subnormals_counts_results() -> None:
    # min_normal is 2^-6: 2^-8 stays subnormal, just below 2^-6 rounds up to normal, 0 is neither.
    x = np.array([2.0**-8, 2.0**-6 * 0.999, 0.0, 1.0])
    assert lowp.error(x, "float8_e4m3fn").subnormal == 0.25
    assert lowp.error(np.array([1.0, 3.0]), "int8").subnormal == 0.0


def test_the_histogram_counts_the_codes_of_finite_inputs() -> None:
    x = np.array([0.0, -0.0, 0.5, 6.0, 100.0, math.nan, math.inf])
    e = lowp.error(x, "float4_e2m1fn")
    assert e.histogram is not None
    expected = np.bincount([0, 8, 1, 7, 7], minlength=16)
    np.testing.assert_array_equal(e.histogram, expected)
    np.testing.assert_array_equal(lowp.measures.code_histogram(x, "float4_e2m1fn"), expected)
    shares = expected[expected > 0] / 5
    assert e.code_entropy == pytest.approx(-float(np.sum(shares * np.log2(shares))), rel=1e-15)


def test_all_codes_alike_have_no_entropy_and_all_different_ones_all_bits() -> None:
    f = lowp.format("float8_e4m3fnuz")
    assert lowp.error(np.ones(9), f).code_entropy == 0.0
    # 255 numbers and one NaN.
    assert lowp.error(f.values(), f).code_entropy == pytest.approx(math.log2(255))


def test_a_wide_format_or_given_values_have_neither_histogram_nor_entropy() -> None:
    given = lowp.error(np.ones(3), np.ones(3))
    assert given.histogram is None
    assert math.isnan(given.code_entropy)
    assert math.isnan(given.max_ulp)
    assert math.isnan(given.subnormal)
    assert lowp.error(np.ones(3), "float32").histogram is None
    with pytest.raises(ValueError, match=r"at most 16 bits.*float32"):
        lowp.measures.code_histogram(np.ones(3), "float32")


def test_an_error_keeps_its_histogram_when_copied() -> None:
    e = lowp.error(np.ones(3), "int4")
    again = pickle.loads(pickle.dumps(e))
    assert again == e
    np.testing.assert_array_equal(again.histogram, e.histogram)


# ---- chunks, files, rows and blocks --------------------------------------------------------------

BIG = np.random.default_rng(4).standard_normal(3 * measures.BLOCK + 4321).astype(np.float32)


@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", "stochastic_b"])
@pytest.mark.parametrize("steps", [[1], [1000], [measures.BLOCK + 1], [7, 100_000, 30]])
def test_a_meter_gives_the_same_bits_however_the_tensor_is_cut(
    rounding: str, steps: list[int]
) -> None:
    x = BIG if steps != [1] else BIG[:3000]
    options = {"rounding": rounding, "random_bits": 7, "seed": 3, "stream": 2}
    whole = lowp.error(x, "float8_e4m3fn", **options)
    meter = measures.Meter("float8_e4m3fn", **options)
    place = 0
    for step in itertools.cycle(steps):
        meter.update(x[place : place + step])
        place += step
        if place >= x.size:
            break
    assert meter.error() == whole
    np.testing.assert_array_equal(meter.error().histogram, whole.histogram)


def test_a_meter_without_a_format_takes_quantized_values() -> None:
    q = lowp.quantize(BIG, "float8_e5m2")
    meter = measures.Meter()
    for start in range(0, BIG.size, 70_000):
        meter.update(BIG[start : start + 70_000], q[start : start + 70_000])
    e, whole = meter.error(), lowp.error(BIG, q)
    assert (e.sqnr_db, e.gain, e.flushed) == (whole.sqnr_db, whole.gain, whole.flushed)
    with pytest.raises(TypeError, match=r"needs quantized values"):
        meter.update(BIG)
    with pytest.raises(TypeError, match=r"takes no quantized values"):
        measures.Meter("int8").update(BIG, q)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        meter.update(np.zeros(2), np.zeros(3))


def test_an_iterator_of_chunks_is_one_tensor() -> None:
    chunks = (BIG[i : i + 50_000] for i in range(0, BIG.size, 50_000))
    assert lowp.error(chunks, "float8_e4m3fn") == lowp.error(BIG, "float8_e4m3fn")
    with pytest.raises(TypeError, match="Meter"):
        lowp.error(iter([BIG]), BIG)
    with pytest.raises(TypeError, match="iterator"):
        lowp.error(iter([BIG]), "int8", per="row")


def test_an_empty_iterator_is_an_empty_tensor() -> None:
    assert lowp.error(iter([]), "int8") == lowp.error(np.zeros(0), "int8")


def test_a_file_and_a_transposed_array_are_measured_in_the_order_of_their_elements(
    tmp_path: Path,
) -> None:
    table = BIG[:200_000].reshape(400, 500)
    np.save(tmp_path / "x.npy", table)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = {"rounding": "stochastic_a", "seed": 1}
    assert lowp.error(mapped, "int8", **options) == lowp.error(table, "int8", **options)
    turned = lowp.error(mapped.T, "int8", **options)
    assert turned == lowp.error(np.ascontiguousarray(table.T), "int8", **options)


def assert_same(e: measures.Error, expected: measures.Error) -> None:
    for name in measures.Errors.__dataclass_fields__:
        np.testing.assert_allclose(getattr(e, name), getattr(expected, name), 1e-12, 1e-13)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("target", ["float8_e4m3fn", "float8_e5m2", None])
def test_each_row_has_the_measures_of_itself(axis: int, target: str | None) -> None:
    x = np.random.default_rng(5).standard_normal((3, 40, 7)) * 10.0 ** np.arange(-3, 4)
    x[0, 0, 0], x[0, 1, 1], x[1, :, 2], x[2, 5, 5] = math.nan, math.inf, 0.0, 1e9
    q = lowp.quantize(x, target or "float6_e3m2fn")
    errors = lowp.error(x, target or q, per="row", axis=axis)
    rows, results = np.moveaxis(x, axis, -1), np.moveaxis(q, axis, -1)
    assert errors.shape == rows.shape[:-1]
    for index in np.ndindex(errors.shape):
        assert_same(errors[index], lowp.error(rows[index], target or results[index]))


def test_runs_along_an_axis_and_ragged_tiles_have_the_measures_of_themselves() -> None:
    x = np.random.default_rng(6).standard_normal((10, 23)).astype(np.float32)
    runs = lowp.error(x, "float4_e2m1fn", per="block", block=8)
    assert runs.shape == (10, 3)
    assert_same(runs[4, 2], lowp.error(x[4, 16:], "float4_e2m1fn"))
    assert int(runs.count.sum()) == x.size
    down = lowp.error(x, "float4_e2m1fn", per="block", block=4, axis=0)
    assert down.shape == (3, 23)
    assert_same(down[2, 7], lowp.error(x[8:, 7], "float4_e2m1fn"))
    tiles = lowp.error(x, "float4_e2m1fn", per="block", block=(4, 8))
    assert tiles.shape == (3, 3)
    assert_same(tiles[2, 2], lowp.error(x[8:, 16:], "float4_e2m1fn"))


def test_many_blocks_are_measured_in_slabs_of_the_same_bits() -> None:
    errors = lowp.error(BIG, "int4", per="block", block=16)
    last = lowp.error(BIG[-(BIG.size % 16 or 16) :], "int4")
    assert_same(errors[len(errors) - 1], last)


def test_a_wrong_choice_of_blocks_is_refused_with_what_to_do() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="'tensor', 'row' or 'block'"):
        lowp.error(x, "int8", per="column")
    with pytest.raises(ValueError, match="needs per='block'"):
        lowp.error(x, "int8", block=4)
    with pytest.raises(ValueError, match="needs per='block'"):
        lowp.error(x, "int8", per="row", block=4)
    with pytest.raises(ValueError, match="needs block="):
        lowp.error(x, "int8", per="block")
    with pytest.raises(ValueError, match="positive"):
        lowp.error(x, "int8", per="block", block=0)
    with pytest.raises(ValueError, match="2 or more dimensions"):
        lowp.error(x[0], "int8", per="block", block=(2, 2))
    with pytest.raises(ValueError, match="1 or more dimensions"):
        lowp.error(1.5, "int8", per="row")
    with pytest.raises(TypeError, match="give 2 indices"):
        lowp.error(x, "int8", per="block", block=2)[0]


# ---- block formats -------------------------------------------------------------------------------


BLOCKS = list(lowp.block_formats())


@pytest.mark.parametrize("name", BLOCKS)
def test_block_formats_are_measured_by_their_own_verbs(name: str) -> None:
    x = np.random.default_rng(7).standard_normal((40, 96))
    x[0, 0] = math.nan
    block = lowp.block_format(name)
    e, q = lowp.error(x, name), lowp.quantize(x, block)
    given = lowp.error(x, q)
    assert (e.sqnr_db, e.gain, e.flushed) == (given.sqnr_db, given.gain, given.flushed)
    assert math.isnan(e.max_ulp)
    assert e.histogram is not None
    codes = lowp.encode(x, block, nan=0).element_codes()
    np.testing.assert_array_equal(
        e.histogram, np.bincount(codes[np.isfinite(x)], minlength=len(e.histogram))
    )
    # The same for float32 and for a chunk after the other of whole blocks and levels.
    assert lowp.error(x.astype(np.float16), block).count == x.size
    meter = measures.Meter(block)
    meter.update(x)
    assert meter.error() == e


@pytest.mark.parametrize("name", BLOCKS)
def test_clipped_and_subnormal_shares_of_blocks_are_those_of_scaled_elements(name: str) -> None:
    x = np.random.default_rng(9).standard_normal((8, 128)) * 10.0 ** np.arange(8)[:, None]
    block, tensor = lowp.block_format(name), lowp.encode(x, name)
    outer = tensor.outer_scale if tensor.outer_scale.size else np.ones(1)
    scales = tensor.scale_values() * outer[0]
    wide = np.ones_like(x)
    for axis, (size, count) in enumerate(zip(x.shape, scales.shape, strict=True)):
        scales = np.repeat(scales, -(-size // count), axis).take(range(size), axis)
    values = np.asarray(
        block.element.values() if isinstance(block.element, lowp.Format) else block.element
    )
    e = lowp.error(x, name)
    beyond = (x > values.max() * scales * wide) | (x < values.min() * scales * wide)
    assert e.clipped == pytest.approx(beyond.mean(), abs=2 / x.size)
    if isinstance(block.element, lowp.Format):
        elements = np.abs(lowp.decode(tensor.element_codes(), block.element, dtype=np.float64))
        small = (elements > 0) & (elements < block.element.min_normal)
        assert e.subnormal == small.mean()
    else:
        assert math.isnan(e.subnormal)


def test_a_clipped_value_of_mxfp4_is_one_beyond_six_of_its_scales() -> None:
    # amax 7 has the scale 2^(2 - 2) = 1: 7 is beyond 6, 6.5 too, 6 not.
    x = np.zeros((1, 32), np.float32)
    x[0, :4] = 7, 6.5, 6, -7
    assert lowp.error(x, "mxfp4").clipped == 3 / 32
    assert lowp.error(x, "mxfp4", per="row").clipped.tolist() == [3 / 32]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_blocks_of_a_block_format_have_the_measures_of_themselves(name: str, axis: int) -> None:
    x = np.random.default_rng(8).standard_normal((3, 40, 70)).astype(np.float32)
    block = lowp.block_format(name)
    if axis != -1 and isinstance(block.shape, tuple):
        with pytest.raises(ValueError, match="axis must be -1"):
            lowp.error(x, block, per="block", axis=axis)
        return
    errors = lowp.error(x, block, per="block", axis=axis)
    tensor = lowp.encode(x, block, axis=axis)
    assert errors.shape == tensor.scales.shape
    assert int(errors.count.sum()) == x.size
    q = lowp.quantize(x, block, axis=axis)
    cut = [lowp.blocks_of(part, block, axis=axis) for part in (x, q)]
    for place in (0, len(cut[0]) // 2, len(cut[0]) - 1):
        expected = lowp.error(cut[0][place], cut[1][place])
        got = errors[np.unravel_index(place, errors.shape)]
        assert got.sqnr_db == pytest.approx(expected.sqnr_db, rel=1e-12)
        assert got.max_absolute_error == expected.max_absolute_error
    whole = lowp.error(x, block, axis=axis)
    assert float((errors.clipped * errors.count).sum()) == pytest.approx(whole.clipped * x.size)


def test_named_shapes_of_blocks_serve_any_format() -> None:
    x = np.random.default_rng(8).standard_normal((2, 6, 10))
    shapes = {"row": (2, 6, 1), "column": (2, 1, 10), "tensor": (1, 1, 1)}
    for word, shape in shapes.items():
        errors = lowp.error(x, "float8_e4m3fn", per="block", block=word)
        assert errors.shape == shape
    rows = lowp.error(x, "float8_e4m3fn", per="block", block="row")
    assert_same(rows[1, 2, 0], lowp.error(x[1, 2], "float8_e4m3fn"))
    column = lowp.error(x, "float8_e4m3fn", per="block", block="column")
    assert_same(column[1, 0, 3], lowp.error(x[1, :, 3], "float8_e4m3fn"))
    with pytest.raises(ValueError, match="shape must be"):
        lowp.error(x, "int8", per="block", block="diagonal")


def test_empty_and_scalar_tensors_have_measures_in_block_formats() -> None:
    for name in BLOCKS:
        empty = lowp.error(np.zeros((0, 4), np.float32), name)
        assert (empty.sqnr_db, empty.clipped, empty.count) == (math.inf, 0.0, 0)
    assert lowp.error(np.float32([[0.3]]), "mxfp4").count == 1


def test_options_of_blocks_are_those_of_the_format_unless_given() -> None:
    x = np.random.default_rng(8).standard_normal((64, 64)).astype(np.float32)
    down = lowp.error(x, "mxfp4/rounding=toward_zero")
    assert down == lowp.error(x, "mxfp4", rounding="toward_zero")
    assert down.sqnr_db < lowp.error(x, "mxfp4", saturation="finite").sqnr_db
    assert (
        down.sqnr_db
        < lowp.error(x, "mxfp4/rounding=toward_zero", rounding="nearest_ties_to_even").sqnr_db
    )
    with pytest.raises(ValueError, match="saturate"):
        lowp.error(x, "mxfp4", saturation="none")
    seeds = [lowp.error(x, "mxfp4", rounding="stochastic_a", seed=s) for s in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize("infinity", ["nan", "number"])
def test_nan_is_counted_in_block_formats_that_have_no_code_for_it(infinity: str) -> None:
    x = np.linspace(-2, 2, 128, dtype=np.float32).reshape(4, 32)
    x[1, 3], x[2, 5] = math.nan, math.inf
    name = f"float4_e2m1fn/16/ue5m3f/infinity={infinity}"
    e = lowp.error(x, name)
    assert (e.count, e.nan_count, e.inf_count) == (128, 1, 1)
    assert e.sqnr_db == -math.inf  # the block of the NaN is NaN
    assert e.histogram is not None
    assert e.histogram.sum() == 126
    rows = lowp.error(x, name, per="row").sqnr_db
    assert np.isneginf(rows).tolist() == [False, True, infinity == "nan", False]
    meter = lowp.measures.Meter(name)
    meter.update(x)
    assert meter.error() == e
