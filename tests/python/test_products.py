"""lowp.matmul and lowp.dot: sums by exact rationals, shapes, batches, blocks, errors."""

from __future__ import annotations

import pickle
from bisect import bisect_right
from fractions import Fraction
from functools import cache
from typing import Any

import lowp
import numpy as np
import pytest

Row = list[float]


@cache
def line(format: str) -> list[tuple[Fraction, int]]:
    """Magnitudes of a format with their codes, and the one that infinity stands for."""
    f = lowp.format(format)
    codes = np.arange(f.max_code + 1, dtype=np.uint16)
    values = lowp.decode(codes, format, dtype=np.float64)
    step = Fraction(values[-1]) - Fraction(values[-2])
    return [*((Fraction(v), i) for i, v in enumerate(values)), (Fraction(values[-1]) + step, -1)]


def nearest(x: Fraction, format: str) -> float:
    """x rounded to nearest even; overflow is infinite."""
    points = line(format)
    at = min(bisect_right(points, (abs(x), 1 << 30)) - 1, len(points) - 2)
    (low, code), (high, _) = points[at], points[at + 1]
    up = abs(x) - low > high - abs(x) or (2 * abs(x) == low + high and code % 2)
    found = points[at + 1] if up else points[at]
    magnitude = float(found[0]) if found[1] >= 0 else np.inf
    return -magnitude if x < 0 else magnitude


def sequential(x: Row, y: Row, c: float, format: str, separate: bool) -> float:
    for s, t in zip(x, y, strict=True):
        if not np.isfinite(c):
            return c
        p = Fraction(s) * Fraction(t)
        if separate:
            rounded = nearest(p, format)
            if not np.isfinite(rounded):
                return rounded
            p = Fraction(rounded)
        c = nearest(Fraction(c) + p, format)
    return c


@pytest.mark.parametrize("format", ["float8_e5m2", "float16", "e3m4", "e4m5"])
@pytest.mark.parametrize("part", ["", "/separate"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sequential_sums_are_those_of_rationals(format: str, part: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    a = lowp.quantize(rng.normal(size=(5, 23)).astype(dtype), "float8_e4m3fn")
    b = lowp.quantize(rng.normal(size=(23, 19)).astype(dtype), "float8_e4m3fn")
    got = lowp.matmul(a, b, accumulator=format + part)
    for i in range(5):
        for j in range(19):
            want = sequential(a[i].tolist(), b[:, j].tolist(), 0.0, format, bool(part))
            assert got[i, j] == want, (i, j)


def test_values_wider_than_products_in_float32_are_still_exact() -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.normal(size=s).astype(np.float32) for s in ((3, 40), (40, 17)))
    got = lowp.matmul(a, b, accumulator="float16")
    for i in range(3):
        for j in range(17):
            want = sequential(a[i].tolist(), b[:, j].tolist(), 0.0, "float16", False)
            assert got[i, j] == want


def test_float32_is_a_chain_of_fused_operations() -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.normal(size=s).astype(np.float32) for s in ((9, 33), (33, 18)))
    want = np.zeros((9, 18), np.float32)
    for k in range(33):
        want = lowp.fma(
            np.broadcast_to(a[:, k : k + 1], want.shape).copy(),
            np.broadcast_to(b[k], want.shape).copy(),
            want,
            "float32",
        )
    assert np.array_equal(lowp.matmul(a, b), want)


def test_order_is_an_argument() -> None:
    ones = np.ones(3000, np.float32)
    results = {"float16": 2048, "float16/pairwise": 3000, "float16/kahan": 3000, "exact": 3000}
    results["float16/chunk=512/promotion=float32"] = 3000
    for accumulator, want in results.items():
        assert lowp.dot(ones, ones, accumulator=accumulator) == want, accumulator


def test_batches_broadcast_and_each_has_random_bits_of_its_own() -> None:
    rng = np.random.default_rng(8)
    a = rng.normal(size=(4, 1, 6, 10)).astype(np.float32)
    b = rng.normal(size=(3, 10, 5)).astype(np.float32)
    got = lowp.matmul(a, b, accumulator="bfloat16")
    assert got.shape == (4, 3, 6, 5)
    for i in range(4):
        for j in range(3):
            assert np.array_equal(got[i, j], lowp.matmul(a[i, 0], b[j], accumulator="bfloat16"))
    same = np.broadcast_to(a[0, 0], (50, 6, 10))
    noisy = lowp.matmul(same, b[0], accumulator="float8_e5m2/rounding=stochastic_a", seed=1)
    assert len({x.tobytes() for x in noisy}) == 50
    again = lowp.matmul(same, b[0], accumulator="float8_e5m2/rounding=stochastic_a", seed=1)
    assert np.array_equal(noisy, again)


def test_one_dimension_is_a_row_or_a_column() -> None:
    a, b = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32)
    assert lowp.matmul(a, b).tolist() == [6, 22, 38]
    assert lowp.matmul(b, a.T).tolist() == [6, 22, 38]
    assert lowp.matmul(b, b) == 4
    assert lowp.dot(b, b, c=np.float32(1)) == 5


def test_empty_products_are_c_or_zero() -> None:
    a, b = np.zeros((3, 0), np.float32), np.zeros((0, 2), np.float32)
    for accumulator in ("float16", "h100", "exact", "float16/pairwise", "float32/kahan"):
        assert np.array_equal(lowp.matmul(a, b, accumulator=accumulator), np.zeros((3, 2)))
        c = np.full((3, 2), 2, np.float32)
        assert np.array_equal(lowp.matmul(a, b, c=c, accumulator=accumulator), c)
    assert lowp.matmul(np.zeros((0, 4), np.float32), np.zeros((4, 2), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("accumulator", ["float16", "h100", "float16/pairwise", "exact"])
def test_strides_do_not_change_a_bit(accumulator: str) -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(7, 20)).astype(np.float32), rng.normal(size=(20, 30)).astype(np.float32)
    a, b = lowp.quantize(a, "float16"), lowp.quantize(b, "float16")
    want = lowp.matmul(a, b, accumulator=accumulator)
    wide = np.zeros((14, 60), np.float32)
    wide[::2, ::3] = a
    assert np.array_equal(lowp.matmul(wide[::2, ::3], b, accumulator=accumulator), want)
    assert np.array_equal(
        lowp.matmul(np.asfortranarray(a), b[::-1].copy()[::-1], accumulator=accumulator), want
    )
    out = np.zeros((30, 7), np.float32).T
    assert lowp.matmul(a, b, accumulator=accumulator, out=out) is out
    assert np.array_equal(out, want)


def test_formats_of_factors_and_results() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(6, 64)).astype(np.float32), rng.normal(size=(64, 8)).astype(np.float32)
    got = lowp.matmul(a, b, a_format="float8_e4m3fn", b_format="float8_e5m2", out_format="bfloat16")
    want = lowp.quantize(
        lowp.matmul(lowp.quantize(a, "float8_e4m3fn"), lowp.quantize(b, "float8_e5m2")), "bfloat16"
    )
    assert np.array_equal(got, want)
    blocks = lowp.matmul(a, b, a_format="mxfp8_e4m3", b_format="mxfp4")
    want = lowp.matmul(lowp.quantize(a, "mxfp8_e4m3"), lowp.quantize(b, "mxfp4", axis=0))
    assert np.array_equal(blocks, want)


@pytest.mark.parametrize(
    ("unit", "format"),
    [("b200_mxf8", "mxfp8_e4m3"), ("b200_mxf4", "mxfp4"), ("b200_nvfp4", "nvfp4")],
)
def test_scaled_units_are_near_the_exact_product_of_their_factors(unit: str, format: str) -> None:
    rng = np.random.default_rng(11)
    a, b = (
        rng.normal(size=(6, 256)).astype(np.float32),
        rng.normal(size=(256, 8)).astype(np.float32),
    )
    got = lowp.matmul(a, b, accumulator=unit, a_format=format, b_format=format)
    x, y = (lowp.quantize(v.astype(np.float64), format, axis=i) for v, i in ((a, 1), (b, 0)))
    # A sum of k terms, each cut 2^-25 of the largest, and a result of 24 bits every step.
    assert np.allclose(got, x @ y, rtol=0, atol=256 * 2.0**-23 * np.abs(x).max() * np.abs(y).max())


def test_a_unit_takes_its_own_formats_and_finds_the_one_that_holds_all_numbers() -> None:
    tiny = np.float32([[2.0**-9, 2.0**-8, 1.0]])
    for format in ("float8_e4m3fn", "float8_e5m2"):
        x = lowp.quantize(np.float32([[1.25, 2.0**-9, 448.0]]), format)
        got = lowp.matmul(x, tiny.T, accumulator="h100_fp8")
        first = "float8_e4m3fn"
        assert got == lowp.matmul(x, tiny.T, accumulator="h100_fp8", a_format=first, b_format=first)
    e5m2 = np.float32([[2.0**-16, 1.0, 2.0**15]])
    assert np.isfinite(lowp.matmul(e5m2, tiny.T, accumulator="h100_fp8")).all()
    with pytest.raises(ValueError, match="float8_e4m3fn or float8_e5m2; a has other numbers"):
        lowp.matmul(np.float32([[1.0 + 2.0**-8]]), np.float32([[1.0]]), accumulator="h100_fp8")


def test_a_batch_counts_as_one_format() -> None:
    a = np.float32([[[2.0**-9, 1.0]], [[2.0**-16, 2.0]]])  # only float8_e5m2 holds all of it
    b = np.ones((2, 2, 1), np.float32)
    e5m2 = {"a_format": "float8_e5m2"}
    got = lowp.matmul(a, b, accumulator="h100_fp8")
    assert np.array_equal(got, lowp.matmul(a, b, accumulator="h100_fp8", **e5m2))


def test_accumulators_have_names_and_fields() -> None:
    for name, (unit, _, _) in lowp.accumulators().items():
        assert lowp.accumulator(name) == unit
        assert pickle.loads(pickle.dumps(unit)) == unit
        assert lowp.accumulator(unit.name) == unit
    mine = lowp.Accumulator("float16", chunk=128, promotion=lowp.format("bfloat16"))
    assert mine == lowp.accumulator("float16/chunk=128/promotion=bfloat16")
    assert mine.fields["promotion"] == "bfloat16"
    assert mine.chunk == 128
    assert hash(mine) == hash(lowp.accumulator(mine.name))
    assert repr(mine) == f"Accumulator('{mine}')"
    assert mine != "float16"


def test_what_does_not_meet_is_refused() -> None:
    a, b = np.ones((3, 4), np.float32), np.ones((5, 2), np.float32)
    with pytest.raises(ValueError, match=r"\(3, 4\) and b \(5, 2\) must agree in k; got 4 and 5"):
        lowp.matmul(a, b)
    with pytest.raises(TypeError, match="one dtype; got float32 and float64"):
        lowp.matmul(a, np.ones((4, 2)))
    with pytest.raises(ValueError, match="c must broadcast to"):
        lowp.matmul(a, a.T, c=np.ones((2, 2), np.float32))
    with pytest.raises(TypeError, match="int64"):
        lowp.matmul(a, np.ones((4, 2), int))
    with pytest.raises(ValueError, match=r"nearest: h100"):
        lowp.matmul(a, a.T, accumulator="h10")
    with pytest.raises(TypeError, match="accumulator must be a name"):
        lowp.matmul(a, a.T, accumulator=3)
    with pytest.raises(ValueError, match="one axis"):
        lowp.dot(a, a)
    with pytest.raises(ValueError, match="both factors must have block formats"):
        lowp.matmul(a, a.T, accumulator="b200_mxf8", a_format="mxfp8_e4m3")
    with pytest.raises(ValueError, match="out must be an array of shape"):
        lowp.matmul(a, a.T, out=np.ones((2, 2), np.float32))
    wide = np.full((1, 4), 1 + 2.0**-40)
    with pytest.raises(
        ValueError, match="h100 multiplies float16 or bfloat16; a has other numbers"
    ):
        lowp.matmul(wide, wide.T, accumulator="h100")
    with pytest.raises(ValueError, match="numbers that float32 holds; a has others"):
        lowp.matmul(wide, wide.T, accumulator="float32/aligned")
    with pytest.raises(ValueError, match=r"float64 needs wider factors than float32.*astype"):
        lowp.matmul(a, a.T, accumulator="float64")
    with pytest.raises(ValueError, match=r"nearest: float16"):
        lowp.matmul(a, a.T, accumulator="flaot16")


def test_threads_and_instruction_sets_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(12)
    a, b = (
        rng.normal(size=(65, 70)).astype(np.float32),
        rng.normal(size=(70, 90)).astype(np.float32),
    )
    a, b = lowp.quantize(a, "float8_e4m3fn"), lowp.quantize(b, "float8_e4m3fn")
    for accumulator in ("float16", "h100_fp8_promoted", "bfloat16/rounding=stochastic_b"):
        want = lowp.matmul(a, b, accumulator=accumulator, threads=1)
        for threads in (2, 3, 8):
            assert np.array_equal(lowp.matmul(a, b, accumulator=accumulator, threads=threads), want)


def test_a_number_as_c_must_be_one_of_the_dtype() -> None:
    x = np.eye(2, dtype=np.float32)
    assert lowp.matmul(x, x, c=1).tolist() == [[2, 1], [1, 2]]
    for c in (0.1, 2**53 + 1):
        with pytest.raises(ValueError, match=f"c is {c}, which float32 does not hold"):
            lowp.matmul(x, x, c=c)
    with pytest.raises(TypeError, match="c must be float32 as a and b are; got float64"):
        lowp.matmul(x, x, c=np.float64(1))


@pytest.mark.parametrize("rounding", ["toward_zero", "stochastic_a"])
def test_a_factor_that_was_rounded_in_any_way_is_kept(rounding: str) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 40, 40)).astype(np.float32)
    f = "float8_e4m3fn"
    rounded = lowp.quantize(1000 * a, f, rounding=rounding, saturation="finite", seed=3)
    got = lowp.matmul(rounded, b, accumulator="h100_fp8", a_format=f, b_format=f)
    want = lowp.matmul(rounded, lowp.quantize(b, f), accumulator="h100_fp8")
    assert np.array_equal(got, want)
    assert np.isfinite(got).all()
    assert np.isnan(lowp.matmul(1000 * a, b, accumulator="h100_fp8", a_format=f, b_format=f)).any()


def test_misspelt_arguments_of_products_are_named() -> None:
    x = np.eye(2)
    with pytest.raises(TypeError, match=r"matmul\(\) has no argument 'accumlator'; did you mean"):
        lowp.matmul(x, x, accumlator="h100")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean 'out_format'"):
        lowp.dot(x[0], x[0], outformat="float16")
    with pytest.raises(TypeError, match=r"takes a name, as 'float16', then fields by name; got A"):
        lowp.Accumulator(order="pairwise")  # type: ignore[call-arg]
