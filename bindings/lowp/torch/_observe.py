"""What is measured of a tensor that a layer put in a format: one Row a cast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lowp
from lowp._block_tensor import BlockTensor
from lowp._targets import block_limits
from lowp.measures import measure
from lowp.torch._codes import _wide
from lowp.torch._ops import parse
from lowp.torch._state import Cast

__all__ = ["Row", "observe"]

Array = NDArray[Any]

#: Elements counted at a time: what is made on the way stays in the processor's cache.
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Row:
    """Measures of one tensor in one step. Shares are between 0 and 1, and 0 for empty tensors.

    x is the tensor that its role quantizes, after the product's transform. NaN and infinite inputs
    count in `count`, `nan_count` and `inf_count` and nowhere else.
    """

    step: int
    module: str
    role: str
    #: 0 for the first time that the module puts this role in its format in a step.
    call: int
    rank: int
    #: Of the quantizer; a delayed scale is in `scale`.
    format: str
    #: Number of elements.
    count: int
    #: Largest finite magnitude; 0 where there is none.
    amax: float
    #: Smallest, median (the lower of two) and largest scale, second level included, of the blocks
    #: that hold anything but zeros; the one scale of a tensor where scaling is delayed; 1 for other
    #: scalar formats; NaN where no block holds anything.
    scale_min: float
    scale: float
    scale_max: float
    #: Share of the finite nonzero elements that became zero.
    underflow: float
    #: Share of the finite elements beyond the largest or lowest value of their format or block.
    overflow: float
    nan_count: int
    inf_count: int
    #: Those of lowp.error, of the monitor's sample.
    sqnr_db: float
    gain: float
    #: How many finite nonzero elements of the sample have floor(log2|x|) = first_exponent + i.
    first_exponent: int = 0
    exponents: tuple[int, ...] = ()


def observe(cast: Cast, at: dict[str, Any], sample: int | None, histogram: bool) -> Row:
    """The Row of a cast. at: its step, module and call; sample: how many elements SQNR, gain and
    histogram are taken of; None: all.
    """
    x, y = _wide(cast.x.reshape(-1)), _wide(cast.y.reshape(-1))
    (low, middle, high), limits = _scales_and_limits(cast)
    counts = _Counts()
    for start in range(0, x.size, _PIECE):
        part = slice(start, start + _PIECE)
        counts.add(x[part], y[part], *(np.broadcast_to(v, x.shape)[part] for v in limits))
    step = _sample_step(cast.x.shape, sample)
    error = measure(x[::step], y[::step]).error()
    first, exponents = _exponents(x[::step]) if histogram else (0, ())
    return Row(
        **at,
        role=cast.role,
        rank=cast.state.rank,
        format=cast.quantizer.format,
        count=x.size,
        amax=counts.amax,
        scale_min=low,
        scale=middle,
        scale_max=high,
        underflow=counts.flushed / max(counts.nonzero, 1),
        overflow=counts.beyond / max(counts.finite, 1),
        nan_count=counts.nans,
        inf_count=x.size - counts.finite - counts.nans,
        sqnr_db=error.sqnr_db,
        gain=error.gain,
        first_exponent=first,
        exponents=exponents,
    )


@dataclass
class _Counts:
    """What is counted of every element, as lowp.error counts it, without its sums."""

    amax: float = 0.0
    finite: int = 0
    nans: int = 0
    nonzero: int = 0
    flushed: int = 0
    beyond: int = 0

    def add(self, x: Array, y: Array, lowest: Array, largest: Array) -> None:
        """A piece of x and y, between the lowest and the largest value of each element."""
        top = max(float(x.max()), -float(x.min()))
        if not math.isfinite(top):
            finite = np.isfinite(x)
            self.nans += int(np.count_nonzero(np.isnan(x)))
            x, y, lowest, largest = (v[finite] for v in (x, y, lowest, largest))
            top = float(np.abs(x).max(initial=0))
        self.amax = max(self.amax, top)
        self.finite += x.size
        nonzero = x != 0
        self.nonzero += int(np.count_nonzero(nonzero))
        self.flushed += int(np.count_nonzero(nonzero & (y == 0)))
        self.beyond += int(np.count_nonzero((x > largest) | (x < lowest)))


def _sample_step(shape: torch.Size, sample: int | None) -> int:
    """The distance of at most so many elements; each comes past every column."""
    count: int = math.prod(shape)
    if sample is None or count <= sample:
        return 1
    step = -(-count // sample)
    while math.gcd(step, shape[-1]) > 1:
        step += 1
    return step


def _exponents(x: Array) -> tuple[int, tuple[int, ...]]:
    """The smallest exponent of finite nonzero values, and how many have it and those after it."""
    exponents = np.frexp(x[np.isfinite(x) & (x != 0)])[1]
    if not exponents.size:
        return 0, ()
    first = int(exponents.min())
    # frexp has mantissas from one half, which is one exponent up
    return first - 1, tuple(np.bincount(exponents - first).tolist())


# ---- scales --------------------------------------------------------------------------------------


def _scales_and_limits(cast: Cast) -> tuple[tuple[float, float, float], tuple[Any, Any]]:
    """Smallest, median and largest scale; the lowest and largest value of each element."""
    found = parse(cast.format)
    if not isinstance(found, lowp.BlockFormat):
        return (1.0, 1.0, 1.0), (found.lowest, found.max)
    seed, stream = cast.state.role_source(cast.role)
    stream += 0 if cast.calls is None else int(cast.calls)
    x = _wide(cast.x)
    tensor = lowp.encode(x, found, axis=cast.axis, nan=0, packed=False, seed=seed, stream=stream)
    lowest, largest = (v.reshape(-1) for v in block_limits(tensor))
    scales = np.sort(_whole_scales(tensor)[_filled(tensor, x)])
    if not scales.size:
        return (math.nan, math.nan, math.nan), (lowest, largest)
    middle = scales[(scales.size - 1) // 2]
    return (float(scales[0]), float(middle), float(scales[-1])), (lowest, largest)


def _whole_scales(tensor: BlockTensor) -> NDArray[np.float64]:
    """The scale of each block times that of the second level."""
    scales = tensor.scale_values()
    outer: NDArray[np.float64] = tensor.outer_scale
    if outer.size > 1:
        axis = tensor.axis % len(tensor.shape)
        outer = outer.reshape([1 if a == axis else n for a, n in enumerate(tensor.shape)])
    return scales * outer if outer.size else scales


def _filled(tensor: BlockTensor, x: Array) -> NDArray[np.bool_]:
    """Which blocks hold anything but zeros."""
    holds: NDArray[np.bool_] = x != 0
    if not holds.size or holds.all():
        return np.ones(tensor.scales.shape, np.bool_)
    for axis, size in enumerate(holds.shape):
        width = tensor._block_width(axis)
        if width > 1:
            holds = np.logical_or.reduceat(holds, np.arange(0, size, width), axis=axis)
    return holds.reshape(tensor.scales.shape)
