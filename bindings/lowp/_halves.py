"""The verbs on float16 and bfloat16 by their codes: arrays of uint16, as any library has them.

The values go through the loops of float32 in panels that stay in the cache, with the bits that the
same values as float32 arrays give. `half` is "float16", "bfloat16" or that Format.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays, _blocks, _core

Codes = NDArray[np.uint16]

# The options of the verbs and what they are where nothing is said.
_MODES: dict[str, Any] = {
    "rounding": None,
    "saturation": None,
    "random_bits": None,
    "seed": 0,
    "stream": 0,
    "generator": "philox4x32_10",
    "threads": None,
}

__all__ = ["decode", "encode", "quantize"]


def _plain(codes: Any, half: Any) -> tuple[Codes, _core.Format]:
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint16:
        got = getattr(codes, "dtype", type(codes).__name__)
        raise TypeError(f"codes of halves must be an array of uint16; got {got}")
    return _arrays._contiguous(codes.view(np.ndarray)), _core.format(half)


def _modes(options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(options.keys() - _MODES.keys())
    if unknown:
        raise TypeError(f"{unknown[0]!r} is none of the options {', '.join(_MODES)}")
    return _MODES | options


def _into(out: Codes | None, y: Codes) -> Codes:
    """y where the caller wants it."""
    if out is None or y is out:
        return y
    np.copyto(out, y)
    return out


def quantize(
    codes: Codes,
    half: _core.Format | str,
    fmt: Any,
    *,
    axis: int = -1,
    scales: Any = None,
    random: Any = None,
    out: Codes | None = None,
    **options: Any,
) -> Codes:
    """Codes, in the half, of the values of `codes` on the grid of a format or block format.

    codes: uint16 of any shape and strides. out: uint16 of that shape, codes itself for in place.
    NaN becomes the half's quiet NaN; all else, the options included, as lowp.quantize. Raises
    TypeError for other codes, ValueError where the half does not hold the format's values.
    """
    memory, of_half = _plain(codes, half)
    if out is not None:
        _arrays._check_out(out, memory.shape, np.dtype(np.uint16), "uint16, those of codes")
    modes = _modes(options)
    if _core.is_block_format(fmt):
        modes |= {"axis": axis, "scales": scales, "random": random}
        return _into(out, _blocks.quantize_memory(memory, of_half, fmt, out=out, **modes))
    _refuse_scales(scales)
    target = _core.format(fmt)
    _arrays._check_holds(of_half, target)
    words = _arrays._plain_random(random, memory.shape)
    y = _arrays.target(out, memory, words)
    _core._quantize_halves(of_half, memory, y, target, random=words, **modes)
    return _into(out, y)


def encode(
    codes: Codes,
    half: _core.Format | str,
    fmt: Any,
    *,
    axis: int = -1,
    scales: Any = None,
    packed: bool | None = None,
    nan: float | int | None = None,
    random: Any = None,
    **options: Any,
) -> Any:
    """Codes, in a format, of the values of `codes`: the smallest unsigned integers that hold them.

    A block format gives a BlockTensor, decoded to float16 or, as NumPy has no bfloat16, to float32
    where nothing is said. All else as lowp.encode.
    """
    memory, of_half = _plain(codes, half)
    modes = _modes(options)
    if _core.is_block_format(fmt):
        modes |= {"axis": axis, "scales": scales, "random": random, "packed": packed, "nan": nan}
        dtype = np.dtype(np.float16 if of_half == _core.format("float16") else np.float32)
        return _blocks.encode_memory(memory, of_half, dtype, fmt, **modes)
    _refuse_scales(scales)
    target = _core.format(fmt)
    y = np.empty(memory.shape, _arrays.code_dtype(target.bits))
    # What encode makes of the argument: a code, or the reason why not.
    nan_code = None if nan is None else int(_core.encode(math.nan, target, nan=nan))
    words = _arrays._plain_random(random, memory.shape)
    _core._encode_halves(of_half, memory, y, target, nan=nan_code, random=words, **modes)
    return y


def decode(
    codes: Any,
    half: _core.Format | str,
    fmt: Any = None,
    *,
    out: Codes | None = None,
    threads: int | None = None,
) -> Codes:
    """Codes, in the half, of the values of codes of a format or of a BlockTensor.

    codes: unsigned integers of any width, shape and strides. out: uint16 of that shape. All else as
    lowp.decode. Raises ValueError where the half does not hold the format's values.
    """
    of_half = _core.format(half)
    if out is not None:
        _arrays._check_out(out, codes.shape, np.dtype(np.uint16), "uint16, that of codes")
    if isinstance(codes, _blocks.BlockTensor):
        _blocks._check_holds(of_half, codes.format)
        y = _arrays.target(out, np.empty(codes.shape, np.uint16))
        codes.decode_memory(y, of_half, threads)
        return _into(out, y)
    source = _core.format(fmt)
    _arrays._check_holds(of_half, source)
    plain = _arrays._contiguous(codes)
    y = _arrays.target(out, np.empty(plain.shape, np.uint16), plain)
    _core._decode_halves(of_half, plain, y, source, threads=threads)
    return _into(out, y)


def _refuse_scales(scales: Any) -> None:
    if scales is not None:
        raise ValueError("scales are of block formats; divide by a scale of your own yourself")
