"""Iterative refinement with a format each for factors, iterates and residuals.

A factorisation in few bits gives a rough solution; residuals in more bits and corrections solved
with the same factors make it as good as the working format allows, if the factors are good enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lowp.transforms import Squeezed, squeeze

from ._linalg_arithmetic import (
    Arithmetic,
    Array,
    Doubles,
    check_count,
    check_finite,
    check_rows,
    check_word,
    floats,
    square,
)
from ._linalg_basic import AnyFormat, solve_triangular
from ._linalg_factor import LU, lu
from ._linalg_krylov import History, Solution, krylov_cycle

METHODS = ("lu", "gmres")
SCALINGS = ("two_sided", "none")
#: Iterations without half of the best error before it counts as stagnated.
_PATIENCE = 5


@dataclass(frozen=True, eq=False)
class Refinement(Solution):
    """A Solution, with what it was refined from."""

    #: Of the scaled matrix.
    factors: LU
    #: The scaling; None where there was none.
    squeezed: Squeezed | None
    #: Steps of GMRES in each iteration; zeros for method "lu".
    inner_steps: tuple[int, ...]


def refine(
    a: Any,
    b: Any,
    *,
    factor: AnyFormat,
    working: AnyFormat,
    residual: AnyFormat | None = None,
    method: str = "lu",
    scaling: str = "two_sided",
    theta: float | None = None,
    truth: Any = None,
    tolerance: float | None = None,
    max_iterations: int = 50,
    gmres_tolerance: float = 1e-4,
    factorize: Callable[[Array], LU] | None = None,
) -> Refinement:
    """a x = b by iterative refinement: every operation is rounded, each to its own format.

    1. a and b are rounded to `working`; this is the system solved, and errors are those of it.
    2. a is scaled by powers of two ("two_sided": `lowp.transforms.squeeze`, to entries up to theta
       times factor's largest number, or up to 1 or 2 by default, which leaves room above for what
       the solves meet; "none"), rounded to `factor` and factorised there with partial pivoting.
    3. From x = 0: r = b - a x in `residual` (default: `working`); the correction d is solved from r
       divided by a power of two that keeps d away from both ends of `factor`'s range, and x + d
       is rounded to `working`.

    method: "lu" solves d in `factor`; "gmres" solves (l u)^-1 a d = (l u)^-1 r by GMRES in
    `working` until its residual has fallen by gmres_tolerance, and applies a and the factors in
    `residual` (Carson and Higham's GMRES-IR). Entry 0 of the history is the first solution.
    tolerance: of the backward error; default sqrt(N) times working's epsilon, as LAPACK's DSGESV.
    truth: the solution of the rounded system, for forward errors; see `solve_exactly`. factorize:
    another factorisation of the scaled matrix in place of `lu`.

    numpy.linalg.LinAlgError: the factorisation failed. ValueError: shapes, words, NaN or infinity.
    Source: Carson, Higham, Accelerating the solution of linear systems by iterative refinement in
    three precisions, SIAM J. Sci. Comput. 40 (2), 2018: algorithm 1.1 and GMRES-IR.
    """
    check_word("method", method, METHODS)
    check_word("scaling", scaling, SCALINGS)
    check_count("max_iterations", max_iterations)
    narrow, work = Arithmetic.of(factor), Arithmetic.of(working)
    wide = work if residual is None else Arithmetic.of(residual)
    matrix, right = work.round(square(a)), work.round(floats(b, "b", 1))
    check_rows(matrix, right)
    check_finite(right, "b")
    squeezed, scaled = None, matrix
    if scaling == "two_sided":
        share = min(1.0, 2 / narrow.format.max) if theta is None else theta
        exact = np.asarray(matrix, np.float64)
        squeezed = squeeze(exact, narrow.format, theta=share, power_of_two=True)
        scaled = squeezed.matrix
    factors = lu(scaled, narrow) if factorize is None else factorize(scaled)
    system = _System(matrix, right, squeezed, factors, narrow, work, wide)
    goal = math.sqrt(len(right)) * work.format.epsilon if tolerance is None else tolerance
    history = History(matrix, right, truth)
    solve = system.by_factors if method == "lu" else lambda r: system.by_gmres(r, gmres_tolerance)
    return _iterate(system, solve, history, goal, max_iterations)


@dataclass(frozen=True)
class _System:
    a: Array
    b: Array
    squeezed: Squeezed | None
    factors: LU
    narrow: Arithmetic
    work: Arithmetic
    wide: Arithmetic

    def residual(self, x: Array) -> Array:
        """B - a x: the products are subtracted from b in the order of the columns."""
        ops = self.wide
        a, start = np.asarray(self.a, ops.dtype), np.asarray(self.b, ops.dtype)
        return ops.product(ops.round(-a), ops.round(x), ops.round(start))

    def by_factors(self, r: Array) -> tuple[Array, int]:
        """The correction from the factors, solved in their own format."""
        rows, unit = self._scaled_rows(r, self._middle())
        return self._unscaled(self.factors.solve(rows), unit), 0

    def by_gmres(self, r: Array, tolerance: float) -> tuple[Array, int]:
        """The correction by GMRES, preconditioned with the factors."""
        unit = _power_of_two_at(r)
        start = self._precondition(np.asarray(r, np.float64) / unit)
        goal = tolerance * float(self.work.nrm2(start))
        matrix = self.wide.round(np.asarray(self.a, self.wide.dtype))

        def apply(v: Array) -> Array:
            return self._precondition(self.wide.product(matrix, self.wide.round(v)))

        cycle = krylov_cycle(self.work, apply, start, goal, len(r))
        return self.work.round(np.asarray(cycle.correction, np.float64) * unit), cycle.steps

    def _middle(self) -> float:
        """The size for right-hand sides: the root of that of the entries, so that right-hand sides
        are as far above 1 as their quotients by entries are below.
        """
        largest = float(np.max(np.abs(self.factors.u[:1]), initial=0.0))
        is_usable = largest > 0 and math.isfinite(largest)
        return math.ldexp(1.0, math.frexp(largest)[1] // 2) if is_usable else 1.0

    def _scaled_rows(self, r: Array, size: float) -> tuple[Doubles, float]:
        """R times the row scales, over a power of two that gives it the size; and that power."""
        rows = np.asarray(r, np.float64)
        if self.squeezed is not None:
            rows = rows * self.squeezed.r
        unit = _power_of_two_at(rows) / size
        return rows / unit, unit

    def _unscaled(self, y: Array, unit: float) -> Array:
        """mu diag(s) y unit in the working format."""
        d = np.asarray(y, np.float64) * unit
        if self.squeezed is not None:
            d = d * self.squeezed.mu * self.squeezed.s
        return self.work.round(d)

    def _precondition(self, v: Array) -> Array:
        """(l u)^-1 v with the scaling undone: solves in the residual's format."""
        rows, unit = self._scaled_rows(v, 1.0)
        ops = self.wide
        factors, right = ops.round(self.factors.factors), ops.round(rows[self.factors.permutation])
        y = solve_triangular(ops, factors, right, "lower", "unit")
        return self._unscaled(solve_triangular(ops, factors, y, "upper"), unit)


def _power_of_two_at(x: Any) -> float:
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def _iterate(
    system: _System,
    solve: Callable[[Array], tuple[Array, int]],
    history: History,
    goal: float,
    max_iterations: int,
) -> Refinement:
    x = np.zeros(len(system.b), system.work.dtype)
    steps: list[int] = []
    best, waited, status = math.inf, 0, "limit"
    for _ in range(max_iterations + 1):
        d, inner = solve(system.residual(x))
        x = system.work.add(x, d)
        steps.append(inner)
        error = history.note(x)
        waited = 0 if error < best / 2 else waited + 1
        best = min(best, error)
        if error <= goal or not math.isfinite(error):
            status = "converged" if error <= goal else "breakdown"
            break
        if waited >= _PATIENCE:
            status = "diverged" if error > history.backward[0] else "stagnated"
            break
    done = history.solution(x, status)
    errors = done.backward_errors, done.forward_errors
    return Refinement(
        x, status, done.iterations, *errors, system.factors, system.squeezed, tuple(steps)
    )


def solve_exactly(a: Any, b: Any) -> Doubles:
    """The solution of a x = b in rational arithmetic, each entry rounded once to float64.

    a: (N, N), b: (N,), finite floats taken as they are. Fraction-free elimination on integers:
    seconds at N = 100, growing as N to the fourth. numpy.linalg.LinAlgError: a is singular.
    OverflowError: an entry beyond float64. Source: Bareiss, Math. Comp. 22 (1968).
    """
    matrix, right = square(a), floats(b, "b", 1)
    check_rows(matrix, right)
    check_finite(right, "b")
    rows = [_integers([*row, value]) for row, value in zip(matrix, right, strict=True)]
    n, last = len(rows), 1
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            raise np.linalg.LinAlgError(f"solve_exactly: a is singular: no pivot in column {k}")
        rows[k], rows[pivot] = rows[pivot], rows[k]
        top, head = rows[k], rows[k][k]
        for i in range(k + 1, n):
            row, factor = rows[i], rows[i][k]
            rows[i] = [0] * (k + 1) + [
                (head * row[j] - factor * top[j]) // last for j in range(k + 1, n + 1)
            ]
        last = head
    x = [Fraction(0)] * n
    for i in range(n - 1, -1, -1):
        rest = sum((rows[i][j] * x[j] for j in range(i + 1, n)), Fraction(0))
        x[i] = (rows[i][n] - rest) / rows[i][i]
    return np.array([float(value) for value in x])


def _integers(values: list[Any]) -> list[int]:
    """The values times a common power of two that makes them integers: the same equation."""
    ratios = [float(value).as_integer_ratio() for value in values]
    common = max(denominator for _, denominator in ratios)
    return [numerator * (common // denominator) for numerator, denominator in ratios]
