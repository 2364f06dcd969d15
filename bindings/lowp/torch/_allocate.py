"""A format for each layer: the least total score under a budget of bits, and all such trade-offs.

One of several choices a layer with one budget is the multiple-choice knapsack problem: SciPy's
milp solves it for one budget, merging layer by layer without what is dominated for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp.torch._sensitivity import SensitivityRow, SensitivityTable, text_table
from lowp.torch.recipe import Layer, Recipe

__all__ = ["Allocation", "allocate", "front"]

Floats = NDArray[np.float64]
Choices = Sequence[Sequence[SensitivityRow]]

#: Points that the merged front may have on the way.
_MOST_POINTS = 1 << 20
#: Answers of the solver that may turn out to be too large by a rounding.
_MOST_CUTS = 100


@dataclass(frozen=True)
class Allocation:
    """A format for each layer of a table. rows: the one chosen of each layer, in its order."""

    table: SensitivityTable
    rows: tuple[SensitivityRow, ...]

    @property
    def formats(self) -> dict[str, str]:
        """The name of each layer's format."""
        return {row.layer: row.format for row in self.rows}

    @property
    def total_bits(self) -> int:
        """Bits of all weights with their scales."""
        return sum(row.total_bits for row in self.rows)

    @property
    def bits(self) -> float:
        """The mean of bits a weight, scales counted."""
        return self.total_bits / sum(row.parameters for row in self.rows)

    @property
    def score(self) -> float:
        """The sum of scores, rounded once."""
        return math.fsum(row.score for row in self.rows)

    def recipe(self, name: str = "allocated") -> Recipe:
        """What `convert` takes: a pattern a layer; modules that the table has not stay as they are.

        ValueError: a table made by hand, without the formats' Layers.
        """
        table = self.table
        missing = [row.format for row in self.rows if row.format not in table.formats]
        if missing:
            raise ValueError(f"Allocation: the table does not say what {missing[0]!r} is")
        patterns: dict[str, Layer | None] = {
            table.patterns.get(row.layer, row.layer): table.formats[row.format] for row in self.rows
        }
        source = f"{self.bits:.4g} bits a weight, {table.method} {self.score:.4g}"
        return Recipe(patterns=patterns, seed=table.seed, name=name, source=source)

    def frame(self) -> Any:
        """The rows chosen as a pandas.DataFrame. ModuleNotFoundError: no pandas."""
        return SensitivityTable(self.rows, self.table.method).frame()

    def __str__(self) -> str:
        """A table of the rows chosen."""
        title = f"{self.bits:.4g} bits a weight, {self.table.method} {self.score:.4g}"
        lines = [
            [r.layer or "(model)", r.format, f"{r.parameters}", f"{r.bits:.4g}", f"{r.score:.3g}"]
            for r in self.rows
        ]
        heads = ["layer", "format", "parameters", "bits", "score"]
        return text_table(title, heads, lines, numbers=2)


# ---- one budget ----------------------------------------------------------------------------------


def _choices(table: SensitivityTable, who: str) -> Choices:
    """The rows of each layer that have a finite score."""
    if not isinstance(table, SensitivityTable):
        raise TypeError(f"{who}: table must be what sensitivity gives; got {table!r:.60}")
    if not table.rows:
        raise ValueError(f"{who}: the table has no rows")
    found = []
    for name, rows in table.layers.items():
        usable = [row for row in rows if math.isfinite(row.score)]
        if not usable:
            raise ValueError(f"{who}: no format has a finite score in {name or 'the model'!r}")
        found.append(usable)
    return found


def _mean(total: int, choices: Choices) -> float:
    return total / sum(rows[0].parameters for rows in choices)


def _budget(choices: Choices, bits: float | None, size: int | None) -> int:
    """Bits that there are; ValueError where the cheapest formats take more."""
    parameters = sum(rows[0].parameters for rows in choices)
    total = math.floor(bits * parameters) if bits is not None else 8 * int(size or 0)
    least = sum(min(row.total_bits for row in rows) for rows in choices)
    if total < least:
        given = f"bits={bits:g}" if bits is not None else f"size={size}"
        raise ValueError(
            f"allocate: {given} is too little: these formats take {_mean(least, choices):.6g} bits "
            f"a weight, {-(-least // 8)} bytes, at least"
        )
    return total


def _solve(
    choices: Choices, costs: Floats, limits: Floats, limit: float, cuts: Sequence[list[int]] = ()
) -> list[int]:
    """The place of each layer's choice of least cost whose limits' sum is at most limit.

    cuts: answers that are not wanted.
    """
    try:
        optimize = import_module("scipy.optimize")
    except ImportError as error:
        raise ModuleNotFoundError("allocate needs SciPy: pip install 'lowp[study]'") from error
    owners = np.repeat(np.arange(len(choices)), [len(rows) for rows in choices])
    one_each = (owners == np.arange(len(choices))[:, None]).astype(float)
    constraints = [
        optimize.LinearConstraint(one_each, 1, 1),
        optimize.LinearConstraint(limits[None], -np.inf, limit),
    ]
    starts = np.cumsum([0, *(len(rows) for rows in choices)])
    for cut in cuts:
        without = np.zeros(len(costs))
        without[starts[:-1] + cut] = 1
        constraints.append(optimize.LinearConstraint(without, -np.inf, len(choices) - 1))
    done = optimize.milp(
        costs,
        integrality=np.ones(len(costs)),
        bounds=(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if done.x is None:
        raise RuntimeError(f"allocate: SciPy's milp gave up: {done.message}")
    picked = np.flatnonzero(np.round(done.x)).tolist()
    return [int(at - starts[owner]) for at, owner in zip(picked, owners[picked], strict=True)]


def _scaled(choices: Choices, what: str) -> tuple[Floats, float, float]:
    """Values above each layer's least, in units that the solver's tolerances suit; what was taken
    off their sum, and the unit.
    """
    values = [[float(getattr(row, what)) for row in rows] for rows in choices]
    least = [min(v) for v in values]
    above = np.concatenate([np.array(v) - low for v, low in zip(values, least, strict=True)])
    if what == "total_bits":  # whole numbers, as small as may be
        unit = float(np.gcd.reduce(above.astype(np.int64)) or 1)
    else:
        unit = (above.max() or 1.0) / 1e4
    return above / unit, math.fsum(least), unit


def _least_score(choices: Choices, budget: int) -> list[SensitivityRow]:
    """The rows of least total score within a budget of bits.

    What costs more than a whole solution can be in none that is better: without such rows the
    unit of scores is finer, until there are none.
    """
    while True:
        costs, _, _ = _scaled(choices, "score")
        sizes, least, unit = _scaled(choices, "total_bits")
        # whole numbers: half a unit more lets nothing else in
        picked = _solve(choices, costs, sizes, (budget - int(least)) // int(unit) + 0.5)
        rows = [row[at] for row, at in zip(choices, picked, strict=True)]
        least_of = [min(row.score for row in each) for each in choices]
        above = math.fsum(row.score - low for row, low in zip(rows, least_of, strict=True))
        kept = [
            [row for row in each if row.score - low <= above]
            for each, low in zip(choices, least_of, strict=True)
        ]
        if sum(map(len, kept)) == sum(map(len, choices)):
            return rows
        choices = kept


def _least_bits(choices: Choices, limit: float) -> list[SensitivityRow]:
    """The rows of fewest bits whose scores add up to at most limit, which some do."""
    least_of = [min(row.score for row in rows) for rows in choices]
    # differences are rounded: what is just within the limit must not be lost before it is summed
    ulps = 2.0**-50 * (abs(limit) + math.fsum(map(abs, least_of)))
    room = max(limit - math.fsum(least_of), 0.0) + ulps
    choices = [
        [row for row in rows if row.score - low <= room]
        for rows, low in zip(choices, least_of, strict=True)
    ]
    sizes, _, _ = _scaled(choices, "total_bits")
    costs, _, unit = _scaled(choices, "score")
    # The solver may lose answers that just fit: it gets a millionth of a unit more, and is asked
    # again where that lets something in that does not fit.
    cuts: list[list[int]] = []
    while len(cuts) < _MOST_CUTS:
        picked = _solve(choices, sizes, costs, room / unit + 1e-6, cuts)
        rows = [row[at] for row, at in zip(choices, picked, strict=True)]
        if math.fsum(row.score for row in rows) <= limit:
            return rows
        cuts.append(picked)
    raise RuntimeError(f"allocate: {_MOST_CUTS} answers are within rounding of score={limit:g}")


def allocate(
    table: SensitivityTable,
    *,
    bits: float | None = None,
    size: int | None = None,
    score: float | None = None,
) -> Allocation:
    """One format a layer: of least total score within a budget, or of fewest bits within a score.

    bits: mean bits a weight of the table's layers may take, scales counted. size: bytes of all of
    them. score: what scores may add up to. Exactly one of the three. Among equals the other of the
    two decides. Scores are taken as independent of each other, as HAWQ does. Optimal by SciPy's
    milp: to 1e-10 of the largest score of a layer that can be in the answer. Rows whose score is
    NaN or infinite are not chosen. ValueError: a budget that is too small, with the least possible;
    a layer without a usable format. ModuleNotFoundError: no SciPy.
    """
    given = {"bits": bits, "size": size, "score": score}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise TypeError(
            f"allocate: give one of bits, size, score; got {', '.join(named) or 'none'}"
        )
    if not math.isfinite(value := float(given[named[0]])):  # type: ignore[arg-type]
        raise ValueError(f"allocate: {named[0]} must be finite; got {value}")
    choices = _choices(table, "allocate")
    if score is None:
        rows = _least_score(choices, _budget(choices, bits, size))
        total = math.fsum(row.score for row in rows)
        fewer = _least_bits(choices, total)
        is_fewer = sum(r.total_bits for r in fewer) < sum(r.total_bits for r in rows)
        if is_fewer and math.fsum(r.score for r in fewer) <= total:
            rows = fewer
    else:
        least = math.fsum(min(row.score for row in rows) for rows in choices)
        if score < least:
            raise ValueError(
                f"allocate: score={score:g} is too little: these formats add up to {least:.6g} at "
                "least"
            )
        rows = _least_bits(choices, score)
        rows = _better_of(rows, _least_score(choices, sum(row.total_bits for row in rows)))
    return Allocation(table, tuple(rows))


def _better_of(one: list[SensitivityRow], other: list[SensitivityRow]) -> list[SensitivityRow]:
    """That of the lower score."""
    return min(one, other, key=lambda rows: math.fsum(row.score for row in rows))


# ---- all budgets ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """Points after a layer: which point before each comes from, and by which choice."""

    parents: NDArray[np.int64]
    picked: NDArray[np.int64]


def _merged(choices: Choices) -> list[list[SensitivityRow]]:
    """The rows of every point that no other has fewer bits and no higher score than."""
    bits, scores = np.zeros(1, np.int64), np.zeros(1)
    layers: list[_Layer] = []
    for rows in choices:
        sizes = np.array([row.total_bits for row in rows], np.int64)
        costs = np.array([row.score for row in rows])
        all_bits, all_scores = (bits[:, None] + sizes).ravel(), (scores[:, None] + costs).ravel()
        order = np.lexsort((all_scores, all_bits))
        before = np.minimum.accumulate(all_scores[order])
        kept = order[np.concatenate([[True], before[1:] < before[:-1]])]
        if len(kept) > _MOST_POINTS:
            raise ValueError(
                f"front: there are more than {_MOST_POINTS} points; give points=, as points=50"
            )
        bits, scores = all_bits[kept], all_scores[kept]
        layers.append(_Layer(kept // len(rows), kept % len(rows)))
    at = np.arange(len(bits))
    columns = []
    for layer in reversed(layers):
        columns.append(layer.picked[at])
        at = layer.parents[at]
    picks = np.array(columns[::-1]).T
    return [[rows[i] for rows, i in zip(choices, pick, strict=True)] for pick in picks.tolist()]


def front(table: SensitivityTable, *, points: int | None = None) -> tuple[Allocation, ...]:
    """The Pareto front of bits and score: allocations that none beats in both, by rising bits.

    points: None gives all of them; a number allocates that many budgets at even distances between
    the fewest bits and those of the least score, for tables whose whole front is too large
    (ValueError says so). Rows whose score is NaN or infinite are not chosen.
    """
    choices = _choices(table, "front")
    if points is None:
        return tuple(Allocation(table, tuple(rows)) for rows in _merged(choices))
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise ValueError(f"front: points must be an integer from 2 on; got {points!r}")
    low = sum(min(row.total_bits for row in rows) for rows in choices)
    best = [min(rows, key=lambda row: (row.score, row.total_bits)) for rows in choices]
    high = sum(row.total_bits for row in best)
    parameters = sum(row.parameters for row in best)
    budgets = [low + (high - low) * i // (points - 1) for i in range(points)]
    found = [allocate(table, bits=budget / parameters) for budget in budgets]
    by_bits = {one.total_bits: one for one in found}
    return tuple(by_bits[total] for total in sorted(by_bits))
