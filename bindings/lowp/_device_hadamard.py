"""lowp.hadamard of arrays on a GPU."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from lowp import _arrays
from lowp._block_tensor import check_axis
from lowp._device_calls import check_floats, foreign, module
from lowp._device_libraries import is_device, library_of
from lowp._device_out import check_out, plain_target, settled

__all__ = ["hadamard"]


def hadamard(
    x: Any,
    size: int = 16,
    *,
    seed: int | None = None,
    stream: int = 0,
    stream_offset: Any = None,
    signs: Any = None,
    inverse: bool = False,
    axis: int = -1,
    out: Any = None,
    threads: Any = None,
) -> Any:
    """lowp.hadamard of an array on a device, in C order: the same bits, but NaN are the device's.

    stream_offset: an int64 array of one on the device, added to stream.
    """
    library = library_of(x)
    named: dict[str, Any] = {"seed": seed, "stream": stream, "stream_offset": stream_offset}
    if library is None:
        named |= {"signs": signs, "inverse": inverse, "axis": axis}
        return foreign(hadamard, x, size, out=out, **named)
    dtype, shape = library.dtype(x), tuple(x.shape)
    check_floats(dtype)
    at = check_axis(axis, len(shape))
    _check(shape, axis, index(size), seed is not None and signs is not None)
    if out is not None:
        check_out(library, x, out, shape, (dtype,))
    columns = math.prod(shape[at % len(shape) + 1 :])
    offset = 0 if stream_offset is None else library.pointer(stream_offset)
    source = None
    if seed is not None:
        source = (_arrays.word(seed, "seed"), _arrays.word(stream, "stream"), offset)
    with library.device(x):
        given = None if signs is None else library.from_host(x, _signs(signs, size))
        plain = library.contiguous(x)
        y = library.empty(x, shape, dtype) if out is None else plain_target(library, out, plain)
        module().hadamard(
            library.pointer(plain),
            library.pointer(y),
            dtype,
            math.prod(shape),
            index(size),
            max(columns, 1),
            source,
            0 if given is None else library.pointer(given),
            bool(inverse),
            library.stream(x),
        )
        return y if out is None else settled(library, y, out)


def _check(shape: tuple[int, ...], axis: int, size: int, has_both: bool) -> None:
    if size < 2 or size > 256 or size & (size - 1):
        raise ValueError(f"size must be a power of two from 2 to 256; got {size}")
    if has_both:
        raise ValueError("give signs or a seed for them, not both")
    length = shape[axis] if shape else 1
    if not shape or length % size:
        raise ValueError(f"axis {axis} must be a multiple of size {size}; got {length}: pad it")


def _signs(signs: Any, size: int) -> np.ndarray[Any, Any]:
    """Signs of the host or of a device, looked at on the host."""
    values: Any = signs
    library = library_of(signs) if is_device(signs) else None
    if library is not None:
        values = library.host(signs)
    found = np.asarray(values).reshape(-1)
    wrong = found[(found != 1) & (found != -1)]
    if wrong.size:
        raise ValueError(f"signs must be 1 or -1; got {wrong[0]}")
    if found.size != size:
        raise ValueError(f"signs must have {size} entries; got {found.size}")
    return found.astype(np.int8)
