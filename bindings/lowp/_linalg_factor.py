"""Factorisations in which every operation is rounded: LU, Cholesky, Householder QR.

All are right-looking: a column is finished, then subtracted from what remains, one product and one
difference an entry and step (an fma where the Arithmetic says so).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._linalg_arithmetic import Arithmetic, Array, check_finite, check_rows, floats, square
from ._linalg_basic import AnyFormat, solve_triangular


def _right_side(b: Any, rows: Array) -> Array:
    """b as a vector or a matrix with as many rows."""
    array = floats(b, "b", 2 if np.ndim(b) == 2 else 1)
    check_rows(rows, array)
    return array


@dataclass(frozen=True, eq=False)
class LU:
    """a[permutation] = l u up to rounding; see `lu`."""

    #: (N, N): l below the diagonal, u on it and above.
    factors: Array
    #: int64 (N,): row i of l u is row permutation[i] of a.
    permutation: NDArray[np.int64]
    #: What it was computed with.
    arithmetic: Arithmetic
    #: The largest magnitude met in any step over the largest of a.
    growth: float

    @property
    def l(self) -> Array:  # noqa: E743  (its name in every textbook)
        """(N, N): lower, with ones on the diagonal."""
        ones = np.eye(len(self.factors), dtype=self.factors.dtype)
        return np.asarray(np.tril(self.factors, -1) + ones)

    @property
    def u(self) -> Array:
        """(N, N): upper."""
        return np.triu(self.factors)

    def solve(self, b: Any, format: AnyFormat | None = None) -> Array:
        """x with l u x = b[permutation], by two triangular solves, every operation rounded.

        b: (N,) or (N, M). format: of the solves, default that of the factors. Overflow gives what
        lowp.sub and lowp.div give. ValueError: a shape that does not fit.
        """
        ops = self.arithmetic if format is None else Arithmetic.of(format)
        right = ops.round(_right_side(b, self.factors)[self.permutation])
        factors = ops.round(self.factors)
        y = solve_triangular(ops, factors, right, "lower", "unit")
        return solve_triangular(ops, factors, y, "upper")


def lu(a: Any, format: AnyFormat, *, rounding: str | None = None) -> LU:
    """The LU factorisation with partial pivoting, every operation rounded.

    a: (N, N) finite floats, rounded to the format first. The pivot is the entry of largest
    magnitude of its column, the first among equals. ValueError: a is not square, or not finite.
    numpy.linalg.LinAlgError (a ValueError) where a pivot is zero, or NaN or infinite after
    overflow: scale the matrix, as with `lowp.transforms.squeeze`, or take a wider format.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, algorithm 9.2.
    """
    ops = Arithmetic.of(format, rounding)
    work = np.array(ops.round(square(a)))
    n = len(work)
    permutation = np.arange(n)
    largest = start = float(np.max(np.abs(work), initial=0.0))
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(work[k:, k])))
        _check_pivot("lu", work[pivot, k], k, ops)
        if pivot != k:
            work[[k, pivot]] = work[[pivot, k]]
            permutation[[k, pivot]] = permutation[[pivot, k]]
        if k + 1 == n:
            break
        work[k + 1 :, k] = ops.div(work[k + 1 :, k], work[k, k])
        rest = work[k + 1 :, k + 1 :]
        rest[...] = ops.sub_product(rest, work[k + 1 :, k, None], work[k, None, k + 1 :])
        largest = max(largest, float(np.max(np.abs(rest))))
    return LU(work, permutation, ops, largest / start if start else 1.0)


def _check_pivot(what: str, pivot: Any, step: int, ops: Arithmetic) -> None:
    value = float(pivot)
    if value == 0 or not np.isfinite(value):
        reason = "the matrix is singular in" if value == 0 else "it overflowed in"
        raise np.linalg.LinAlgError(
            f"{what}: pivot {step} is {value:g}: {reason} {ops.format}; scale the matrix "
            "(lowp.transforms.squeeze) or take a wider format"
        )


@dataclass(frozen=True, eq=False)
class Cholesky:
    """a = l l^T up to rounding; see `cholesky`."""

    #: (N, N): lower; zeros above the diagonal.
    l: Array  # noqa: E741
    #: What it was computed with.
    arithmetic: Arithmetic

    def solve(self, b: Any, format: AnyFormat | None = None) -> Array:
        """x with l l^T x = b; as LU.solve."""
        ops = self.arithmetic if format is None else Arithmetic.of(format)
        right = ops.round(_right_side(b, self.l))
        factor = ops.round(self.l)
        return solve_triangular(
            ops, factor.T, solve_triangular(ops, factor, right, "lower"), "upper"
        )


def cholesky(a: Any, format: AnyFormat, *, rounding: str | None = None) -> Cholesky:
    """The Cholesky factorisation of a symmetric positive definite matrix, each operation rounded.

    a: (N, N) finite floats, rounded to the format first; only the lower triangle is read.
    numpy.linalg.LinAlgError where a pivot is not positive (rounding may make it so) or overflowed.
    ValueError: a is not square, or not finite.
    """
    ops = Arithmetic.of(format, rounding)
    work = np.tril(ops.round(square(a)))
    for k in range(len(work)):
        pivot = float(work[k, k])
        if pivot < 0:
            raise np.linalg.LinAlgError(
                f"cholesky: pivot {k} is {pivot:g}, below zero: the matrix is not positive "
                f"definite in {ops.format}; add to its diagonal or take a wider format"
            )
        _check_pivot("cholesky", pivot, k, ops)
        work[k, k] = ops.sqrt(work[k, k])
        column = ops.div(work[k + 1 :, k], work[k, k])
        work[k + 1 :, k] = column
        rest = work[k + 1 :, k + 1 :]
        # Both triangles go side by side; what is above the diagonal is cut off at the end.
        rest[...] = ops.sub_product(rest, column[:, None], column[None, :])
    return Cholesky(np.tril(work), ops)


@dataclass(frozen=True, eq=False)
class QR:
    """a = q r up to rounding, q as reflectors I - tau v v^T with v[0] = 1; see `qr`."""

    #: (M, N): r on the diagonal and above, below it the reflectors without their leading 1.
    factors: Array
    #: (min(M, N),): the factor of each reflector; 0 is the identity.
    tau: Array
    #: What it was computed with.
    arithmetic: Arithmetic

    @property
    def r(self) -> Array:
        """(min(M, N), N): upper triangular."""
        return np.triu(self.factors)[: len(self.tau)]

    def q(self) -> Array:
        """(M, min(M, N)): the reflectors applied to the identity, every operation rounded."""
        rows = len(self.factors)
        return self._reflect(np.eye(rows, len(self.tau), dtype=self.factors.dtype), -1)

    def transposed_times(self, b: Any) -> Array:
        """q^T b, all M rows, every operation rounded. b: (M,) or (M, K)."""
        right = _right_side(b, self.factors)
        c = self.arithmetic.round(right.reshape(len(right), -1))
        return self._reflect(c, 1).reshape(right.shape)

    def solve(self, b: Any) -> Array:
        """x of least ||a x - b||, M >= N: q^T b, then a triangular solve. b: (M,) or (M, K)."""
        if len(self.tau) != self.factors.shape[1]:
            raise ValueError(f"solve needs as many rows as columns; got {self.factors.shape}")
        c = self.transposed_times(b)[: len(self.tau)]
        return solve_triangular(self.arithmetic, self.r, c, "upper")

    def _reflect(self, c: Array, step: int) -> Array:
        result = np.array(c)
        for k in range(len(self.tau))[::step]:
            v = np.append(self.tau.dtype.type(1), self.factors[k + 1 :, k])
            result[k:] = _reflected(self.arithmetic, result[k:], v, self.tau[k])
        return result


def qr(a: Any, format: AnyFormat, *, rounding: str | None = None) -> QR:
    """The QR factorisation by Householder reflections, every operation rounded.

    a: (M, N) finite floats, rounded to the format first. With x a column from its diagonal down
    and beta = -sign(x[0]) nrm2(x): tau = (beta - x[0]) / beta, v = x / (x[0] - beta), v[0] = 1,
    and what is right of it becomes c - v (tau (v^T c)), sums from the top. A column that is zero
    below its diagonal has tau 0. ValueError: a is no matrix, or not finite.
    Source: Golub, Van Loan, Matrix Computations, section 5.2; LAPACK's xLARFG and xGEQR2.
    """
    ops = Arithmetic.of(format, rounding)
    matrix = floats(a, "a", 2)
    check_finite(matrix, "a")
    work = np.array(ops.round(matrix))
    check_finite(work, f"a rounded to {ops.format}")
    tau = np.zeros(min(work.shape), ops.dtype)
    for k in range(len(tau)):
        column = work[k:, k]
        if not column[1:].any():
            continue
        norm = ops.nrm2(column)
        beta = np.where(np.signbit(column[0]), norm, -norm)
        tau[k] = ops.div(ops.sub(beta, column[0]), beta)
        v = np.append(ops.dtype.type(1), ops.div(column[1:], ops.sub(column[0], beta)))
        work[k:, k + 1 :] = _reflected(ops, work[k:, k + 1 :], v, tau[k])
        work[k, k] = beta
        work[k + 1 :, k] = v[1:]
    return QR(work, tau, ops)


def _reflected(ops: Arithmetic, c: Array, v: Array, tau: Any) -> Array:
    """c - v (tau (v^T c))."""
    if tau == 0 or not c.size:
        return c
    w = ops.mul(tau, ops.product(c.T, v))
    return ops.sub_product(c, v[:, None], w[None, :])
