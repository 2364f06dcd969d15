"""What all laws share: coefficients in a frozen dataclass, numbers that are checked, names.

A law that can be fitted says how it depends on its data: `_predict` on the values of its columns,
`_linear` which coefficients are factors of a sum, and in which ranges a search for others starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from numbers import Real
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Doubles", "Law", "Numbers", "Split", "nearest_name", "real", "together"]

Doubles: TypeAlias = NDArray[np.float64]
#: A float64 where all arguments are single numbers, else an array of their common shape.
Numbers: TypeAlias = Any


class Split(NamedTuple):
    """Exponent and mantissa bits of a signed format of `bits` = E + M + 1: numbers or arrays."""

    E: Any
    M: Any

    @property
    def bits(self) -> Any:
        """The sign, the exponent and the mantissa."""
        return self.E + self.M + 1

    @property
    def name(self) -> str:
        """Such as "E4M3", the field's short form, of a single split of whole bits."""
        return f"E{self.E}M{self.M}"


@dataclass(frozen=True)
class Law:
    """Coefficients of a law, and what `lowp.laws.fit` needs to know of it."""

    #: Variables, in the order of the law's arguments, and the name of what it predicts.
    _columns: ClassVar[tuple[str, ...]]
    _target: ClassVar[str]
    #: Differences are those of the logarithms, so that errors are relative to what is predicted.
    _relative: ClassVar[bool]
    #: The least values that variables may have, and whether these themselves are excluded.
    _least: ClassVar[Mapping[str, float]]
    _excluded: ClassVar[frozenset[str]]
    #: Coefficients that are positive: fitted by their logarithm. All others are 0 or more.
    _positive: ClassVar[frozenset[str]]
    #: Where a search starts the coefficients that are not linear.
    _ranges: ClassVar[Mapping[str, tuple[float, float]]]
    #: Those in `_linear` that divide their term.
    _divisors: ClassVar[frozenset[str]] = frozenset()
    #: Coefficients of a sum's terms, which may be zero where they are not fitted.
    _factors: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name in self.coefficients:
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"{name} must be a number; got {value!r}")
            zero = name not in self._positive or name in self._factors
            if not (0 <= float(value) < math.inf and (zero or float(value) > 0)):
                limit = "0 or more" if zero else "above 0"
                raise ValueError(f"{name} must be {limit} and finite; got {value!r}")

    @property
    def coefficients(self) -> dict[str, float]:
        """Every coefficient by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def _linear(cls, c: Mapping[str, float], x: Mapping[str, Any]) -> dict[str, Any]:
        """Terms of the sum that the law is, each without its factor or divisor."""
        raise NotImplementedError

    @classmethod
    def _predict(cls, c: Mapping[str, float], x: Mapping[str, Any]) -> Any:
        """What the law says for coefficients c at variables x."""
        parts = cls._linear(c, x).items()
        return sum(part / c[k] if k in cls._divisors else part * c[k] for k, part in parts)

    @classmethod
    def _variables(cls, **given: ArrayLike) -> dict[str, Doubles]:
        """Arrays of one shape, within the limits of the law. Errors: see `real` and `together`."""
        return together(
            {
                name: real(name, value, cls._least.get(name), exclude=name in cls._excluded)
                for name, value in given.items()
            }
        )

    def _require(self, *names: str, purpose: str) -> None:
        """ValueError where one of these coefficients is 0, so that there is no such purpose."""
        zero = [name for name in names if getattr(self, name) == 0]
        if zero:
            raise ValueError(f"{purpose} needs {zero[0]} above 0; this law has {zero[0]} = 0")


def real(
    name: str, value: ArrayLike, least: float | None = None, *, exclude: bool = False
) -> Doubles:
    """The value as float64 of any shape; NaN stays. TypeError: not real numbers; ValueError: one
    is below the least, or the least itself where that is excluded.
    """
    array = np.asarray(value)
    # Python integers beyond 64 bits are objects.
    numbers = array.dtype.kind == "O" and all(
        isinstance(item, Real) and not isinstance(item, bool) for item in array.flat
    )
    if array.dtype.kind not in "iuf" and not numbers:
        raise TypeError(f"{name} must be real numbers; got {array.dtype} ({value!r:.60})")
    result = array.astype(np.float64)
    if least is not None:
        bad = result[result <= least] if exclude else result[result < least]
        if bad.size:
            limit = f"above {least:g}" if exclude else f"{least:g} or more"
            raise ValueError(f"{name} must be {limit}; got {bad.flat[0]:g}")
    return result


def together(arrays: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """The arrays, if they broadcast. ValueError: they do not, with all shapes."""
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"the shapes must be equal or broadcast; got {shapes}") from None
    # Single numbers as scalars, so that the result is one, too.
    return {name: array[()] for name, array in arrays.items()}


def nearest_name(word: str, names: list[str]) -> str:
    """The end of an error message: what may have been meant, or all that there is."""
    close = get_close_matches(word, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
