"""Fitting a law to results by SciPy's least squares: many starts, intervals in two ways.

The best of all searches is polished to the last digits. How they search is in `_laws_search`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._laws_base import Doubles, Law, nearest_name, real, together
from ._laws_search import COARSE, FINE, Problem, begins, covariance, resample

__all__ = ["Fit", "fit"]

#: Searches whose sum of squares is within this of the best found the same.
_SAME = 1e-6
#: What a study calls a column.
_OTHER_NAMES = {"E": "exponent_bits", "M": "mantissa_bits"}


@dataclass(frozen=True)
class Fit:
    """A law fitted to data; `print` shows it as a table."""

    #: The law with the coefficients found, of the class that was fitted.
    law: Any
    #: Names of the coefficients that were fitted; the others were held.
    free: tuple[str, ...]
    #: Standard errors of these, to first order.
    standard_errors: dict[str, float]
    #: Low and high end of each at the confidence, from the covariance at the solution. Positive
    #: coefficients have theirs from that of their logarithm.
    intervals: dict[str, tuple[float, float]]
    #: The same from the laws of the bootstrap; empty without one.
    bootstrap_intervals: dict[str, tuple[float, float]]
    confidence: float
    #: The rows' target, what the law says of it, and the difference: of the logarithms for a loss.
    observed: Doubles
    predicted: Doubles
    residuals: Doubles
    #: Standard deviation of the residuals, with the degrees of freedom counted.
    sigma: float
    #: Share of the variance that the law explains, of the logarithms for a loss.
    r2: float
    #: Searches, and how many of them ended at this solution: of few, others may be missed.
    searches: int
    agreeing: int
    #: Laws fitted to resampled data, with noise so large that their quantiles are the intervals.
    bootstrap: tuple[Law, ...] = field(repr=False)

    @property
    def coefficients(self) -> dict[str, float]:
        """Every coefficient by its name, those held included."""
        found: dict[str, float] = self.law.coefficients
        return found

    def interval(self, quantity: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Low and high end, at the confidence, of what a law gives, by the bootstrap.

        quantity: a function of a law, such as `lambda law: law.critical_data_size(1e9, 4, 3)`, that
        returns a number or an array. ValueError: the fit had bootstrap=0.
        """
        if not self.bootstrap:
            raise ValueError("intervals of a quantity need the bootstrap: fit(..., bootstrap=200)")
        values = np.array([quantity(law) for law in self.bootstrap], dtype=np.float64)
        low, high = _quantiles(values, self.confidence)
        return low, high

    def __str__(self) -> str:
        kind = "relative" if self.law._relative else "absolute"
        per_cent = f"{100 * self.confidence:g} %"
        head = ["", "value", "std. error", f"{per_cent} interval"]
        if self.bootstrap_intervals:
            head.append(f"{per_cent} bootstrap")
        rows = [head]
        for name, value in self.coefficients.items():
            row = [name, f"{value:.6g}"]
            if name not in self.free:
                rows.append([*row, "held"])
                continue
            row += [f"{self.standard_errors[name]:.2g}", _written(self.intervals[name])]
            if self.bootstrap_intervals:
                row.append(_written(self.bootstrap_intervals[name]))
            rows.append(row)
        widths = [max(len(r[i]) for r in rows if i < len(r)) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=False))
            ).rstrip()
            for row in rows
        ]
        title = (
            f"{type(self.law).__name__}, {len(self.observed)} rows: R2 {self.r2:.6f}, "
            f"{kind} residual {self.sigma:.2g}, {self.agreeing} of {self.searches} searches agree"
        )
        return "\n".join([title, *lines])


def fit(
    law: Law | type[Law],
    data: Mapping[str, Any] | Any,
    *,
    fixed: Mapping[str, float] | Iterable[str] = (),
    target: str | None = None,
    huber: float = math.inf,
    confidence: float = 0.95,
    bootstrap: int = 200,
    starts: int = 8,
    seed: int = 0,
) -> Fit:
    """The law whose coefficients fit results best, with confidence intervals.

    law: its class, or one whose coefficients are tried as a start and held where `fixed`.
    data: a mapping or a pandas DataFrame of columns with the law's variables and its target: N, D,
    E, M, B and loss for `FloatingPointLaw`, where a study's exponent_bits and mantissa_bits do for
    E and M; gmse and capacity; N, D, gmse and loss. One dimension, or a number for all rows.
    fixed: names held at the law's value, or a mapping of names to values; factors may be held at 0.
    target: the column with the target, where it has another name.

    The sum of squares of log(target) - log(law) is least for a loss, of target - law for a
    capacity. huber: residuals beyond it count linearly (the capacity paper takes 1e-4).
    starts: random starts besides the law's own coefficients. bootstrap: refits to the law plus
    residuals drawn again, each inflated by the degrees of freedom and by Student's t over the
    normal quantile; 0 for none. Both are functions of the seed. Intervals from the covariance use
    Student's t; both assume errors of one size. Below 2 / (1 - confidence) - 1 refits, those of the
    bootstrap reach from the least to the largest and hold the truth less often.

    ValueError: a column is missing, has NaN, infinity or a value out of the law's range, or one for
    which the law says infinity (a GMSE of 1); rows do not outnumber the coefficients; the data does
    not determine some of them, by name.
    ImportError: SciPy is missing: pip install 'lowp[study]'. Source: Huber, Robust Statistics, 1981
    (covariance); Davison and Hinkley, Bootstrap Methods, 1997; Hesterberg, arXiv 1411.5279 (t).
    """
    start = law() if isinstance(law, type) else law
    if not isinstance(start, Law):
        raise TypeError(f"law must be a law of lowp.laws; got {law!r}")
    _check(huber=huber, confidence=confidence, bootstrap=bootstrap, starts=starts)
    start, free = _hold(start, fixed)
    x, y = _columns(start, data, target, len(free))
    problem = Problem(start, free, x, y, huber, *_scipy())
    _refuse_infinite(problem)
    random = np.random.default_rng(seed)

    ends = [problem.search(begin, COARSE) for begin in begins(problem, starts, random)]
    best = min(ends, key=lambda end: end.cost)
    best = min(problem.search(best.place, FINE), best, key=lambda end: end.cost)
    worst = best.cost * (1 + _SAME) + len(y) * COARSE**2
    matrix, sigma = covariance(problem, best)
    resampled = resample(problem, best, bootstrap, random, confidence)
    laws = tuple(problem.law(place) for place in resampled)
    quantiles = _quantiles(resampled, confidence) if laws else np.empty((2, 0))
    predicted = problem.predict(best.place)
    errors = np.sqrt(np.diag(matrix))
    margin = problem.student_t(len(y) - len(free), 0.5 + confidence / 2) * errors
    spread = np.sum((problem.seen - problem.seen.mean()) ** 2)
    return Fit(
        law=problem.law(best.place),
        free=free,
        standard_errors=dict(zip(free, problem.errors(best.place, errors), strict=True)),
        intervals=problem.named(best.place - margin, best.place + margin),
        bootstrap_intervals=problem.named(*quantiles) if laws else {},
        confidence=confidence,
        observed=y,
        predicted=predicted,
        residuals=best.residuals,
        sigma=sigma,
        r2=float(1 - np.sum(best.residuals**2) / spread),
        searches=len(ends),
        agreeing=sum(end.cost <= worst for end in ends),
        bootstrap=laws,
    )


# ---- arguments -----------------------------------------------------------------------------------


def _scipy() -> tuple[Any, Any, Any]:
    try:
        from scipy.optimize import least_squares, nnls
        from scipy.special import stdtrit
    except ImportError as error:
        message = f"lowp.laws.fit needs SciPy ({error}): pip install 'lowp[study]'"
        raise ImportError(message) from error
    return least_squares, nnls, stdtrit


def _check(*, huber: float, confidence: float, bootstrap: int, starts: int) -> None:
    if not huber > 0:
        raise ValueError(f"huber must be above 0, infinity for least squares; got {huber!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence!r}")
    for name, count in (("bootstrap", bootstrap), ("starts", starts)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more; got {count!r}")
    if bootstrap == 1:
        raise ValueError("bootstrap must be 0 or at least 2; got 1")


def _hold(law: Law, fixed: Mapping[str, float] | Iterable[str]) -> tuple[Law, tuple[str, ...]]:
    """The law with its held coefficients, and the names of the free ones."""
    held = dict(fixed) if isinstance(fixed, Mapping) else {}
    fixed = (fixed,) if isinstance(fixed, str) else tuple(fixed)
    names = list(law.coefficients)
    for name in fixed:
        if name not in names:
            raise ValueError(f"no coefficient {name!r} to hold; {nearest_name(name, names)}")
    free = tuple(name for name in names if name not in fixed)
    if not free:
        raise ValueError("every coefficient is held: nothing is left to fit")
    return replace(law, **held), free


def _columns(
    law: Law, data: Any, target: str | None, free: int
) -> tuple[dict[str, Doubles], Doubles]:
    """The variables and the target, one value a row. Errors: see `fit`."""
    if not (hasattr(data, "__getitem__") and hasattr(data, "keys")):
        raise TypeError(f"data must be a mapping or a DataFrame of columns; got {type(data)}")
    goal = target or law._target
    found: dict[str, Doubles] = {}
    for name in (*law._columns, goal):
        key = name if name in data else _OTHER_NAMES.get(name, name)
        if key not in data:
            needed, hint = ", ".join((*law._columns, goal)), nearest_name(name, [*map(str, data)])
            raise ValueError(f"data has no column {name!r} (needs {needed}); {hint}")
        exclude = law._relative if name == goal else name in law._excluded
        found[name] = real(name, data[key], law._least.get(name, 0), exclude=exclude)
    shape = np.broadcast_shapes(*(np.shape(v) for v in together(found).values()))
    if len(shape) != 1:
        raise ValueError(f"columns must have one dimension; got shape {shape}")
    for name, column in found.items():
        bad = np.flatnonzero(~np.isfinite(np.broadcast_to(column, shape)))
        if bad.size:
            raise ValueError(
                f"{name} is {np.broadcast_to(column, shape)[bad[0]]} in row {bad[0]} ({bad.size} "
                "such rows): leave out what did not finish, as by frame[np.isfinite(frame[column])]"
            )
    if shape[0] < free + 1:
        raise ValueError(
            f"{free} coefficients need {free + 1} rows or more; got {shape[0]}: run more, or hold "
            "coefficients with fixed="
        )
    x = {name: np.array(np.broadcast_to(column, shape)) for name, column in found.items()}
    y = x.pop(goal)
    if np.all(y == y[0]):
        raise ValueError(f"{goal} is {y[0]:g} in every row: there is nothing to fit")
    return x, y


def _refuse_infinite(problem: Problem) -> None:
    """ValueError where the law's own coefficients say infinity for a row."""
    said = problem.predict(problem.place(problem.start.coefficients))
    bad = np.flatnonzero(~np.isfinite(said))
    if bad.size:
        row = ", ".join(f"{name} {column[bad[0]]:g}" for name, column in problem.x.items())
        raise ValueError(
            f"the law says {said[bad[0]]} for row {bad[0]} ({row}; {bad.size} such rows): leave "
            "out rows that it cannot tell apart, or start with other coefficients"
        )


# ---- intervals -----------------------------------------------------------------------------------


def _quantiles(values: Doubles, confidence: float) -> Doubles:
    """Low and high end of what a number of laws give; of few laws, the least and the largest."""
    ends = 0.5 - confidence / 2, 0.5 + confidence / 2
    found: Doubles = np.quantile(values, ends, axis=0, method="weibull")
    return found


def _written(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.5g} .. {ends[1]:.5g}"
