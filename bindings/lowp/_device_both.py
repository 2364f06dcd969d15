"""Matrices of a GPU in blocks along their rows and along their columns, read once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lowp._device_calls import module, work_of
from lowp._device_libraries import library_of

__all__ = ["quantize_both"]


@lru_cache(maxsize=4096)
def _conversion(
    rows: str, columns: str, dtype: str, shape: tuple[int, int], hadamard: int
) -> tuple[Any, int]:
    """What converts matrices of one shape, and the bytes of workspace that it needs, or None."""
    try:
        made = module().BothConversion(rows, columns, dtype, *shape, hadamard)
    except NotImplementedError:
        return None, 0
    return made, made.workspace()


def quantize_both(
    x: Any,
    rows: str,
    columns: str,
    *,
    hadamard: int = 0,
    row_source: tuple[int, int] = (0, 0),
    column_source: tuple[int, int] = (0, 0),
    signs: tuple[int, int] | None = None,
    stream_offset: Any = None,
    signs_offset: Any = None,
) -> tuple[Any, Any]:
    """x in the block format `rows` along axis -1, and in `columns` along axis 0, there after
    Hadamard runs of `hadamard` values: two arrays in C order.

    x: a matrix in C order. row_source, column_source: seed and stream of random bits; signs: of the
    transform's, None without. stream_offset, signs_offset: int64 arrays of one on the device, added
    to these streams. NotImplementedError where lowp::cuda::has_both says no.
    """
    library = library_of(x)
    if library is None or x.ndim != 2 or not library.is_plain(x):
        raise NotImplementedError("matrices of PyTorch's or CuPy's, in C order")
    if not library.is_current(x):
        raise NotImplementedError("matrices of the current device")
    shape = (x.shape[0], x.shape[1])
    made, size = _conversion(rows, columns, library.dtype(x), shape, hadamard)
    if made is None or library.pointer(x) % 16:
        raise NotImplementedError("no kernel works both ways here")
    a, b = library.empty_like(x), library.empty_like(x)
    work, at = work_of(library, x, size)
    offset = 0 if stream_offset is None else library.pointer(stream_offset)
    turned = None
    if signs is not None:
        turned = (*signs, 0, 0 if signs_offset is None else library.pointer(signs_offset))
    made.quantize(
        library.pointer(x),
        library.pointer(a),
        library.pointer(b),
        at,
        (*row_source, 0, offset),
        (*column_source, 0, offset),
        turned,
        library.stream(x),
    )
    del work
    return a, b
