"""Random bits and scales that the caller gives, on a GPU; the blocks that scales are made of."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from lowp import _arrays, _core
from lowp._block_tensor import check_axis, grid
from lowp._device_calls import foreign
from lowp._device_libraries import Library, check_place, is_device, library_of

__all__ = ["blocks_of", "ideal_scales", "random_words"]


def random_words(library: Library, x: Any, random: Any) -> Any:
    """Random bits, uint32 of x's shape in C order on its device: those given there as uint32, or of
    the host as any integers. TypeError, ValueError: others.
    """
    if random is None:
        return None
    if not is_device(random):
        words = np.asarray(_arrays._plain_random(random, tuple(x.shape)))
        return library.from_host(x, words)
    check_place(library, x, random, "random")
    if library.dtype(random) != "uint32":
        raise TypeError(f"random on a device must be uint32; got {library.dtype(random)}")
    if tuple(random.shape) != tuple(x.shape):
        raise ValueError(
            f"random must have the shape of x, {tuple(x.shape)}; got {tuple(random.shape)}"
        )
    return library.contiguous(random)


def blocks_of(x: Any, block: Any, *, axis: int = -1) -> Any:
    """lowp.blocks_of of an array on a device, in x's dtype."""
    fmt = _core.block_format(block)
    at = check_axis(axis, x.ndim)
    count, rows, columns, down, across, _ = _core._block_grid(fmt, list(x.shape), at)
    high, wide = -(-rows // down), -(-columns // across)
    library = library_of(x)
    if library is None:
        return foreign(blocks_of, x, block, axis=axis)
    padded = library.empty(x, (count, high * down, wide * across), library.dtype(x))
    padded[...] = 0
    padded[:, :rows, :columns] = x.reshape(count, rows, columns)
    tiles = padded.reshape(count, high, down, wide, across)
    turned = tiles.permute(0, 1, 3, 2, 4) if hasattr(tiles, "permute") else None
    if turned is None:
        turned = tiles.transpose(0, 1, 3, 2, 4)
    return turned.reshape(count * high * wide, down * across)


def ideal_scales(library: Library, x: Any, block: _core.BlockFormat, axis: int, scales: Any) -> Any:
    """Ideal scales, float64, one a block in C order on x's device; of an array of the host or of
    the device in the shape of the blocks, or of a function of the blocks. Those on the device are
    looked at, which waits for it, but in the capture of a graph.
    """
    if scales is None:
        return None
    shape = grid(block, tuple(x.shape), axis)
    count = math.prod(shape)
    given = scales(blocks_of(x, block, axis=axis)) if callable(scales) else scales
    shapes = [shape, (count,), (count, 1)] if callable(scales) else [shape]
    if not is_device(given):
        given = np.asarray(given, dtype=np.float64)
    if tuple(given.shape) not in shapes:
        raise ValueError(
            f"scales must have one entry a block, shape {shape}; got shape {tuple(given.shape)}"
        )
    if isinstance(given, np.ndarray):
        wrong = given[~(np.isfinite(given) & (given >= 0))]
        if wrong.size:
            raise ValueError(f"scales must be finite and not negative; got {wrong.flat[0]}")
        return library.from_host(x, np.ascontiguousarray(given.reshape(-1)))
    check_place(library, x, given, "scales")
    values = library.contiguous(library.convert(given, "float64")).reshape(-1)
    if not library.is_captured(x):
        functions: Any = import_module(type(values).__module__.partition(".")[0])
        if not bool((functions.isfinite(values) & (values >= 0)).all()):
            raise ValueError("scales must be finite and not negative")
    return values
