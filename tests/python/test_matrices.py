"""Classical matrices are what the books say; files are read or refused with their line."""

from __future__ import annotations

import gzip
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from lowp import linalg, matrices

SYMMETRIC = ("hilbert", "prolate", "kms", "wilkinson", "lehmer", "moler", "pascal")
DEFINITE = ("hilbert", "prolate", "kms", "lehmer", "moler", "pascal")


def condition(a: np.ndarray) -> float:
    return float(np.linalg.cond(a))


@pytest.mark.parametrize("name", matrices.NAMES)
def test_every_matrix_is_float64_and_square_of_any_size(name: str) -> None:
    arguments = (1e3,) if name == "randsvd" else ()
    for n in (0, 1, 2, 5):
        a = matrices.make(name, n, *arguments)
        side = n * n if name == "poisson2d" else n
        assert (a.shape, a.dtype) == ((side, side), np.float64)
    with pytest.raises(ValueError, match="negative"):
        matrices.make(name, -1, *arguments)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_matrices_are(name: str) -> None:
    a = matrices.make(name, 9)
    assert np.array_equal(a, a.T)
    assert (name in DEFINITE) == bool(np.linalg.eigvalsh(a)[0] > 0)


def test_entries_are_those_of_the_formulas() -> None:
    assert matrices.hilbert(2).tolist() == [[1, 1 / 2], [1 / 2, 1 / 3]]
    assert matrices.kms(3, 0.5).tolist() == [[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]]
    assert matrices.wilkinson(3).tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert matrices.frank(3).tolist() == [[3, 2, 1], [2, 2, 1], [0, 1, 1]]
    assert matrices.lehmer(2).tolist() == [[1, 0.5], [0.5, 1]]
    assert matrices.moler(3).tolist() == [[1, -1, -1], [-1, 2, 0], [-1, 0, 3]]
    assert matrices.pascal(3).tolist() == [[1, 1, 1], [1, 2, 3], [1, 3, 6]]
    assert matrices.gfpp(3).tolist() == [[1, 0, 1], [-1, 1, 1], [-1, -1, 1]]
    assert matrices.poisson2d(2).tolist() == [
        [4, -1, -1, 0],
        [-1, 4, 0, -1],
        [-1, 0, 4, -1],
        [0, -1, -1, 4],
    ]
    assert matrices.prolate(2, 0.25)[0].tolist() == [0.5, 1 / np.pi]


def test_conditioning_is_as_stated() -> None:
    assert 1.4e10 < condition(matrices.hilbert(8)) < 1.6e10
    assert condition(matrices.kms(200, 0.5)) < 9
    assert condition(matrices.poisson2d(6)) == pytest.approx(1 / np.tan(np.pi / 14) ** 2)
    assert 20 < condition(matrices.lehmer(20)) < 4 * 20**2
    assert condition(matrices.prolate(20, 0.25)) > 1e10
    assert np.linalg.cond(matrices.gfpp(9), np.inf) == pytest.approx(9)
    assert np.linalg.det(matrices.frank(6)) == pytest.approx(1)
    pair = np.linalg.eigvalsh(matrices.wilkinson(21))[-2:]
    assert abs(pair[1] - pair[0]) < 1e-13


@pytest.mark.parametrize("n", [5, 8, 11])
def test_condition_numbers_grow_as_the_docstrings_say(n: int) -> None:
    about = {
        "hilbert": math.exp(3.5 * n) / 100,
        "moler": n**2 * 4**n / 28,
        "pascal": 16**n / (8 * n * math.pi),
    }
    for name, kappa in about.items():
        assert kappa / 1.5 < condition(matrices.make(name, n)) < kappa * 1.5


def test_wilkinsons_condition_number_depends_on_the_parity_of_n() -> None:
    for n in range(6, 120):
        a = matrices.wilkinson(n)
        assert condition(a) == pytest.approx((2 if n % 2 else 2.4) * n, rel=0.1)
        assert np.sum(np.linalg.eigvalsh(a) < 0) == 1


@pytest.mark.parametrize("n", range(2, 31))
def test_franks_condition_number_is_within_a_factor_of_two(n: int) -> None:
    a = matrices.frank(n)  # its inverse is one of integers: the determinant is 1
    inverse = np.array(solve_columns(a))
    kappa = np.linalg.norm(a, 2) * np.linalg.norm(inverse.astype(float), 2)
    assert 0.5 < kappa / (n * math.factorial(n)) < 2


def solve_columns(a: np.ndarray) -> list[list[float]]:
    return [linalg.solve_exactly(a, e).tolist() for e in np.eye(len(a))]


def is_definite(a: np.ndarray) -> bool:
    """Whether all pivots of the symmetric matrix are positive, in rational arithmetic."""
    rows = [[Fraction(float(x)) for x in row] for row in a]
    for k, top in enumerate(rows):
        if top[k] <= 0:
            return False
        for row in rows[k + 1 :]:
            factor = row[k] / top[k]
            row[k:] = [x - factor * y for x, y in zip(row[k:], top[k:], strict=True)]
    return True


def test_rounded_matrices_are_definite_as_far_as_the_docstrings_say() -> None:
    for make, last in ((matrices.hilbert, 13), (matrices.prolate, 24)):
        assert is_definite(make(last))
        assert not is_definite(make(last + 1))


def test_entries_are_rounded_once_where_the_docstring_says_so() -> None:
    for i in range(31):
        for j in range(31):
            assert matrices.pascal(31)[i, j] == math.comb(i + j, i)
            assert matrices.hilbert(31)[i, j] == float(Fraction(1, i + j + 1))
            want = Fraction(min(i, j) + 1, max(i, j) + 1)
            assert matrices.lehmer(31)[i, j] == float(want)
    assert int(float(math.comb(61, 30))) != math.comb(61, 30)


@pytest.mark.parametrize("mode", ["geometric", "arithmetic", "one_large", "one_small"])
def test_random_matrices_have_the_singular_values_asked_for(mode: str) -> None:
    a = matrices.randsvd(12, 1e5, mode, seed=3)
    s = np.linalg.svd(a, compute_uv=False)
    assert s[0] == pytest.approx(1)
    assert s[-1] == pytest.approx(1e-5)
    middle = {"geometric": 10**-2.5, "one_large": 1e-5, "one_small": 1.0, "arithmetic": 0.5}[mode]
    assert np.median(s) == pytest.approx(middle, rel=0.2)
    assert np.array_equal(a, matrices.randsvd(12, 1e5, mode, seed=3))
    assert not np.array_equal(a, matrices.randsvd(12, 1e5, mode, seed=4))


def test_arguments_out_of_range_are_refused() -> None:
    for call, message in (
        (lambda: matrices.make("vandermonde", 3), "no matrix 'vandermonde'; there are frank"),
        (lambda: matrices.kms(3, 1.0), "between -1 and 1"),
        (lambda: matrices.prolate(3, 0.5), "between 0 and 1/2"),
        (lambda: matrices.randsvd(3, 0.5), "at least 1"),
        (lambda: matrices.randsvd(3, 10, "random"), "one of geometric, arithmetic"),
        (lambda: matrices.pascal(32), "at most 31"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# Files

GOOD = {
    "coordinate real general": (
        "3 2 3\n1 1 1.5\n3 2 -2e-3\n2 1 4\n",
        [[1.5, 0], [4, 0], [0, -2e-3]],
    ),
    "coordinate integer symmetric": ("2 2 2\n1 1 7\n2 1 -3\n", [[7, -3], [-3, 0]]),
    "coordinate real skew-symmetric": ("2 2 1\n2 1 5\n", [[0, -5], [5, 0]]),
    "coordinate real hermitian": ("2 2 1\n2 1 5\n", [[0, 5], [5, 0]]),
    "coordinate pattern general": ("2 2 2\n1 2\n2 2\n", [[0, 1], [0, 1]]),
    "array real general": ("2 3\n1\n2\n3\n4\n5\n6\n", [[1, 3, 5], [2, 4, 6]]),
    "array real symmetric": ("2 2\n1\n2\n3\n", [[1, 2], [2, 3]]),
    "array integer skew-symmetric": ("3 3\n1\n2\n3\n", [[0, -1, -2], [1, 0, -3], [2, 3, 0]]),
    "coordinate real  general": ("% note\n\n1 1 2\n% more\n1 1 1\n1 1 2\n", [[3]]),
    "ARRAY Real General": ("0 0\n", np.zeros((0, 0)).tolist()),
}


def write(folder: Path, kind: str, text: str) -> Path:
    path = folder / "a.mtx"
    path.write_text(f"%%MatrixMarket matrix {kind}\n{text}")
    return path


@pytest.mark.parametrize("kind", GOOD)
def test_matrix_market_files_are_read(kind: str, tmp_path: Path) -> None:
    text, want = GOOD[kind]
    path = write(tmp_path, kind, text)
    got = matrices.read(path)
    assert got.dtype == np.float64
    assert got.tolist() == want
    packed = tmp_path / "b.mtx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert matrices.read(str(packed)).tolist() == want


def test_files_are_read_as_scipy_reads_them(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    sparse = pytest.importorskip("scipy.sparse")
    a = np.random.default_rng(0).standard_normal((7, 7))
    a[a < 0.3] = 0
    for name, matrix in (("s", sparse.coo_array(a)), ("d", a), ("y", a + a.T), ("k", a - a.T)):
        path = tmp_path / f"{name}.mtx"
        io.mmwrite(path, matrix)
        want = io.mmread(path)
        want = want.toarray() if sparse.issparse(want) else want
        assert np.array_equal(matrices.read(path), want)


BAD = [
    ("coordinate real general", "2 2 1\n3 1 1\n", r"a.mtx, line 3: entry \(3, 1\) is outside"),
    ("coordinate real general", "2 2 1\n0 1 1\n", r"entry \(0, 1\) is outside of the 2 x 2"),
    ("coordinate real general", "2 2 2\n1 1 1\n", "ends after 1 of 2 entries"),
    ("coordinate real general", "2 2 1\n1 1 1\n2 2 1\n", "more than the 1 entries"),
    ("coordinate real general", "2 2 1\n1 1\n", "an entry has 3 words; got 2"),
    ("coordinate real general", "2 2 1\n1 1 one\n", "a value must be a number; got 'one'"),
    ("coordinate real general", "2 2\n", "sizes of layout coordinate"),
    ("coordinate real general", "", "sizes of layout coordinate"),
    ("coordinate real general", "-2 2 1\n", "sizes"),
    ("coordinate real symmetric", "2 2 1\n1 2 1\n", "above the diagonal"),
    ("coordinate real symmetric", "2 3 1\n1 1 1\n", "must be square; got 2 x 3"),
    ("coordinate complex general", "1 1 1\n1 1 1 0\n", "real and imaginary part apart"),
    ("coordinate real", "1 1 1\n", "LAYOUT FIELD SYMMETRY"),
    ("sparse real general", "1 1 1\n", "'sparse' is not one of coordinate, array"),
    ("array pattern general", "1 1\n", "no layout array"),
    ("array real general", "2 2\n1\n2\n3\n", "ends after 3 of 4"),
    ("array real general", "1 1\n1\n2\n", "more than the 1"),
    ("array real general", "1 1\n1 2\n", "an entry has 1 word"),
    ("coordinate real general", "100000 100000 0\n", r"more than 2\*\*28"),
]


@pytest.mark.parametrize(("kind", "text", "message"), BAD)
def test_broken_files_are_refused_with_their_line(
    kind: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        matrices.read(write(tmp_path, kind, text))


def test_numpy_files_are_read_without_losing_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for dtype, want in (("f8", "f8"), ("f4", "f4"), ("f2", "f8"), ("i8", "f8"), ("u1", "f8")):
        np.save(path, np.array([[1, 2], [3, 4]], dtype))
        got = matrices.read(path)
        assert got.dtype == np.dtype(want)
        assert got.tolist() == [[1, 2], [3, 4]]
    for bad, message in (
        (np.array([2**53 + 1]), r"beyond 2\*\*53"),
        (np.array([1j]), "got complex128"),
        (np.array([None]), "not a .npy file of numbers"),
    ):
        np.save(path, bad)
        with pytest.raises(ValueError, match=message):
            matrices.read(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a \.npy file"):
        matrices.read(path)


def test_other_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.mtx, \.mtx\.gz or \.npy"):
        matrices.read(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        matrices.read(tmp_path / "a.mtx")


def test_integers_that_float64_does_not_hold_and_skew_diagonals_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.mtx"
    path.write_text("%%MatrixMarket matrix array integer general\n1 1\n9007199254740993\n")
    with pytest.raises(ValueError, match=r"line 3: 9007199254740993 is beyond 2\*\*53"):
        matrices.read(path)
    path.write_text("%%MatrixMarket matrix array integer general\n1 1\n1.5\n")
    with pytest.raises(ValueError, match="an integer"):
        matrices.read(path)
    path.write_text("%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n1 1 5\n")
    with pytest.raises(ValueError, match="on the diagonal"):
        matrices.read(path)
