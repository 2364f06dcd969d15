"""NumPy's functions on `FormatArray`: ufuncs, reductions, products, and what only moves values.

A function is in one of the tables below or is refused by name: none falls back on the carrier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _format_array as arrays
from . import elementary
from ._format_rules import Rule, is_number, plain, promote
from ._linalg_arithmetic import ORDERS, check_word

Array = NDArray[Any]


# Operands


def common(inputs: Any) -> Rule:
    """The rule of the result of operands, of which one at least is a FormatArray."""
    rules = [x._rule for x in inputs if isinstance(x, arrays.FormatArray)]
    rule = rules[0]
    for other in rules[1:]:
        rule = promote(rule, other)
    return rule


def operand(x: Any, rule: Rule, name: str) -> Array:
    """x in the rule's carrier: arrays as they are, numbers rounded, plain arrays refused."""
    if isinstance(x, arrays.FormatArray):
        return rule.carried(x._values)
    if is_number(x):
        return rule.round(plain(x))
    kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
    raise TypeError(
        f"{name}: {kind} has no format; say which with lowp.array(x, {rule.format.name!r}), or "
        "take the values of both with np.asarray"
    )


def made(values: Any, rule: Rule) -> arrays.FormatArray:
    """Values of the rule's format as an array."""
    return arrays.FormatArray._of(np.asarray(values), rule)


def refusal(name: str) -> TypeError:
    """The error for what is in no table."""
    return TypeError(
        f"{name} has no rule for arrays in a format; use lowp.linalg or a function of lowp, as "
        "x.apply(lowp.gelu), or np.asarray(x) for plain values"
    )


# Ufuncs

_BINARY: dict[np.ufunc, str] = {
    np.add: "add",
    np.subtract: "sub",
    np.multiply: "mul",
    np.divide: "div",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.fmax: "maximum_number",
    np.fmin: "minimum_number",
}
_COMPARISONS = (
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
)
_TESTS = (np.isfinite, np.isinf, np.isnan, np.signbit)
#: Their results are computed exactly in the carrier and rounded once, which matters at the limits.
_EXACT = (
    np.negative,
    np.positive,
    np.absolute,
    np.fabs,
    np.floor,
    np.ceil,
    np.trunc,
    np.rint,
    np.sign,
)
#: NumPy's names that differ from those in lowp.elementary.
_ELEMENTARY_NAMES = {
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "float_power": "pow",
    "power": "pow",
}
_ELEMENTARY = frozenset(
    (
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "cbrt",
        "hypot",
    )
)


def call_ufunc(ufunc: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """FormatArray.__array_ufunc__."""
    known = (arrays.FormatArray, np.ndarray, np.generic, int, float, complex, list, tuple)
    if not all(isinstance(x, known) for x in inputs):
        return NotImplemented
    if method == "__call__":
        return _called(ufunc, inputs, options)
    if method in ("reduce", "accumulate", "outer"):
        return _methods(ufunc, method, inputs, options)
    raise refusal(f"np.{ufunc.__name__}.{method}")


def _called(ufunc: np.ufunc, inputs: Any, options: dict[str, Any]) -> Any:
    outs = options.pop("out", (None,))
    name = f"np.{ufunc.__name__}"
    if options:
        raise TypeError(f"{name}: {', '.join(options)} cannot be given for arrays in a format")
    if ufunc in _COMPARISONS or ufunc in _TESTS:
        compare: Any = ufunc
        if outs[0] is None:
            return compare(*(_exact(x) for x in inputs))
        if getattr(outs[0], "dtype", None) != np.bool_:
            raise TypeError(f"{name}: out must be an array of bool, or left out")
        return compare(*(_exact(x) for x in inputs), out=outs)
    if not any(isinstance(x, arrays.FormatArray) for x in inputs):
        raise TypeError(f"{name}: the result of plain arrays has no format; assign it, x[...] = y")
    rule = common(inputs)
    values = _computed(ufunc, rule, name, inputs)
    return made(values, rule) if outs[0] is None else _stored(values, rule, outs[0], name)


def _exact(x: Any) -> Array:
    """What comparisons read: values as they are, in float64."""
    values = x._values if isinstance(x, arrays.FormatArray) else plain(x)
    return values.astype(np.float64, copy=False)


def _computed(ufunc: np.ufunc, rule: Rule, name: str, inputs: Any) -> Array:
    if ufunc is np.matmul:
        return _product(rule, *(operand(x, rule, name) for x in inputs))
    operands = [operand(x, rule, name) for x in inputs]
    if ufunc in _BINARY:
        verb = getattr(lowp, _BINARY[ufunc])
        return np.asarray(verb(*operands, rule.format, **rule.options))
    if ufunc in (np.sqrt, np.square, np.reciprocal):
        return _unary(ufunc, rule, operands[0])
    if ufunc in _EXACT:
        return rule.round(ufunc(operands[0]))
    if ufunc is np.copysign:
        return rule.round(ufunc(*operands))
    return _elementary(ufunc.__name__, rule, operands)


def _unary(ufunc: np.ufunc, rule: Rule, x: Array) -> Array:
    if ufunc is np.sqrt:
        return np.asarray(lowp.sqrt(x, rule.format, **rule.options))
    if ufunc is np.square:
        return np.asarray(lowp.mul(x, x, rule.format, **rule.options))
    one = np.ones((), rule.carrier)  # exact even where the format has no 1
    return np.asarray(lowp.div(one, x, rule.format, **rule.options))


def _elementary(name: str, rule: Rule, operands: list[Array]) -> Array:
    ours = _ELEMENTARY_NAMES.get(name, name)
    if ours == name and name not in _ELEMENTARY:
        raise refusal(f"np.{name}")
    verb = getattr(elementary, ours)
    return np.asarray(verb(*operands, rule.format, **rule.options))


def _stored(values: Array, rule: Rule, out: Any, name: str) -> Any:
    """Values in `out`, whose format must be theirs: rounding a second time is never silent."""
    if not isinstance(out, arrays.FormatArray):
        raise TypeError(f"{name}: out must be an array in the format {rule.format}, or left out")
    if out._rule != rule:
        raise TypeError(
            f"{name}: the result is in {rule.format} and out in {out.format}; assign it, which "
            "rounds: x[...] = result"
        )
    out._values[...] = values
    return out


def _methods(ufunc: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    if method == "outer" and not options and len(inputs) == 2:
        left, right = inputs
        column = np.reshape(left, (*np.shape(left), *[1] * np.ndim(right)))
        return ufunc(column, right)
    x = inputs[0]
    axis = inputs[1] if len(inputs) > 1 else options.pop("axis", 0)
    keepdims = bool(options.pop("keepdims", False))
    if any(value is not None for value in options.values()):
        raise TypeError(f"np.{ufunc.__name__}.{method}: {', '.join(options)} has no rule here")
    if method == "accumulate" and ufunc is np.add:
        return running_sum(x, axis)
    if method == "reduce" and ufunc in _REDUCTIONS:
        return _REDUCTIONS[ufunc](x, axis, keepdims=keepdims)
    raise refusal(f"np.{ufunc.__name__}.{method}")


# Reductions


def _in_front(x: arrays.FormatArray, axis: Any) -> Array:
    """The values with the axes to be reduced as the first one."""
    values = x._values
    if axis is None:
        return values.reshape(-1)
    axes = np.atleast_1d(axis)
    moved = np.moveaxis(values, axes, range(len(axes)))
    count = math.prod(moved.shape[: len(axes)])
    return moved.reshape(count, *moved.shape[len(axes) :])


def _kept(values: Any, x: arrays.FormatArray, axis: Any, keepdims: bool) -> arrays.FormatArray:
    result = np.asarray(values)
    if keepdims:
        axes = range(x.ndim) if axis is None else (int(a) % x.ndim for a in np.atleast_1d(axis))
        result = np.expand_dims(result, tuple(axes))
    return made(result, x._rule)


def _multiplied(terms: Array, rule: Rule, order: str) -> Array:
    """The product along the first axis, each result rounded."""
    check_word("order", order, ORDERS)
    if not len(terms):
        return rule.round(np.ones(terms.shape[1:]))
    if order == "pairwise":
        return _paired(lowp.mul, terms, rule)
    total = terms[:1]
    for i in range(1, len(terms)):
        total = lowp.mul(total, terms[i : i + 1], rule.format, **rule.options)
    return np.array(total[0])


def _summed(terms: Array, rule: Rule, order: str) -> Array:
    """The sum along the first axis, each addition rounded."""
    check_word("order", order, ORDERS)
    if not len(terms):
        return rule.round(np.zeros(terms.shape[1:]))
    if order == "pairwise":
        return _paired(lowp.add, terms, rule)
    # A chain of additions is a product with ones: exact products, in one loop.
    lines = terms.reshape(len(terms), math.prod(terms.shape[1:]))
    ones = np.ones(len(lines) - 1, terms.dtype)
    total = lowp.matmul(ones, lines[1:], c=lines[0], accumulator=rule.accumulator)
    return np.asarray(total).reshape(terms.shape[1:])


def _paired(verb: Any, terms: Array, rule: Rule) -> Array:
    """Neighbours, then neighbouring results, until one is left; an odd last one goes on."""
    while len(terms) > 1:
        even = len(terms) & ~1
        pairs = verb(terms[0:even:2], terms[1:even:2], rule.format, **rule.options)
        terms = np.concatenate([pairs, terms[even:]])
    return np.array(terms[0])


def sum_of(
    x: arrays.FormatArray, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
) -> arrays.FormatArray:
    """See FormatArray.sum."""
    total = _summed(_in_front(x, axis), x._rule, order)
    return _kept(total, x, axis, keepdims)


def product_of(
    x: arrays.FormatArray, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
) -> arrays.FormatArray:
    """See FormatArray.prod."""
    product = _multiplied(_in_front(x, axis), x._rule, order)
    return _kept(product, x, axis, keepdims)


def mean_of(
    x: arrays.FormatArray, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
) -> arrays.FormatArray:
    """See FormatArray.mean."""
    total = sum_of(x, axis, order, keepdims=keepdims)
    count = np.asarray(len(_in_front(x, axis)), np.float64)
    sums = total._values.astype(np.float64)
    mean = np.asarray(lowp.div(sums, count, x.format, **x._rule.options))
    return made(x._rule.carried(mean), x._rule)


def running_sum(x: arrays.FormatArray, axis: int | None = None) -> arrays.FormatArray:
    """See FormatArray.cumsum."""
    terms = _in_front(x, axis)
    sums = np.array(terms)
    for i in range(1, len(sums)):
        sums[i] = lowp.add(sums[i - 1 : i], terms[i : i + 1], x.format, **x._rule.options)[0]
    return made(sums if axis is None else np.moveaxis(sums, 0, axis), x._rule)


def extreme(
    func: Any, x: arrays.FormatArray, axis: Any = None, *, keepdims: bool = False
) -> arrays.FormatArray:
    """See FormatArray.max; func is np.max or np.min."""
    return made(func(x._values, axis=axis, keepdims=keepdims), x._rule)


_REDUCTIONS: dict[np.ufunc, Callable[..., arrays.FormatArray]] = {
    np.add: sum_of,
    np.multiply: product_of,
    np.maximum: lambda x, axis, keepdims: extreme(np.max, x, axis, keepdims=keepdims),
    np.minimum: lambda x, axis, keepdims: extreme(np.min, x, axis, keepdims=keepdims),
}


# Products


def _product(rule: Rule, a: Array, b: Array) -> Array:
    """lowp.matmul with the format as accumulator: exact products, each addition rounded."""
    return np.asarray(lowp.matmul(a, b, accumulator=rule.accumulator))


def applied(verb: Any, inputs: Any) -> arrays.FormatArray:
    """See FormatArray.apply."""
    rule = common(inputs)
    name = getattr(verb, "__name__", "apply")
    operands = [operand(x, rule, name) for x in inputs]
    result = verb(*operands, rule.format, **rule.options)
    if getattr(result, "dtype", None) != operands[0].dtype:
        raise TypeError(f"apply: {name} does not give values of the format; call it on x.values")
    return made(result, rule)


def dot_of(x: Any, y: Any) -> arrays.FormatArray:
    """See FormatArray.dot."""
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        return np.multiply(x, y)  # type: ignore[no-any-return]
    if np.ndim(y) > 2:
        raise TypeError(
            f"dot of {np.ndim(x)} and {np.ndim(y)} dimensions pairs every matrix with every other; "
            "use np.matmul for stacks of products"
        )
    return np.matmul(x, y)  # type: ignore[no-any-return]
