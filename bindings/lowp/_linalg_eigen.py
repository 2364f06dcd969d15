"""Eigenvalues of symmetric matrices by Jacobi rotations in which every operation is rounded.

A sweep goes through all pairs of rows in rounds of a tournament, whose pairs are disjoint: the
rotations of a round touch different entries and go side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._linalg_arithmetic import Arithmetic, Array, check_finite, square
from ._linalg_basic import AnyFormat

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Eigen:
    """Eigenvalues in ascending order and their vectors; see `eigh_jacobi`."""

    #: (N,).
    values: Array
    #: (N, N): column i belongs to values[i].
    vectors: Array
    #: "converged" where all entries off the diagonal are negligible, or "limit" of sweeps.
    status: str
    #: Sweeps made.
    sweeps: int

    @property
    def converged(self) -> bool:
        """Whether the status is "converged"."""
        return self.status == "converged"


def eigh_jacobi(
    a: Any, format: AnyFormat, *, max_sweeps: int = 20, rounding: str | None = None
) -> Eigen:
    """Eigenvalues and vectors of a symmetric matrix by cyclic Jacobi, every operation rounded.

    a: (N, N) finite floats, rounded to the format first; its upper triangle is read. An entry is
    negligible, and set to zero, once adding its magnitude to that of neither diagonal entry of its
    row and column changes them. The tangent of each rotation comes from a quotient of at most 1,
    so that nothing overflows that fits. "limit" tells of more than max_sweeps sweeps, "breakdown"
    of NaN or infinity on the way.
    ValueError: a is not square, not symmetric or not finite.
    Source: Golub, Van Loan, Matrix Computations, section 8.5 (cyclic, parallel ordering).
    """
    ops = Arithmetic.of(format, rounding)
    matrix = square(a)
    if not np.array_equal(matrix, matrix.T):
        raise ValueError("a must be symmetric; eigh_jacobi reads a == a.T")
    work = np.array(ops.round(matrix))
    check_finite(work, f"a rounded to {ops.format}")
    vectors = np.eye(len(work), dtype=ops.dtype)
    rounds = tournament(len(work))
    status, sweeps = "limit", 0
    while sweeps < max_sweeps:
        turned = False
        for pairs in rounds:
            p, q = _needed(ops, work, *pairs)
            if len(p):
                turned = True
                vectors = _rotate(ops, work, vectors, p, q)
        if not np.isfinite(work).all() or not np.isfinite(vectors).all():
            status = "breakdown"
            break
        if not turned:
            status = "converged"
            break
        sweeps += 1
    order = np.argsort(np.diagonal(work), kind="stable")
    return Eigen(np.diagonal(work)[order].copy(), vectors[:, order], status, sweeps)


def tournament(n: int) -> list[tuple[Indices, Indices]]:
    """Rounds of disjoint pairs (p, q), p < q, in which each pair of 0..n-1 comes once."""
    even = n + n % 2
    places = np.arange(even)
    rounds = []
    for _ in range(max(even - 1, 0)):
        first, second = places[: even // 2], places[: even // 2 - 1 : -1]
        p, q = np.minimum(first, second), np.maximum(first, second)
        plays = q < n  # with odd n one sits out
        rounds.append((p[plays], q[plays]))
        places = np.concatenate([places[:1], places[-1:], places[1:-1]])
    return rounds


def _needed(ops: Arithmetic, a: Array, p: Indices, q: Indices) -> tuple[Indices, Indices]:
    """The pairs whose entry matters; the other entries become zero."""
    off = np.abs(a[p, q])
    first, second = np.abs(a[p, p]), np.abs(a[q, q])
    matters = (off != 0) & ((ops.add(first, off) != first) | (ops.add(second, off) != second))
    a[p[~matters], q[~matters]] = 0
    a[q[~matters], p[~matters]] = 0
    return p[matters], q[matters]


def _tangents(ops: Arithmetic, difference: Array, twice: Array) -> Array:
    """t of least magnitude with t^2 + 2 tau t = 1, tau = difference / twice."""
    one = ops.dtype.type(1)
    is_flat = np.abs(twice) <= np.abs(difference)
    small, large = np.where(is_flat, twice, difference), np.where(is_flat, difference, twice)
    ratio = ops.div(small, large)
    root = ops.sqrt(ops.add_product(np.full_like(ratio, one), ratio, ratio))
    flat = ops.div(ratio, ops.add(root, one))
    steep = ops.div(np.copysign(one, ratio), ops.add(np.abs(ratio), root))
    return np.where(is_flat, flat, steep)


def _rotate(ops: Arithmetic, a: Array, vectors: Array, p: Indices, q: Indices) -> Array:
    """Rotate rows and columns p and q of a, in place, to zero a[p, q]; the rotated vectors."""
    off = a[p, q].copy()
    t = _tangents(ops, ops.sub(a[q, q], a[p, p]), ops.add(off, off))
    one = np.full_like(t, 1)
    c = ops.div(one, ops.sqrt(ops.add_product(one, t, t)))
    s = ops.mul(t, c)
    diagonal_p, diagonal_q = ops.sub_product(a[p, p], t, off), ops.add_product(a[q, q], t, off)
    for side in (a, a.T):  # rows, then columns
        upper, lower = side[p], side[q]
        side[p] = ops.sub_product(ops.mul(c[:, None], upper), s[:, None], lower)
        side[q] = ops.add_product(ops.mul(c[:, None], lower), s[:, None], upper)
    a[p, p], a[q, q] = diagonal_p, diagonal_q
    a[p, q] = 0
    # Roundings of (i, j) and (j, i) differ; the upper triangle stands for both.
    a[...] = np.triu(a) + np.triu(a, 1).T
    left, right = vectors[:, p], vectors[:, q]
    turned = np.array(vectors)
    turned[:, p] = ops.sub_product(ops.mul(left, c), right, s)
    turned[:, q] = ops.add_product(ops.mul(right, c), left, s)
    return turned
