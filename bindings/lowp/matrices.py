"""Test matrices whose conditioning is known, and matrices from files.

All are float64. Entries are the formulas of the docstrings, exact or rounded once, but those of
`prolate`, `kms`, `randsvd` and a `moler` whose alpha is no integer, which are evaluated in float64,
every step rounded. Properties are the formulas'; rounding keeps them up to the n that is stated.
kappa is the condition number; indices i and j start at 1 in the formulas.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays

from ._matrix_files import read

__all__ = [
    "NAMES",
    "frank",
    "gfpp",
    "hilbert",
    "kms",
    "lehmer",
    "make",
    "moler",
    "pascal",
    "poisson2d",
    "prolate",
    "randsvd",
    "read",
    "wilkinson",
]

Matrix = NDArray[np.float64]


def hilbert(n: int) -> Matrix:
    """1 / (i + j - 1): symmetric positive definite, kappa_2 about exp(3.5 n) / 100.

    Rounded to float64 it is another matrix from n = 13 on (kappa_2 is 2e18 in place of 6e17), and
    not positive definite from n = 14 on.
    ValueError: n is negative. Source: Higham, Accuracy and Stability of Numerical Algorithms,
    section 28.1.
    """
    i = _indices(n)
    return np.asarray(1 / (i[:, None] + i - 1))


def prolate(n: int, w: float = 0.25) -> Matrix:
    """a[0] = 2 w, a[k] = sin(2 pi w k) / (pi k), k = |i - j|: symmetric positive definite Toeplitz.

    Eigenvalues lie in (0, 1) and gather at both ends: kappa_2 grows exponentially with n for
    w < 1/2. Entries are within 2e-16 of the formula, also where that is 0; with w = 1/4 the
    matrix of n = 24 is the last that is positive definite. ValueError: n is negative, w is not
    between 0 and 1/2.
    Source: Varah, The prolate matrix, Linear Algebra Appl. 187 (1993).
    """
    if not 0 < w < 0.5:
        raise ValueError(f"prolate: w must be between 0 and 1/2; got {w!r}")
    k = _distances(n)
    away = np.where(k == 0, 1, k)
    return np.where(k == 0, 2 * w, np.sin(2 * math.pi * w * away) / (math.pi * away))


def kms(n: int, rho: float = 0.5) -> Matrix:
    """rho^|i - j|, Kac-Murdock-Szego: symmetric positive definite Toeplitz for |rho| < 1.

    kappa_2 is below ((1 + |rho|) / (1 - |rho|))^2 for every n; the inverse is tridiagonal.
    ValueError: n is negative, or |rho| is not below 1. Source: Kac, Murdock, Szego, J. Rational
    Mech. Anal. 2 (1953); Trench, SIAM J. Matrix Anal. Appl. 10 (1989).
    """
    if not -1 < rho < 1:
        raise ValueError(f"kms: rho must be between -1 and 1; got {rho!r}")
    return np.asarray(float(rho) ** _distances(n))


def wilkinson(n: int) -> Matrix:
    """W+: tridiagonal, |i - (n + 1) / 2| on the diagonal, ones beside it; symmetric, indefinite.

    Its largest eigenvalues come in pairs that agree to many digits (n = 21: to 14), and one is
    negative. kappa_2 is about 2 n for odd n and 2.4 n for even n, from n = 6 on. ValueError: n is
    negative. Source: Wilkinson, The Algebraic Eigenvalue Problem, section 5.45.
    """
    i = _indices(n)
    return np.diag(np.abs(i - (n + 1) / 2)) + _beside(n, 1.0)


def poisson2d(k: int) -> Matrix:
    """The five-point Laplacian on a k x k grid: (k^2, k^2), 4 on the diagonal, -1 for neighbours.

    Symmetric positive definite; kappa_2 = cot(pi / (2 k + 2))^2, about 4 (k + 1)^2 / pi^2.
    ValueError: k is negative. Source: Golub, Van Loan, Matrix Computations, section 4.8.4.
    """
    line = 2 * np.eye(_size(k)) - _beside(k, 1.0)
    return np.kron(line, np.eye(k)) + np.kron(np.eye(k), line)


def frank(n: int) -> Matrix:
    """n + 1 - max(i, j) for j >= i - 1, else 0: upper Hessenberg, determinant 1.

    kappa_2 is between n n! / 2 and 2 n n! (n = 2 to 30); the small eigenvalues are ill
    conditioned. ValueError: n is negative. Source: Frank, J. SIAM 6 (1958).
    """
    i = _indices(n)
    entries = n + 1 - np.maximum(i[:, None], i)
    return np.triu(entries, -1)


def lehmer(n: int) -> Matrix:
    """min(i, j) / max(i, j): symmetric positive definite, n <= kappa_2 <= 4 n^2.

    The inverse is tridiagonal. ValueError: n is negative.
    Source: Newman, Todd, J. SIAM 6 (1958).
    """
    i = _indices(n)
    return np.asarray(np.minimum(i[:, None], i) / np.maximum(i[:, None], i))


def moler(n: int, alpha: float = -1.0) -> Matrix:
    """U^T U with U unit upper triangular, alpha above the diagonal: symmetric positive definite.

    For alpha = -1, a[i, j] = min(i, j) - 2 and a[i, i] = i; one eigenvalue is tiny, and kappa_2 is
    about n^2 4^n / 28. ValueError: n is negative.
    Source: Nash, Compact Numerical Methods for Computers, appendix 1.
    """
    u = np.eye(_size(n)) + np.triu(np.full((n, n), float(alpha)), 1)
    return np.asarray(u.T @ u)


def pascal(n: int) -> Matrix:
    """The binomials (i + j - 2 choose i - 1): symmetric positive definite, determinant 1.

    kappa_2 is about 16^n / (8 n pi). ValueError: n is negative, or above 31, beyond which float64
    does not hold all entries. Source: Higham, section 28.4.
    """
    if _size(n) > 31:
        raise ValueError(f"pascal: n must be at most 31 (float64 must hold all entries); got {n}")
    entries = [[float(math.comb(i + j, i)) for j in range(n)] for i in range(n)]
    return np.array(entries).reshape(n, n)


def gfpp(n: int) -> Matrix:
    """1 on the diagonal and in the last column, -1 below the diagonal: partial pivoting's worst.

    LU with partial pivoting exchanges nothing and the last column of u grows to 2^(n-1), although
    kappa_inf is n. ValueError: n is negative. Source: Wilkinson, J. ACM 8 (1961).
    """
    a = np.eye(_size(n)) - np.tril(np.ones((n, n)), -1)
    a[:, n - 1 :] = 1
    return a


def randsvd(n: int, kappa: float, mode: str = "geometric", seed: int = 0) -> Matrix:
    """Q1 diag(s) Q2 with random orthogonal Q1, Q2 and singular values from 1 down to 1 / kappa.

    mode: "geometric" s[i] = kappa^(-(i-1)/(n-1)); "arithmetic" (equal steps); "one_large"
    (1, then all 1 / kappa); "one_small" (all 1, then 1 / kappa). kappa_2 is kappa up to the
    rounding of float64. n = 1 has s = 1. Q are the factors of Gaussian matrices of the seed, with
    the signs that make them uniform; bits may depend on NumPy's linear algebra. ValueError: n is
    negative, kappa below 1, an unknown mode.
    Source: Higham, section 28.3; Stewart, SIAM J. Numer. Anal. 17 (1980), of Q.
    """
    if not 1 <= kappa < math.inf:
        raise ValueError(f"randsvd: kappa must be at least 1 and finite; got {kappa!r}")
    if mode not in _SPECTRA:
        raise ValueError(f"randsvd: mode must be one of {', '.join(_SPECTRA)}; got {mode!r}")
    steps = np.linspace(0, 1, _size(n))
    rng = np.random.default_rng(_arrays.integer(seed, "randsvd: seed"))
    left, right = _orthogonal(rng, n), _orthogonal(rng, n)
    return np.asarray((left * _SPECTRA[mode](steps, float(kappa))) @ right)


_SPECTRA: dict[str, Any] = {
    "geometric": lambda t, kappa: kappa**-t,
    "arithmetic": lambda t, kappa: 1 - t * (1 - 1 / kappa),
    "one_large": lambda t, kappa: np.where(t == 0, 1.0, 1 / kappa),
    "one_small": lambda t, kappa: np.where((t == 1) & (len(t) > 1), 1 / kappa, 1.0),
}


def _orthogonal(rng: np.random.Generator, n: int) -> Matrix:
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(q * np.copysign(1.0, np.diagonal(r)))


_MAKERS: dict[str, Any] = {
    "frank": frank,
    "gfpp": gfpp,
    "hilbert": hilbert,
    "kms": kms,
    "lehmer": lehmer,
    "moler": moler,
    "pascal": pascal,
    "poisson2d": poisson2d,
    "prolate": prolate,
    "randsvd": randsvd,
    "wilkinson": wilkinson,
}

#: Names that `make` knows.
NAMES = tuple(_MAKERS)


def make(name: str, *arguments: float, **options: Any) -> Matrix:
    """The matrix of a name and the arguments of its function. ValueError: an unknown name."""
    if name not in _MAKERS:
        raise ValueError(f"no matrix {name!r}; there are {', '.join(NAMES)}")
    return np.asarray(_MAKERS[name](*arguments, **options))


def _size(n: int) -> int:
    size = _arrays.integer(n, "the size of a matrix")
    if size < 0:
        raise ValueError(f"the size of a matrix must not be negative; got {n}")
    return size


def _indices(n: int) -> NDArray[np.float64]:
    return np.arange(1.0, _size(n) + 1)


def _distances(n: int) -> NDArray[np.float64]:
    i = _indices(n)
    return np.asarray(np.abs(i[:, None] - i))


def _beside(n: int, value: float) -> Matrix:
    """`value` next to the diagonal on both sides."""
    beside = np.full(max(n - 1, 0), value)
    return np.diag(beside, 1) + np.diag(beside, -1) if n else np.zeros((0, 0))
