"""How much each axis matters: medians of its levels, and a decomposition of the sum of squares."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp.study._summary import Summary, number, plain, quantiles

__all__ = ["Decomposition", "Level", "codes_of", "decompose", "effects"]

#: A numeric axis of more levels, such as a sampled learning rate, is cut into bins of equal counts.
_MOST_LEVELS, _BINS = 24, 8
_SWEEPS, _CONVERGED = 200, 1e-13


@dataclass(frozen=True)
class Level:
    """An axis' level: the median of the objective, its 10th and 90th percentile over the rest.

    Of finite objectives alone; `missing` counts the others. All three are quantiles: a mean could
    lie outside the other two. Where the objective spans decades they are between its logarithms.
    NaN where no objective is finite.
    """

    name: str
    median: float
    low: float
    high: float
    count: int
    missing: int


@dataclass(frozen=True)
class Decomposition:
    """Shares of the objective's sum of squares, each 0 to 1, the largest first.

    main: of each axis. pairs: of the interaction of two. exact: the configurations are a full grid
    of equal counts, where the shares and `rest` add up to 1; otherwise axes are confounded, a
    main effect is what is lost without its axis, a pair's share is a lower bound, and `rest` is
    what all main effects leave.
    """

    main: dict[str, float]
    pairs: dict[tuple[str, str], float]
    rest: float
    exact: bool


def codes_of(summary: Summary, axis: str) -> tuple[list[str], NDArray[np.int64]] | None:
    """Names of an axis' levels and the level of each configuration.

    Numbers ascend, texts are in the study's order, and configurations without the axis come last.
    None: texts of which most are there once.
    """
    column = summary.configurations[axis]
    order = np.argsort(summary.configurations["number"].to_numpy(np.int64), kind="stable")
    found = [value for value in dict.fromkeys(column.iloc[order]) if value is not None]
    numeric = all(isinstance(value, (int, float, np.number)) for value in found)
    if len(found) > _MOST_LEVELS and numeric:
        names, codes = _binned(column)
    elif len(found) > max(_MOST_LEVELS, len(column) // 2):
        return None
    else:
        found = sorted(found) if numeric else found
        places = {value: place for place, value in enumerate(found)}
        names = [plain(value) for value in found]
        codes = np.array([places.get(value, len(found)) for value in column], np.int64)
    return (names, codes) if codes.max(initial=0) < len(names) else ([*names, plain(None)], codes)


def _binned(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Bins of equal counts; what has no number is in one after the last."""
    values = np.array([np.nan if value is None else value for value in column], np.float64)
    edges = np.unique(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, _BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    names = [f"{number(a, 3)} to {number(b, 3)}" for a, b in itertools.pairwise(edges)]
    return names, np.where(np.isnan(values), len(names), bins).astype(np.int64)


def effects(summary: Summary) -> dict[str, list[Level]]:
    """The levels of every axis that varies and has levels to compare."""
    found = {}
    for axis in summary.axes:
        coded = codes_of(summary, axis)
        if coded is not None:
            names, codes = coded
            found[axis] = [_level(summary, name, codes == k) for k, name in enumerate(names)]
    return found


def _level(summary: Summary, name: str, chosen: NDArray[np.bool_]) -> Level:
    values = summary.values[chosen & summary.finite]
    missing = int(chosen.sum()) - values.size
    if not values.size:
        return Level(name, np.nan, np.nan, np.nan, 0, missing)
    low, median, high = map(float, quantiles(values, (0.1, 0.5, 0.9), log=summary.log))
    return Level(name, median, low, high, values.size, missing)


def decompose(summary: Summary) -> Decomposition | None:
    """The decomposition over configurations with a finite objective; None: nothing to explain."""
    values = summary.values[summary.finite]
    values = np.log(values) if summary.log else values / (np.abs(values).max(initial=0.0) or 1.0)
    coded = {axis: codes_of(summary, axis) for axis in summary.axes}
    codes = {axis: c[1][summary.finite] for axis, c in coded.items() if c is not None}
    codes = {axis: c for axis, c in codes.items() if np.unique(c).size > 1}
    centred = values - values.mean() if values.size else values
    total = float(centred @ centred)
    if not codes or values.size < 3 or total <= 1e-24 * float(values @ values):
        return None
    residual = _residual(centred, list(codes.values()))
    left = float(residual @ residual)
    main = {}
    for axis in codes:
        without = _residual(centred, [c for name, c in codes.items() if name != axis])
        main[axis] = max(float(without @ without) - left, 0.0) / total
    pairs = {
        (a, b): _between(residual, codes[a] * (codes[b].max() + 1) + codes[b]) / total
        for a, b in itertools.combinations(codes, 2)
    }
    exact = _is_grid(list(codes.values()))
    rest = max(left / total - sum(pairs.values()), 0.0) if exact else left / total
    return Decomposition(_sorted(main), _sorted(pairs), rest, exact)


def _residual(y: NDArray[np.float64], codes: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """What least squares on the sum of one effect a level leaves of y, by backfitting."""
    for _ in range(_SWEEPS):
        before = y
        for code in codes:
            counts = np.maximum(np.bincount(code), 1)
            y = y - (np.bincount(code, y) / counts)[code]
        if np.abs(y - before).max(initial=0.0) <= _CONVERGED * np.abs(y).max(initial=0.0):
            break
    return y


def _between(residual: NDArray[np.float64], cells: NDArray[np.int64]) -> float:
    """The sum of squares that the means of cells explain of the residual."""
    counts = np.maximum(np.bincount(cells), 1)
    return float(np.sum(np.bincount(cells, residual) ** 2 / counts))


def _is_grid(codes: Sequence[NDArray[np.int64]]) -> bool:
    counts = np.unique(np.stack(codes), axis=1, return_counts=True)[1]
    return len(counts) == np.prod([np.unique(c).size for c in codes]) and np.ptp(counts) == 0


def _sorted(shares: Mapping[Any, float]) -> dict[Any, float]:
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
