"""`lowp.array`: an array that stays in its format, every operation on it rounded once.

Values are held in float32 or float64, always on the grid. NumPy's functions come here through its
protocols; what has no stated meaning for a format is refused, never answered in the carrier.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

import lowp

from . import _format_functions as functions
from . import _format_numpy as numpy_functions
from ._arguments import FormatLike
from ._format_rules import Rule, plain, rule_of

Array = NDArray[Any]


def array(
    x: Any,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
) -> FormatArray:
    """Numbers of any shape in a format: x rounded once, and every operation on the result again.

    x: float, integer or nested sequence, array of float32, float64, float16, bfloat16 or integers
    up to 2**53, or another FormatArray. format: name or Format. rounding, saturation: of x and of
    every operation, "nearest_ties_to_even" and "none" by default, as in lowp.quantize; stochastic
    roundings are refused, for an operator has no seed. NaN, infinity, -0 and overflow become what
    lowp.quantize makes of them. See FormatArray for the rules. ValueError: unknown words, a block
    format, integers that float64 does not hold. TypeError: no numbers.
    """
    values = x._values if isinstance(x, FormatArray) else plain(x)
    rule = rule_of(format, rounding, saturation)
    return FormatArray._of(rule.round(values), rule)


class FormatArray(NDArrayOperatorsMixin):
    """An array whose values are always those of its format; made by `lowp.array`.

    + - * / and functions give the exact result rounded once to the result's format. Operands:
    - arrays of one format stay in it; of two, the one that holds every value of the other is the
      result's; if neither does, or they round differently, TypeError: choose with .astype(format);
    - Python and NumPy numbers are rounded to the array's format first;
    - plain NumPy arrays are refused (TypeError): say their format with lowp.array(x, format).
    Comparisons are exact and take numbers and plain arrays as they are. Assignment, x[i] = v and
    x[...] = v, rounds v of any kind; += and its kin keep the format, and are refused where the
    result would have another. Slices are views. Results of reductions and x[i] are arrays, of no
    dimensions if need be; float(x[i]) takes the value out.

    sum, mean, prod, cumsum, @ and dot round every addition, in a stated order: "sequential" from
    the first element on, or order="pairwise" (neighbours, then neighbouring sums; an odd last one
    goes on). @ and dot have exact products: the accumulator of the format's name in lowp.matmul.
    np.asarray(x) is the carrier's view, read-only; functions without a rule raise TypeError.
    """

    __slots__ = ("_rule", "_values")
    __hash__ = None  # type: ignore[assignment]  # == is elementwise

    _rule: Rule
    _values: Array

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("make a FormatArray with lowp.array(x, format)")

    @classmethod
    def _of(cls, values: Array, rule: Rule) -> FormatArray:
        """Around values that are on the grid already, without a copy."""
        made = object.__new__(cls)
        made._values, made._rule = values, rule
        return made

    @classmethod
    def from_codes(
        cls,
        codes: Any,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
    ) -> FormatArray:
        """The array with these codes, as lowp.decode reads them."""
        rule = rule_of(format, rounding, saturation)
        return cls._of(np.array(lowp.decode(codes, rule.format, dtype=rule.carrier)), rule)

    # What it is

    @property
    def format(self) -> lowp.Format:
        """The format of every value."""
        return self._rule.format

    @property
    def rounding(self) -> str:
        """The rounding of every operation."""
        return self._rule.rounding

    @property
    def saturation(self) -> str:
        """The saturation of every operation."""
        return self._rule.saturation

    @property
    def values(self) -> Array:
        """The values in their carrier, float32 or float64: a view that cannot be written."""
        view: Array = self._values.view()
        view.flags.writeable = False
        return view

    @property
    def codes(self) -> Array:
        """The codes, one unsigned integer a value."""
        return np.asarray(lowp.encode(self._values, self.format))

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy.ndarray.shape."""
        return self._values.shape

    @property
    def ndim(self) -> int:
        """As numpy.ndarray.ndim."""
        return self._values.ndim

    @property
    def size(self) -> int:
        """As numpy.ndarray.size."""
        return self._values.size

    @property
    def T(self) -> FormatArray:  # noqa: N802  (NumPy's name)
        """The transpose, a view."""
        return self._of(self._values.T, self._rule)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self._values.dtype:
            return self._values.astype(dtype)
        return self._values.copy() if copy else self.values

    def __repr__(self) -> str:
        shown = np.array2string(self._values, separator=", ", prefix="FormatArray(")
        words = [f"format={self.format.name!r}"]
        if self.rounding != "nearest_ties_to_even":
            words.append(f"rounding={self.rounding!r}")
        if self.saturation != "none":
            words.append(f"saturation={self.saturation!r}")
        return f"FormatArray({shown}, {', '.join(words)})"

    def __str__(self) -> str:
        return str(self._values)

    def __format__(self, spec: str) -> str:
        if spec and self.ndim:
            raise TypeError(
                f"format {spec!r} is of numbers, and this array has shape {self.shape}; take one "
                "out, as x[0], or use np.array2string"
            )
        return format(float(self), spec) if spec else str(self)

    # Numbers and elements

    def item(self, *index: Any) -> float:
        """The only value, or that at an index, as a float."""
        return float(self._values.item(*index))

    def tolist(self) -> Any:
        """Nested lists of floats."""
        return self._values.tolist()

    def __float__(self) -> float:
        return float(self._values)

    def __int__(self) -> int:
        return int(self._values)

    def __bool__(self) -> bool:
        return bool(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[FormatArray]:
        for i in range(len(self)):
            yield self[i]

    def __contains__(self, x: Any) -> bool:
        return bool(np.any(self == x))

    def __getitem__(self, index: Any) -> FormatArray:
        return self._of(np.asarray(self._values[index]), self._rule)

    def __setitem__(self, index: Any, x: Any) -> None:
        values = x._values if isinstance(x, FormatArray) else plain(x)
        self._values[index] = self._rule.round(values)

    # Copies

    def __copy__(self) -> FormatArray:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> FormatArray:
        return self._of(copying.deepcopy(self._values, memo), self._rule)

    def __reduce__(self) -> tuple[Any, ...]:
        words = (self.rounding, self.saturation)
        return _restored, (np.ascontiguousarray(self._values), self.format, *words)

    def copy(self) -> FormatArray:
        """A copy with values of its own."""
        return self._of(self._values.copy(), self._rule)

    def astype(
        self,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
    ) -> FormatArray:
        """A copy rounded to another format; rounding and saturation stay unless they are given.

        They round this conversion and every operation on the result.
        """
        rule = rule_of(
            format,
            self.rounding if rounding is None else rounding,
            self.saturation if saturation is None else saturation,
        )
        return self._of(rule.round(self._values), rule)

    # Shapes: views wherever NumPy has views

    def reshape(self, *shape: Any) -> FormatArray:
        """As numpy.ndarray.reshape."""
        return self._of(self._values.reshape(*shape), self._rule)

    def ravel(self) -> FormatArray:
        """One dimension, in C order."""
        return self._of(self._values.ravel(), self._rule)

    def flatten(self) -> FormatArray:
        """A copy of one dimension, in C order."""
        return self._of(self._values.flatten(), self._rule)

    def transpose(self, *axes: Any) -> FormatArray:
        """As numpy.ndarray.transpose."""
        return self._of(self._values.transpose(*axes), self._rule)

    def swapaxes(self, first: int, second: int) -> FormatArray:
        """As numpy.ndarray.swapaxes."""
        return self._of(self._values.swapaxes(first, second), self._rule)

    def squeeze(self, axis: Any = None) -> FormatArray:
        """As numpy.ndarray.squeeze."""
        return self._of(self._values.squeeze(axis), self._rule)

    def fill(self, x: Any) -> None:
        """Set all values to x, rounded."""
        self[...] = x

    # Reductions

    def sum(
        self, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
    ) -> FormatArray:
        """The sum over axes, every addition rounded; 0 of no elements.

        axis: None (all elements in C order), an axis, or several. order: "sequential" or
        "pairwise". Half precision's sum of 3,000 ones is 2,048 in sequence and 3,000 pairwise.
        """
        return functions.sum_of(self, axis, order, keepdims=keepdims)

    def prod(
        self, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
    ) -> FormatArray:
        """The product over axes, every multiplication rounded; 1 of no elements."""
        return functions.product_of(self, axis, order, keepdims=keepdims)

    def mean(
        self, axis: Any = None, order: str = "sequential", *, keepdims: bool = False
    ) -> FormatArray:
        """The rounded sum over the exact count, rounded once more; NaN of no elements."""
        return functions.mean_of(self, axis, order, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> FormatArray:
        """Running sums from the first element on, every addition rounded."""
        return functions.running_sum(self, axis)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> FormatArray:
        """The largest value over axes, NaN if there is one. ValueError: no elements."""
        return functions.extreme(np.max, self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> FormatArray:
        """The least value over axes, NaN if there is one. ValueError: no elements."""
        return functions.extreme(np.min, self, axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None) -> Any:
        """As numpy.ndarray.argmax."""
        return self._values.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        """As numpy.ndarray.argmin."""
        return self._values.argmin(axis)

    def any(self, axis: Any = None) -> Any:
        """As numpy.ndarray.any."""
        return (self._values != 0).any(axis)

    def all(self, axis: Any = None) -> Any:
        """As numpy.ndarray.all."""
        return (self._values != 0).all(axis)

    def dot(self, other: Any) -> FormatArray:
        """As numpy.dot; sums of exact products, every addition rounded."""
        return functions.dot_of(self, other)

    def apply(self, verb: Any, *others: Any) -> FormatArray:
        """A function of lowp on this array and others: x.apply(lowp.gelu), x.apply(lowp.fma, y, z).

        verb: takes (x, ..., format, *, rounding, saturation), as lowp.add and lowp.exp do. others:
        operands, as of +. The result is in the wider format, rounded once.
        """
        return functions.applied(verb, (self, *others))

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return functions.call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return numpy_functions.call(func, args, kwargs)


def _restored(values: Array, format: lowp.Format, rounding: str, saturation: str) -> FormatArray:
    return FormatArray._of(np.array(values), Rule(format, rounding, saturation))
