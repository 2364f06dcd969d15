"""What is done to matrices before a narrow format so that it errs less, and undone after it.

Each transform leaves a product or a solution as it was in exact arithmetic: `k_sort` reorders the
channels, `smooth` moves their ranges from one operand to the other, `squeeze` brings all entries of
a matrix into the range of a format.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

from ._arguments import FormatLike

__all__ = ["KSorted", "Squeezed", "k_sort", "smooth", "smoothing_scales", "squeeze"]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class KSorted:
    """Operands with their channels in a common order; see `k_sort`."""

    #: The first operand, its channels by descending norm.
    a: Floats
    #: The second operand in the same order; None where there is none.
    b: Floats | None
    #: int64 of length K: place i holds what was channel permutation[i].
    permutation: NDArray[np.int64]
    #: int64 of length K, the way back: np.take(sorted.a, inverse, axis) is the first operand.
    inverse: NDArray[np.int64]


def k_sort(a: ArrayLike, b: ArrayLike | None = None, *, axis: int = -1, norm: float = 2) -> KSorted:
    """Both operands with their channels by descending norm of a's, so that large channels share
    blocks and small ones keep small scales. The product a @ b only adds in another order.

    a: floats of one or more dimensions, K channels along `axis`. b: what a is multiplied by, (K,)
    or (..., K, N), or None. norm: 1, 2 or math.inf. Channels of equal norm keep their order;
    infinities come first; without channels nothing changes. dtypes stay. ValueError: NaN, whose
    place is undefined; operands that do not fit; another norm. TypeError: no floats.
    Source: Accurate Block Quantization in LLMs with Outliers, arXiv 2403.20137 (K-sort).
    """
    first = _floats(a, "a")
    if first.ndim == 0:
        raise ValueError("k_sort: a must have one or more dimensions; got a scalar")
    if norm not in (1, 2, math.inf):
        raise ValueError(f"k_sort: norm must be 1, 2 or math.inf; got {norm!r}")
    channels = np.moveaxis(first, axis, 0)
    channels = channels.reshape(len(channels), math.prod(channels.shape[1:]))
    if np.isnan(channels).any():
        raise ValueError("k_sort: a holds NaN, which has no place in an order; replace it first")
    permutation = np.argsort(-_norms(channels, norm), kind="stable").astype(np.int64)
    second = None
    if b is not None:
        second = _floats(b, "b")
        along = -2 if second.ndim > 1 else -1
        _check_channels("k_sort", first, axis, second, along)
        second = np.take(second, permutation, along)
    inverse = np.argsort(permutation).astype(np.int64)
    return KSorted(np.take(first, permutation, axis), second, permutation, inverse)


def smoothing_scales(x: ArrayLike, w: ArrayLike, *, alpha: float = 0.5) -> Doubles:
    """The scale of each channel that moves the range of activations into weights: float64, (K,).

    s[j] = max|x[..., j]|**alpha / max|w[j, :]|**(1 - alpha). x: floats, (..., K), any samples of
    the activations. w: floats, (K, ...), so that x @ w is the product (a PyTorch weight is w.T).
    alpha: 0 (all of the range stays in x) to 1 (all of it moves to w). A channel that is zero in x
    or in w, or has no samples, gets 1. ValueError: NaN or infinity, operands that do not fit,
    alpha. TypeError: no floats.
    Source: SmoothQuant, arXiv 2211.10438, equation 4.
    """
    activations, weights = _finite(x, "x"), _finite(w, "w")
    if activations.ndim == 0 or weights.ndim == 0:
        raise ValueError("smoothing_scales: x and w must have channels; got a scalar")
    _check_channels("smoothing_scales", activations, -1, weights, 0)
    if not 0 <= alpha <= 1:
        raise ValueError(f"smoothing_scales: alpha must be between 0 and 1; got {alpha!r}")
    largest_x = _largest(activations, tuple(range(activations.ndim - 1)))
    largest_w = _largest(weights, tuple(range(1, weights.ndim)))
    used = (largest_x > 0) & (largest_w > 0)
    scales = np.ones(largest_x.shape)
    scales[used] = largest_x[used] ** alpha / largest_w[used] ** (1 - alpha)
    return scales


def smooth(x: ArrayLike, w: ArrayLike, alpha: float = 0.5) -> tuple[Floats, Floats, Doubles]:
    """(x / s, w * s, s) with s = smoothing_scales(x, w, alpha=alpha): the product is that of x @ w.

    x: floats, (..., K); w: floats, (K, ...); their dtypes stay, so that each entry is rounded once.
    Errors are those of `smoothing_scales`. Source: SmoothQuant, arXiv 2211.10438, equation 3.
    """
    scales = smoothing_scales(x, w, alpha=alpha)
    activations, weights = _floats(x, "x"), _floats(w, "w")
    along = scales.reshape(-1, *[1] * (weights.ndim - 1))
    smoothed = (activations / scales).astype(activations.dtype, copy=False)
    return smoothed, (weights * along).astype(weights.dtype, copy=False), scales


@dataclass(frozen=True, slots=True, eq=False)
class Squeezed:
    """A matrix scaled into a format's range: matrix = mu diag(r) a diag(s); see `squeeze`."""

    #: (M, N), the dtype of a: ready for lowp.quantize.
    matrix: Floats
    #: float64 (M,) and (N,), all positive: the factors of the rows and of the columns.
    r: Doubles
    s: Doubles
    #: The factor of all entries.
    mu: float

    def unsqueeze(self, matrix: ArrayLike | None = None) -> Floats:
        """The scaling undone: diag(1/r) matrix diag(1/s) / mu, in the matrix's dtype.

        matrix: (M, N) floats, such as the quantized ones; default: `self.matrix`. NaN, infinities
        and -0 stay. Powers of two give back what was squeezed, bit for bit, unless entries fell
        below the dtype's smallest. ValueError: another shape. TypeError: no floats.
        """
        given = self.matrix if matrix is None else _floats(matrix, "matrix")
        if given.shape != self.matrix.shape:
            raise ValueError(
                f"unsqueeze: matrix must have the squeezed shape {self.matrix.shape}; got "
                f"{given.shape}"
            )
        return _scaled(given, 1 / self.r, 1 / self.s, 1 / self.mu, given.dtype)


def squeeze(
    a: ArrayLike,
    format: FormatLike,
    *,
    theta: float = 0.1,
    symmetric: bool = False,
    tolerance: float = 1e-4,
    power_of_two: bool = False,
) -> Squeezed:
    """The matrix with rows and columns scaled to a largest entry of 1, times theta * format.max.

    a: floats, (M, N); the result has its dtype, or float64 where that does not reach. theta: above
    0 and at most 1, room below the format's largest number for what is computed next. Rows are
    scaled first and columns after; `symmetric` scales both at once by square roots, until every
    largest entry is within `tolerance` of 1, which keeps a symmetric matrix symmetric with r == s.
    `power_of_two` rounds all factors to powers of two, so that scaling is exact; before mu, largest
    entries are then in [1, 2), with `symmetric` between 1/2 and 2.

    Zero rows and columns stay, with factor 1; a matrix of zeros or without entries has mu 1.
    ValueError: NaN or infinity, no matrix, theta or tolerance out of range, unknown format.
    TypeError: no floats.
    Source: Higham, Pranesh, Zounon, Squeezing a matrix into half precision, SIAM J. Sci. Comput. 41
    (4), 2019, section 2; the symmetric scaling is that of Knight, Ruiz, Ucar, SIAM J. Matrix Anal.
    Appl. 35 (3), 2014.
    """
    target, matrix = lowp.format(format), _finite(a, "a")
    if matrix.ndim != 2:
        raise ValueError(f"squeeze: a must be a matrix; got shape {matrix.shape}")
    if not 0 < theta <= 1:
        raise ValueError(f"squeeze: theta must be above 0 and at most 1; got {theta!r}")
    if not 0 < tolerance < 1:
        raise ValueError(f"squeeze: tolerance must be between 0 and 1; got {tolerance!r}")
    magnitudes = np.abs(matrix.astype(np.float64))
    equilibrate = _both_sides if symmetric else _rows_then_columns
    r, s = equilibrate(magnitudes, tolerance, power_of_two)
    largest = float(_scaled(magnitudes, r, s, 1.0).max(initial=0.0))
    mu = theta * target.max / largest if largest else 1.0
    if power_of_two:
        mu = math.ldexp(0.5, math.frexp(mu)[1])
    holds = theta * target.max <= float(np.finfo(matrix.dtype).max)
    return Squeezed(_scaled(matrix, r, s, mu, matrix.dtype if holds else np.float64), r, s, mu)


def _rows_then_columns(a: Doubles, _: float, power_of_two: bool) -> tuple[Doubles, Doubles]:
    """Columns scaled after rows leave the rows' largest entries as they are."""
    inverse = _power_of_two_below if power_of_two else np.positive
    r = 1 / inverse(_nonzero(_largest(a, (1,))))
    s = 1 / inverse(_nonzero(_largest(a * r[:, None], (0,))))
    return r, s


def _both_sides(a: Doubles, tolerance: float, power_of_two: bool) -> tuple[Doubles, Doubles]:
    r, s = np.ones(a.shape[0]), np.ones(a.shape[1])
    # Each step halves the distance of the largest entries from 1 in log2, which is at most 2148.
    for _ in range(100):
        scaled = _scaled(a, r, s, 1.0)
        rows, columns = _nonzero(_largest(scaled, (1,))), _nonzero(_largest(scaled, (0,)))
        if max(np.abs(rows - 1).max(initial=0), np.abs(columns - 1).max(initial=0)) <= tolerance:
            break
        r, s = r / np.sqrt(rows), s / np.sqrt(columns)
    if power_of_two:
        r, s = np.exp2(np.rint(np.log2(r))), np.exp2(np.rint(np.log2(s)))
    return r, s


def _scaled(a: Floats, r: Doubles, s: Doubles, mu: float, dtype: Any = np.float64) -> Floats:
    """mu diag(r) a diag(s)."""
    # Fractions and exponents apart: a product of r, s and mu could overflow where its result fits.
    # r times s first: the same for (i, j) as for (j, i) where r and s are the same.
    (f, e), (g, d), (h, c) = np.frexp(a.astype(np.float64)), np.frexp(r), np.frexp(s)
    scale, power = math.frexp(mu)
    fractions = f * (g[:, None] * h) * scale
    exponents = e + (d[:, None] + c) + power
    return np.asarray(np.ldexp(fractions, exponents), dtype)


def _power_of_two_below(x: Doubles) -> Doubles:
    return np.asarray(np.ldexp(0.5, np.frexp(x)[1]))


def _nonzero(x: Doubles) -> Doubles:
    """Zero rows and columns have nothing to scale: their factor is 1. Others get a finite one."""
    return np.where(x == 0, 1.0, np.maximum(x, np.finfo(np.float64).tiny))


def _largest(x: Floats, axes: tuple[int, ...]) -> Doubles:
    return np.asarray(np.abs(x).max(axis=axes, initial=0.0), np.float64)


def _norms(channels: Floats, norm: float) -> Doubles:
    """Norm of each row, which neither overflows nor vanishes."""
    largest = _largest(channels, (1,))
    if norm == math.inf:
        return largest
    unit = np.where((largest == 0) | np.isinf(largest), 1.0, largest)[:, None]
    magnitudes = np.abs(channels.astype(np.float64)) / unit
    # Norms beyond float64 are ranked all the same: a logarithm keeps their order.
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2((magnitudes**norm).sum(1)) / norm + np.log2(unit[:, 0]))


def _check_channels(what: str, a: Floats, a_axis: int, b: Floats, b_axis: int) -> None:
    if a.shape[a_axis] != b.shape[b_axis]:
        raise ValueError(
            f"{what}: the operands must have the same channels; got {a.shape[a_axis]} in shape "
            f"{a.shape} and {b.shape[b_axis]} in shape {b.shape}"
        )


def _floats(x: ArrayLike, name: str) -> Floats:
    values = np.asarray(x)
    if values.dtype not in (np.float64, np.float32, np.float16):
        raise TypeError(
            f"{name} must hold float64, float32 or float16; got {values.dtype}: convert it, as "
            f"{name}.astype(np.float32)"
        )
    return values


def _finite(x: ArrayLike, name: str) -> Floats:
    values = _floats(x, name)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity, which no scale brings into range")
    return values
