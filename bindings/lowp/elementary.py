"""Elementary functions: evaluated exactly enough, and rounded once, into any format and mode.

    >>> import lowp
    >>> lowp.exp(1.0, "float8_e4m3fn"), lowp.exp(1.0, "bfloat16", rounding="toward_positive")
    (2.75, 2.71875)

Each is a function f(x, format, *, ...) or, for atan2, hypot and pow, f(x, y, format, *, ...), and
is also in `lowp` itself. All take the arguments of `lowp.quantize`. The result is the projection of
the exact real number: correctly rounded for every input in formats of up to 16 bits (checked), and
in wider ones under what docs/elementary.md states.
"""

from __future__ import annotations

from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowp import _arithmetic, _arrays, _core
from lowp._arguments import FormatLike, suggest_arguments

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "exp10",
    "expm1",
    "gelu",
    "hypot",
    "log",
    "log1p",
    "log2",
    "log10",
    "pow",
    "reciprocal",
    "rsqrt",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "tan",
    "tanh",
]


class Unary(Protocol):
    """A function of one operand; see `lowp.exp`."""

    @overload
    def __call__(
        self,
        x: float,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        random_bits: int | None = None,
        seed: int = 0,
        stream: int = 0,
        generator: str = "philox4x32_10",
        random: int | None = None,
        out: None = None,
        threads: int | None = None,
    ) -> float: ...
    @overload
    def __call__(
        self,
        x: ArrayLike,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        random_bits: int | None = None,
        seed: int = 0,
        stream: int = 0,
        generator: str = "philox4x32_10",
        random: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
        threads: int | None = None,
    ) -> NDArray[Any]: ...


class Binary(Protocol):
    """A function of two operands; see `lowp.pow`."""

    @overload
    def __call__(
        self,
        x: float,
        y: float,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        random_bits: int | None = None,
        seed: int = 0,
        stream: int = 0,
        generator: str = "philox4x32_10",
        random: int | None = None,
        out: None = None,
        threads: int | None = None,
    ) -> float: ...
    @overload
    def __call__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        random_bits: int | None = None,
        seed: int = 0,
        stream: int = 0,
        generator: str = "philox4x32_10",
        random: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
        threads: int | None = None,
    ) -> NDArray[Any]: ...


_SHARED_DOC = """

{operands}: floats, or arrays of float32, float64, float16 or bfloat16, of any strides{pairs};
taken as they are, in the format or not. Result: that dtype, which must hold the format's values,
and shape; a float for floats. format: name or Format. NaN, and what lies outside the domain, gives
NaN; poles and limits are infinities, which the saturation treats as infinite inputs; finite results
that are too large overflow; zeros have the signs of C99, Annex F. All else as in lowp.quantize.

Raises TypeError for other dtypes, ValueError where the dtype does not hold the format's values."""


def _define(name: str, doc: str, kind: Any, function: Any) -> Any:
    function.__name__ = name
    function.__qualname__ = name
    pairs = ", of one dtype and shapes that broadcast" if kind is Binary else ""
    operands = {"atan2": "y, x"}.get(name, "x, y") if kind is Binary else "x"
    function.__doc__ = doc + _SHARED_DOC.format(operands=operands, pairs=pairs)
    return function


def _unary(name: str, doc: str) -> Unary:
    def function(
        x: Any,
        format: Any,
        *,
        rounding: Any = None,
        saturation: Any = None,
        random_bits: Any = None,
        seed: Any = 0,
        stream: Any = 0,
        generator: Any = "philox4x32_10",
        random: Any = None,
        out: Any = None,
        threads: Any = None,
    ) -> Any:
        return _core.elementary(
            name,
            x,
            None,
            format,
            rounding=rounding,
            saturation=saturation,
            random_bits=random_bits,
            seed=seed,
            stream=stream,
            generator=generator,
            random=random,
            out=out,
            threads=threads,
        )

    result: Unary = _define(name, doc, Unary, function)
    return result


def _binary(name: str, doc: str) -> Binary:
    def function(
        x: Any,
        y: Any,
        format: Any,
        *,
        rounding: Any = None,
        saturation: Any = None,
        random_bits: Any = None,
        seed: Any = 0,
        stream: Any = 0,
        generator: Any = "philox4x32_10",
        random: Any = None,
        out: Any = None,
        threads: Any = None,
    ) -> Any:
        return _core.elementary(
            name,
            x,
            y,
            format,
            rounding=rounding,
            saturation=saturation,
            random_bits=random_bits,
            seed=seed,
            stream=stream,
            generator=generator,
            random=random,
            out=out,
            threads=threads,
        )

    result: Binary = _define(name, doc, Binary, function)
    return result


def _general(name: str, x: Any, y: Any, fmt: Any, *, random: Any, out: Any, **options: Any) -> Any:
    """The function on everything that is not floats or plain arrays of one shape."""
    target = _core.format(fmt)
    operands = (x,) if y is None else (x, y)
    names = ("x", "y")
    arrays = [_arrays.as_array(v, n) for v, n in zip(operands, names, strict=False)]
    dtype = _arithmetic._common_dtype(operands, arrays)
    _arrays._check_half_holds(target, dtype)
    shape = _arithmetic._common_shape(arrays)
    if out is not None:
        _arrays._check_out(out, shape, dtype, f"{dtype}, those of the result")
    plain = [
        np.ascontiguousarray(np.broadcast_to(_carrier(v, array, dtype, n), shape)).reshape(shape)
        for v, array, n in zip(operands, arrays, names, strict=False)
    ]
    words = _arrays._plain_random(random, shape)
    second = plain[1] if len(plain) == 2 else None
    result = _core.elementary(name, plain[0], second, target, random=words, **options)
    return _arithmetic._result(_arrays._from_carrier(np.asarray(result), dtype), operands, out)


def _carrier(value: Any, array: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    if isinstance(value, float) and not isinstance(value, np.generic):
        return _arithmetic._as_float(value, dtype, name)
    return _arrays._to_carrier(array, name)


exp = _unary("exp", "e to the power x.")
exp2 = _unary("exp2", "2 to the power x.")
exp10 = _unary("exp10", "10 to the power x.")
expm1 = _unary("expm1", "e to the power x, less 1.")
log = _unary("log", "The natural logarithm of x. log(0) is -inf, of negative numbers NaN.")
log2 = _unary("log2", "The logarithm of x to base 2. log2(0) is -inf.")
log10 = _unary("log10", "The logarithm of x to base 10. log10(0) is -inf.")
log1p = _unary("log1p", "The natural logarithm of 1 + x. log1p(-1) is -inf.")
sin = _unary("sin", "The sine of x, in radians.")
cos = _unary("cos", "The cosine of x, in radians.")
tan = _unary("tan", "The tangent of x, in radians.")
asin = _unary("asin", "The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1 and -1.")
acos = _unary("acos", "The angle in [0, pi] whose cosine is x; NaN beyond 1 and -1.")
atan = _unary("atan", "The angle in [-pi/2, pi/2] whose tangent is x.")
atan2 = _binary("atan2", "The angle of the point (y, x): atan2(y, x, format), in [-pi, pi].")
sinh = _unary("sinh", "The hyperbolic sine of x.")
cosh = _unary("cosh", "The hyperbolic cosine of x.")
tanh = _unary("tanh", "The hyperbolic tangent of x.")
asinh = _unary("asinh", "The number whose hyperbolic sine is x.")
acosh = _unary("acosh", "The number whose hyperbolic cosine is x; NaN below 1.")
atanh = _unary("atanh", "The number whose hyperbolic tangent is x; inf at 1, NaN beyond.")
erf = _unary("erf", "The error function: 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.")
erfc = _unary("erfc", "1 - erf(x).")
pow = _binary("pow", "x to the power y; pow(x, 0) and pow(1, y) are 1, whatever the other.")
hypot = _binary("hypot", "sqrt(x^2 + y^2); inf where one is infinite, the other NaN or not.")
cbrt = _unary("cbrt", "The cube root of x, of negative numbers too.")
rsqrt = _unary("rsqrt", "1 / sqrt(x). rsqrt(0) is inf, rsqrt(-0) -inf, of negative numbers NaN.")
reciprocal = _unary("reciprocal", "1 / x. reciprocal(0) is inf, reciprocal(-0) -inf.")
sigmoid = _unary("sigmoid", "The logistic function 1 / (1 + exp(-x)).")
softplus = _unary("softplus", "log(1 + exp(x)).")
gelu = _unary(
    "gelu", "x times the normal distribution at x, x/2 erfc(-x/sqrt(2)); gelu(-inf) is -0."
)
silu = _unary("silu", "x times the sigmoid of x. silu(-inf) is -0.")

suggest_arguments(__name__)
