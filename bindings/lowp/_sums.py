"""The sums behind `lowp.error`: what one block of values contributes, and how blocks add up.

Each block of `BLOCK` elements is summed in float64, and blocks are added as exact fractions, so
that a result depends neither on how a tensor was cut into such blocks nor on their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _targets

__all__ = ["BLOCK", "Error", "Sums", "measure"]

#: Elements summed in float64 at a time; chunks that are multiples of it give the same bits.
BLOCK = 1 << 16

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


class _Histogram:
    """Holds the counts of codes outside of the measures, which are all numbers."""

    __slots__ = ("_histogram",)
    _histogram: Counts | None


@dataclass(frozen=True, slots=True)
class Error(_Histogram):
    """What quantizing did to a tensor. Shares are between 0 and 1, and 0 for empty input.

    NaN and infinite inputs count in `count`, `nan_count` and `inf_count` and nowhere else. A finite
    input whose result is infinite, NaN or over float64's largest number away is an infinite error.
    What needs the format is NaN (not known) where quantized values were given instead of one. The
    defaults are those of empty input.
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
    #: Share of the finite inputs beyond the format's largest or lowest value, of a block format
    #: those of the block; NaN where the format is not known.
    clipped: float
    #: Number of elements, NaN and infinity included.
    count: int
    nan_count: int
    inf_count: int
    #: <x, q> / <x, x>: below 1 where quantizing shrinks; 1 where every result is exact, NaN where
    #: an error is infinite or only zeros changed.
    gain: float = 1.0
    #: <x, q> / (|x| |q|), the cosine of the angle between the two; 1 where every result is exact,
    #: 0 where only one of them is zero, NaN where an error is infinite.
    cosine: float = 1.0
    #: Largest |q - x|; infinity where an error is infinite.
    max_absolute_error: float = 0.0
    #: Largest |q - x| in ulps: the distance of the format's neighbours in the binade of x, which
    #: is taken up to the format's largest and down to its smallest. NaN without a scalar format.
    max_ulp: float = 0.0
    #: Share of the finite inputs whose result is subnormal in the format, of a block format as
    #: elements; NaN where the format is not known or has a codebook.
    subnormal: float = 0.0
    #: Shannon entropy of the codes of finite inputs, in bits; at most the format's bits. NaN where
    #: the format is not known or has more than 16 bits. Codes of a block format are its elements'.
    code_entropy: float = 0.0

    @property
    def histogram(self) -> Counts | None:
        """How many finite inputs have each code, int64 of length 2**bits; None where the format is
        not known or has more than 16 bits. No part of comparisons.
        """
        return getattr(self, "_histogram", None)

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple(getattr(self, name) for name in self.__dataclass_fields__)
        return _with_histogram, (values, self.histogram)


def _with_histogram(values: tuple[Any, ...], histogram: Counts | None) -> Error:
    e = Error(*values)
    object.__setattr__(e, "_histogram", histogram)
    return e


def no_codes() -> Counts:
    """The counts of nothing: they add to those of any format."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Sums:
    """Exact partial sums of an `Error`: add those of chunks or tensors, then take `error()`.

    What is None is not known, and then the sum with anything is not known.
    """

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
    #: Sums of x q and of q^2 where the error is finite.
    product: Fraction = Fraction(0)
    result: Fraction = Fraction(0)
    max_absolute_error: float = 0.0
    max_ulp: float | None = 0.0
    subnormal: int | None = 0
    codes: Counts | None = field(default_factory=no_codes, compare=False, repr=False)

    def __add__(self, other: Sums) -> Sums:
        ulps = self.max_ulp, other.max_ulp
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
            _known_sum(self.clipped, other.clipped),
            self.product + other.product,
            self.result + other.result,
            max(self.max_absolute_error, other.max_absolute_error),
            None if ulps[0] is None or ulps[1] is None else max(ulps[0], ulps[1]),
            _known_sum(self.subnormal, other.subnormal),
            _code_sum(self.codes, other.codes),
        )

    def error(self) -> Error:
        """The measures of all that was added up."""
        finite = self.count - self.nans - self.infinities
        e = Error(
            sqnr_db=self._sqnr_db(),
            relative_mse=self._relative_mse(),
            max_relative_error=self.max_relative_error,
            flushed=_share(self.flushed, self.nonzero),
            clipped=_share(self.clipped, finite),
            count=self.count,
            nan_count=self.nans,
            inf_count=self.infinities,
            gain=self._gain(),
            cosine=self._cosine(),
            max_absolute_error=self.max_absolute_error,
            max_ulp=math.nan if self.max_ulp is None else self.max_ulp,
            subnormal=_share(self.subnormal, finite),
            code_entropy=math.nan if self.codes is None else entropy(self.codes),
        )
        object.__setattr__(e, "_histogram", self.codes)
        return e

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
        return _ratio(self.noise, self.signal) if self.noise else 0.0

    def _gain(self) -> float:
        if self.overflowed or (self.noise and not self.signal):
            return math.nan
        # Exact results are taken as such: the float64 sums of two equal arrays are equal, too.
        return _ratio(self.product, self.signal) if self.noise else 1.0

    def _cosine(self) -> float:
        if self.overflowed:
            return math.nan
        if not self.noise:
            return 1.0
        if not self.signal or not self.result:
            return 0.0
        square = _ratio(self.product * self.product, self.signal * self.result)
        cosine = min(1.0, math.sqrt(square))
        return -cosine if self.product < 0 else cosine


def _ratio(part: Fraction, whole: Fraction) -> float:
    try:
        return float(part / whole)
    except OverflowError:
        return -math.inf if part < 0 else math.inf


def _known_sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _code_sum(a: Counts | None, b: Counts | None) -> Counts | None:
    if a is None or b is None:
        return None
    if not a.size or not b.size:
        return a if a.size else b
    # Codes of formats of different sizes mean different things.
    return a + b if a.size == b.size else None


def measure(
    x: Floats,
    q: Floats,
    limits: tuple[float, float] | None = None,
    *,
    target: lowp.Format | None = None,
) -> Sums:
    """Sums of `q` against `x`, arrays of one shape; `limits` are the lowest and the largest value
    of q's format, `target` is the format itself; None where they are not known. ValueError: the
    shapes differ.
    """
    if x.shape != q.shape:
        raise ValueError(f"lowp.error: x has shape {x.shape}, the quantized values {q.shape}")
    if target is not None:
        limits = (target.lowest, target.max)
    total = nothing(limits is not None, target)
    for xs, qs in _blocks(x, q):
        total += _block(xs, qs, limits, target)
    return total


def nothing(has_limits: bool, target: lowp.Format | None) -> Sums:
    """The sums of an empty tensor, with what is not known marked as such."""
    size = None if target is None else _targets.code_count(target)
    return Sums(
        clipped=0 if has_limits else None,
        max_ulp=None if target is None else 0.0,
        subnormal=None if target is None else 0,
        codes=None if size is None else np.zeros(size, np.int64),
    )


def _blocks(x: Floats, q: Floats) -> Iterator[tuple[Doubles, Doubles]]:
    xs, qs = x.reshape(-1), q.reshape(-1)
    for start in range(0, xs.size, BLOCK):
        part = slice(start, start + BLOCK)
        yield xs[part].astype(np.float64), qs[part].astype(np.float64)


def _block(
    x: Doubles, q: Doubles, limits: tuple[float, float] | None, target: lowp.Format | None
) -> Sums:
    is_nan, is_inf = np.isnan(x), np.isinf(x)
    count, nans, infinities = x.size, int(is_nan.sum()), int(is_inf.sum())
    if nans or infinities:
        finite = ~(is_nan | is_inf)
        x, q = x[finite], q[finite]
    outside = None if limits is None else int(((x < limits[0]) | (x > limits[1])).sum())
    nonzero = x != 0
    flushed, nonzero_count = int((nonzero & (q == 0)).sum()), int(nonzero.sum())
    subnormal = None if target is None else int(is_subnormal(q, target).sum())
    counts = None if target is None else _count_codes(q, target)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = q - x
    good = np.isfinite(difference)
    overflowed = int(x.size - good.sum())
    if overflowed:
        x, q, difference = x[good], q[good], difference[good]
    largest = float(np.max(np.abs(difference), initial=0.0))
    ulp = None if target is None else float(np.max(in_ulps(x, difference, target), initial=0.0))
    return Sums(
        signal=_dot(x, x),
        noise=_dot(difference, difference),
        max_relative_error=math.inf if overflowed else _max_relative(x, difference),
        count=count,
        nans=nans,
        infinities=infinities,
        nonzero=nonzero_count,
        flushed=flushed,
        overflowed=overflowed,
        clipped=outside,
        product=_dot(x, q),
        result=_dot(q, q),
        max_absolute_error=math.inf if overflowed else largest,
        max_ulp=math.inf if overflowed and ulp is not None else ulp,
        subnormal=subnormal,
        codes=counts,
    )


def is_subnormal(q: Doubles, target: lowp.Format) -> NDArray[np.bool_]:
    """Where results lie strictly between zero and the format's smallest normal number."""
    magnitudes = np.abs(q)
    return (magnitudes > 0) & (magnitudes < target.min_normal)


def in_ulps(x: Doubles, difference: Doubles, target: lowp.Format) -> Doubles:
    """|difference| over the distance of the format's neighbours in the binade of x."""
    if target.exponent_bits == 0:
        return np.abs(difference) / target.min_subnormal
    # frexp gives zero the exponent 0, but its neighbours are those of the smallest numbers.
    binades = np.where(x == 0, target.emin, np.frexp(x)[1] - 1)
    binades = np.clip(binades, target.emin, target.emax)
    with np.errstate(over="ignore"):
        ulps: Doubles = np.ldexp(np.abs(difference), (target.precision - 1) - binades)
    return ulps


def _count_codes(q: Doubles, target: lowp.Format) -> Counts | None:
    size = _targets.code_count(target)
    if size is None:
        return None
    return np.bincount(lowp.encode(q, target), minlength=size).astype(np.int64, copy=False)


def _exponent(x: Doubles) -> int:
    """The power of two above every magnitude; 0 for zeros and where there is nothing."""
    return math.frexp(float(np.max(np.abs(x), initial=0.0)))[1]


def _dot(x: Doubles, y: Doubles) -> Fraction:
    """Sum of products of finite values of any magnitude: scaled by powers of two before."""
    a, b = _exponent(x), _exponent(y)
    scaled = np.ldexp(x, -a)
    other = scaled if x is y else np.ldexp(y, -b)
    return Fraction(float(np.sum(scaled * other))) * Fraction(2) ** (a + b)


def _max_relative(x: Doubles, difference: Doubles) -> float:
    zero = x == 0
    if bool(difference[zero].any()):
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(difference[~zero] / x[~zero]), initial=0.0))


def _share(part: int | None, whole: int) -> float:
    if part is None:
        return math.nan
    return part / whole if whole else 0.0


def entropy(counts: Counts) -> float:
    """Shannon entropy of counts in bits; 0 where nothing was counted."""
    total = int(counts.sum())
    if not total:
        return 0.0
    shares = counts[counts > 0] / total
    # Adding zero turns the -0 of a single code into 0.
    return -float(np.sum(shares * np.log2(shares))) + 0.0
