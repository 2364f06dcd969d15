"""The elementary functions from Python: one rounding, every way of passing operands, errors."""

from __future__ import annotations

import inspect
import math
import pickle
from decimal import Decimal, localcontext
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from lowp import elementary
from samples import DETERMINISTIC, STOCHASTIC, UP_TO_16_BITS, all_codes, assert_same

Array = np.ndarray[Any, Any]

ARITY = dict(lowp._core.ELEMENTARY)
UNARY = tuple(name for name, operands in ARITY.items() if operands == 1)
BINARY = tuple(name for name, operands in ARITY.items() if operands == 2)
SPECIALS = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 2.0, 0.5, 1000.0, -1000.0]


def call(name: str, x: Any, format: Any, **options: Any) -> Any:
    """The function of x, or of x and x in reverse."""
    function = getattr(lowp, name)
    if ARITY[name] == 1:
        return function(x, format, **options)
    return function(x, x[::-1] if isinstance(x, np.ndarray) else 1.5, format, **options)


def values(name: str) -> Array:
    f = lowp.format(name)
    x = lowp.decode(all_codes(f), f, dtype=np.float64)
    return x[np.isfinite(x)]


def exactly(name: str, x: float) -> Decimal:
    """f(x) by Python's own decimal arithmetic, to 120 digits."""
    with localcontext() as context:
        context.prec = 120
        d = Decimal(x)
        return {
            "exp": lambda: d.exp(),
            "log": lambda: d.ln(),
            "log10": lambda: d.log10(),
            "exp2": lambda: Decimal(2) ** d,
            "exp10": lambda: Decimal(10) ** d,
            "rsqrt": lambda: 1 / d.sqrt(),
            "reciprocal": lambda: 1 / d,
            "sigmoid": lambda: 1 / (1 + (-d).exp()),
            "silu": lambda: d / (1 + (-d).exp()),
            "softplus": lambda: (1 + d.exp()).ln(),
            "tanh": lambda: 1 - 2 / ((2 * d).exp() + 1),
            "sinh": lambda: (d.exp() - (-d).exp()) / 2,
            "cosh": lambda: (d.exp() + (-d).exp()) / 2,
            "asinh": lambda: (d + (d * d + 1).sqrt()).ln(),
        }[name]()


def to_odd(v: Decimal) -> float:
    """v toward zero in 53 bits, the last one odd where that is inexact."""
    x = float(v)
    if Decimal(x) == v:  # exact, as comparisons are
        return x
    if Decimal(x).copy_abs() > v.copy_abs():
        x = math.nextafter(x, 0.0)
    bits = np.float64(x).view(np.uint64) | np.uint64(1)
    return float(bits.view(np.float64))


def test_every_function_of_the_table_is_in_lowp_and_in_lowp_elementary() -> None:
    assert set(elementary.__all__) == set(ARITY)
    assert set(elementary.__all__) <= set(lowp.__all__)
    for name, operands in ARITY.items():
        function = getattr(lowp, name)
        assert function is getattr(elementary, name)
        assert function.__name__ == name
        assert "saturation" in inspect.signature(function).parameters
        assert ("y" in inspect.signature(function).parameters) == (operands == 2)
        assert function.__doc__.count("\n") > 5


POSITIVE = ("log", "log10", "rsqrt", "asinh")
BY_DECIMAL = ("exp", "exp2", "exp10", "reciprocal", "sigmoid", "silu", "softplus", "tanh", "sinh")


@pytest.mark.parametrize("name", [*POSITIVE, *BY_DECIMAL, "cosh"])
def test_results_are_those_of_decimal_arithmetic_rounded_once(name: str) -> None:
    x = values("float8_e5m2")
    x = x[(x > 0) if name in POSITIVE else (x != 0)]
    x = x[(np.abs(x) > 2.0**-9) & (np.abs(x) < 60)]
    odd = np.array([to_odd(exactly(name, float(v))) for v in x])
    for format in UP_TO_16_BITS:
        for rounding in DETERMINISTIC:
            want = lowp.quantize(odd, format, rounding=rounding)
            got = getattr(lowp, name)(x, format, rounding=rounding)
            assert_same(got, want, x, f"{name} {format} {rounding}")


@pytest.mark.parametrize("name", ARITY)
def test_scalars_arrays_strides_and_halves_agree(name: str) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=600), SPECIALS]).astype(np.float32)
    x = np.concatenate([x, np.repeat(x[-1:], -len(x) % 4)])
    want = np.array(
        [
            getattr(lowp, name)(*map(float, v), "float16")
            for v in (zip(x, strict=True) if ARITY[name] == 1 else zip(x, x[::-1], strict=True))
        ]
    )
    got = call(name, x, "float16")
    assert got.dtype == np.float32
    assert got.shape == x.shape
    assert_same(got, want, x, name)
    wide = call(name, x.astype(np.float64), "float16")
    assert wide.dtype == np.float64
    assert_same(wide, want, x, name)
    swapped = call(name, x.astype(x.dtype.newbyteorder()), "float16")
    assert_same(swapped, want, x, name)
    spread = np.full((len(x), 3), np.nan, np.float32)
    spread[:, 1] = x
    assert_same(call(name, spread[:, 1], "float16"), want, x, name)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ARITY)
def test_half_arrays_give_half_arrays(name: str, dtype: Any) -> None:
    x = np.linspace(-3, 3, 101).astype(dtype)
    got = call(name, x, "float8_e4m3fn")
    assert got.dtype == dtype
    want = call(name, x.astype(np.float32), "float8_e4m3fn")
    assert_same(got.astype(np.float32), want, None, name)
    assert type(call(name, x[3], "float8_e4m3fn")) is x.dtype.type


def test_shapes_broadcast_and_floats_stand_for_arrays() -> None:
    x = np.linspace(0.1, 3, 12, dtype=np.float32).reshape(3, 4)
    y = np.float32([0.5, 1.5, 2.5, -1])
    got = lowp.pow(x, y, "bfloat16")
    assert_same(got, lowp.pow(x, np.ascontiguousarray(np.broadcast_to(y, (3, 4))), "bfloat16"))
    assert_same(lowp.pow(x, 2.0, "bfloat16"), lowp.quantize(x.astype(np.float64) ** 2, "bfloat16"))
    assert lowp.pow(2.0, y, "bfloat16").dtype == np.float32
    assert lowp.hypot(3.0, 4.0, "float8_e4m3fn") == 5.0
    assert lowp.exp(np.float32(1), "bfloat16") == np.float32(2.71875)
    assert lowp.exp(np.zeros((0, 3), np.float32), "bfloat16").shape == (0, 3)
    assert lowp.exp(np.array(1.0), "bfloat16").shape == ()


@pytest.mark.parametrize("rounding", STOCHASTIC)
def test_stochastic_results_use_the_bits_of_their_index_whatever_the_threads(rounding: str) -> None:
    x = np.random.default_rng(2).normal(size=3000)
    for name in ("exp", "gelu", "pow"):
        options = {"rounding": rounding, "random_bits": 9, "saturation": "propagate"}
        one = call(name, x, "float8_e5m2", seed=5, stream=6, threads=1, **options)
        many = call(name, x, "float8_e5m2", seed=5, stream=6, threads=3, **options)
        words = lowp.random_bits(len(x), seed=5, stream=6) >> np.uint32(32 - 9)
        given = call(name, x, "float8_e5m2", random=words, **options)
        assert_same(many, one, x)
        assert_same(given, one, x)
        # Both neighbours are met, and no other value.
        low = call(name, x, "float8_e5m2", rounding="toward_negative", saturation="propagate")
        high = call(name, x, "float8_e5m2", rounding="toward_positive", saturation="propagate")
        met = ~np.isnan(one)
        assert ((one == low) | (one == high))[met].all()
        assert (one != low)[met].any()
        assert (one != high)[met].any()


def test_stochastic_odds_are_those_of_the_exact_result() -> None:
    x = np.full(200_000, 0.3)
    y = lowp.exp(x, "float8_e5m2", rounding="stochastic_a", seed=3)
    low, high = np.unique(y)
    wanted = (math.exp(0.3) - low) / (high - low)
    assert abs((y == high).mean() - wanted) < 0.005


def test_out_may_be_an_operand_or_another_array() -> None:
    x = np.linspace(0.5, 4, 64, dtype=np.float32)
    y = np.linspace(-1, 1, 64, dtype=np.float32)
    want = lowp.pow(x, y, "bfloat16")
    out = np.empty_like(x)
    assert lowp.pow(x, y, "bfloat16", out=out) is out
    assert_same(out, want)
    for operand in (0, 1):
        pair = [x.copy(), y.copy()]
        lowp.pow(*pair, "bfloat16", out=pair[operand])
        assert_same(pair[operand], want)
    overlapping = np.concatenate([x, y])
    lowp.pow(overlapping[:64], overlapping[64:], "bfloat16", out=overlapping[32:96])
    assert_same(overlapping[32:96], want)
    strided = np.empty((64, 2), np.float32)
    lowp.pow(x, y, "bfloat16", out=strided[:, 0])
    assert_same(strided[:, 0], want)


def test_float64_and_float32_are_rounded_once_too() -> None:
    assert lowp.exp(1.0, "float64") == 2.718281828459045
    assert lowp.exp(1.0, "float64", rounding="toward_positive") == math.nextafter(math.e, 3)
    # Half an ulp of float32 less than the midpoint: rounded to float64 first it would go up.
    assert lowp.log(2.0, "float32") == float(np.float32(0.6931471805599453))
    assert lowp.exp(2.0**-1074, "float64", rounding="toward_positive") == 1 + 2**-52
    assert lowp.sin(1e300, "float64") == math.sin(1e300)


def test_poles_are_infinite_and_overflow_is_finite() -> None:
    assert lowp.log(0.0, "float16") == -math.inf
    assert lowp.log(0.0, "float16", saturation="propagate") == -math.inf
    assert lowp.exp(1000.0, "float16", saturation="propagate") == 65504
    assert lowp.exp(math.inf, "float16", saturation="propagate") == math.inf
    assert math.copysign(1, lowp.silu(-math.inf, "float16")) == -1
    assert math.isnan(lowp.log(-1.0, "float4_e2m1fn"))


def test_functions_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(lowp.tanh)) is lowp.tanh


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((1, "bfloat16"), {}, TypeError, "float(x)"),
        (("1.0", "bfloat16"), {}, TypeError, "str"),
        ((np.arange(3), "bfloat16"), {}, TypeError, "int64"),
        ((1.0, "bfloat61"), {}, ValueError, "bfloat16"),
        ((1.0, "mxfp4"), {}, ValueError, "block format"),
        ((np.float32([1]), "float64"), {}, ValueError, "use float64"),
        ((np.float16([1]), "bfloat16"), {}, ValueError, "float16"),
        ((1.0, "bfloat16"), {"rounding": "up"}, ValueError, "nearest_ties_to_even"),
        ((1.0, "bfloat16"), {"random_bits": 40}, ValueError, "32"),
        ((1.0, "bfloat16"), {"axis": 0}, TypeError, "axis"),
        ((np.ones(3), "bfloat16"), {"out": np.ones(2)}, ValueError, "shape"),
        ((np.ones(3), "bfloat16"), {"threads": -1}, ValueError, "threads"),
    ],
)
def test_errors_say_what_is_wrong(
    arguments: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        lowp.exp(*arguments, **options)
    assert words in str(caught.value)


def test_errors_of_pairs_say_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="one dtype"):
        lowp.pow(np.ones(3), np.ones(3, np.float32), "bfloat16")
    with pytest.raises(ValueError, match="broadcast"):
        lowp.hypot(np.ones(3), np.ones(4), "bfloat16")
    with pytest.raises(TypeError):
        lowp.pow(np.ones(3), "bfloat16")  # type: ignore[call-overload]


def test_misspelt_arguments_of_functions_are_named() -> None:
    with pytest.raises(TypeError, match=r"exp\(\) has no argument 'ronding'; did you mean 'round"):
        lowp.exp(1.0, "float16", ronding="toward_zero")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"pow\(\) has no argument 'zzz'$"):
        lowp.pow(1.0, 2.0, "float16", zzz=1)  # type: ignore[call-overload]
    assert lowp.exp.__module__ == "lowp.elementary"
    assert pickle.loads(pickle.dumps(lowp.exp)) is lowp.exp
