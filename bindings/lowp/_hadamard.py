"""The Hadamard transform on arrays, and the layout of scales that block-scaled products read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays, _core
from lowp._block_tensor import check_axis


def hadamard(
    x: Any,
    size: int = 16,
    *,
    seed: int | None = None,
    stream: int = 0,
    signs: Any = None,
    inverse: bool = False,
    axis: int = -1,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Runs of `size` values along an axis, multiplied by D H / sqrt(size), H the Sylvester matrix.

    x: array of float32, float64, float16 or bfloat16, its axis a multiple of size; never changed
    unless it is `out`. size: a power of two, 2 to 256. D: the signs that `signs` gives (1 or -1,
    size of them) or that bits of (seed, stream) give; without either all plus. inverse: H D, which
    undoes it (exactly up to rounding). Result: x's shape and dtype; sums are made in a fixed order,
    so bits do not depend on machine or threads. NaN and infinity spread over their run. Raises
    ValueError for other sizes. Source: Sylvester's construction; NVIDIA's NVFP4 recipe (size 16).
    """
    device = _arrays._device()
    if device.is_device(x):
        from lowp import _device_hadamard  # which needs this module's package

        device.check_no_gradient(x)
        options = {"seed": seed, "stream": stream, "signs": signs, "inverse": inverse}
        return _device_hadamard.hadamard(x, size, axis=axis, out=out, **options)
    array = _arrays.as_array(x)
    at = check_axis(axis, array.ndim)
    length_of_runs = _arrays.integer(size, "size")
    if length_of_runs < 0:
        raise ValueError(f"size must be a power of two from 2 to 256; got {size}")
    if seed is not None and signs is not None:
        raise ValueError("give signs or a seed for them, not both")
    if array.ndim == 0 or array.shape[at] % max(length_of_runs, 1):
        length = array.shape[at] if array.ndim else 1
        raise ValueError(f"axis {axis} must be a multiple of size {size}; got {length}: pad it")
    if out is not None:
        _arrays._check_out(out, array.shape, array.dtype, f"{array.dtype}, those of x")
    plain = _arrays._to_carrier(array)
    columns = math.prod(array.shape[at % array.ndim + 1 :]) or 1
    y = np.empty_like(plain, subok=False)
    given = None if signs is None else _signs(signs)
    _core._hadamard(
        plain,
        y,
        length_of_runs,
        given,
        None if seed is None else _arrays.word(seed, "seed"),
        _arrays.word(stream, "stream"),
        bool(inverse),
        columns,
        _core.get_threads() if threads is None else _arrays.integer(threads, "threads"),
    )
    return _arrays._result(_arrays._from_carrier(y, array.dtype), x, out)


def _signs(signs: Any) -> NDArray[np.int8]:
    values = np.asarray(signs).reshape(-1)
    wrong = values[(values != 1) & (values != -1)]
    if wrong.size:
        raise ValueError(f"signs must be 1 or -1; got {wrong[0]}")
    return values.astype(np.int8)


def swizzle_scales(scales: Any) -> NDArray[np.uint8]:
    """Scale bytes in the 128 by 4 tiles of Blackwell's block-scaled products.

    scales: (rows, columns) of uint8. Result: one dimension, tile after tile in row order; within a
    tile, row r and column c are at (r % 32) * 16 + r // 32 * 4 + c. Missing rows and columns are
    zero bytes. Source: cuBLAS, 1D block scaling factors layout; torchao, to_blocked.
    """
    matrix = np.asarray(scales)
    if matrix.dtype != np.uint8 or matrix.ndim != 2:
        raise TypeError(
            f"scales must be a matrix of uint8; got {matrix.dtype} of shape {matrix.shape}"
        )
    rows, columns = -(-matrix.shape[0] // 128), -(-matrix.shape[1] // 4)
    padded = np.zeros((rows * 128, columns * 4), np.uint8)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    tiles = padded.reshape(rows, 4, 32, columns, 4).transpose(0, 3, 2, 1, 4)
    return np.ascontiguousarray(tiles).reshape(-1)


def unswizzle_scales(buffer: Any, rows: int, columns: int) -> NDArray[np.uint8]:
    """The (rows, columns) of scale bytes that swizzle_scales laid out."""
    data = np.asarray(buffer)
    high = -(-_arrays.integer(rows, "rows") // 128)
    wide = -(-_arrays.integer(columns, "columns") // 4)
    if data.dtype != np.uint8 or data.size != high * wide * 512:
        raise ValueError(
            f"{rows} by {columns} scales take {high * wide * 512} bytes; got {data.size} of "
            f"{data.dtype}"
        )
    tiles = data.reshape(high, wide, 32, 4, 4).transpose(0, 3, 2, 1, 4)
    return np.ascontiguousarray(tiles.reshape(high * 128, wide * 4)[:rows, :columns])
