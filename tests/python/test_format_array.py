"""lowp.array: values never leave their format, whatever is done to them."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from typing import Any

import lowp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linalg_oracle import Exact
from lowp import FormatArray, array
from lowp._format_rules import holds
from samples import REGISTERED, UP_TO_16_BITS, assert_same, descriptors

FORMATS = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64")
ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv)
COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
HALF = "float16"


def values(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def on_grid(x: FormatArray) -> bool:
    again = lowp.quantize(np.array(x.values), x.format, saturation=x.saturation)
    return bool(np.array_equal(again, x.values, equal_nan=True))


_X = array([[1.0, 2.0], [3.0, 4.0]], HALF)


# Making


def test_making_rounds_once_and_takes_numbers_of_every_kind() -> None:
    want = lowp.quantize(np.array([0.3, 1.0, 500.0]), "float8_e4m3fn", saturation="finite")
    made = array([0.3, 1, 500], "float8_e4m3fn", saturation="finite")
    assert np.array_equal(made.values, want)
    assert made.values.dtype == np.float32
    for x in (0.3, np.float64(0.3), np.float32(0.25), 3, np.int8(3), [[1, 2], [3, 4]], (1.5,)):
        assert array(x, HALF).shape == np.shape(x)
    assert float(array(2**53, "float64")) == 2**53
    assert array(np.float16([0.1]), HALF) == np.float16(0.1)
    assert array(array([0.3], HALF), "float8_e5m2").format.name == "float8_e5m2"


def test_the_carrier_is_float32_where_that_holds_the_format() -> None:
    dtypes = {name: array(1.0, name).values.dtype for name in ("float16", "float32", "float64")}
    assert dtypes == {"float16": np.float32, "float32": np.float32, "float64": np.float64}
    assert array(0.1, "float64").item() == 0.1


def test_making_copies() -> None:
    plain = np.array([1.0, 2.0], np.float32)
    made = array(plain, "float32")
    plain[0] = 7
    assert made.tolist() == [1, 2]
    again = array(made, "float32")
    again[0] = 9
    assert made.tolist() == [1, 2]


BAD_INPUTS = [
    (lambda: array([1.0], "float15"), ValueError, "float15"),
    (lambda: array([1.0], HALF, rounding="up"), ValueError, "up"),
    (lambda: array([1.0], HALF, saturation="yes"), ValueError, "yes"),
    (lambda: array([1.0], HALF, rounding="stochastic_a"), ValueError, "random bits"),
    (lambda: array([1.0], "mxfp4"), ValueError, "block format"),
    (lambda: array("one", HALF), TypeError, "dtype"),
    (lambda: array([1j], HALF), TypeError, "real and imaginary"),
    (lambda: array([True], HALF), TypeError, "booleans"),
    (lambda: array(True, HALF), TypeError, "booleans"),
    (lambda: array(2**53 + 1, "float64"), ValueError, "exact in float64"),
    (lambda: array([2**60 + 1], "float64"), ValueError, r"2\*\*53"),
    (lambda: FormatArray([1.0]), TypeError, "lowp.array"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_INPUTS)
def test_making_refuses_what_has_no_meaning(
    call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


# Arithmetic


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", "toward_zero", "toward_positive"])
def test_operators_give_the_exact_result_rounded_once(name: str, rounding: str) -> None:
    exact = Exact(name, rounding)
    x, y = (array(values(60, seed), name, rounding=rounding) for seed in (1, 2))
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    for op, verb in zip(ARITHMETIC, (exact.add, exact.sub, exact.mul, exact.div), strict=True):
        got = op(x, y)
        assert got.format == x.format
        assert got.rounding == rounding
        assert got.tolist() == [verb(a, b) for a, b in pairs]
    assert np.sqrt(abs(x)).tolist() == [exact.sqrt(abs(a)) for a in x.tolist()]
    assert np.square(x).tolist() == [exact.mul(a, a) for a in x.tolist()]
    assert np.reciprocal(x).tolist() == [exact.div(1.0, a) for a in x.tolist()]


def test_numbers_are_rounded_to_the_format_first() -> None:
    x = array([1.0, 2.0], "float8_e4m3fn")
    tenth = lowp.quantize(0.1, "float8_e4m3fn")
    for number in (0.1, np.float64(0.1), np.float32(0.1)):
        assert (x * number).tolist() == [tenth, 2 * tenth]
        assert (number * x).tolist() == [tenth, 2 * tenth]
    assert (x + 1).tolist() == [2, 3]
    assert (1 - x).tolist() == [0, -1]
    assert (x * np.int64(2)).tolist() == [2, 4]


def test_unary_operators_are_exact() -> None:
    x = array([-1.5, 0.0, -0.0, math.inf, math.nan], HALF)
    assert_same((-x).values, np.float32([1.5, -0.0, 0.0, -math.inf, math.nan]))
    assert_same(abs(x).values, np.float32([1.5, 0, 0, math.inf, math.nan]))
    assert_same((+x).values, x.values)
    assert np.floor(array([-1.5, 1.5], HALF)).tolist() == [-2, 1]
    assert np.sign(array([-1.5, 0.0, 2.0], HALF)).tolist() == [-1, 0, 1]
    assert np.isnan(x).tolist() == [False] * 4 + [True]
    assert np.signbit(x).tolist()[:4] == [True, False, True, False]


@pytest.mark.parametrize(
    ("ufunc", "ours"),
    [(f, f.__name__) for f in (np.exp, np.exp2, np.expm1, np.log1p, np.sin, np.tanh, np.cbrt)]
    + [(np.arctan, "atan"), (np.arcsinh, "asinh"), (np.arccos, "acos"), (np.arcsin, "asin")],
)
def test_elementary_functions_are_those_of_lowp(ufunc: Any, ours: str) -> None:
    x = array([0.3, -0.7, 0.0, 0.99], HALF, rounding="toward_zero")
    want = getattr(lowp.elementary, ours)(np.array(x.values), HALF, rounding="toward_zero")
    got = ufunc(x)
    assert (got.format, got.rounding) == (x.format, "toward_zero")
    assert_same(got.values, want)


def test_functions_of_several_operands_take_numbers_and_arrays() -> None:
    x, y = array([0.3, 2.0], HALF), array([1.5, 0.5], HALF)
    a, b = np.array(x.values), np.array(y.values)
    assert_same(np.power(x, y).values, lowp.pow(a, b, HALF))
    assert_same((x**2).values, lowp.pow(a, np.float32([2, 2]), HALF))
    assert_same(np.hypot(x, y).values, lowp.hypot(a, b, HALF))
    assert_same(np.arctan2(x, y).values, lowp.atan2(a, b, HALF))
    assert_same(x.apply(lowp.gelu).values, lowp.gelu(a, HALF))
    assert_same(x.apply(lowp.fma, y, 0.1).values, lowp.fma(a, b, np.float32(np.float16(0.1)), HALF))
    assert_same(x.apply(lowp.remainder, y).values, lowp.remainder(a, b, HALF))
    with pytest.raises(TypeError, match="has no format"):
        x.apply(lowp.remainder, b)


def test_overflow_follows_the_saturation() -> None:
    for saturation, want in (("none", math.inf), ("finite", 65504.0)):
        x = array([60000.0], HALF, saturation=saturation)
        assert (x + x).tolist() == [want]
        assert (x * 2).sum().item() == want
        assert (x @ x).item() == want


def test_maximum_and_minimum_keep_the_format() -> None:
    x, y = array([1.0, math.nan, -0.0], HALF), array([2.0, 1.0, 0.0], HALF)
    assert_same(np.maximum(x, y).values, np.float32([2, math.nan, 0.0]))
    assert_same(np.minimum(x, y).values, np.float32([1, math.nan, -0.0]))
    assert np.maximum(x, 1.5).format.name == HALF
    assert np.clip(y, 0.5, 1.5).tolist() == [1.5, 1, 0.5]


def test_operands_broadcast() -> None:
    x, y = array([[1.0], [2.0]], HALF), array([10.0, 20.0, 30.0], HALF)
    assert (x + y).tolist() == [[11, 21, 31], [12, 22, 32]]
    assert np.add.outer(y, y).shape == (3, 3)
    assert np.multiply.outer(x, y).shape == (2, 1, 3)
    with pytest.raises(ValueError, match="broadcast"):
        y + array([1.0, 2.0], HALF)


# Formats that meet


def test_the_wider_of_two_formats_is_the_results() -> None:
    order = ("float4_e2m1fn", "float6_e3m2fn", "float16", "float32", "float64")
    for i, narrow in enumerate(order):
        for wide in order[i:]:
            x, y = array([1.0], narrow), array([1.5], wide)
            for got in (x + y, y + x, np.concatenate([x, y]), np.where([True], x, y), x @ y):
                assert got.format.name == wide


def test_a_mixed_sum_is_rounded_once() -> None:
    x, y = array([1 + 2**-10], HALF), array([2**-20], "float32")
    assert (x + y).item() == 1 + 2**-10 + 2**-20


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("float16", "bfloat16"),
        ("float8_e4m3fn", "float8_e5m2"),
        ("int8", "float8_e4m3fn"),
        ("float8_e4m3fn", "float8_e4m3fnuz"),
        ("float8_e8m0fnu", "float4_e2m1fn"),
    ],
)
def test_formats_of_which_neither_holds_the_other_do_not_meet(first: str, second: str) -> None:
    x, y = array([1.0], first), array([1.0], second)
    for call in (lambda: x + y, lambda: np.concatenate([x, y]), lambda: x @ y):
        with pytest.raises(TypeError, match=r"neither .* choose with \.astype"):
            call()
    assert (x.astype(second) + y).format.name == second
    assert (x == y).all()  # comparisons are exact whatever the formats


def test_arrays_that_round_differently_do_not_meet() -> None:
    x, y = array([1.0], HALF), array([1.0], HALF, rounding="toward_zero")
    with pytest.raises(TypeError, match="round differently"):
        x + y
    assert (x.astype(HALF, rounding="toward_zero") + y).rounding == "toward_zero"


@pytest.mark.parametrize("wide", REGISTERED)
def test_a_format_holds_another_if_every_value_stays(wide: str) -> None:
    f = lowp.format(wide)
    for name in UP_TO_16_BITS:
        narrow = lowp.format(name)
        codes = np.arange(2**narrow.bits, dtype=np.uint64).astype(
            np.uint8 if narrow.bits <= 8 else np.uint16
        )
        every = lowp.decode(codes, narrow, dtype=np.float64)
        kept = lowp.quantize(every, f)
        stay = ((kept == every) & (np.signbit(kept) == np.signbit(every))) | np.isnan(every)
        want = bool(stay.all()) and (f.has_nan or not narrow.has_nan)
        assert holds(f, narrow) == want, name


@given(wide=descriptors(max_bits=20), narrow=descriptors(max_bits=20))
def test_what_is_held_stays_for_any_two_formats(wide: lowp.Format, narrow: lowp.Format) -> None:
    if not holds(wide, narrow):
        return
    ends = [narrow.max, narrow.lowest, narrow.min_normal, narrow.max - narrow.min_subnormal]
    some = lowp.quantize(np.array([*ends, 1.0, 0.3, -0.7, narrow.min_normal * 1.3]), narrow)
    assert_same(lowp.quantize(some, wide), some)


# Comparisons


@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons_are_exact(op: Any) -> None:
    x = array([0.1, 0.5, math.nan], HALF)
    plain = x.values.astype(np.float64)
    for other in (0.1, 1, np.float32(0.1), np.array([0.1, 0.5, 1.0]), x, x.astype("float64")):
        want = op(plain, np.asarray(other, np.float64))
        got = op(x, other)
        assert got.dtype == bool
        assert np.array_equal(got, want)
    truths = np.zeros(3, bool)
    assert np.less(x, 0.3, out=truths) is truths
    assert truths.tolist() == [True, False, False]
    with pytest.raises(TypeError, match="out must be an array of bool"):
        np.less(x, 0.3, out=np.zeros(3))
    assert (x < 0.1)[0] == (float(np.float16(0.1)) < 0.1)


def test_truth_and_membership_are_numpys() -> None:
    assert array(1.0, HALF)
    assert not array(0.0, HALF)
    assert 2 in _X
    assert 5 not in _X
    assert np.allclose(_X, _X)
    assert np.array_equal(_X, _X.astype("float32"))
    assert _X.any()
    assert np.all(_X)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(_X)


# Elements, views and assignment


def test_assignment_rounds_once() -> None:
    x = array(np.zeros((2, 3)), "float8_e4m3fn")
    x[0, 0] = 0.3
    x[1] = np.array([0.1, 17, 1e9])
    x[0, 1:] = array([1.0625, 2.0], HALF)
    assert x.tolist()[0] == [0.3125, 1.0, 2.0]
    assert x.tolist()[1][:2] == [0.1015625, 16.0]
    assert math.isnan(x[1, 2])
    x[...] = 3
    assert set(np.ravel(x.tolist())) == {3.0}
    x.fill(0.3)
    assert x[1, 1].item() == 0.3125
    with pytest.raises(TypeError):
        x[0, 0] = "one"


def test_slices_are_views_and_elements_are_arrays_without_dimensions() -> None:
    x = array(np.arange(6.0).reshape(2, 3), HALF)
    row = x[1]
    row[0] = 9
    assert x[1, 0].item() == 9
    element = x[1, 2]
    assert isinstance(element, FormatArray)
    assert element.shape == ()
    assert (element + 0.1).format == x.format
    assert f"{element:.2f}" == "5.00"
    assert int(element) == 5
    assert [float(v) for v in x[0]] == [0, 1, 2]
    assert len(x) == 2
    assert x[x > 2].tolist() == [9, 4, 5]
    assert np.shares_memory(x.T, x)
    assert np.shares_memory(x.reshape(3, 2), x)
    assert not np.shares_memory(x.flatten(), x)


def test_values_cannot_be_written_past_the_format() -> None:
    x = array([1.0], HALF)
    for view in (x.values, np.asarray(x)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 0.1
    copied = np.array(x)
    copied[0] = 0.1
    assert x.item() == 1
    assert np.asarray(x, np.float64).dtype == np.float64


def test_in_place_operators_keep_array_and_format() -> None:
    x = array([1.0, 2.0], HALF)
    view = x[:1]
    same = x
    x += 0.1
    x *= 2
    x -= array([1.0, 1.0], "float8_e5m2")
    x /= 2
    assert x is same
    assert np.shares_memory(view, x)
    assert x.format.name == HALF
    with pytest.raises(TypeError, match="the result is in float32 and out in float16"):
        x += array([1.0, 1.0], "float32")
    x[...] = x + array([2**-20, 0.0], "float32")
    assert x.format.name == HALF


# Text, copies and pickles


def test_text_shows_the_format() -> None:
    x = array([0.3, 1.0], "float8_e4m3fn")
    assert repr(x) == "FormatArray([0.3125, 1.    ], format='float8_e4m3fn')"
    assert str(x) == "[0.3125 1.    ]"
    rounded = array(1.0, HALF, rounding="toward_zero", saturation="finite")
    words = "format='float16', rounding='toward_zero', saturation='finite'"
    assert repr(rounded) == f"FormatArray(1., {words})"
    assert "format='float16'" in np.array_repr(_X)


def test_copies_and_pickles_are_equal_and_apart() -> None:
    x = array([[0.3, -0.0], [math.nan, math.inf]], HALF, rounding="toward_zero")
    own = array([1.0, 3.0], lowp.Format(exponent_bits=3, mantissa_bits=2, bias=1))
    for y in (x, x.T, own):
        for again in (copy.copy(y), copy.deepcopy(y), y.copy(), pickle.loads(pickle.dumps(y))):
            assert_same(again.values, y.values)
            assert (again.format, again.rounding, again.saturation) == (
                y.format,
                y.rounding,
                y.saturation,
            )
            again[0] = 0
            assert again.values[0].max() == 0
    assert x.values[0, 0] != 0


def test_codes_are_those_of_encode() -> None:
    for name in UP_TO_16_BITS:
        x = array([[0.5, 1.0], [2.0, 4.0]], name, saturation="finite")
        assert np.array_equal(x.codes, lowp.encode(x.values, name))
        assert_same(FormatArray.from_codes(x.codes, name).values, x.values)


def test_casts_round_once_and_keep_the_rule() -> None:
    x = array([0.3, 1e5], "float32", saturation="finite")
    y = x.astype(HALF)
    assert y.saturation == "finite"
    assert y.tolist() == [float(np.float16(np.float32(0.3))), 65504.0]
    assert x.astype(HALF, saturation="none").tolist()[1] == math.inf
    assert x.astype("float32").values is not x.values


@given(
    data=st.lists(st.floats(width=32), min_size=1, max_size=8),
    op=st.sampled_from(ARITHMETIC),
    name=st.sampled_from(FORMATS),
)
def test_every_result_is_on_the_grid(data: list[float], op: Any, name: str) -> None:
    x = array(data, name)
    for y in (op(x, x[::-1]), op(x, 0.7), op(0.7, x), x.sum(), x.prod(order="pairwise"), -x):
        assert on_grid(y)


def test_what_would_leave_the_format_is_refused() -> None:
    stack = lowp.array(np.ones((2, 4, 4)), "bfloat16")
    for pairs_all in (np.dot, np.inner):
        with pytest.raises(TypeError, match="matmul"):
            pairs_all(stack, stack)
    powers = lowp.array([1.0, 2.0], "float8_e8m0fnu")
    with pytest.raises(TypeError, match="zeros, which float8_e8m0fnu does not have"):
        np.diag(powers)
    with pytest.raises(TypeError, match="does not give values"):
        powers.apply(lowp.encode)
    with pytest.raises(TypeError, match="mask would be lost"):
        lowp.array(np.ma.array([1.0, 2.0], mask=[True, False]), "float16")
    with pytest.raises(TypeError, match="condition"):
        np.where(powers, 1.0, 2.0)
    assert np.may_share_memory(powers, powers)


def test_a_format_of_numbers_is_refused_for_arrays() -> None:
    x = array([1, 2.5], "float16")
    assert (f"{x}", f"{x[1]:.2f}", f"{x[1]}") == ("[1.  2.5]", "2.50", "2.5")
    with pytest.raises(TypeError, match=r"format '\.2f' is of numbers, .* shape \(2,\); take one"):
        f"{x:.2f}"


def test_an_empty_rounding_is_not_the_default() -> None:
    x = array([1], "float16", rounding="toward_zero")
    for words in ({"rounding": ""}, {"saturation": ""}):
        with pytest.raises(ValueError, match="must be one of"):
            array([1], "float16", **words)
        with pytest.raises(ValueError, match="must be one of"):
            x.astype("float16", **words)
