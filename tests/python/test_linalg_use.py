"""What lowp.linalg is for: limits of formats, refinement as theory has it, errors that help."""

from __future__ import annotations

import pickle
from fractions import Fraction

import lowp
import numpy as np
import pytest
from lowp import linalg, matrices
from lowp.linalg import Arithmetic

Array = np.ndarray


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def system(a: Array) -> tuple[Array, Array, Array]:
    """In float32, with the exact solution for a right-hand side of ones."""
    matrix, b = a.astype(np.float32), np.ones(len(a), np.float32)
    return matrix, b, linalg.solve_exactly(matrix, b)


def refined(a: Array, factor: str, method: str = "lu") -> linalg.Refinement:
    matrix, b, truth = system(a)
    return linalg.refine(
        matrix,
        b,
        factor=factor,
        working="float32",
        residual="float64",
        method=method,
        truth=truth,
        tolerance=0.0,
        max_iterations=30,
    )


def test_half_precision_sums_of_ones_stall_in_sequence_and_not_pairwise() -> None:
    ones = np.ones(3000, np.float32)
    assert linalg.dot(ones, ones, "float16") == 2048
    assert linalg.dot(ones, ones, "float16", order="pairwise") == 3000
    assert linalg.gemv(ones[None, :], ones, "float16") == 2048


def test_results_are_on_the_grid_in_the_narrowest_carrier() -> None:
    a = random(8, 8)
    for name, dtype in (("float8_e4m3fn", "float32"), ("float16", "float32"), ("float64", "f8")):
        factors = linalg.lu(a, name).factors
        assert factors.dtype == np.dtype(dtype)
        assert np.array_equal(lowp.quantize(factors, name), factors)


def test_double_precision_factors_reproduce_the_matrix() -> None:
    a = random(60, 60)
    lu, qr = linalg.lu(a, "float64"), linalg.qr(a, "float64")
    assert np.abs(lu.l @ lu.u - a[lu.permutation]).max() < 1e-13
    assert np.abs(qr.q() @ qr.r - a).max() < 1e-13
    assert np.abs(qr.q().T @ qr.q() - np.eye(60)).max() < 1e-13
    b = a @ np.arange(1.0, 61)
    assert np.abs(lu.solve(b) - qr.solve(b)).max() < 1e-9
    s = matrices.kms(30, 0.9)
    factor = linalg.cholesky(s, "float64")
    assert np.abs(factor.l @ factor.l.T - s).max() < 1e-14
    assert np.abs(s @ factor.solve(np.ones(30)) - 1).max() < 1e-13


def test_least_squares_of_qr_is_that_of_numpy() -> None:
    a, b = random(30, 5), random(30, seed=1)
    want = np.linalg.lstsq(a, b, rcond=None)[0]
    assert np.abs(linalg.qr(a, "float64").solve(b) - want).max() < 1e-13
    assert np.abs(linalg.qr(a, "float32").solve(b) - want).max() < 1e-5


def test_products_may_be_fused() -> None:
    a = random(20, 20)
    separate = linalg.lu(a, Arithmetic("bfloat16"))
    fused = linalg.lu(a, Arithmetic("bfloat16", products="fused"))
    assert not np.array_equal(separate.factors, fused.factors)


def test_stochastic_rounding_repeats_for_a_seed_and_differs_between_seeds() -> None:
    a = random(12, 12)

    def factors(seed: int) -> Array:
        return linalg.lu(a, Arithmetic("bfloat16", rounding="stochastic_a", seed=seed)).factors

    assert np.array_equal(factors(1), factors(1))
    assert not np.array_equal(factors(1), factors(2))


def test_wilkinsons_matrix_grows_to_a_power_of_two_and_overflows_half() -> None:
    assert linalg.lu(matrices.gfpp(12), "float16").growth == 2**11
    with pytest.raises(np.linalg.LinAlgError, match="overflowed in float16; scale the matrix"):
        linalg.lu(matrices.gfpp(24), "float16")
    assert linalg.lu(matrices.gfpp(24), "bfloat16").growth == 2**23


def test_jacobi_finds_the_eigenvalues_of_the_laplacian() -> None:
    k = 6
    values = 4 * np.sin(np.pi * np.arange(1, k + 1) / (2 * k + 2)) ** 2
    want = np.sort(np.add.outer(values, values).ravel())
    for name, bound in (("float64", 1e-13), ("float32", 2e-5), ("float16", 0.1)):
        found = linalg.eigh_jacobi(matrices.poisson2d(k), name)
        assert found.converged
        assert np.abs(found.values - want).max() < bound
        assert np.abs(found.vectors.T @ found.vectors - np.eye(k * k)).max() < bound


@pytest.mark.parametrize("n", range(8))
def test_the_tournament_meets_each_pair_once(n: int) -> None:
    from lowp._linalg_eigen import tournament

    rounds = tournament(n)
    pairs = [pair for p, q in rounds for pair in zip(p.tolist(), q.tolist(), strict=True)]
    assert sorted(pairs) == [(i, j) for i in range(n) for j in range(i + 1, n)]
    for p, q in rounds:
        assert len({*p.tolist(), *q.tolist()}) == 2 * len(p)


@pytest.mark.parametrize("solver", [linalg.cg, linalg.gmres])
def test_krylov_solvers_reach_the_accuracy_of_the_format(solver: object) -> None:
    a = matrices.poisson2d(5)
    b = a @ np.linspace(0.5, 1, 25)
    errors = {}
    for name in ("bfloat16", "float16", "float32", "float64"):
        found = solver(a, b, name, truth=np.linspace(0.5, 1, 25))
        errors[name] = found.backward_errors.min()
        assert errors[name] < 25 * lowp.format(name).epsilon
        assert np.isfinite(found.forward_errors).all()
    assert errors["float64"] < errors["float32"] < errors["float16"]


def test_preconditioners_save_iterations() -> None:
    a = matrices.kms(40, 0.95) * np.outer(np.logspace(0, 2, 40), np.logspace(0, 2, 40))
    b = np.ones(40)
    plain = linalg.cg(a, b, "float64", tolerance=1e-10)
    factor = linalg.cholesky(a, "bfloat16")
    helped = linalg.cg(a, b, "float64", tolerance=1e-10, preconditioner=factor)
    assert helped.converged
    assert helped.iterations < plain.iterations / 2
    by_function = linalg.gmres(
        a, b, "float64", tolerance=1e-10, preconditioner=lambda r: r / np.diagonal(a)
    )
    assert by_function.converged


def test_restarted_gmres_notes_one_error_a_cycle() -> None:
    a = matrices.kms(20, 0.5)
    found = linalg.gmres(a, np.ones(20), "float64", restart=4, tolerance=1e-12, max_iterations=40)
    assert found.converged
    assert 2 < found.iterations <= 10
    assert (np.diff(found.backward_errors) < 0).all()


@pytest.mark.parametrize("factor", ["bfloat16", "float16"])
def test_refinement_ends_at_the_working_format_where_kappa_u_is_small(factor: str) -> None:
    for a in (matrices.kms(32), matrices.wilkinson(21), matrices.poisson2d(5)):
        kappa = np.linalg.cond(a, np.inf)
        assert kappa * lowp.format(factor).epsilon / 2 < 0.5
        found = refined(a, factor)
        assert found.backward_errors.min() < 2**-23
        assert found.forward_errors.min() < 2**-22


def test_refinement_fails_where_kappa_u_is_large_and_gmres_still_converges() -> None:
    for name, size in (("float16", 6), ("bfloat16", 6), ("float8_e4m3fn", 4)):
        a = matrices.hilbert(size)
        kappa_u = np.linalg.cond(a, np.inf) * lowp.format(name).epsilon / 2
        assert 10 < kappa_u < 1e6
        by_factors = refined(a, name)
        assert by_factors.status in ("stagnated", "diverged", "breakdown")
        assert not by_factors.forward_errors[-1] < 1e-3
        by_gmres = refined(a, name, "gmres")
        assert by_gmres.backward_errors.min() < 2**-23
        assert by_gmres.forward_errors.min() < 2**-20
        assert max(by_gmres.inner_steps) <= size


def test_rounding_whole_functions_once_misses_the_stagnation() -> None:
    a, b, truth = system(matrices.randsvd(32, 1e2))
    format = "float8_e4m3fn"

    def once(matrix: Array) -> linalg.LU:
        exact = linalg.lu(lowp.quantize(matrix.astype(np.float64), format), "float64")
        factors = lowp.quantize(exact.factors, format)
        return linalg.LU(factors, exact.permutation, exact.arithmetic, 1.0)

    options = {"working": "float32", "residual": "float64", "truth": truth, "tolerance": 0.0}
    stalled = linalg.refine(a, b, factor=format, max_iterations=30, **options)
    hopeful = linalg.refine(a, b, factor=format, max_iterations=30, factorize=once, **options)
    assert stalled.forward_errors.min() > 0.1
    assert hopeful.forward_errors.min() < 1e-3


def test_scaling_brings_a_matrix_into_range() -> None:
    a = matrices.kms(16, 0.5) * np.outer(2.0 ** np.arange(16), 2.0 ** np.arange(16))
    with pytest.raises(np.linalg.LinAlgError, match="scale the matrix"):
        linalg.refine(a, np.ones(16), factor="float16", working="float32", scaling="none")
    found = linalg.refine(a, np.ones(16), factor="float16", working="float32")
    assert found.converged
    assert found.squeezed is not None


def test_exact_solutions_are_exact() -> None:
    n = 8
    a = np.array([[float((i + 2) ** j) for j in range(n)] for i in range(n)])
    x = np.arange(1.0, n + 1)
    assert np.array_equal(linalg.solve_exactly(a, a @ x), x)
    inverse = np.array([linalg.solve_exactly(matrices.pascal(6), e) for e in np.eye(6)])
    assert np.array_equal(inverse @ matrices.pascal(6), np.eye(6))
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        linalg.solve_exactly(np.ones((3, 3)), np.ones(3))


def test_backward_errors_are_exact_below_the_roundoff_of_double() -> None:
    a, x = random(6, 6), random(6, seed=1)
    b = np.array(
        [float(sum(Fraction(u) * Fraction(v) for u, v in zip(r, x, strict=True))) for r in a]
    )
    left = [
        abs(Fraction(c) - sum(Fraction(u) * Fraction(v) for u, v in zip(r, x, strict=True)))
        for r, c in zip(a, b, strict=True)
    ]
    size = np.abs(a).sum(1).max() * np.abs(x).max() + np.abs(b).max()
    want = float(max(left)) / size
    assert 0 < want < 2**-53
    assert linalg.backward_error(a, x, b) == pytest.approx(want, rel=1e-14)
    assert linalg.backward_error(np.eye(2), np.ones(2), np.ones(2)) == 0
    assert np.isnan(linalg.backward_error(np.eye(1), np.array([np.inf]), np.ones(1)))


def test_results_and_their_arithmetic_pickle() -> None:
    found = linalg.lu(random(5, 5), Arithmetic("bfloat16", rounding="stochastic_a", seed=3))
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.factors, found.factors)
    assert repr(again.arithmetic) == repr(found.arithmetic)
    # The stream goes on where it was.
    assert np.array_equal(again.solve(np.ones(5)), found.solve(np.ones(5)))


def test_arrays_in_a_format_are_taken_by_their_values() -> None:
    a = lowp.array(random(5, 5), "bfloat16")
    got = linalg.lu(a, "float16").factors
    assert np.array_equal(got, linalg.lu(np.array(a), "float16").factors)


def test_empty_and_single_systems_are_solved() -> None:
    none = np.zeros((0, 0))
    assert linalg.lu(none, "float16").factors.shape == (0, 0)
    assert linalg.gemm(np.zeros((2, 0)), np.zeros((0, 3)), "float16").tolist() == [[0] * 3] * 2
    assert linalg.dot(none[0:0].reshape(0), np.zeros(0), "float16") == 0
    assert linalg.nrm2(np.zeros(0), "float16") == 0
    assert linalg.lu(np.array([[4.0]]), "float16").solve(np.array([2.0])) == [0.5]
    assert linalg.eigh_jacobi(np.array([[4.0]]), "float16").values == [4.0]
    zero = linalg.cg(np.eye(2), np.zeros(2), "float16")
    assert zero.converged
    assert zero.x.tolist() == [0, 0]


BAD = [
    (lambda: linalg.lu(np.ones((2, 3)), "float16"), ValueError, r"square; got shape \(2, 3\)"),
    (lambda: linalg.lu(np.eye(2, dtype=int), "float16"), TypeError, "float32 or float64; got int"),
    (lambda: linalg.lu(np.full((2, 2), np.nan), "float16"), ValueError, "NaN or infinity"),
    (lambda: linalg.lu(np.ones((2, 2)), "float16"), np.linalg.LinAlgError, "singular in float16"),
    (lambda: linalg.cholesky(-np.eye(2), "float16"), np.linalg.LinAlgError, "below zero"),
    (lambda: linalg.gemm(np.eye(2), np.ones((3, 2)), "float16"), ValueError, "inner sizes"),
    (lambda: linalg.gemv(np.eye(2), np.ones(3), "float16"), ValueError, "length 2"),
    (lambda: linalg.dot(np.ones(2), np.ones(3), "float16"), ValueError, "2 rows"),
    (lambda: linalg.trsv(np.eye(2), np.ones(2), "float16", triangle="up"), ValueError, "lower, up"),
    (lambda: linalg.trsv(np.eye(2), np.ones((2, 1)), "float16"), ValueError, "a vector"),
    (lambda: linalg.lu(np.eye(2), "float15"), ValueError, "float15"),
    (lambda: linalg.lu(np.eye(2), "float16", rounding="up"), ValueError, "up"),
    (lambda: Arithmetic("float16", products="both"), ValueError, "separate, fused; got 'both'"),
    (lambda: linalg.eigh_jacobi(np.triu(np.ones((2, 2))), "float16"), ValueError, "symmetric"),
    (lambda: linalg.gmres(np.eye(2), np.ones(2), "float16", restart=0), ValueError, "at least 1"),
    (
        lambda: linalg.lu(np.eye(2), Arithmetic("float16"), rounding="toward_zero"),
        ValueError,
        "state it there only",
    ),
    (
        lambda: linalg.refine(
            np.eye(2), np.ones(2), factor="float16", working="float32", method="qr"
        ),
        ValueError,
        "lu, gmres; got 'qr'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_errors_say_what_was_wrong(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_systems_that_overflow_the_format_are_refused() -> None:
    a, b = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1e6, 2e6])
    for solver in (linalg.cg, linalg.gmres):
        with pytest.raises(ValueError, match="b rounded to float16 holds NaN or infinity"):
            solver(a, b, "float16")
    with pytest.raises(ValueError, match="a rounded to float16"):
        linalg.eigh_jacobi(np.array([[1e6, 1.0], [1.0, 1.0]]), "float16")
    with pytest.raises(ValueError, match="a rounded to float16"):
        linalg.qr(np.array([[1e6, 1.0], [1.0, 1.0]]), "float16")
    broken = linalg.eigh_jacobi(np.array([[6e4, 6e4], [6e4, -6e4]]), "float16")
    assert broken.status == "breakdown"


def test_odd_arguments_are_refused() -> None:
    ones = np.ones(3)
    for alpha in (1 + 2j, "1.5", ones):
        with pytest.raises(TypeError, match="alpha must be a float"):
            linalg.axpy(alpha, ones, ones, "bfloat16")  # type: ignore[arg-type]
    a = np.eye(3) * 4
    for solve in (
        lambda: linalg.cg(a, ones, "float32", max_iterations=-1),
        lambda: linalg.gmres(a, ones, "float32", max_iterations=-1),
        lambda: linalg.refine(a, ones, factor="float16", working="float32", max_iterations=-1),
    ):
        with pytest.raises(ValueError, match="max_iterations must not be negative; got -1"):
            solve()


def test_norms_at_the_ends_of_float64_are_rounded_by_the_mode() -> None:
    top = np.array([1.7e308] * 2)
    most = np.finfo(np.float64).max
    assert linalg.nrm2(top, "float64", rounding="toward_zero") == most
    tiny = np.array([5e-324] * 2)
    assert linalg.nrm2(tiny, "float64", rounding="toward_positive") == 1e-323


def test_shapes_of_errors_are_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"one shape; got x \(3,\) and truth \(3, 1\)"):
        linalg.forward_error(np.ones(3), np.ones((3, 1)))
    assert linalg.forward_error(np.ones((2, 2)), np.ones((2, 2))) == 0
    for a, x, b, message in (
        (np.eye(3), np.ones(3), np.ones((3, 1)), r"b must be a vector; got shape \(3, 1\)"),
        (np.eye(3), np.ones((3, 1)), np.ones(3), r"x must be a vector"),
        (np.eye(3), np.ones(3), np.ones(1), r"b must have 3 rows"),
        (np.eye(3, 2), np.ones(3), np.ones(3), r"x must have the columns of a \(3, 2\); got .*\(3"),
        (np.ones(3), np.ones(3), np.ones(1), "a must be a matrix"),
    ):
        with pytest.raises(ValueError, match=message):
            linalg.backward_error(a, x, b)


def test_misspelt_and_empty_words_are_named() -> None:
    for call in (linalg.lu, linalg.cholesky, linalg.qr):
        with pytest.raises(TypeError, match="did you mean 'rounding'"):
            call(np.eye(2), "float16", ronding="toward_zero")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Arithmetic\(\) has no argument 'ronding'; did you"):
        Arithmetic("float16", ronding="toward_zero")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="rounding must be one of"):
        Arithmetic("float16", rounding="")
    assert Arithmetic(np.float16).format == lowp.format("float16")
    assert pickle.loads(pickle.dumps(linalg.lu)) is linalg.lu
