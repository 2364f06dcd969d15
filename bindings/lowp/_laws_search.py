"""The search behind `lowp.laws.fit`: least squares in places, where they start, how sure they are.

A place holds the free coefficients, those that are positive by their logarithm. Factors of a term
start at their non-negative least squares, the others at random in the range that the law says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ._laws_base import Doubles, Law

__all__ = ["COARSE", "FINE", "End", "Problem", "begins", "covariance", "resample"]

#: Tolerances of a search, and of the last steps from its end.
COARSE, FINE = 1e-8, 1e-15
#: Combinations of coefficients that change the prediction less, relative to others, are not
#: determined: differences that stand for derivatives have about ten digits.
_UNDETERMINED = 1e-8


class End(NamedTuple):
    place: Doubles
    cost: float
    #: Seen minus said, and the derivatives of what is said.
    residuals: Doubles
    jacobian: Doubles


@dataclass(frozen=True)
class Problem:
    """Least squares in places: free coefficients, those that are positive by their logarithm."""

    start: Law
    free: tuple[str, ...]
    x: dict[str, Doubles]
    y: Doubles
    huber: float
    least_squares: Callable[..., Any]
    nnls: Callable[..., Any]
    student_t: Callable[..., Any]

    @property
    def positive(self) -> list[bool]:
        return [name in self.start._positive for name in self.free]

    @property
    def seen(self) -> Doubles:
        return self.transform(self.y)

    def transform(self, values: Doubles) -> Doubles:
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(np.log(values) if self.start._relative else values)

    def coefficients(self, place: Doubles) -> dict[str, float]:
        with np.errstate(over="ignore"):
            values = np.where(self.positive, np.exp(place), place)
        return self.start.coefficients | dict(zip(self.free, values.tolist(), strict=True))

    def place(self, coefficients: Mapping[str, float]) -> Doubles:
        values = np.array([coefficients[name] for name in self.free])
        with np.errstate(divide="ignore"):
            return np.where(self.positive, np.log(np.where(self.positive, values, 1.0)), values)

    def law(self, place: Doubles) -> Law:
        return replace(self.start, **self.coefficients(place))

    def predict(self, place: Doubles) -> Doubles:
        with np.errstate(all="ignore"):
            return np.asarray(self.start._predict(self.coefficients(place), self.x))

    def search(self, begin: Doubles, tolerance: float, seen: Doubles | None = None) -> End:
        """Where the squares are least near a place, of this data or of other values seen."""
        goal = self.seen if seen is None else seen
        robust = {"loss": "huber", "f_scale": self.huber} if self.huber < math.inf else {}
        low = np.where(self.positive, -np.inf, 0.0)
        done = self.least_squares(
            lambda place: self.transform(self.predict(place)) - goal,
            np.maximum(begin, np.where(self.positive, -np.inf, 1e-12)),
            jac="3-point",
            bounds=(low, np.inf),
            x_scale="jac",
            xtol=tolerance,
            ftol=tolerance,
            gtol=tolerance,
            max_nfev=400,
            **robust,
        )
        return End(done.x, float(done.cost), -done.fun, done.jac)

    def errors(self, place: Doubles, errors: Doubles) -> list[float]:
        """Errors of places as those of coefficients."""
        return [float(e) for e in np.where(self.positive, np.exp(place), 1.0) * errors]

    def named(self, low: Doubles, high: Doubles) -> dict[str, tuple[float, float]]:
        """Ends of intervals of places as those of coefficients, which are not below 0."""
        least = np.where(self.positive, -np.inf, 0.0)
        lows, highs = (self.coefficients(np.maximum(ends, least)) for ends in (low, high))
        return {name: (lows[name], highs[name]) for name in self.free}


def begins(problem: Problem, starts: int, random: np.random.Generator) -> list[Doubles]:
    """The law's own coefficients as they are and with new factors, and as many random places."""
    own = problem.start.coefficients
    ranges = {k: v for k, v in problem.start._ranges.items() if k in problem.free}
    drawn = [own | {k: random.uniform(*ends) for k, ends in ranges.items()} for _ in range(starts)]
    begins = [problem.place(c | _factors(problem, c)) for c in [own, *drawn]]
    tried = [problem.place(own)] if all(own[k] > 0 for k in problem.free) else []
    said = [problem.transform(problem.predict(place)) for place in tried]
    return [p for p, s in zip(tried, said, strict=True) if np.all(np.isfinite(s))] + begins


def _factors(problem: Problem, coefficients: dict[str, float]) -> dict[str, float]:
    """Free factors of the terms with least squares, the other coefficients given."""
    law = problem.start
    parts = {
        name: np.broadcast_to(part, problem.y.shape)
        for name, part in law._linear(coefficients, problem.x).items()
    }
    free = [name for name in parts if name in problem.free]
    if not free:
        return {}
    rest = sum(
        part / coefficients[name] if name in law._divisors else part * coefficients[name]
        for name, part in parts.items()
        if name not in free
    )
    weights = 1 / problem.y if law._relative else np.ones_like(problem.y)
    matrix = np.stack([parts[name] * weights for name in free], axis=1)
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0] = 1.0
    found, _ = problem.nnls(matrix / sizes, (problem.y - rest) * weights)
    # A factor of zero has no logarithm: a thousandth of the whole is small enough to start with.
    found = np.maximum(found, 1e-3 * np.linalg.norm(problem.y * weights)) / sizes
    return {k: float(1 / v if k in law._divisors else v) for k, v in zip(free, found, strict=True)}


# ---- intervals -----------------------------------------------------------------------------------


def covariance(problem: Problem, end: End) -> tuple[Doubles, float]:
    """Covariance of the place and standard deviation of the residuals, by Huber's formula.

    ValueError: the data does not determine the coefficients.
    """
    jacobian = _derivatives(problem, end)
    sizes = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / np.where(sizes == 0, 1.0, sizes)
    _, values, directions = np.linalg.svd(scaled, full_matrices=False)
    nothing = values < _UNDETERMINED * values[0]
    if np.any(nothing):
        _refuse(problem, np.max(np.abs(directions[nothing]), axis=0))
    rows, free = jacobian.shape
    clipped = np.clip(end.residuals, -problem.huber, problem.huber)
    variance = float(np.sum(clipped**2)) / (rows - free) / _share(problem, end) ** 2
    inverse = (directions.T / values**2) @ directions / np.outer(sizes, sizes)
    return inverse * variance, math.sqrt(float(np.sum(end.residuals**2)) / (rows - free))


def _share(problem: Problem, end: End) -> float:
    """Of residuals that count by their square, as many as a smooth density would give.

    As many as there are coefficients can be made zero, which says nothing of the errors; where
    huber is far below the others, the share follows from the density of the smaller half.
    """
    sizes = np.sort(np.abs(end.residuals))[len(problem.free) :]
    width = max(problem.huber, float(np.median(sizes)))
    return 1.0 if width == math.inf else float(np.mean(sizes <= width)) * problem.huber / width


def _derivatives(problem: Problem, end: End) -> Doubles:
    """Of what is said at the end; the search's own are weighted where residuals are robust."""
    if problem.huber == math.inf:
        return end.jacobian
    whole = replace(problem, huber=math.inf)
    return whole.search(end.place, math.inf).jacobian


def _refuse(problem: Problem, shares: Doubles) -> None:
    """ValueError that names the coefficients with a share in directions where nothing changes."""
    names = [name for name, share in zip(problem.free, shares, strict=True) if share > 1e-3]
    same = [f"{k} is {v[0]:g} in every row" for k, v in problem.x.items() if np.all(v == v[0])]
    why = f" ({', '.join(same)})" if same else ""
    raise ValueError(
        f"the data does not determine {', '.join(names)}{why}: vary more, or hold one or more "
        "of them with fixed="
    )


def resample(
    problem: Problem, best: End, count: int, random: np.random.Generator, confidence: float
) -> Doubles:
    """Places fitted to what the law says plus residuals drawn with replacement: (count, free).

    Residuals are larger by the degrees of freedom that the fit took, and by Student's t over the
    normal quantile, so that quantiles of few rows hold the truth as often as they say.
    """
    rows, said = len(problem.y), problem.seen - best.residuals
    left = rows - len(problem.free)
    t, normal = (problem.student_t(n, 0.5 + confidence / 2) for n in (left, math.inf))
    drawn = (best.residuals - best.residuals.mean()) * (math.sqrt(rows / left) * t / normal)
    places = [
        problem.search(best.place, COARSE, said + random.choice(drawn, rows)).place
        for _ in range(count)
    ]
    return np.array(places).reshape(count, len(problem.free))
