"""A format for each layer: the least total score under a budget of bits, and all trade-offs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lowp.torch._knapsack import Whole, distinct, least_bits, least_score, merged, whole_of
from lowp.torch._sensitivity import SensitivityRow, SensitivityTable, text_table
from lowp.torch.recipe import Layer, Recipe

__all__ = ["Allocation", "allocate", "front"]

Choices = Sequence[Sequence[SensitivityRow]]


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


# ---- one budget ----------------------------------------------------------------------------------


def _whole(choices: Choices) -> Whole:
    return whole_of(
        [[row.total_bits for row in rows] for rows in choices],
        [[float(row.score) for row in rows] for rows in choices],
    )


def _picked(table: SensitivityTable, choices: Choices, picks: Sequence[int]) -> Allocation:
    return Allocation(table, tuple(rows[at] for rows, at in zip(choices, picks, strict=True)))


def _budget(choices: Choices, bits: float | None, size: int | None) -> int:
    """Bits that there are; ValueError where the cheapest formats take more."""
    parameters = sum(rows[0].parameters for rows in choices)
    least = sum(min(row.total_bits for row in rows) for rows in choices)
    most = sum(max(row.total_bits for row in rows) for rows in choices)
    if bits is None:
        total = 8 * int(size or 0)
    else:
        total = min(math.floor(Fraction(float(bits)) * parameters), most)
        while total < most and (total + 1) / parameters <= bits:  # a mean is rounded
            total += 1
    if total < least:
        given = f"bits={bits:g}" if bits is not None else f"size={size}"
        raise ValueError(
            f"allocate: {given} is too little: these formats take {least / parameters:.6g} bits "
            f"a weight, {-(-least // 8)} bytes, at least"
        )
    return min(total, most)


def allocate(
    table: SensitivityTable,
    *,
    bits: float | None = None,
    size: int | None = None,
    score: float | None = None,
) -> Allocation:
    """One format a layer: of least total score within a budget, or of fewest bits within a score.

    bits: mean bits a weight of the table's layers may take, scales counted; the mean of an
    allocation admits it. size: bytes of all of them. score: what scores may add up to. Exactly one
    of the three. Among equals the other of the two decides. Scores are taken as independent of each
    other, as HAWQ does. The answer is exact, of sums rounded once. Rows whose score is NaN or
    infinite are not chosen. ValueError: a budget that is too small, with the least possible; a
    layer without a usable format; hundreds of layers so alike that the search has too many points.
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
    whole = _whole(choices)
    if score is None:
        picks = least_score(whole, _budget(choices, bits, size))
    else:
        least = whole.rounded(0)
        if score < least:
            raise ValueError(
                f"allocate: score={score:g} is too little: these formats add up to {least:.6g} at "
                "least"
            )
        picks = least_bits(whole, float(score))
    return _picked(table, choices, picks)


# ---- all budgets ---------------------------------------------------------------------------------


def front(table: SensitivityTable, *, points: int | None = None) -> tuple[Allocation, ...]:
    """The Pareto front of bits and score: allocations that none beats in both, by rising bits.

    points: None gives all of them; a number allocates that many budgets at even distances between
    the fewest bits and those of the least score, for tables whose whole front is too large
    (ValueError says so). Rows whose score is NaN or infinite are not chosen.
    """
    choices = _choices(table, "front")
    whole = _whole(choices)
    if points is None:
        refusal = "front: there are more than {} points; give points=, as points=50"
        found = distinct(whole, merged(whole, refusal, whole.most))
        return tuple(_picked(table, choices, picks) for picks in found)
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise ValueError(f"front: points must be an integer from 2 on; got {points!r}")
    low = sum(map(min, whole.sizes))
    best = [min(rows, key=lambda row: (row.score, row.total_bits)) for rows in choices]
    high = sum(row.total_bits for row in best)
    budgets = [low + (high - low) * i // (points - 1) for i in range(points)]
    best_of = (_picked(table, choices, least_score(whole, budget)) for budget in budgets)
    by_bits = {one.total_bits: one for one in best_of}
    return tuple(by_bits[total] for total in sorted(by_bits))
