"""How well a format fits random data: `lowp.gmse`, and the capacity that follows from it.

Errors of scalar formats are integrals over the cells of the grid, no samples. Block formats choose
a scale for every block, so theirs are measured on samples that are the same in every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _targets
from ._arguments import FormatLike

__all__ = ["capacity", "gmse", "optimal_scale", "samples_of"]

Doubles = NDArray[np.float64]

#: Formats of more bits are integrated by the binade: their cells are too many, and so small that
#: the error within each is uniform to the digits of a float64.
_MAX_CELL_BITS = 12
#: Nodes of the Gauss-Legendre rule: an interval of a coarse grid, or of one of many cells.
_NODES, _FEW_NODES, _FEW_POINTS = 48, 8, 1100
#: Scales put the format's largest number between 2**-2 and 2**110 standard deviations.
_LOWEST_OCTAVE, _OCTAVES = -2, 112
#: Relative difference of errors that are taken as equal, so that rounding does not pick the octave.
_EQUAL = 1e-6
#: F and C of the capacity: where they are from is in `capacity`.
FACTOR, POWER = 0.493, 1.603
#: Columns of the samples for block formats; their number is rounded up to whole rows.
_COLUMNS = 1024


@dataclass(frozen=True)
class _Distribution:
    """A symmetric density of variance 1."""

    density: Callable[[Doubles], Doubles]
    #: Samples from uniform numbers u in (0, 1) and v in [0, 1).
    sample: Callable[[Doubles, Doubles], Doubles]


def gmse(
    format: lowp.Format | str | Any,
    distribution: str = "gaussian",
    *,
    scale: str | float = "optimal",
    samples: int = 2**21,
    seed: int = 0,
) -> float:
    """Relative mean squared error E (q - x)^2 / E x^2 of random x: 0 is exact, 1 loses everything.

    format: a format, whose q = scale * nearest(x / scale) saturates, or a block format, which is
    quantized by its own rules along the last axis of `samples` numbers in rows of 1024; or a name.
    distribution: "gaussian", "laplace" or "student_t3" with any degrees of freedom above 2, all of
    variance 1. scale: "optimal" is the scalar format's scale of least error (block formats have
    x as it is), a number is used in its place. seed: of the samples, for block formats only.

    Scalar formats give an integral, whose relative error is below 1e-6. ValueError: an unknown name
    or distribution; scale or samples not positive.
    Source: Panferov et al., Unified Scaling Laws for Compressed Representations, arXiv 2506.01863:
    GMSE is this error for Gaussian data.
    """
    target = _targets.resolve(format)
    _distribution(distribution)
    if scale != "optimal" and not (isinstance(scale, int | float) and 0 < scale < math.inf):
        raise ValueError(f"scale must be 'optimal' or a positive number; got {scale!r}")
    if isinstance(target, lowp.BlockFormat):
        factor = 1.0 if scale == "optimal" else float(scale)
        return _sampled(target, distribution, factor, samples, seed)
    best = optimal_scale(target, distribution) if scale == "optimal" else float(scale)
    return _Grid.of(target, distribution).error(best)


def optimal_scale(format: FormatLike, distribution: str = "gaussian") -> float:
    """The scale with which a scalar format has the least error on random x of variance 1.

    Searched over the octaves in which the format's largest number is 2**-2 to 2**110 standard
    deviations, then refined from the three best places, as there are several minima. Formats of
    many exponents have almost equal ones an octave apart: within 1e-6, the smallest scale is taken.
    Errors: see `gmse`.
    """
    return _optimal_scale(lowp.format(format), distribution)


def capacity(
    format: lowp.Format | str | float | Any,
    *,
    limit: float = 1.0,
    factor: float = FACTOR,
    power: float = POWER,
    samples: int = 2**21,
    seed: int = 0,
) -> float:
    """Capacity rho = L tanh(F log_{1/4} GMSE)^C: a model of N parameters in this format learns like
    one of rho N in full precision, so the paper; capacities of weights and activations multiply.

    format: as in `gmse`, or a GMSE itself. limit, factor, power: L, F and C. The result is L at
    GMSE 0, and 0 from 1 on.

    The law is the paper's; it fits L, F and C to trained models for each kind of compression, and
    prints no values of F and C. The defaults are OURS: L = 1, and for F and C the least squares
    through the four capacities of models with 1- to 4-bit QuEST weights that the paper's figure 6
    prints (0.21, 0.45, 0.74, 0.90) at the GMSE of the best uniform grid of 2, 4, 8 and 16 levels.
    They rank formats as GMSE does; how far apart they put them is no more than indicative: for the
    same weights figure 7 prints 0.57, 0.75 and 0.87 at 2 to 4 bits. ValueError: see `gmse`.
    Source: Panferov et al., arXiv 2506.01863, equation 3.
    """
    if isinstance(format, int | float):
        error = float(format)
    else:
        error = gmse(format, samples=samples, seed=seed)
    if not error >= 0:
        raise ValueError(f"a GMSE is 0 or more; got {error!r}")
    return float(capacity_of(np.float64(error), limit, factor, power))


def capacity_of(errors: Any, limit: float, factor: float, power: float) -> Any:
    """The formula of `capacity` for GMSEs in any shape: float64; NaN gives NaN."""
    with np.errstate(divide="ignore"):
        exponents = np.maximum(0.0, -np.log(errors) / math.log(4))
    return limit * np.tanh(factor * exponents) ** power


def samples_of(
    distribution: str, count: int, *, seed: int = 0, stream: int = 0, first_index: int = 0
) -> Doubles:
    """Samples first_index .. first_index + count - 1 of a distribution of variance 1: float64.

    A function of (seed, stream, index) by `lowp.random_bits`, two words each, with 2**32 different
    magnitudes; the same on every machine, up to the last bit of its logarithm and cosine. The
    names are those of `gmse`. ValueError: another name. Source: Box and Muller, 1958; for Student's
    t, Bailey, Polar generation of random variates with the t-distribution, 1994.
    """
    words = lowp.random_bits(2 * count, seed=seed, stream=stream, first_index=2 * first_index)
    u, v = (words.reshape(-1, 2).T + 0.5) / 2.0**32
    return _distribution(distribution).sample(u, v)


# ---- distributions -------------------------------------------------------------------------------


def _distribution(name: str) -> _Distribution:
    """The distribution of a name. ValueError: none of that name."""
    if name == "gaussian":
        return _Distribution(
            lambda x: np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi),
            lambda u, v: np.sqrt(-2 * np.log(u)) * np.cos(2 * math.pi * v),
        )
    if name == "laplace":
        root = math.sqrt(2)
        return _Distribution(
            lambda x: np.exp(-root * np.abs(x)) / root,
            lambda u, v: -np.log(u) / root * np.where(v < 0.5, 1.0, -1.0),
        )
    try:
        freedom = float(name.removeprefix("student_t")) if name.startswith("student_t") else 0.0
    except ValueError:
        freedom = 0.0
    if not 2 < freedom < math.inf:
        raise ValueError(
            "distribution must be 'gaussian', 'laplace' or 'student_t3' with degrees of freedom "
            f"above 2, where the variance is finite; got {name!r}"
        )
    return _student_t(freedom)


def _student_t(freedom: float) -> _Distribution:
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    norm /= math.sqrt(math.pi * (freedom - 2))
    root = math.sqrt((freedom - 2) / freedom)

    def density(x: Doubles) -> Doubles:
        return np.asarray(norm * (1 + x * x / (freedom - 2)) ** (-(freedom + 1) / 2))

    def sample(u: Doubles, v: Doubles) -> Doubles:
        radius = np.sqrt(freedom * (u ** (-2 / freedom) - 1))
        return np.asarray(root * radius * np.cos(2 * math.pi * v))

    return _Distribution(density, sample)


# ---- integrals -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """The line in units of 2**emax, cut where the squared error becomes another polynomial.

    In interval i the error is (x - center)^2, or the constant noise where that is not zero. Beyond
    the first and the last the values are saturated.
    """

    lefts: Doubles
    rights: Doubles
    centers: Doubles
    noise: Doubles
    nodes: int
    #: A power of two near the largest value: squares of any format's values stay finite.
    unit: float
    density: Callable[[Doubles], Doubles]

    @staticmethod
    def of(target: lowp.Format, distribution: str) -> _Grid:
        density, unit = _distribution(distribution).density, 2.0**target.emax
        if target.bits > _MAX_CELL_BITS:
            return _Grid(*_binades(target, unit), _NODES, unit, density)
        values = target.values() / unit
        points = np.unique(np.concatenate([values, (values[1:] + values[:-1]) / 2, [0.0]]))
        middles = (points[1:] + points[:-1]) / 2
        after = np.clip(np.searchsorted(values, middles), 1, len(values) - 1)
        nearer = middles - values[after - 1] < values[after] - middles
        centers = np.where(nearer, values[after - 1], values[after])
        nodes = _NODES if len(points) <= _FEW_POINTS else _FEW_NODES
        noise = np.zeros(len(centers))
        return _Grid(points[:-1], points[1:], centers, noise, nodes, unit, density)

    def error(self, scale: float) -> float:
        """E (q - x)^2 of variance 1, values multiplied by the scale."""
        scale *= self.unit
        lefts, rights = self.lefts * scale, self.rights * scale
        places, weights = _rule(self.nodes)
        half = (rights - lefts)[:, None] / 2
        x = (rights + lefts)[:, None] / 2 + half * places
        squares = np.where(
            self.noise[:, None] > 0,
            self.noise[:, None] * scale**2,
            (x - self.centers[:, None] * scale) ** 2,
        )
        inside = float(np.sum(squares * self.density(x) * weights * half))
        return inside + self._tail(rights[-1]) + self._tail(-lefts[0])

    def _tail(self, edge: float) -> float:
        """The error beyond the outermost value, by x = edge + w (1 - u) / u, u from 0 to 1: with
        w of the density's own width, the integrand is smooth in u for heavy tails, too.
        """
        places, weights = _rule(200)
        u, width = (places + 1) / 2, 1.0 + edge
        beyond = width * (1 - u) / u
        return float(np.sum(beyond**2 * self.density(edge + beyond) * width / u**2 * weights / 2))


def _binades(target: lowp.Format, unit: float) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Lefts, rights, centers and noise of a grid of many values: uniform noise, ulp^2 / 12.

    The intervals are binades, cut where float64 still squares them: below 2**-200 times the largest
    value nothing is left of a density. Source: Widrow and Kollar, Quantization Noise, 2008.
    """
    top, normal, quantum = target.max / unit, target.min_normal / unit, target.min_subnormal / unit
    fixed_point = target.exponent_bits == 0
    bottom = quantum if fixed_point else max(normal, 2.0**-200)
    steps = math.ceil(math.log2(top / bottom))
    # Subnormal numbers are as dense everywhere: binades there only keep the intervals narrow.
    small = 0 if fixed_point or not target.has_subnormals else target.mantissa_bits
    edges = np.append(bottom * 2.0 ** np.arange(-small, steps), top)
    ulps = np.maximum(np.exp2(np.floor(np.log2(edges[:-1]))), normal) * target.epsilon
    if fixed_point:
        ulps[:] = quantum
    below = ulps[0] if target.has_subnormals and bottom <= normal else 0.0
    lefts, rights = np.append(0.0, edges[:-1]), edges
    noise = np.append(below, ulps) ** 2 / 12
    if target.lowest < 0:
        # Two's complement reaches one step further below zero, which is lost in so many.
        mirrored = [-rights[::-1], -lefts[::-1], noise[::-1]]
        lefts, rights = np.append(mirrored[0], lefts), np.append(mirrored[1], rights)
        noise = np.append(mirrored[2], noise)
    return lefts, rights, np.zeros(len(lefts)), noise


@lru_cache
def _rule(nodes: int) -> tuple[Doubles, Doubles]:
    return np.polynomial.legendre.leggauss(nodes)


# ---- the best scale ------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _optimal_scale(target: lowp.Format, distribution: str) -> float:
    grid = _Grid.of(target, distribution)
    top = max(target.max, -target.lowest)
    reach = math.log2(top) - math.log2(target.min_subnormal)
    # Up to a smallest number of 16 deviations, or of 2 where few nodes see no wider cell.
    octaves = min(_OCTAVES, math.ceil(reach) + (6 if grid.nodes == _NODES else 3))
    # Between neighbours of this distance the error of a float grid has one minimum at most.
    per_octave = 16 if target.bits <= 8 else 4
    exponents = _LOWEST_OCTAVE + np.arange(octaves * per_octave + 1) / per_octave
    errors = np.array([grid.error(2.0**e / top) for e in exponents])
    step = 1 / per_octave
    found = [
        _least(lambda e: grid.error(2.0**e / top), exponents[i] - step, exponents[i] + step)
        for i in np.argsort(np.round(errors / errors.min(), 6), kind="stable")[:3]
    ]
    best = min(found)[0] * (1 + _EQUAL)
    return float(2.0 ** min(place for error, place in found if error <= best) / top)


def _least(function: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Least value and its place between two places, by the golden section: 1e-9 of the width."""
    ratio = (math.sqrt(5) - 1) / 2
    places = [high - ratio * (high - low), low + ratio * (high - low)]
    values = [function(place) for place in places]
    for _ in range(43):
        if values[0] <= values[1]:
            high = places[1]
            places, values = [high - ratio * (high - low), places[0]], [0.0, values[0]]
            values[0] = function(places[0])
        else:
            low = places[0]
            places, values = [places[1], low + ratio * (high - low)], [values[1], 0.0]
            values[1] = function(places[1])
    return min(zip(values, places, strict=True))


# ---- samples -------------------------------------------------------------------------------------


def _sampled(target: Any, distribution: str, scale: float, samples: int, seed: int) -> float:
    if samples < 1:
        raise ValueError(f"samples must be 1 or more; got {samples!r}")
    rows = -(-samples // _COLUMNS)
    x = samples_of(distribution, rows * _COLUMNS, seed=seed).reshape(rows, _COLUMNS)
    scaled = (x / scale).astype(np.float32)
    # The factor cancels in the ratio.
    return lowp.error(scaled, target).relative_mse
