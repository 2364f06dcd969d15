"""What formats cost: bits a value, scales counted, and proxies of a multiplier's and an adder's
area and energy. A study may bring its own model: a function of the same arguments.

The proxies are two-term models fitted to a public table of one 45 nm process. They rank formats;
they are no synthesis: `residuals` says how far the fits are from the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp
from lowp import _targets

__all__ = ["TABLE", "Operation", "Shape", "bits", "proxies", "residuals", "shape_of"]

#: The tensor whose scales are counted where no other is at hand: rows and columns of a large layer.
_TENSOR = (4096, 4096)


@dataclass(frozen=True)
class Operation:
    """An operation of a public table: pJ and square micrometres."""

    bits: int
    significand: int
    is_float: bool
    energy: float
    area: float


#: Additions and multiplications in 45 nm at 0.9 V. Source: Horowitz, Computing's energy problem,
#: ISSCC 2014, as far as it gives them.
TABLE: Mapping[str, tuple[Operation, ...]] = {
    "adder": (
        Operation(8, 8, False, 0.03, 36),
        Operation(16, 16, False, 0.05, 67),
        Operation(32, 32, False, 0.1, 137),
        Operation(16, 11, True, 0.4, 1360),
        Operation(32, 24, True, 0.9, 4184),
    ),
    "multiplier": (
        Operation(8, 8, False, 0.2, 282),
        Operation(32, 32, False, 3.1, 3495),
        Operation(16, 11, True, 1.1, 1640),
        Operation(32, 24, True, 3.7, 7700),
    ),
}


@dataclass(frozen=True)
class Shape:
    """The widths that hardware for a format has."""

    bits: int
    #: Bits of the significand with the leading one; of an integer, all.
    significand: int
    is_float: bool


def shape_of(target: Any) -> Shape | None:
    """The widths of a format, or of a block format's elements; None for a codebook."""
    element = target.element if isinstance(target, lowp.BlockFormat) else target
    if not isinstance(element, lowp.Format):
        return None
    if element.exponent_bits == 0:
        return Shape(element.bits, element.bits, False)
    return Shape(element.bits, element.mantissa_bits + 1, True)


def bits(target: Any) -> float:
    """Bits a value of a format or block format takes, scales counted, in 4096 rows of 4096."""
    return _targets.bits_per_value(_targets.resolve(target), _TENSOR)


def proxies(x: Any, w: Any, accumulator: Any = "float32") -> dict[str, float]:
    """Area (square micrometres) and energy (pJ) of one multiplication of x by w, and of one
    addition in the accumulator's format: multiplier_area, multiplier_energy, adder_area,
    adder_energy.

    x, w: formats or block formats, whose scales are not counted, or their names; accumulator: a
    format or its name; NaN for what is none, as a model of a unit. A multiplier is a p_x p_w + b n,
    p the bits of the significands and n the mean of the floats' widths, zero for integers; an adder
    c w + d p log2 p, w its width and the second term for floats: the shifters that align and
    normalise. a to d are least squares of relative differences from TABLE. NaN for codebooks, which
    need a lookup first.
    """
    shapes = [shape_of(_targets.resolve(t)) for t in (x, w)]
    try:
        total = shape_of(lowp.format(accumulator))
    except ValueError:
        total = None
    found = {}
    for quantity in ("area", "energy"):
        multiplier, adder = _fit("multiplier", quantity), _fit("adder", quantity)
        if None in shapes:
            found[f"multiplier_{quantity}"] = math.nan
        else:
            found[f"multiplier_{quantity}"] = float(multiplier @ _product(*shapes))
        found[f"adder_{quantity}"] = math.nan if total is None else float(adder @ _sum(total))
    return dict(sorted(found.items(), reverse=True))


def residuals() -> dict[str, float]:
    """The largest relative difference of each fit from its table: 0.1 is ten percent."""
    found = {}
    for kind, operations in TABLE.items():
        for quantity in ("area", "energy"):
            off = [
                _fit(kind, quantity) @ _features(kind, o) / getattr(o, quantity) - 1
                for o in operations
            ]
            found[f"{kind}_{quantity}"] = float(np.abs(off).max())
    return found


def _product(x: Any, w: Any) -> NDArray[np.float64]:
    width = (x.bits * x.is_float + w.bits * w.is_float) / 2
    return np.array([x.significand * w.significand, width], np.float64)


def _sum(a: Any) -> NDArray[np.float64]:
    shifters = a.significand * math.log2(a.significand) if a.is_float else 0.0
    return np.array([a.bits, shifters])


def _features(kind: str, o: Operation) -> NDArray[np.float64]:
    return _product(o, o) if kind == "multiplier" else _sum(o)


@cache
def _fit(kind: str, quantity: str) -> NDArray[np.float64]:
    """Coefficients of least relative squares."""
    sizes = np.array([getattr(o, quantity) for o in TABLE[kind]])
    rows = np.array([_features(kind, o) for o in TABLE[kind]]) / sizes[:, None]
    return np.asarray(np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0])


#: A cost model: formats of the two operands and the accumulator to numbers by name.
Model = Callable[[Any, Any, Any], Mapping[str, float]]
