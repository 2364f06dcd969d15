"""The measures of `lowp.error` for every row or block of an array at once, as arrays.

An array is cut into groups that lie side by side; the last of a ragged edge is filled with zeros,
which are exact in every measure and are not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from ._block_tensor import grid
from ._sums import Error, in_ulps, is_subnormal

__all__ = ["Errors", "measure_groups"]

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: What is measured by itself: tiles, the blocks of a block format, or whole rows.
Groups = tuple[int, int] | lowp.BlockFormat | None

#: Elements measured at a time: their float64 copies stay in the processor's cache.
_SLAB = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """The measures of `Error` for every row or block: arrays of one shape, that of the groups.

    Measures are float64, numbers of elements int64. `errors[i]` or `errors[i, j]` is the `Error` of
    one group. Entropies and histograms of codes are left to whole tensors.
    """

    sqnr_db: Doubles
    relative_mse: Doubles
    max_relative_error: Doubles
    flushed: Doubles
    clipped: Doubles
    count: Integers
    nan_count: Integers
    inf_count: Integers
    gain: Doubles
    cosine: Doubles
    max_absolute_error: Doubles
    max_ulp: Doubles
    subnormal: Doubles

    @property
    def shape(self) -> tuple[int, ...]:
        """That of every array: the groups along each dimension."""
        return self.sqnr_db.shape

    def __len__(self) -> int:
        return len(self.sqnr_db)

    def __getitem__(self, index: int | tuple[int, ...]) -> Error:
        """The measures of one group. IndexError: no such group; TypeError: a row of groups."""
        picked = {f.name: getattr(self, f.name)[index] for f in fields(self)}
        if np.ndim(picked["count"]):
            raise TypeError(
                f"an Error is that of one group: give {len(self.shape)} indices, as the groups "
                f"have shape {self.shape}; got {index!r}"
            )
        return Error(
            **{name: value.item() for name, value in picked.items()}, code_entropy=math.nan
        )


def measure_groups(
    x: Floats,
    q: Floats,
    groups: Groups,
    axis: int,
    target: lowp.Format | None,
    marks: tuple[Bools | None, Bools | None] = (None, None),
) -> Errors:
    """Measures of q against x, of one shape, for tiles of (r, c) elements, c along `axis`, for the
    blocks of a block format, or for whole rows along it (None). marks: where elements are clipped
    and subnormal, where the scalar format `target` does not tell. Shapes: see `lowp.error`.
    """
    if x.shape != q.shape:
        raise ValueError(f"lowp.error: x has shape {x.shape}, the quantized values {q.shape}")
    _check_dimensions(x, groups)
    cut = [_cut(part, groups, axis) for part in (x, q, np.ones(x.shape, np.bool_))]
    shape, size = cut[0].shape[:-1], cut[0].shape[-1]
    xs, qs, real = (part.reshape(math.prod(shape), size) for part in cut)
    clipped, subnormal = (
        None if mark is None else _cut(mark, groups, axis).reshape(xs.shape) for mark in marks
    )
    step = max(1, _SLAB // max(size, 1))
    # At least one slab, so that no groups have measures too: arrays without elements.
    slabs = [slice(i, i + step) for i in range(0, max(len(xs), 1), step)]
    parts = [
        _measured(
            xs[s].astype(np.float64),
            qs[s].astype(np.float64),
            real[s],
            target,
            (None if clipped is None else clipped[s], None if subnormal is None else subnormal[s]),
        )
        for s in slabs
    ]
    return Errors(
        **{
            f.name: _placed(
                np.concatenate([getattr(p, f.name) for p in parts]).reshape(shape),
                groups,
                axis,
                x.shape,
            )
            for f in fields(Errors)
        }
    )


def _check_dimensions(x: Floats, groups: Groups) -> None:
    if isinstance(groups, lowp.BlockFormat):
        return  # blocks_of knows
    needed = 1 if groups is None or groups[0] == 1 else 2
    if x.ndim < needed:
        what = "rows" if groups is None else f"blocks of {groups}"
        raise ValueError(
            f"{what} need an array of {needed} or more dimensions; got shape {x.shape}"
        )


def _placed(
    measures: NDArray[Any], groups: Groups, axis: int, shape: tuple[int, ...]
) -> NDArray[Any]:
    """The groups along the axis that they cut; a whole row leaves none."""
    if isinstance(groups, lowp.BlockFormat):
        return measures.reshape(grid(groups, shape, axis))
    return measures if groups is None else np.moveaxis(measures, -1, axis)


def _cut(x: NDArray[Any], groups: Groups, axis: int) -> NDArray[Any]:
    """The elements of each group along the last axis, zeros where a group reaches beyond x."""
    if isinstance(groups, lowp.BlockFormat):
        return lowp.blocks_of(x, groups, axis=axis)
    x = np.moveaxis(x, axis, -1)
    if groups is None:
        return x
    rows, columns = groups
    if rows == 1:
        x = _filled(x, -1, columns)
        return x.reshape(*x.shape[:-1], -1, columns)
    x = _filled(_filled(x, -1, columns), -2, rows)
    down, across = x.shape[-2] // rows, x.shape[-1] // columns
    x = x.reshape(*x.shape[:-2], down, rows, across, columns).swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], rows * columns)


def _filled(x: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    """x with zeros after it, up to a multiple of the size along an axis."""
    short = -x.shape[axis] % size
    if not short:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, short)
    return np.pad(x, widths)


def _measured(
    x: Doubles,
    q: Doubles,
    real: Bools,
    target: lowp.Format | None,
    marks: tuple[Bools | None, Bools | None],
) -> Errors:
    nans, infinities = np.isnan(x), np.isinf(x)
    finite = real & ~(nans | infinities)
    x, q = np.where(finite, x, 0.0), np.where(finite, q, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = q - x
    bad = ~np.isfinite(difference)
    overflowed = np.asarray(bad.any(-1))
    nonzero, finite_count = x != 0, finite.sum(-1)
    flushed = _shares(nonzero & (q == 0), nonzero.sum(-1))
    unknown = np.full(overflowed.shape, math.nan)
    clipped, subnormal = (
        unknown if mark is None else _shares(mark & finite, finite_count) for mark in marks
    )
    ulp = unknown
    if target is not None:
        clipped = _shares((x < target.lowest) | (x > target.max), finite_count)
        subnormal = _shares(is_subnormal(q, target), finite_count)
    x, q, difference = (np.where(bad, 0.0, part) for part in (x, q, difference))
    if target is not None:
        ulp = _largest(in_ulps(x, difference, target), overflowed)
    return Errors(
        **_ratios(x, q, difference, overflowed),
        max_relative_error=_largest(_relative(x, difference), overflowed),
        max_absolute_error=_largest(np.abs(difference), overflowed),
        flushed=flushed,
        clipped=clipped,
        subnormal=subnormal,
        max_ulp=ulp,
        count=real.sum(-1),
        nan_count=(nans & real).sum(-1),
        inf_count=(infinities & real).sum(-1),
    )


def _ratios(x: Doubles, q: Doubles, difference: Doubles, overflowed: Bools) -> dict[str, Doubles]:
    """What follows from the sums of products of each group; the edges are those of `Error`."""
    # One power of two a group keeps squares of any magnitude finite, and cancels in every ratio.
    tallest = np.maximum(np.abs(x).max(-1, initial=0.0), np.abs(q).max(-1, initial=0.0))
    exponents = -np.frexp(tallest)[1][..., None]
    x, q, difference = (np.ldexp(part, exponents) for part in (x, q, difference))
    signal, noise = (x * x).sum(-1), (difference * difference).sum(-1)
    product, result = (x * q).sum(-1), (q * q).sum(-1)
    exact = (noise == 0) & ~overflowed
    with np.errstate(divide="ignore", invalid="ignore"):
        mse = np.where(exact, 0.0, np.where(overflowed, math.inf, noise / signal))
        sqnr = -10 * np.log10(mse) + 0.0  # no -0
        gain = np.where(signal == 0, math.nan, product / signal)
        cosine = np.where(signal * result == 0, 0.0, product / np.sqrt(signal) / np.sqrt(result))
    return {
        "relative_mse": mse,
        "sqnr_db": sqnr,
        "gain": np.where(overflowed, math.nan, np.where(exact, 1.0, gain)),
        "cosine": np.where(overflowed, math.nan, np.where(exact, 1.0, np.clip(cosine, -1, 1))),
    }


def _relative(x: Doubles, difference: Doubles) -> Doubles:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ratios = np.abs(difference / x)
    return np.where(x == 0, np.where(difference == 0, 0.0, math.inf), ratios)


def _largest(values: Doubles, overflowed: Bools) -> Doubles:
    return np.where(overflowed, math.inf, values.max(-1, initial=0.0))


def _shares(parts: Bools, whole: Integers) -> Doubles:
    return np.asarray(parts.sum(-1) / np.maximum(whole, 1))
