"""Tensors of a GPU with the scale that past calls left, read once; history and scale stay there."""

from __future__ import annotations

import math
from typing import Any

from lowp._device_calls import module, remembered, source_of, work_of
from lowp._device_libraries import library_of

__all__ = ["quantize"]


@remembered
def _conversion(name: str, dtype: str) -> tuple[Any, int]:
    """What converts arrays of a dtype, and the bytes of workspace that it needs, or None."""
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
    """x in the block format `name`, one block of all of x, with this scale; then, where `observe`
    says so, history and scale as lowp.DelayedScaling.observe leaves them.

    history, scale: float32 on x's device, which is the current one, history in C order. source:
    seed, stream and stream_offset of random bits. NotImplementedError for what no kernel does.
    """
    library = library_of(x)
    if library is None or not library.is_current(x) or not library.is_plain(history):
        raise NotImplementedError("tensors of the current device, a history in C order")
    if library.dtype(history) != "float32" or library.dtype(scale) != "float32":
        raise NotImplementedError("histories and scales of float32")
    made, size = _conversion(name, library.dtype(x))
    if made is None:
        raise NotImplementedError("no kernel has delayed scales of this format")
    plain = library.contiguous(x)
    y = library.empty_like(plain)
    work, at = work_of(library, x, size)
    made.quantize(
        library.pointer(plain),
        library.pointer(y),
        math.prod(x.shape),
        library.pointer(history),
        math.prod(history.shape),
        library.pointer(scale),
        margin,
        take == "most_recent",
        observe,
        at,
        source_of(library, x, **source),
    )
    del work
    if observe:
        library.written(history)
        library.written(scale)
    return y
