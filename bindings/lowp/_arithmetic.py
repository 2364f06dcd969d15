"""Operations on what is not plain arrays of one shape: brought into that form, or refused.

`lowp._core` works on floats and plain arrays itself (see `_arrays`) and comes here with the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lowp import _arrays, _core
from lowp._arrays import (
    Array,
    _check_half_holds,
    _check_out,
    _from_carrier,
    _plain_random,
    _to_carrier,
    as_array,
)

_NAMES = ("x", "y", "z")


def apply(
    verb: str, operands: tuple[Any, ...], fmt: Any, *, random: Any, out: Any, **options: Any
) -> Any:
    """The verb of that name; see lowp.add."""
    target = _core.format(fmt)
    arrays = [as_array(x, name) for x, name in zip(operands, _NAMES, strict=False)]
    dtype = _common_dtype(operands, arrays)
    _check_half_holds(target, dtype)
    shape = _common_shape(arrays)
    if out is not None:
        _check_out(out, shape, dtype, f"{dtype}, those of the result")
    plain = [
        _as_float(x, dtype, name) if isinstance(x, float) else _to_carrier(array, name)
        for x, array, name in zip(operands, arrays, _NAMES, strict=False)
    ]
    y = getattr(_core, verb)(
        *_expanded(plain, shape), target, random=_plain_random(random, shape), **options
    )
    return _result(_from_carrier(np.asarray(y), dtype), operands, out)


def _common_dtype(operands: tuple[Any, ...], arrays: list[Array]) -> np.dtype[Any]:
    """The dtype of all arrays. Python floats take any; float64 where there is nothing else.

    NumPy's scalars have their own, as in NumPy 2: np.float64 beside float32 is never narrowed.
    """
    dtypes: dict[np.dtype[Any], tuple[str, Any]] = {}
    for x, array, name in zip(operands, arrays, _NAMES, strict=False):
        if isinstance(x, np.generic) or not isinstance(x, float):
            dtypes.setdefault(array.dtype.newbyteorder("="), (name, x))
    if len(dtypes) > 1:
        raise _mixed_dtypes(*list(dtypes.items())[:2])
    return next(iter(dtypes), np.dtype(np.float64))


def _mixed_dtypes(
    one: tuple[np.dtype[Any], tuple[str, Any]], two: tuple[np.dtype[Any], tuple[str, Any]]
) -> TypeError:
    (first, (x, _)), (second, (y, _)) = one, two
    hint = f"convert one yourself, as {x}.astype(np.{second})"
    scalars = [name for _, (name, value) in (one, two) if isinstance(value, np.generic)]
    if len(scalars) == 1:
        hint = (
            "a NumPy scalar has a dtype of its own, a Python float takes that of the arrays: pass "
            f"float({scalars[0]})"
        )
    return TypeError(
        f"operands must have one dtype; got {x} of {first} and {y} of {second}: {hint}"
    )


def _common_shape(arrays: list[Array]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        names = " and ".join(_NAMES[: len(arrays)])
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"{names} must have shapes that broadcast; got {shapes}") from None


def _as_float(x: float, dtype: np.dtype[Any], name: str) -> Array:
    """A Python number in the carrier of `dtype`, which must hold it."""
    carrier = np.float64 if dtype == np.float64 else np.float32
    with np.errstate(over="ignore", under="ignore"):
        value = np.asarray(x, dtype=carrier)
    half = _arrays._half_format(dtype)
    held = float(value) if half is None else float(_core.quantize(float(x), half))
    if held != x and x == x:  # exact for integers, too
        raise ValueError(
            f"{name} is {x!r}, which {dtype} does not hold, beside arrays of {dtype}: round it "
            f"yourself, as float(lowp.quantize({name}, '{dtype}')), or convert the arrays"
        )
    return value


def _expanded(plain: list[Array], shape: tuple[int, ...]) -> list[Array]:
    """Operands of `shape`, or of no dimension where one value stands for all."""
    is_given = any(a.shape == shape for a in plain)
    return [
        a
        if a.shape == shape
        else a.reshape(())
        if a.size == 1 and is_given
        else np.ascontiguousarray(np.broadcast_to(a, shape))
        for a in plain
    ]


def _result(y: Array, operands: tuple[Any, ...], out: Any) -> Any:
    """y where the caller wants it: in out, as a scalar for scalars, or as an array."""
    if out is not None:
        np.copyto(out, y)
        return out
    if all(isinstance(x, float | np.generic) for x in operands):
        return y[()] if any(isinstance(x, np.generic) for x in operands) else y.item()
    return y
