"""Vector and matrix products and triangular solves in which every operation is rounded.

Operands are rounded to the format first. Sums run from the lowest index to the highest, so that
the order of operations, and with it every bit, is stated; rows or columns go side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arguments import FormatLike
from ._format_rules import is_number
from ._linalg_arithmetic import ORDERS, Arithmetic, Array, check_rows, check_word, floats

TRIANGLES = ("lower", "upper")
DIAGONALS = ("stored", "unit")

AnyFormat = Arithmetic | FormatLike


def axpy(alpha: float, x: Any, y: Any, format: AnyFormat, *, rounding: str | None = None) -> Array:
    """alpha x + y of vectors: a product and a sum rounded apart (or one fma, see Arithmetic).

    x, y: floats of one shape (N,). NaN, infinity and overflow as in lowp.mul and lowp.add.
    ValueError: shapes that differ. TypeError: no floats.
    """
    ops = Arithmetic.of(format, rounding)
    if not is_number(alpha):
        raise TypeError(f"alpha must be a float; got {type(alpha).__name__}")
    u, v = floats(x, "x", 1), floats(y, "y", 1)
    check_rows(u, v, "y")
    return ops.add_product(ops.round(v), ops.round(alpha), ops.round(u))


def dot(
    x: Any, y: Any, format: AnyFormat, *, rounding: str | None = None, order: str = "sequential"
) -> float:
    """The dot product of vectors, every product and every addition rounded; 0 of no elements.

    order: "sequential" from the first product on, or "pairwise" (neighbours, then neighbouring
    sums; an odd last one goes on). ValueError: shapes that differ, another order.
    """
    ops = Arithmetic.of(format, rounding)
    u, v = floats(x, "x", 1), floats(y, "y", 1)
    check_rows(u, v, "y")
    u, v = ops.round(u), ops.round(v)
    check_word("order", order, ORDERS)
    return float(ops.product(u, v, order=order))


def nrm2(x: Any, format: AnyFormat, *, rounding: str | None = None) -> float:
    """The 2-norm of a vector: squares, their sequential sum and its root, each rounded.

    x is divided by the power of two at its largest magnitude first and the root multiplied by it,
    so squares do not overflow. 0 of no elements; NaN and infinity come back as the format has them.
    """
    ops = Arithmetic.of(format, rounding)
    return float(ops.nrm2(ops.round(floats(x, "x", 1))))


def gemv(a: Any, x: Any, format: AnyFormat, *, y: Any = None, rounding: str | None = None) -> Array:
    """a x, or y + a x, each sum in the order of a's columns, beginning with y where it is given.

    a: (M, N). x: (N,). y: (M,). ValueError: shapes that do not fit. TypeError: no floats.
    """
    ops = Arithmetic.of(format, rounding)
    matrix, vector = floats(a, "a", 2), floats(x, "x", 1)
    if matrix.shape[1] != len(vector):
        raise ValueError(f"x must have length {matrix.shape[1]}, a's columns; got {len(vector)}")
    start = None if y is None else floats(y, "y", 1)
    if start is not None:
        check_rows(matrix, start, "y")
        start = ops.round(start)
    return ops.product(ops.round(matrix), ops.round(vector), start)


def gemm(a: Any, b: Any, format: AnyFormat, *, c: Any = None, rounding: str | None = None) -> Array:
    """a b, or c + a b, each sum in the order of the inner index, beginning with c where given.

    a: (M, K). b: (K, N). c: (M, N). ValueError: shapes that do not fit. TypeError: no floats.
    """
    ops = Arithmetic.of(format, rounding)
    left, right = floats(a, "a", 2), floats(b, "b", 2)
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"inner sizes of a and b must agree; got {left.shape} and {right.shape}")
    start = None if c is None else floats(c, "c", 2)
    if start is not None and start.shape != (left.shape[0], right.shape[1]):
        raise ValueError(f"c must have shape {(left.shape[0], right.shape[1])}; got {start.shape}")
    return ops.product(
        ops.round(left), ops.round(right), None if start is None else ops.round(start)
    )


def trsv(
    a: Any,
    b: Any,
    format: AnyFormat,
    *,
    triangle: str = "lower",
    diagonal: str = "stored",
    rounding: str | None = None,
) -> Array:
    """x with a x = b for a triangular a; the other triangle is not read.

    Each x is a quotient, and its multiples are subtracted from the right-hand sides that remain,
    a product and a difference rounded apart. a: (N, N); for the transpose pass a.T and the other
    triangle. b: (N,). triangle: "lower" or "upper". diagonal: "unit" takes it as ones. A zero on
    the diagonal gives infinity or NaN as lowp.div does. ValueError: shapes, words.
    """
    vector = floats(b, "b", 1)
    return _triangular(a, vector, format, triangle, diagonal, rounding)


def trsm(
    a: Any,
    b: Any,
    format: AnyFormat,
    *,
    triangle: str = "lower",
    diagonal: str = "stored",
    rounding: str | None = None,
) -> Array:
    """As trsv for the columns of a matrix b (N, M), which go side by side: the same bits."""
    return _triangular(a, floats(b, "b", 2), format, triangle, diagonal, rounding)


def _triangular(
    a: Any, b: Array, format: AnyFormat, triangle: str, diagonal: str, rounding: str | None
) -> Array:
    ops = Arithmetic.of(format, rounding)
    matrix = floats(a, "a", 2)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a must be square; got shape {matrix.shape}")
    check_rows(matrix, b)
    check_word("triangle", triangle, TRIANGLES)
    check_word("diagonal", diagonal, DIAGONALS)
    return solve_triangular(ops, ops.round(matrix), ops.round(b), triangle, diagonal)


def solve_triangular(
    ops: Arithmetic, a: Array, b: Array, triangle: str, diagonal: str = "stored"
) -> Array:
    """trsv and trsm of operands on the grid."""
    x = np.array(b, ops.dtype)
    n = len(a)
    along = (slice(None), None) if x.ndim == 2 else (slice(None),)
    for j in range(n) if triangle == "lower" else range(n - 1, -1, -1):
        if diagonal == "stored":
            x[j] = ops.div(x[j], a[j, j])
        rest = slice(j + 1, n) if triangle == "lower" else slice(0, j)
        if rest.start < rest.stop:
            x[rest] = ops.sub_product(x[rest], a[rest, j][along], x[j])
    return x
