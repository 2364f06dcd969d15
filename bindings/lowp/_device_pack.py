"""lowp.pack and lowp.unpack of arrays on a GPU."""

from __future__ import annotations

import math
from typing import Any

from lowp._device_calls import foreign, module, source_of, told, word_of
from lowp._device_libraries import library_of

__all__ = ["pack", "unpack"]


def pack(codes: Any, bits: int) -> Any:
    """lowp.pack of an array on a device; waits for it where codes could have more bits."""
    library = library_of(codes)
    if library is None:
        return foreign(pack, codes, bits)
    if library.dtype(codes) != "uint8":
        raise TypeError(f"codes must be uint8; got {library.dtype(codes)}")
    plain, count = library.contiguous(codes), math.prod(codes.shape)
    word = word_of(library, codes, "of codes with more bits") if bits < 8 else None
    packed = library.empty(codes, ((count * max(bits, 0) + 7) // 8,), "uint8")
    with library.device(codes):
        given = source_of(library, codes, word)
        module().pack(library.pointer(plain), count, bits, library.pointer(packed), given)
        if word is not None and told(word):
            raise ValueError(f"a code has more than {bits} bits")
    return packed


def unpack(buffer: Any, bits: int, count: int) -> Any:
    """lowp.unpack of an array on a device."""
    library = library_of(buffer)
    if library is None:
        return foreign(unpack, buffer, bits, count)
    wanted = (count * bits + 7) // 8
    if library.dtype(buffer) != "uint8":
        raise TypeError(f"buffer must be uint8; got {library.dtype(buffer)}")
    if math.prod(buffer.shape) != wanted or count < 0:
        raise ValueError(
            f"{count} codes of {bits} bits take {wanted} bytes; got {math.prod(buffer.shape)}"
        )
    plain = library.contiguous(buffer)
    codes = library.empty(buffer, (count,), "uint8")
    with library.device(buffer):
        given = source_of(library, buffer)
        module().unpack(library.pointer(plain), bits, library.pointer(codes), count, given)
    return codes
