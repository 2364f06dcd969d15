"""Linear algebra with every operation rounded: bit-equal to rational arithmetic, and useful."""

from __future__ import annotations

import linalg_oracle as oracle
import numpy as np
import pytest
from lowp import linalg
from lowp.linalg import Arithmetic

FORMATS = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32")
ROUNDINGS = ("nearest_ties_to_even", "toward_zero", "toward_positive", "toward_negative")
#: A format, a rounding, and whether products are fused.
CASES = [(f, "nearest_ties_to_even", "separate") for f in FORMATS]
CASES += [("float16", rounding, "separate") for rounding in ROUNDINGS[1:]]
CASES += [("float16", "nearest_ties_to_even", "fused"), ("bfloat16", "toward_zero", "fused")]
CASES += [("float64", "nearest_ties_to_even", "separate")]

pytestmark = pytest.mark.parametrize(("format", "rounding", "products"), CASES)
Array = np.ndarray


def both(format: str, rounding: str, products: str) -> tuple[Arithmetic, oracle.Exact]:
    ops = Arithmetic(format, rounding=rounding, products=products)
    return ops, oracle.Exact(format, rounding, "yes" if products == "fused" else "no")


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def definite(n: int, seed: int = 0) -> Array:
    a = random(n, n, seed=seed)
    spread = a @ a.T / n + np.eye(n)
    return np.tril(spread) + np.tril(spread, -1).T


def same(got: Array | float, want: object) -> None:
    assert np.array_equal(np.asarray(got, np.float64), np.asarray(want, np.float64))


def test_products_round_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    ops, exact = both(format, rounding, products)
    a, b, c = random(5, 7), random(7, 4, seed=1), random(5, 4, seed=2)
    same(linalg.gemm(a, b, ops), oracle.gemm(exact, a, b))
    same(linalg.gemm(a, b, ops, c=c), oracle.gemm(exact, a, b, c))
    same(linalg.gemv(a, b[:, 0], ops), np.ravel(oracle.gemm(exact, a, b[:, :1])))
    same(
        linalg.gemv(a, b[:, 0], ops, y=c[:, 0]),
        np.ravel(oracle.gemm(exact, a, b[:, :1], c[:, :1])),
    )
    same(linalg.dot(a[0], b[:, 0], ops), oracle.gemm(exact, a[:1], b[:, :1])[0][0])
    same(linalg.nrm2(a[1], ops), exact.nrm2(oracle.rows_of(exact, a)[1]))
    x, y = oracle.rows_of(exact, a[:2])
    alpha = exact.round(0.3)
    want = [exact.add_product(v, alpha, u) for u, v in zip(x, y, strict=True)]
    same(linalg.axpy(0.3, a[0], a[1], ops), want)


def test_triangular_solves_round_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    ops, exact = both(format, rounding, products)
    a, b = random(6, 6) + 4 * np.eye(6), random(6, 3, seed=1)
    rows, columns = oracle.rows_of(exact, a), oracle.rows_of(exact, b.T)
    lower = [oracle.lower_solve(exact, rows, column) for column in columns]
    same(linalg.trsm(a, b, ops), np.transpose(lower))
    same(linalg.trsv(a, b[:, 1], ops), lower[1])
    upper = [oracle.upper_solve(exact, rows, column) for column in columns]
    same(linalg.trsm(a, b, ops, triangle="upper"), np.transpose(upper))
    unit = oracle.lower_solve(exact, rows, columns[0], "yes")
    same(linalg.trsv(a, b[:, 0], ops, diagonal="unit"), unit)


def test_lu_rounds_as_rational_arithmetic_does(format: str, rounding: str, products: str) -> None:
    ops, exact = both(format, rounding, products)
    a, b = random(7, 7), random(7, seed=1)
    found = linalg.lu(a, ops)
    factors, order = oracle.lu(exact, a)
    same(found.factors, factors)
    assert list(found.permutation) == order
    right = oracle.rows_of(exact, b[None, :])[0]
    y = oracle.lower_solve(exact, factors, [right[i] for i in order], "yes")
    same(found.solve(b), oracle.upper_solve(exact, factors, y))


def test_cholesky_rounds_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    ops, exact = both(format, rounding, products)
    a = definite(6)
    same(linalg.cholesky(a, ops).l, oracle.cholesky(exact, a))


@pytest.mark.parametrize("shape", [(6, 4), (4, 4), (3, 5)])
def test_qr_rounds_as_rational_arithmetic_does(
    format: str, rounding: str, products: str, shape: tuple[int, int]
) -> None:
    ops, exact = both(format, rounding, products)
    a = random(*shape)
    found = linalg.qr(a, ops)
    factors, tau = oracle.qr(exact, a)
    same(found.factors, factors)
    same(found.tau, tau)


def test_cg_rounds_as_rational_arithmetic_does(format: str, rounding: str, products: str) -> None:
    ops, exact = both(format, rounding, products)
    a, b = definite(5), random(5, seed=1)
    found = linalg.cg(a, b, ops, max_iterations=2, tolerance=0.0)
    same(found.x, oracle.cg(exact, a, b, 2))
    assert found.status == "limit"
    assert found.iterations == 2


def test_gmres_rounds_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    ops, exact = both(format, rounding, products)
    a, b = definite(5), random(5, seed=1)
    found = linalg.gmres(a, b, ops, restart=3, max_iterations=3, tolerance=0.0)
    same(found.x, oracle.gmres(exact, a, b, 3))


def test_refinement_rounds_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    ops, exact = both(format, rounding, products)
    a = random(6, 6)
    a, b = a / np.abs(a).max(), random(6, seed=1)
    options = {"working": "float32", "residual": "float64", "scaling": "none", "tolerance": 0.0}
    found = linalg.refine(a, b, factor=ops, max_iterations=2, **options)
    want = oracle.refine(exact, oracle.Exact("float32"), oracle.Exact("float64"), a, b, 3)
    same(found.x, want)


def test_jacobi_rounds_as_rational_arithmetic_does(
    format: str, rounding: str, products: str
) -> None:
    from lowp._linalg_eigen import tournament

    ops, exact = both(format, rounding, products)
    a = definite(5)
    rounds = [list(zip(p.tolist(), q.tolist(), strict=True)) for p, q in tournament(5)]
    swept = np.sort(np.diagonal(oracle.jacobi_sweep(exact, a, rounds)))
    same(linalg.eigh_jacobi(a, ops, max_sweeps=1).values, swept)
