"""Linear algebra in rationals, rounded after every operation: the scalar loops of a textbook.

Slow and plain on purpose: `Exact` rounds a Fraction on the grid by itself, and shares nothing with
the package but the overflow rule.
"""

from __future__ import annotations

import math
from fractions import Fraction

import lowp
import numpy as np

Array = np.ndarray
Rows = list[list[float]]


class Exact:
    """Operations on finite floats of a format, each exact and then rounded once."""

    def __init__(self, format: str, rounding: str = "nearest_ties_to_even", fused: str = "no"):
        self.f = lowp.format(format)
        self.rounding = rounding
        self.fused = fused

    def round(self, x: Fraction | float) -> float:
        exact = Fraction(x)
        if exact == 0:
            return 0.0
        size = abs(exact)
        exponent = size.numerator.bit_length() - size.denominator.bit_length()
        exponent -= Fraction(2) ** exponent > size
        quantum = Fraction(2) ** (max(exponent, self.f.emin) - self.f.precision + 1)
        steps = exact / quantum
        whole = {
            "nearest_ties_to_even": round,
            "toward_zero": math.trunc,
            "toward_positive": math.ceil,
            "toward_negative": math.floor,
        }[self.rounding](steps)
        # On the unbounded grid: only what overflow becomes is asked of the package.
        return lowp.quantize(float(whole * quantum), self.f, rounding=self.rounding)

    def add(self, x: float, y: float) -> float:
        return self.round(Fraction(x) + Fraction(y))

    def sub(self, x: float, y: float) -> float:
        return self.round(Fraction(x) - Fraction(y))

    def mul(self, x: float, y: float) -> float:
        return self.round(Fraction(x) * Fraction(y))

    def div(self, x: float, y: float) -> float:
        return self.round(Fraction(x) / Fraction(y))

    def sqrt(self, x: float) -> float:
        """The root to 2**-400, with a sticky bit so that no tie is mistaken."""
        exact = Fraction(x)
        scaled = exact.numerator * 4**400 // exact.denominator
        root = math.isqrt(scaled)
        is_exact = root * root == scaled and exact.numerator * 4**400 % exact.denominator == 0
        return self.round(Fraction(2 * root + (not is_exact), 2 * 2**400))

    def add_product(self, z: float, x: float, y: float) -> float:
        if self.fused == "yes":
            return self.round(Fraction(z) + Fraction(x) * Fraction(y))
        return self.add(z, self.mul(x, y))

    def sub_product(self, z: float, x: float, y: float) -> float:
        if self.fused == "yes":
            return self.round(Fraction(z) - Fraction(x) * Fraction(y))
        return self.sub(z, self.mul(x, y))

    def dot(self, x: list[float], y: list[float], start: float | None = None) -> float:
        total = start
        for u, v in zip(x, y, strict=True):
            total = self.mul(u, v) if total is None else self.add_product(total, u, v)
        return 0.0 if total is None else total

    def nrm2(self, x: list[float]) -> float:
        largest = max(map(abs, x), default=0.0)
        if largest == 0:
            return 0.0
        scale = 2.0 ** (math.frexp(largest)[1] - 1)
        scaled = [self.round(Fraction(v) / Fraction(scale)) for v in x]
        return self.round(Fraction(self.sqrt(self.dot(scaled, scaled))) * Fraction(scale))


def rows_of(ops: Exact, a: Array) -> Rows:
    return [[ops.round(float(x)) for x in row] for row in a]


def gemm(ops: Exact, a: Array, b: Array, c: Array | None = None) -> Rows:
    left, right = rows_of(ops, a), rows_of(ops, b)
    start = None if c is None else rows_of(ops, c)
    return [
        [
            ops.dot(row, [r[j] for r in right], None if start is None else start[i][j])
            for j in range(len(right[0]))
        ]
        for i, row in enumerate(left)
    ]


def lower_solve(ops: Exact, a: Rows, b: list[float], unit: str = "no") -> list[float]:
    x = list(b)
    for i in range(len(x)):
        for j in range(i):
            x[i] = ops.sub_product(x[i], a[i][j], x[j])
        if unit == "no":
            x[i] = ops.div(x[i], a[i][i])
    return x


def upper_solve(ops: Exact, a: Rows, b: list[float]) -> list[float]:
    x = list(b)
    for i in range(len(x) - 1, -1, -1):
        for j in range(len(x) - 1, i, -1):
            x[i] = ops.sub_product(x[i], a[i][j], x[j])
        x[i] = ops.div(x[i], a[i][i])
    return x


def lu(ops: Exact, a: Array) -> tuple[Rows, list[int]]:
    work = rows_of(ops, a)
    n = len(work)
    order = list(range(n))
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: (abs(work[i][k]), -i))
        work[k], work[pivot] = work[pivot], work[k]
        order[k], order[pivot] = order[pivot], order[k]
        for i in range(k + 1, n):
            work[i][k] = ops.div(work[i][k], work[k][k])
            for j in range(k + 1, n):
                work[i][j] = ops.sub_product(work[i][j], work[i][k], work[k][j])
    return work, order


def cholesky(ops: Exact, a: Array) -> Rows:
    work = rows_of(ops, a)
    n = len(work)
    for j in range(n):
        for i in range(j, n):
            for k in range(j):
                work[i][j] = ops.sub_product(work[i][j], work[i][k], work[j][k])
            root = work[j][j] if i > j else ops.sqrt(work[j][j])
            work[i][j] = ops.div(work[i][j], root) if i > j else root
    return [[work[i][j] if j <= i else 0.0 for j in range(n)] for i in range(n)]


def qr(ops: Exact, a: Array) -> tuple[Rows, list[float]]:
    work = rows_of(ops, a)
    m, n = len(work), len(work[0])
    taus = []
    for k in range(min(m, n)):
        x = [work[i][k] for i in range(k, m)]
        if not any(x[1:]):
            taus.append(0.0)
            continue
        beta = math.copysign(ops.nrm2(x), -math.copysign(1.0, x[0]))
        tau = ops.div(ops.sub(beta, x[0]), beta)
        pivot = ops.sub(x[0], beta)
        v = [1.0, *(ops.div(value, pivot) for value in x[1:])]
        taus.append(tau)
        for j in range(k + 1, n):
            column = [work[i][j] for i in range(k, m)]
            w = ops.mul(tau, ops.dot(column, v))
            for i in range(k, m):
                work[i][j] = ops.sub_product(work[i][j], v[i - k], w)
        work[k][k] = beta
        for i in range(k + 1, m):
            work[i][k] = v[i - k]
    return work, taus


def cg(ops: Exact, a: Array, b: Array, steps: int) -> list[float]:
    matrix, r = rows_of(ops, a), rows_of(ops, b[None, :])[0]
    x, p = [0.0] * len(r), list(r)
    rho = ops.dot(r, r)
    for _ in range(steps):
        q = [ops.dot(row, p) for row in matrix]
        alpha = ops.div(rho, ops.dot(p, q))
        x = [ops.add_product(v, alpha, w) for v, w in zip(x, p, strict=True)]
        r = [ops.sub_product(v, alpha, w) for v, w in zip(r, q, strict=True)]
        last, rho = rho, ops.dot(r, r)
        beta = ops.div(rho, last)
        p = [ops.add_product(v, beta, w) for v, w in zip(r, p, strict=True)]
    return x


def gmres(ops: Exact, a: Array, b: Array, steps: int) -> list[float]:
    """Modified Gram-Schmidt and Givens rotations, without restarts."""
    matrix, r = rows_of(ops, a), rows_of(ops, b[None, :])[0]
    norm = ops.nrm2(r)
    basis = [[ops.div(v, norm) for v in r]]
    g, columns, turns = [norm], [], []
    for k in range(steps):
        w = [ops.dot(row, basis[k]) for row in matrix]
        h = []
        for v in basis:
            h.append(ops.dot(v, w))
            w = [ops.sub_product(x, h[-1], y) for x, y in zip(w, v, strict=True)]
        h.append(ops.nrm2(w))
        basis.append([ops.div(x, h[-1]) for x in w])
        for i, (c, s) in enumerate(turns):
            up, down = h[i], h[i + 1]
            h[i] = ops.add_product(ops.mul(c, up), s, down)
            h[i + 1] = ops.sub_product(ops.mul(c, down), s, up)
        t = ops.nrm2(h[k:])
        turns.append((ops.div(h[k], t), ops.div(h[k + 1], t)))
        columns.append([*h[:k], t])
        c, s = turns[-1]
        g[k:] = [ops.mul(c, g[k]), ops.mul(-s, g[k])]
    upper = [[columns[j][i] if i <= j else 0.0 for j in range(steps)] for i in range(steps)]
    y = upper_solve(ops, upper, g[:steps])
    return [ops.dot([v[i] for v in basis[:steps]], y) for i in range(len(r))]


def refine(narrow: Exact, work: Exact, wide: Exact, a: Array, b: Array, steps: int) -> list[float]:
    """By the factors, without scaling; a's largest entry must be in [1, 2)."""
    matrix = rows_of(work, a)
    right = [work.round(float(v)) for v in b]
    factors, order = lu(narrow, np.array(matrix))
    x = [0.0] * len(right)
    for _ in range(steps):
        r = [
            wide.dot([-v for v in row], x, start) for row, start in zip(matrix, right, strict=True)
        ]
        unit = 2.0 ** (math.frexp(max(map(abs, r)))[1] - 1)
        scaled = [narrow.round(Fraction(r[i]) / Fraction(unit)) for i in order]
        y = upper_solve(narrow, factors, lower_solve(narrow, factors, scaled, "yes"))
        d = [work.round(Fraction(v) * Fraction(unit)) for v in y]
        x = [work.add(u, v) for u, v in zip(x, d, strict=True)]
    return x


def jacobi_sweep(ops: Exact, a: Array, rounds: list[list[tuple[int, int]]]) -> Rows:
    """One sweep; all rotations of a round from the same matrix, rows before columns."""
    m = rows_of(ops, a)
    n = len(m)
    for pairs in rounds:
        turns = []
        for p, q in pairs:
            off, diagonal = abs(m[p][q]), (abs(m[p][p]), abs(m[q][q]))
            if off and any(ops.add(d, off) != d for d in diagonal):
                turns.append((p, q, *_rotation(ops, m[p][p], m[q][q], m[p][q])))
            else:
                m[p][q] = m[q][p] = 0.0
        ends = [
            (ops.sub_product(m[p][p], t, m[p][q]), ops.add_product(m[q][q], t, m[p][q]))
            for p, q, t, _, _ in turns
        ]
        for p, q, _, c, s in turns:
            for j in range(n):
                x, y = m[p][j], m[q][j]
                m[p][j] = ops.sub_product(ops.mul(c, x), s, y)
                m[q][j] = ops.add_product(ops.mul(c, y), s, x)
        for p, q, _, c, s in turns:
            for i in range(n):
                x, y = m[i][p], m[i][q]
                m[i][p] = ops.sub_product(ops.mul(c, x), s, y)
                m[i][q] = ops.add_product(ops.mul(c, y), s, x)
        for (p, q, *_), (first, second) in zip(turns, ends, strict=True):
            m[p][p], m[q][q], m[p][q] = first, second, 0.0
        m = [[m[min(i, j)][max(i, j)] for j in range(n)] for i in range(n)]
    return m


def _rotation(ops: Exact, app: float, aqq: float, off: float) -> tuple[float, float, float]:
    d, h = ops.sub(aqq, app), ops.add(off, off)
    is_flat = abs(h) <= abs(d)
    ratio = ops.div(h, d) if is_flat else ops.div(d, h)
    root = ops.sqrt(ops.add_product(1.0, ratio, ratio))
    if is_flat:
        t = ops.div(ratio, ops.add(root, 1.0))
    else:
        # -0 does not occur among Fractions; the quotient's sign of zero is that of d over h.
        sign = math.copysign(1.0, d) * math.copysign(1.0, h)
        t = ops.div(sign, ops.add(abs(ratio), root))
    c = ops.div(1.0, ops.sqrt(ops.add_product(1.0, t, t)))
    return t, c, ops.mul(t, c)
