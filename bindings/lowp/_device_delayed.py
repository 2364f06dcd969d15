"""Tensors of a GPU with the scale that past calls left, read once; history and scale stay there."""

from __future__ import annotations

import math
from typing import Any

from lowp._device_calls import check_floats, module, remembered, source_of, work_of
from lowp._device_libraries import library_of

__all__ = ["quantize"]


@remembered
def _conversion(name: str, dtype: str) -> tuple[Any, int]:
    """What converts arrays of a dtype, and the bytes of workspace that it needs, or None."""
    check_floats(dtype)
    try:
        made = module().DelayedConversion(name, dtype)
    except NotImplementedError:
        return None, 0
    return made, made.workspace()


def quantize(
    x: Any,
    history: Any,
    scale: Any,
    name: str,
    *,
    margin: int,
    take: str,
    observe: bool,
    **source: Any,
) -> Any:
    """x in the block format `name`, one block of all of x, with this scale, in memory like x's;
    then, where `observe` says so, history and scale as lowp.DelayedScaling.observe leaves them.
    None for what no kernel does.

    history, scale: on x's device, which is the current one; kernels take float32, the history in C
    order. source: seed, stream and stream_offset of random bits.
    """
    library: Any = library_of(x)
    made, size = _conversion(name, library.dtype(x))
    dtypes = {library.dtype(history), library.dtype(scale)}
    if made is None or dtypes != {"float32"} or not library.is_plain(history):
        return None
    plain = library.contiguous(x)
    result = library.empty_like(x)
    is_plain = library.is_plain(result)
    y = result if is_plain else library.empty(x, tuple(x.shape), library.dtype(x))
    work, at = work_of(library, x, size)
    made.quantize(
        library.pointer(plain),
        library.pointer(y),
        math.prod(x.shape),
        library.pointer(history),
        math.prod(history.shape),
        library.pointer(scale),
        margin,
        take,
        "amax" if observe else "nothing",
        at,
        source_of(library, x, **source),
    )
    del work
    if observe:
        library.written(history)
        library.written(scale)
    if not is_plain:
        result[...] = y
    return result
