"""What `lowp.array` decides before it computes: which format a result has, and what may go in.

A rule is a format with its rounding and saturation. Two arrays meet in the wider of their formats,
which must hold every value of the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _arrays

Array = NDArray[Any]

#: Formats of no more bits are compared value by value, others by their limits.
_MAX_LISTED_BITS = 16


@dataclass(frozen=True)
class Rule:
    """How every result of an array is rounded."""

    format: lowp.Format
    rounding: str
    saturation: str

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of the verbs."""
        return {"rounding": self.rounding, "saturation": self.saturation}

    @property
    def carrier(self) -> np.dtype[Any]:
        """float32 where it holds the format, else float64."""
        return _carrier(self.format)

    @property
    def accumulator(self) -> lowp.Accumulator:
        """Sequential sums in this format, products exact."""
        return _accumulator(self)

    def round(self, x: Array) -> Array:
        """float32 or float64 x on the grid, rounded once: a new array in the carrier."""
        source = x if self.carrier == np.float32 else x.astype(np.float64, copy=False)
        y = np.asarray(lowp.quantize(source, self.format, **self.options))
        return y.astype(self.carrier, copy=False)

    def carried(self, x: Array) -> Array:
        """Values of a format that this one holds, in this one's carrier."""
        return x.astype(self.carrier, copy=False)


@lru_cache(maxsize=256)
def _accumulator(rule: Rule) -> lowp.Accumulator:
    words = f"rounding={rule.rounding}/saturation={rule.saturation}"
    return lowp.accumulator(f"{rule.format.name}/{words}")


def rule_of(format: Any, rounding: str | None, saturation: str | None) -> Rule:
    """The rule with the defaults filled in; ValueError for words that do not exist."""
    if lowp.is_block_format(format):
        raise ValueError(
            f"lowp.array: {format} is a block format, whose values depend on their block; take its "
            "element format, or lowp.quantize"
        )
    rule = Rule(
        lowp.format(format),
        "nearest_ties_to_even" if rounding is None else rounding,
        "none" if saturation is None else saturation,
    )
    if rule.rounding.startswith("stochastic"):
        raise ValueError(
            f"lowp.array: rounding {rule.rounding!r} needs random bits for each operation, which "
            "an operator cannot be given; use lowp.add(x, y, format, rounding=..., stream=...) or "
            "lowp.linalg.Arithmetic"
        )
    rule.round(np.zeros(1))
    return rule


@lru_cache(maxsize=256)
def _carrier(format: lowp.Format) -> np.dtype[Any]:
    try:
        lowp.quantize(np.float32(1), format)
    except ValueError:
        return np.dtype(np.float64)
    return np.dtype(np.float32)


@lru_cache(maxsize=1024)
def holds(wide: lowp.Format, narrow: lowp.Format) -> bool:
    """Whether every value of `narrow` is one of `wide`: infinities, NaN and -0 too."""
    specials = (
        (wide.is_signed or not narrow.is_signed)
        and (wide.has_inf or not narrow.has_inf)
        and (wide.has_nan or not narrow.has_nan)
        and (wide.has_neg_zero or not narrow.has_neg_zero)
        and (wide.has_zero or not narrow.has_zero)
    )
    if not specials or wide.max < narrow.max or wide.lowest > narrow.lowest:
        return False
    if narrow.bits <= _MAX_LISTED_BITS:
        values = narrow.values()
        return bool(np.array_equal(lowp.quantize(values, wide), values))
    return _quantum(wide) <= _quantum(narrow) and (
        wide.exponent_bits == 0
        or (wide.precision >= narrow.precision and _smallest(wide) <= _smallest(narrow))
    )


def _smallest(format: lowp.Format) -> float:
    return format.min_subnormal if format.has_subnormals else format.min_normal


def _quantum(format: lowp.Format) -> float:
    """The distance of the format's smallest numbers from each other."""
    if format.has_subnormals:
        return format.min_subnormal
    return format.min_normal * format.epsilon


def promote(first: Rule, second: Rule) -> Rule:
    """The rule of a result of two arrays; TypeError where neither format holds the other."""
    if (first.rounding, first.saturation) != (second.rounding, second.saturation):
        raise TypeError(
            f"operands round differently: {first.rounding}, {first.saturation} and "
            f"{second.rounding}, {second.saturation}; give one the rule of the other with "
            ".astype(format, rounding=..., saturation=...)"
        )
    if first.format == second.format or holds(first.format, second.format):
        return first
    if holds(second.format, first.format):
        return second
    raise TypeError(
        f"neither {first.format} nor {second.format} holds every value of the other; choose with "
        ".astype(format)"
    )


def is_number(x: Any) -> bool:
    """Whether x is a Python or NumPy scalar, or an array-like without dimensions of one."""
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


def plain(x: Any) -> Array:
    """Numbers as float32 or float64, none of them changed; TypeError for other things.

    Integers must be below 2**53 in magnitude (ValueError); float16 and bfloat16 become float32.
    """
    if is_number(x) and not isinstance(x, np.generic):
        return np.asarray(_float(x))
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("a masked array, whose mask would be lost; pass x.filled(value)")
    array = np.asarray(x)
    if array.dtype.kind in "iu":
        if array.size and max(abs(int(array.max())), abs(int(array.min()))) > 2**53:
            raise ValueError(
                "integers beyond 2**53 may not be exact in float64; convert them first"
            )
        return array.astype(np.float64)
    return _arrays._to_carrier(array)


def _float(x: Any) -> float:
    value = float(x)
    if isinstance(x, int) and math.isfinite(value) and int(value) != x:
        raise ValueError(f"the integer {x} is not exact in float64; convert it first")
    return value
