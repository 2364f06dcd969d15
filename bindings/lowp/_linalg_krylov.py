"""Conjugate gradients and GMRES in which every operation is rounded.

Products with the matrix run over its columns from the left, inner products from the first element;
only the errors in the history are measured exactly, outside the algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

import lowp

from ._linalg_arithmetic import (
    Arithmetic,
    Array,
    Doubles,
    check_count,
    check_finite,
    check_rows,
    floats,
    square,
)
from ._linalg_basic import AnyFormat, solve_triangular

#: Sums of exact products, rounded once to the most bits that such sums have.
_EXACT = "e11m50/exact"


class Factors(Protocol):
    """What can precondition: LU, Cholesky, or anything of the user's with this method."""

    def solve(self, b: Any, /) -> Array:
        """x of M x = b."""
        ...


@dataclass(frozen=True, eq=False)
class Solution:
    """What an iterative solver found, and how far it was after each iteration."""

    #: (N,), the last iterate.
    x: Array
    #: "converged"; "stagnated" (the error stopped falling), "diverged" (it rose above the first
    #: one), "limit" (of iterations) or "breakdown" (NaN, infinity or a division by zero).
    status: str
    #: Iterations made.
    iterations: int
    #: float64: the normwise backward error of each iterate, the first included.
    backward_errors: Doubles
    #: float64: the forward error of each iterate, max|x - true| / max|true|; NaN where the true
    #: solution was not given.
    forward_errors: Doubles

    @property
    def converged(self) -> bool:
        """Whether the status is "converged"."""
        return self.status == "converged"


class History:
    """Errors of the iterates of one solver."""

    def __init__(self, a: Array, b: Array, truth: Any) -> None:
        self.a, self.b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        self.truth = None if truth is None else floats(truth, "truth", 1).astype(np.float64)
        if self.truth is not None:
            check_rows(self.b, self.truth, "truth")
        self.backward: list[float] = []
        self.forward: list[float] = []

    def note(self, x: Array) -> float:
        """Append the errors of an iterate; its backward error."""
        self.backward.append(backward_error(self.a, x, self.b))
        missing = self.truth is None
        self.forward.append(np.nan if missing else forward_error(x, self.truth))
        return self.backward[-1]

    def solution(self, x: Array, status: str) -> Solution:
        """The result after the last iterate noted."""
        errors = np.array(self.backward), np.array(self.forward)
        return Solution(x, status, len(self.backward) - 1, *errors)


def backward_error(a: Any, x: Any, b: Any) -> float:
    """||b - a x|| / (||a|| ||x|| + ||b||) in the infinity norm, b - a x as one exact sum.

    The least relative change of a and b for which x is exact: to 15 digits, even where it is below
    float64's roundoff. a: (N, M), x: (M,), b: (N,), floats. NaN where x is not finite, 0 for
    a x = b. ValueError: other shapes. TypeError: no floats.
    Source: Rigal, Gaches, J. ACM 14 (1967); Higham, Accuracy and Stability, theorem 7.1.
    """
    operands = floats(a, "a", 2), floats(x, "x", 1), floats(b, "b", 1)
    matrix, vector, right = (v.astype(np.float64, copy=False) for v in operands)
    if len(vector) != matrix.shape[1]:
        raise ValueError(f"x must have the columns of a {matrix.shape}; got shape {vector.shape}")
    check_rows(matrix, right)
    if not np.isfinite(vector).all():
        return float("nan")
    remainder = lowp.matmul(-matrix, vector, c=right, accumulator=_EXACT)
    residual = float(np.max(np.abs(remainder), initial=0.0))
    norm = float(np.max(np.abs(matrix).sum(axis=1), initial=0.0))
    size = norm * float(np.max(np.abs(vector), initial=0.0))
    size += float(np.max(np.abs(right), initial=0.0))
    return residual / size if residual else 0.0


def forward_error(x: Any, truth: Any) -> float:
    """max|x - truth| / max|truth| in float64; NaN where x is not finite, infinity for truth 0.

    x, truth: numbers of one shape. ValueError: shapes that differ.
    """
    found, true = np.asarray(x, np.float64), np.asarray(truth, np.float64)
    if found.shape != true.shape:
        raise ValueError(
            f"x and truth must have one shape; got x {found.shape} and truth {true.shape}"
        )
    error = float(np.max(np.abs(found - true), initial=0.0))
    size = float(np.max(np.abs(true), initial=0.0))
    if np.isnan(error) or not np.isfinite(found).all():
        return float("nan")
    return error / size if size else (0.0 if error == 0 else float("inf"))


def _system(a: Any, b: Any) -> tuple[Array, Array]:
    matrix, right = square(a), floats(b, "b", 1)
    check_rows(matrix, right)
    check_finite(right, "b")
    return matrix, right


def _preconditioner(ops: Arithmetic, m: Factors | Callable[[Array], Array] | None) -> Any:
    if m is None:
        return lambda r: r
    solve = m if callable(m) else m.solve
    return lambda r: ops.round(np.asarray(solve(r)))


def _rounded(ops: Arithmetic, a: Any, b: Any) -> tuple[Array, Array]:
    """The system in the format; ValueError where it overflows there."""
    matrix, right = (ops.round(v) for v in _system(a, b))
    check_finite(matrix, f"a rounded to {ops.format}")
    check_finite(right, f"b rounded to {ops.format}")
    return matrix, right


def cg(
    a: Any,
    b: Any,
    format: AnyFormat,
    *,
    preconditioner: Factors | Callable[[Array], Array] | None = None,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    truth: Any = None,
    rounding: str | None = None,
) -> Solution:
    """a x = b by conjugate gradients from x = 0, for a symmetric positive definite a.

    a: (N, N), b: (N,), finite floats, rounded to the format first; errors are those of the rounded
    system. preconditioner: factors (their `solve`) or a function of the residual, whose result is
    rounded to the format. tolerance: of the recurred residual's norm over b's; default sqrt(N)
    times the epsilon. max_iterations: default 10 N. truth: the solution, for forward errors.
    "breakdown" is a zero or negative p^T a p, NaN or infinity. ValueError: shapes, no finite a, b.
    Source: Hestenes, Stiefel, J. Res. NBS 49 (1952).
    """
    ops = Arithmetic.of(format, rounding)
    check_count("max_iterations", max_iterations)
    matrix, right = _rounded(ops, a, b)
    apply = _preconditioner(ops, preconditioner)
    history = History(matrix, right, truth)
    n = len(right)
    x, r = np.zeros(n, ops.dtype), right
    z = apply(r)
    p, rho = z, inner(ops, r, z)
    history.note(x)
    limit = math.sqrt(n) * ops.format.epsilon if tolerance is None else tolerance
    goal = limit * float(ops.nrm2(right))
    for _ in range(10 * n if max_iterations is None else max_iterations):
        if float(ops.nrm2(r)) <= goal:
            return history.solution(x, "converged")
        q = ops.product(matrix, p)
        curvature = inner(ops, p, q)
        if not (np.isfinite(curvature) and curvature > 0):
            return history.solution(x, "breakdown")
        alpha = ops.div(rho, curvature)
        x, r = ops.add_product(x, alpha, p), ops.sub_product(r, alpha, q)
        if not np.isfinite(history.note(x)):
            return history.solution(x, "breakdown")
        z = apply(r)
        last, rho = rho, inner(ops, r, z)
        if last == 0:
            return history.solution(x, "breakdown")
        p = ops.add_product(z, ops.div(rho, last), p)
    return history.solution(x, "converged" if float(ops.nrm2(r)) <= goal else "limit")


def inner(ops: Arithmetic, x: Array, y: Array) -> Any:
    """The sequential dot product of vectors on the grid."""
    return ops.product(x, y)


def gmres(
    a: Any,
    b: Any,
    format: AnyFormat,
    *,
    preconditioner: Factors | Callable[[Array], Array] | None = None,
    restart: int | None = None,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    truth: Any = None,
    rounding: str | None = None,
) -> Solution:
    """a x = b by restarted GMRES from x = 0: modified Gram-Schmidt and Givens rotations.

    Arguments as in `cg`; the preconditioner acts from the left. restart: steps before x is updated
    and the residual computed anew, default N; the history has one entry a cycle. tolerance: of the
    preconditioned residual's norm over that of the first. max_iterations: of all steps, default N.
    Source: Saad, Schultz, SIAM J. Sci. Stat. Comput. 7 (1986).
    """
    ops = Arithmetic.of(format, rounding)
    check_count("max_iterations", max_iterations)
    matrix, right = _rounded(ops, a, b)
    apply = _preconditioner(ops, preconditioner)
    n = len(right)
    steps = n if restart is None else restart
    if steps < 1:
        raise ValueError(f"restart must be at least 1; got {restart}")
    left = n if max_iterations is None else max_iterations
    limit = math.sqrt(n) * ops.format.epsilon if tolerance is None else tolerance
    history = History(matrix, right, truth)
    x = np.zeros(n, ops.dtype)
    history.note(x)
    r = apply(right)
    goal = limit * float(ops.nrm2(r))
    while left > 0 and float(ops.nrm2(r)) > goal:
        cycle = krylov_cycle(
            ops, lambda v: apply(ops.product(matrix, v)), r, goal, min(steps, left)
        )
        x = ops.add(x, cycle.correction)
        left -= cycle.steps
        if not np.isfinite(history.note(x)) or cycle.steps == 0:
            return history.solution(x, "breakdown")
        r = apply(ops.sub(right, ops.product(matrix, x)))
        if cycle.estimate <= goal and steps >= n:
            # Without restarts the recurred residual decides, as in cg.
            return history.solution(x, "converged")
    return history.solution(x, "converged" if float(ops.nrm2(r)) <= goal else "limit")


@dataclass(frozen=True, eq=False)
class Cycle:
    """One run of GMRES between restarts."""

    correction: Array
    steps: int
    #: The recurred norm of the preconditioned residual.
    estimate: float


def krylov_cycle(
    ops: Arithmetic, apply: Callable[[Array], Array], r: Array, goal: float, steps: int
) -> Cycle:
    """GMRES from zero for apply(d) = r, until the residual's norm is at most `goal`."""
    norm = ops.nrm2(r)
    basis = [ops.div(r, norm)]
    columns: list[Array] = []
    rotations: list[tuple[Any, Any]] = []
    g = [norm]
    for k in range(steps):
        w, column = _orthogonalized(ops, apply(basis[k]), basis)
        h = _rotated(ops, column, rotations)
        t = ops.nrm2(h[k : k + 2])
        if not (np.isfinite(t) and t > 0):
            break
        rotations.append((ops.div(h[k], t), ops.div(h[k + 1], t)))
        columns.append(np.append(h[:k], t))
        c, s = rotations[-1]
        g[k:] = [ops.mul(c, g[k]), ops.mul(-s, g[k])]
        if abs(float(g[-1])) <= goal or column[-1] == 0:
            break
        basis.append(ops.div(w, column[-1]))
    size = len(columns)
    if not size:
        return Cycle(np.zeros_like(r), 0, float(norm))
    upper = np.zeros((size, size), ops.dtype)
    for k, entries in enumerate(columns):
        upper[: k + 1, k] = entries
    y = solve_triangular(ops, upper, np.array(g[:size]), "upper")
    return Cycle(ops.product(np.stack(basis[:size], 1), y), size, abs(float(g[size])))


def _orthogonalized(ops: Arithmetic, w: Array, basis: list[Array]) -> tuple[Array, Array]:
    """w less its parts along the basis, and those parts with the norm of what is left."""
    column = []
    for v in basis:
        column.append(inner(ops, v, w))
        w = ops.sub_product(w, column[-1], v)
    return w, np.array([*column, ops.nrm2(w)], ops.dtype)


def _rotated(ops: Arithmetic, column: Array, rotations: list[tuple[Any, Any]]) -> Array:
    h = np.array(column)
    for i, (c, s) in enumerate(rotations):
        upper = ops.add_product(ops.mul(c, h[i]), s, h[i + 1])
        h[i + 1] = ops.sub_product(ops.mul(c, h[i + 1]), s, h[i])
        h[i] = upper
    return h
