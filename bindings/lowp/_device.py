"""The verbs on arrays of a GPU: PyTorch's, CuPy's and through these any other's, by lowp._cuda.

Nothing here waits for the device but what the data may refuse: a NaN for a format without one, bits
above a code's. Results are new arrays of the library that x is of, on the stream that is current.
What depends on names and shapes alone is worked out once: a call costs some microseconds.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from lowp import _arrays, _blocks, _core
from lowp._block_tensor import check_axis
from lowp._device_calls import (
    NAN_WITHOUT_CODE,
    Source,
    check_floats,
    check_no_gradient,
    check_random,
    dtype_name,
    foreign,
    kernels,
    module,
    remembered,
    source_of,
    told,
    word_of,
    work_of,
)
from lowp._device_libraries import Library, is_device, library_of
from lowp._device_out import check_out, plain_target, settled, target
from lowp._device_pack import pack, unpack

__all__ = [
    "block_conversion",
    "block_of",
    "check_no_gradient",
    "decode",
    "encode",
    "given_random",
    "given_scales",
    "is_device",
    "kernels",
    "pack",
    "quantize",
    "quantize_blocks",
    "unpack",
]

_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


# ---- what is worked out once ---------------------------------------------------------------------


@remembered
def _conversion(
    fmt: Any, dtype: str, rounding: Any, saturation: Any, random_bits: Any
) -> tuple[Any, _core.Format]:
    check_floats(dtype)
    target = _core.format(fmt)
    modes = (rounding or "nearest_ties_to_even", saturation or "none")
    bits = 32 if random_bits is None else random_bits
    return module().Conversion(target.name, dtype, *modes, bits), target


@remembered
def block_of(fmt: Any, rounding: Any, saturation: Any, random_bits: Any) -> _core.BlockFormat:
    """The block format of a call."""
    module()
    return _blocks._format(fmt, rounding, saturation, random_bits)


@lru_cache(maxsize=4096)
def block_conversion(name: str, dtype: str, shape: tuple[int, ...], axis: int) -> tuple[Any, int]:
    """What converts arrays of one shape, and the bytes of workspace that quantize needs."""
    check_floats(dtype)
    made = module().BlockConversion(name, dtype, list(shape), axis)
    return made, made.workspace(False)


_is_block = remembered(_core.is_block_format)


# ---- quantize ------------------------------------------------------------------------------------


def quantize(
    x: Any,
    fmt: Any,
    *,
    axis: int = -1,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    random: Any = None,
    scales: Any = None,
    out: Any = None,
    threads: Any = None,
    **source: Any,
) -> Any:
    """lowp.quantize of an array on a device, to the bit.

    x: float32, float64, float16 or bfloat16 of any strides. out: as x, or None. source: seed,
    stream, generator, and stream_offset, an int64 array of one on the device, added to stream.
    NotImplementedError for what the device does not do. random: uint32 of x's shape on the device,
    or integers of the host; scales: float64 of the blocks' shape there or of the host, or a
    function of the blocks.
    """
    library = library_of(x)
    if library is None or not library.is_current(x):
        named: dict[str, Any] = {"rounding": rounding, "saturation": saturation, "axis": axis}
        named |= {"random_bits": random_bits, "random": random, "scales": scales, "out": out}
        if library is None:
            return foreign(quantize, x, fmt, **named, **source)
        with library.device(x):
            return quantize(x, fmt, **named, **source)
    modes = (rounding, saturation, random_bits)
    if out is not None:
        check_out(library, x, out, tuple(x.shape), (library.dtype(x),))
    block = block_of(fmt, *modes) if _is_block(fmt) else None
    if block is None and scales is not None:
        raise ValueError("scales is of block formats; a scalar format has none")
    words = word = None
    if random is not None:
        words, word = given_random(library, x, random, random_bits if block is None else block)
    if source or words is not None:
        given = source_of(library, x, word, random=words, **source)
    else:
        given = (0, 0, 0, 0, 0, library.stream(x), 0)
    if block is not None:
        at = check_axis(axis, x.ndim)
        ideals = given_scales(library, x, block, at, scales)
        y = quantize_blocks(library, x, block, at, given, out=out, ideals=ideals, words=words)
    else:
        made, _ = _conversion(fmt, library.dtype(x), *modes)
        y = _quantize_values(library, x, made, given, out, words)
    check_random(word)
    return y


def _quantize_values(
    library: Library, x: Any, made: Any, given: Source, out: Any, words: Any
) -> Any:
    """x by a conversion to a scalar format, in out or in memory like x's. words: random bits."""
    y = library.empty_like(x) if out is None else target(library, out, x, words)
    if library.is_plain(x) and library.is_plain(y):
        made.quantize(library.pointer(x), library.pointer(y), math.prod(x.shape), given)
    else:
        made.quantize_strided(
            library.pointer(x),
            library.strides(x),
            library.pointer(y),
            library.strides(y),
            x.shape,
            given,
        )
    return y if out is None else settled(library, y, out)


def given_random(library: Library, x: Any, random: Any, of: Any) -> tuple[Any, Any]:
    """Random bits given, and the word that tells of too large ones where they can be that."""
    from lowp import _device_given

    bits = of if of is None or isinstance(of, int) else of.fields["random_bits"]
    words = _device_given.random_words(library, x, random)
    if bits is None or bits == 32:
        return words, None
    return words, word_of(library, x, f"of random bits of 2**{bits} or more")


def given_scales(library: Library, x: Any, block: _core.BlockFormat, axis: int, scales: Any) -> Any:
    if scales is None:
        return None
    from lowp import _device_given

    return _device_given.ideal_scales(library, x, block, axis, scales)


def quantize_blocks(
    library: Library,
    x: Any,
    block: _core.BlockFormat,
    axis: int,
    given: Source,
    *,
    out: Any = None,
    ideals: Any = None,
    words: Any = None,
) -> Any:
    """x in a block format, in out or in memory like x's. ideals, words: scales and random bits on
    the device.
    """
    made, size = block_conversion(block.name, library.dtype(x), tuple(x.shape), axis)
    plain = library.contiguous(x)
    result = library.empty_like(x) if out is None else out
    if out is not None:
        y = plain_target(library, out, plain, ideals, words)
    elif library.is_plain(result):
        y = result
    else:
        y = library.empty(x, tuple(x.shape), library.dtype(x))
    work, at = work_of(library, x, size)
    scales = 0 if ideals is None else library.pointer(ideals)
    made.quantize(library.pointer(plain), library.pointer(y), at, scales, given)
    del work
    if out is not None:
        return settled(library, y, out)
    if y is not result:
        result[...] = y
    return result


# ---- encode, decode ------------------------------------------------------------------------------


def _nan_code(nan: Any, target: _core.Format) -> int | None:
    return None if nan is None else int(_core.encode(math.nan, target, nan=nan))


def encode(
    x: Any,
    fmt: Any,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    nan: Any = None,
    random: Any = None,
    out: Any = None,
    threads: Any = None,
    **source: Any,
) -> Any:
    """Codes of x, in C order or in out: lowp.encode of an array on a device.

    Waits for the device only where the format has no NaN and nan does not say what one becomes.
    """
    library = library_of(x)
    if library is None or not library.is_current(x):
        named: dict[str, Any] = {"rounding": rounding, "saturation": saturation}
        named |= {"random_bits": random_bits, "nan": nan, "random": random, "out": out, **source}
        if library is None:
            return foreign(encode, x, fmt, **named)
        with library.device(x):
            return encode(x, fmt, **named)
    made, number = _conversion(fmt, library.dtype(x), rounding, saturation, random_bits)
    nan_code = _nan_code(nan, number)
    word = None
    if nan_code is None and not number.has_nan:
        word = word_of(library, x, f"of a NaN, for which {number} has no code: pass nan, its code")
    words = None
    if random is not None:
        words, told_to = given_random(library, x, random, random_bits)
        word = word if told_to is None else told_to
    codes, size = _codes_for(library, x, number, out, words)
    made.encode(
        library.pointer(x),
        library.strides(x),
        library.pointer(codes),
        library.strides(codes),
        size,
        x.shape,
        nan_code,
        source_of(library, x, word, random=words, **source),
    )
    if out is not None:
        codes = settled(library, codes, out)
    bits = 0 if word is None else told(word)
    if bits & NAN_WITHOUT_CODE:
        raise ValueError(f"{number} has no NaN; got NaN: pass nan, the code it is to get")
    if bits:
        raise ValueError("random must be below 2**random_bits; got larger ones")
    return codes


def _codes_for(
    library: Library, x: Any, number: _core.Format, out: Any, words: Any
) -> tuple[Any, int]:
    """Memory for codes of x, and the bytes of one. words: random bits that are read, or None."""
    fitting = _UNSIGNED[_UNSIGNED.index(_arrays.code_dtype(number.bits).name) :]
    if out is None:
        return library.empty(x, tuple(x.shape), fitting[0]), np.dtype(fitting[0]).itemsize
    check_out(library, x, out, tuple(x.shape), fitting)
    return target(library, out, x, words), np.dtype(library.dtype(out)).itemsize


def decode(codes: Any, fmt: Any, *, dtype: Any = None, out: Any = None, threads: Any = None) -> Any:
    """Values of codes in dtype (None: out's, or float32), in C order or in out: lowp.decode of an
    array on a device. Waits for the device only where the codes' integers have more bits than the
    format.
    """
    library = library_of(codes)
    if library is None:
        return foreign(decode, codes, fmt, dtype=dtype, out=out)
    if not library.is_current(codes):
        with library.device(codes):
            return decode(codes, fmt, dtype=dtype, out=out)
    integer = library.dtype(codes)
    if integer not in _UNSIGNED:
        raise TypeError(f"codes must be unsigned integers; got {integer}")
    size = np.dtype(integer).itemsize
    name = library.dtype(out) if dtype is None and out is not None else dtype_name(dtype)
    check_floats(name, "dtype")
    shape = tuple(codes.shape)
    if out is not None:
        check_out(library, codes, out, shape, (name,), "codes")
    y = library.empty(codes, shape, name) if out is None else target(library, out, codes)
    made, source = _conversion(fmt, name, None, None, None)
    word = None
    if 8 * size > source.bits:
        word = word_of(
            library, codes, f"of codes with more bits than the {source.bits} of {source}"
        )
    made.decode(
        library.pointer(codes),
        library.strides(codes),
        size,
        library.pointer(y),
        library.strides(y),
        codes.shape,
        source_of(library, codes, word),
    )
    if out is not None:
        y = settled(library, y, out)
    if word is not None and told(word):
        raise ValueError(f"codes of {source} have {source.bits} bits; got a code with higher bits")
    return y


def __getattr__(name: str) -> Any:
    """What is in lowp._device_blocks, under the names that it had here."""
    if name in ("decode_blocks", "encode_blocks"):
        return getattr(import_module("lowp._device_blocks"), name)
    raise AttributeError(f"module 'lowp._device' has no attribute {name!r}")
