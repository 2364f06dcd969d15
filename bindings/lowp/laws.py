"""Laws of the loss of training in low precision: evaluated, inverted, fitted to results.

    >>> from lowp import laws
    >>> law = laws.FloatingPointLaw()
    >>> law.best_split(8), f"{law.critical_data_size(1e9, 4, 3):.3g}"
    (Split(E=4, M=3), '2.73e+13')

`FloatingPointLaw` is the loss of a model trained in a floating-point format, with the data size
from which more data harms, and the best exponent and mantissa of any number of bits. `CapacityLaw`
and `CapacityLossLaw` go by the error of a representation on Gaussian data. `fit` has SciPy find
their coefficients from results (pip install 'lowp[study]'); nothing else needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ._arguments import suggest_arguments
from ._laws_base import Law, Split, real
from ._laws_capacity import CapacityLaw, CapacityLossLaw
from ._laws_fit import Fit, fit
from ._laws_float import CHANNEL_BLOCK, FloatingPointLaw, Optimum, split_of

__all__ = [
    "CHANNEL_BLOCK",
    "CapacityLaw",
    "CapacityLossLaw",
    "Fit",
    "FloatingPointLaw",
    "Law",
    "Optimum",
    "Split",
    "best_splits",
    "fit",
    "measured_splits",
    "split_of",
]


def best_splits(
    law: FloatingPointLaw | None = None,
    bits: Iterable[int] = range(3, 17),
    *,
    N: float = 1e9,
    B: float = 128,
) -> list[dict[str, Any]]:
    """The best split of each number of bits, a row each, as pandas takes them.

    bits; split: such as "E4M3"; E, M; continuous_E, continuous_M; critical_data_size: tokens at N
    parameters and B values a scale. law: the paper's where none is given. Errors: see the law.
    """
    law = law or FloatingPointLaw()
    rows = []
    for total in bits:
        best, place = law.best_split(total), law.continuous_split(total)
        rows.append(
            {
                "bits": total,
                "split": best.name,
                "E": best.E,
                "M": best.M,
                "continuous_E": float(place.E),
                "continuous_M": float(place.M),
                "critical_data_size": float(law.critical_data_size(N, *best, B)),
            }
        )
    return rows


def measured_splits(data: Any, *, target: str = "loss") -> list[dict[str, Any]]:
    """The split of least mean target that results have for each number of bits, a row each.

    data: a mapping or a pandas DataFrame with columns E and M, or a study's exponent_bits and
    mantissa_bits, and the target, one value a row; what else varies must be the same for all
    splits. Rows of one split, such as of several seeds, are averaged. A target that is NaN is taken
    as infinite: a run that failed is no best one.

    bits; split; E, M; target: its mean; margin: how far the next best is above it, NaN without one;
    spread: the standard deviation of the best one's rows, NaN with one row; splits: how many there
    are. ValueError: a column is missing, lengths differ, E or M is not whole. TypeError: not real
    numbers.
    """
    columns = {}
    for name, other in (("E", "exponent_bits"), ("M", "mantissa_bits"), (target, target)):
        key = name if name in data else other
        if key not in data:
            raise ValueError(f"data has no column {name!r}; there are {', '.join(map(str, data))}")
        columns[name] = np.atleast_1d(real(name, data[key], None if name == target else 0))
    E, M, values = columns.values()
    for name, column in (("E", E), ("M", M)):
        wrong = column[~np.isfinite(column) | (column != np.floor(column))]
        if wrong.size:
            raise ValueError(f"{name} must be whole numbers; got {wrong.flat[0]:g}")
    if not E.shape == M.shape == values.shape or E.ndim != 1:
        shapes = ", ".join(str(column.shape) for column in columns.values())
        raise ValueError(f"columns must have one dimension and length; got {shapes}")
    values = np.where(np.isnan(values), np.inf, values)
    rows = []
    totals = E + M + 1
    for bits in np.unique(totals):
        these = totals == bits
        splits = np.unique(E[these])
        chosen = [values[these & np.equal(E, e)] for e in splits]
        means = np.array([np.mean(part) for part in chosen])
        order = np.argsort(means, kind="stable")
        first = int(order[0])
        best = Split(int(splits[first]), int(bits - 1 - splits[first]))
        with np.errstate(invalid="ignore"):
            margin = means[order[1]] - means[first] if len(order) > 1 else np.nan
            spread = np.std(chosen[first], ddof=1) if len(chosen[first]) > 1 else np.nan
        rows.append(
            {
                "bits": int(bits),
                "split": best.name,
                "E": best.E,
                "M": best.M,
                target: float(means[first]),
                "margin": float(margin),
                "spread": float(spread),
                "splits": len(splits),
            }
        )
    return rows


suggest_arguments(__name__)
