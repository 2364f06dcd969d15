"""How far quantized values are from the real ones: `lowp.error` and the sums behind it.

A tensor is measured in blocks of `BLOCK` elements. Each block is summed in float64, and blocks are
added as exact fractions, so that a result depends neither on how a tensor was cut into chunks nor
on the order in which tensors were added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

__all__ = ["BLOCK", "Error", "Sums", "error", "measure", "percent"]

#: Elements summed in float64 at a time; chunks that are multiples of it give the same bits.
BLOCK = 1 << 16

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Error:
    """What quantizing did to a tensor. Shares are between 0 and 1, and 0 for empty input.

    NaN and infinite inputs count in `count`, `nan_count` and `inf_count` and nowhere else. A finite
    input whose result is infinite, NaN or over float64's largest number away is an infinite error.
    """

    #: Signal-to-quantization-noise ratio in decibel, 10 log10(sum x^2 / sum (q - x)^2); infinity
    #: where every result is exact (also for empty input), -infinity where an error is infinite.
    sqnr_db: float
    #: Its inverse as a plain ratio, sum (q - x)^2 / sum x^2; 0 where every result is exact.
    relative_mse: float
    #: Largest |q - x| / |x|; 1 where a value was flushed to zero, infinity where an error is
    #: infinite or a zero did not stay zero, 0 where every result is exact.
    max_relative_error: float
    #: Share of the finite nonzero inputs that became zero.
    flushed: float
    #: Share of the finite inputs beyond the format's largest or lowest value; NaN (not known)
    #: where quantized values were given instead of a format.
    clipped: float
    #: Number of elements, NaN and infinity included.
    count: int
    nan_count: int
    inf_count: int


@dataclass(frozen=True, slots=True)
class Sums:
    """Exact partial sums of an `Error`: add those of chunks or tensors, then take `error()`."""

    signal: Fraction = Fraction(0)
    noise: Fraction = Fraction(0)
    max_relative_error: float = 0.0
    count: int = 0
    nans: int = 0
    infinities: int = 0
    nonzero: int = 0
    flushed: int = 0
    overflowed: int = 0
    clipped: int | None = 0

    def __add__(self, other: Sums) -> Sums:
        known = self.clipped is not None and other.clipped is not None
        return Sums(
            self.signal + other.signal,
            self.noise + other.noise,
            max(self.max_relative_error, other.max_relative_error),
            self.count + other.count,
            self.nans + other.nans,
            self.infinities + other.infinities,
            self.nonzero + other.nonzero,
            self.flushed + other.flushed,
            self.overflowed + other.overflowed,
            (self.clipped or 0) + (other.clipped or 0) if known else None,
        )

    def error(self) -> Error:
        """The measures of all that was added up."""
        finite = self.count - self.nans - self.infinities
        return Error(
            sqnr_db=self._sqnr_db(),
            relative_mse=self._relative_mse(),
            max_relative_error=self.max_relative_error,
            flushed=_share(self.flushed, self.nonzero),
            clipped=math.nan if self.clipped is None else _share(self.clipped, finite),
            count=self.count,
            nan_count=self.nans,
            inf_count=self.infinities,
        )

    def _sqnr_db(self) -> float:
        if self.overflowed or (self.noise and not self.signal):
            return -math.inf
        if not self.noise:
            return math.inf
        ratio = self.signal / self.noise
        # Integers of any size have a logarithm, where the float of a ratio could overflow.
        return 10 * (math.log10(ratio.numerator) - math.log10(ratio.denominator))

    def _relative_mse(self) -> float:
        if self.overflowed or (self.noise and not self.signal):
            return math.inf
        return float(self.noise / self.signal) if self.noise else 0.0


def error(
    x: ArrayLike,
    q_or_format: ArrayLike | lowp.Format | str,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    random_bits: int = 32,
    seed: int = 0,
    stream: int = 0,
) -> Error:
    """Measures of quantizing `x` to a format, or of quantized values against `x`.

    x: floats of any shape (lists become float64). q_or_format: a format or its name (`x` is
    quantized with the given rounding and saturation) or an array of x's shape (these are ignored).
    See `Error` for NaN, infinity, overflow and empty input. TypeError: x holds no floats.
    ValueError: shapes differ, unknown format, rounding or saturation.
    """
    values = _floats(x)
    if not isinstance(q_or_format, str | lowp.Format):
        return measure(values, _floats(q_or_format)).error()
    target = lowp.format(q_or_format)
    values = carried(values, target)
    quantized = lowp.quantize(
        values,
        target,
        rounding=rounding,
        saturation=saturation,
        random_bits=random_bits,
        seed=seed,
        stream=stream,
    )
    return measure(values, quantized, (target.lowest, target.max)).error()


def measure(x: Floats, q: Floats, limits: tuple[float, float] | None = None) -> Sums:
    """Sums of `q` against `x`, arrays of one shape; `limits` are the lowest and the largest value
    of q's format, or None where they are not known. ValueError: the shapes differ.
    """
    if x.shape != q.shape:
        raise ValueError(f"lowp.error: x has shape {x.shape}, the quantized values {q.shape}")
    total = Sums() if limits is not None else Sums(clipped=None)
    for xs, qs in _blocks(x, q):
        total += _block(xs, qs, limits)
    return total


def carried(x: Floats, target: lowp.Format) -> Floats:
    """`x` in the smallest of float32 and float64 that holds it and every value of the format."""
    fits = target.precision <= 24 and target.emax <= 127 and target.min_subnormal >= 2.0**-149
    if x.dtype == np.float64 or not fits:
        return x.astype(np.float64, copy=False)
    return x.astype(np.float32, copy=False)


def _floats(x: ArrayLike) -> Floats:
    values = np.asarray(x)
    if values.dtype.name == "bfloat16":
        return values.astype(np.float32)
    if values.dtype not in (np.float64, np.float32, np.float16):
        raise TypeError(
            f"lowp.error takes float64, float32, float16 or bfloat16; got {values.dtype}"
        )
    return values


def _blocks(x: Floats, q: Floats) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    xs, qs = x.reshape(-1), q.reshape(-1)
    for start in range(0, xs.size, BLOCK):
        part = slice(start, start + BLOCK)
        yield xs[part].astype(np.float64), qs[part].astype(np.float64)


def _block(
    x: NDArray[np.float64], q: NDArray[np.float64], limits: tuple[float, float] | None
) -> Sums:
    is_nan, is_inf = np.isnan(x), np.isinf(x)
    count, nans, infinities = x.size, int(is_nan.sum()), int(is_inf.sum())
    if nans or infinities:
        finite = ~(is_nan | is_inf)
        x, q = x[finite], q[finite]
    outside = None if limits is None else int(((x < limits[0]) | (x > limits[1])).sum())
    nonzero = x != 0
    with np.errstate(over="ignore", invalid="ignore"):
        difference = q - x
    good = np.isfinite(difference)
    overflowed = int(x.size - good.sum())
    flushed, nonzero_count = int((nonzero & (q == 0)).sum()), int(nonzero.sum())
    if overflowed:
        x, difference = x[good], difference[good]
    return Sums(
        signal=_energy(x),
        noise=_energy(difference),
        max_relative_error=math.inf if overflowed else _max_relative(x, difference),
        count=count,
        nans=nans,
        infinities=infinities,
        nonzero=nonzero_count,
        flushed=flushed,
        overflowed=overflowed,
        clipped=outside,
    )


def _energy(x: NDArray[np.float64]) -> Fraction:
    """Sum of squares of finite values, of any magnitude: scaled by a power of two before."""
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0.0:
        return Fraction(0)
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(x, -exponent)
    return Fraction(float(np.sum(scaled * scaled))) * Fraction(2) ** (2 * exponent)


def _max_relative(x: NDArray[np.float64], difference: NDArray[np.float64]) -> float:
    zero = x == 0
    if bool(difference[zero].any()):
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(difference[~zero] / x[~zero]), initial=0.0))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def percent(share: float) -> str:
    """A share of 1 as percent with three digits; only none reads as 0 %, and only all as 100 %."""
    if math.isnan(share):
        return "unknown"
    if 0 < share < 1e-5:
        return "< 0.001 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"
