"""NumPy functions that are no ufuncs, on `FormatArray`: the table of `__array_function__`.

Functions that only move values keep the format; those whose answer is no number of the format give
plain results; arithmetic is that of `FormatArray`. Everything else is refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import lowp

from . import _format_array as arrays
from . import _format_functions as functions
from ._format_rules import Rule

#: Values of the first argument are moved or repeated. Names, as some are only in later NumPys.
_MOVES = frozenset(
    (
        "array_split", "broadcast_to", "copy", "delete", "diag", "diagflat", "diagonal", "dsplit",
        "expand_dims", "flip", "fliplr", "flipud", "hsplit", "matrix_transpose", "moveaxis",
        "partition", "permute_dims", "ravel", "repeat", "reshape", "resize", "roll", "rollaxis",
        "rot90", "sort", "split", "squeeze", "swapaxes", "take", "take_along_axis", "tile",
        "transpose", "tril", "triu", "unstack", "vsplit",
    )
)  # fmt: skip
#: The same of the second argument, after a condition.
_PICKS = frozenset(("compress", "extract"))
#: The first argument is a sequence of arrays, which meet in one format.
_JOINS = frozenset(
    ("block", "column_stack", "concatenate", "dstack", "hstack", "row_stack", "stack", "vstack")
)
#: All arguments are arrays, which meet in one format.
_SHAPES = frozenset(("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays"))
#: Answers that are no numbers of the format: truths, places, sizes, text.
_ANSWERS = frozenset(
    (
        "all",
        "allclose",
        "any",
        "argmax",
        "argmin",
        "argpartition",
        "argsort",
        "argwhere",
        "array2string",
        "array_equal",
        "array_equiv",
        "array_str",
        "count_nonzero",
        "flatnonzero",
        "isclose",
        "iscomplexobj",
        "isrealobj",
        "lexsort",
        "ndim",
        "nonzero",
        "searchsorted",
        "shape",
        "size",
    )
)


def call(func: Any, args: Any, kwargs: Any) -> Any:
    """FormatArray.__array_function__."""
    name = func.__name__
    is_top_level = func in (getattr(np, name, None),)
    if is_top_level:
        if name in _MOVES | _PICKS | _JOINS | _SHAPES:
            return _moved(func, args, kwargs)
        if name in _ANSWERS:
            return func(*_plain(args), **_plain(kwargs))
        if name in _FUNCTIONS:
            return _answered(name, args, kwargs)
    module = (getattr(func, "__module__", None) or "numpy").replace("numpy", "np", 1)
    raise functions.refusal(f"{module}.{name}")


def _answered(name: str, args: Any, kwargs: Any) -> Any:
    function = _FUNCTIONS[name]
    given = {key: value for key, value in kwargs.items() if value is not None}
    try:
        inspect.signature(function).bind(*args, **given)
    except TypeError as error:
        raise TypeError(f"np.{name} for arrays in a format: {error}") from None
    return function(*args, **given)


def _found(x: Any) -> list[arrays.FormatArray]:
    """The FormatArrays among arguments, in nested sequences too."""
    if isinstance(x, arrays.FormatArray):
        return [x]
    nested = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return [array for item in nested for array in _found(item)]


def _plain(x: Any) -> Any:
    """Arguments with float64 values in place of the arrays."""
    if isinstance(x, arrays.FormatArray):
        return x.values.astype(np.float64)
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    return type(x)(_plain(item) for item in x) if isinstance(x, list | tuple) else x


# What fills with zeros.
_FILLS = {"diag", "diagflat", "tril", "triu", "resize"}


def _moved(func: Any, args: Any, kwargs: Any) -> Any:
    name = f"np.{func.__name__}"
    if kwargs.get("out") is not None or kwargs.get("dtype") is not None:
        raise TypeError(f"{name}: out and dtype cannot be given for arrays in a format")
    first = 1 if func.__name__ in _PICKS else 0
    last = len(args) if func.__name__ in _SHAPES else first + 1
    before, data, after = args[:first], args[first:last], args[last:]
    if not _found(data) or _found([*before, *after, *kwargs.values()]):
        which = "second" if first else "first"
        raise TypeError(f"{name}: of arrays in a format, give only the {which} argument")
    rule = functions.common(_found(data))
    if func.__name__ in _FILLS and not rule.format.has_zero:
        raise TypeError(f"{name} fills with zeros, which {rule.format} does not have")
    values = (_carried(x, rule, name) for x in data)
    return _wrapped(func(*before, *values, *after, **kwargs), rule)


def _carried(x: Any, rule: Rule, name: str) -> Any:
    """Operands in the rule's carrier, in the nested sequences that they are in."""
    if isinstance(x, list | tuple):
        return [_carried(item, rule, name) for item in x]
    return functions.operand(x, rule, name)


def _wrapped(result: Any, rule: Rule) -> Any:
    if isinstance(result, list | tuple):
        return type(result)(_wrapped(item, rule) for item in result)
    return functions.made(result, rule)


# Functions with a rule of their own, by their names in NumPy


def _where(condition: Any, x: Any, y: Any) -> arrays.FormatArray:
    if not _found([x, y]):
        raise TypeError("np.where: an array in a format as condition; pass x != 0")
    rule = functions.common(_found([x, y]))
    chosen = [functions.operand(v, rule, "np.where") for v in (x, y)]
    return functions.made(np.where(np.asarray(condition), *chosen), rule)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    low, high = bounds.pop("min", a_min), bounds.pop("max", a_max)
    if bounds:
        raise TypeError(f"np.clip: {', '.join(bounds)} cannot be given for arrays in a format")
    raised = a if low is None else np.maximum(a, low)
    return raised if high is None else np.minimum(raised, high)


def _full_like(a: arrays.FormatArray, fill_value: Any, *, shape: Any = None) -> arrays.FormatArray:
    value = functions.operand(fill_value, a._rule, "np.full_like")
    return functions.made(np.full(a.shape if shape is None else shape, value), a._rule)


def _like(value: float) -> Callable[..., arrays.FormatArray]:
    def filled(a: arrays.FormatArray, *, shape: Any = None) -> arrays.FormatArray:
        return _full_like(a, value, shape=shape)

    return filled


def _inner(a: Any, b: Any) -> Any:
    if np.ndim(b) > 2 or (np.ndim(a) > 2 and np.ndim(b) > 1):
        raise TypeError("np.inner of more than two dimensions has no rule; use np.matmul")
    return np.matmul(a, np.swapaxes(b, -1, -2)) if np.ndim(b) > 1 else functions.dot_of(a, b)


def _vdot(a: Any, b: Any) -> Any:
    return np.matmul(np.ravel(a), np.ravel(b))


def _outer(a: Any, b: Any) -> Any:
    return np.multiply(np.ravel(a)[:, None], np.ravel(b)[None, :])


def _trace(a: arrays.FormatArray, offset: int = 0) -> arrays.FormatArray:
    diagonal: Any = np.diagonal(a, offset)
    return functions.sum_of(diagonal, -1)


def _diff(a: arrays.FormatArray, n: int = 1, axis: int = -1) -> Any:
    if n < 0:
        raise ValueError(f"np.diff: n must not be negative; got {n}")
    along: Any = a.swapaxes(axis, 0)
    for _ in range(n):
        along = along[1:] - along[:-1]
    return along.swapaxes(0, axis)


def _var(
    a: arrays.FormatArray, axis: Any = None, *, ddof: int = 0, keepdims: bool = False
) -> arrays.FormatArray:
    """The squared distances from the mean, summed and divided by the exact count: each rounded."""
    apart = a - a.mean(axis, keepdims=True)
    total = (apart * apart).sum(axis, keepdims=keepdims)
    count = max(a.size // max(total.size, 1) - ddof, 0)
    spread = lowp.div(total.values, total.values.dtype.type(count), a.format, **a._rule.options)
    return functions.made(spread, a._rule)


def _copyto(dst: Any, src: Any) -> None:
    if not isinstance(dst, arrays.FormatArray):
        raise TypeError("np.copyto: from an array in a format into a plain one; use x.values")
    dst[...] = src


def _shares_memory(a: Any, b: Any, max_work: Any = -1) -> bool:
    first, second = (x._values if isinstance(x, arrays.FormatArray) else x for x in (a, b))
    return bool(np.shares_memory(first, second, max_work))


def _array_repr(a: arrays.FormatArray) -> str:
    return repr(a)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "amax": lambda a, axis=None, *, keepdims=False: a.max(axis, keepdims=keepdims),
    "amin": lambda a, axis=None, *, keepdims=False: a.min(axis, keepdims=keepdims),
    "array_repr": _array_repr,
    "clip": _clip,
    "copyto": _copyto,
    "cumsum": lambda a, axis=None: a.cumsum(axis),
    "diff": _diff,
    "dot": functions.dot_of,
    "empty_like": _like(0.0),
    "full_like": _full_like,
    "inner": _inner,
    "max": lambda a, axis=None, *, keepdims=False: a.max(axis, keepdims=keepdims),
    "may_share_memory": lambda a, b, max_work=None: np.may_share_memory(
        np.asarray(a), np.asarray(b)
    ),
    "mean": lambda a, axis=None, *, keepdims=False: a.mean(axis, keepdims=keepdims),
    "min": lambda a, axis=None, *, keepdims=False: a.min(axis, keepdims=keepdims),
    "ones_like": _like(1.0),
    "outer": _outer,
    "prod": lambda a, axis=None, *, keepdims=False: a.prod(axis, keepdims=keepdims),
    "shares_memory": _shares_memory,
    "std": lambda a, axis=None, **options: np.sqrt(_var(a, axis, **options)),
    "sum": lambda a, axis=None, *, keepdims=False: a.sum(axis, keepdims=keepdims),
    "trace": _trace,
    "var": _var,
    "vdot": _vdot,
    "where": _where,
    "zeros_like": _like(0.0),
}
