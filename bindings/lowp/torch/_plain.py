"""The verbs in tensor operations: what runs where no kernel is, with the kernel's bits.

Nothing waits for the device but what has to be refused: a NaN for a format without one, a code with
bits above the format's. Scalar formats: `_plain_line`; blocks: `_plain_blocks`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import lowp
from lowp._arrays import code_dtype
from lowp.torch._plain_line import (
    CARRIERS,
    decode_bits,
    encode_bits,
    from_words,
    make_plan,
    quantize_bits,
    signed,
    to_words,
)
from lowp.torch._plain_random import Word, random_bits

__all__ = ["decode", "encode", "hadamard", "quantize", "random_bits"]


def _words(x: Tensor, rounding: str, seed: Word, stream: Word, generator: str) -> Tensor | None:
    """Random words of the elements; None for modes that need none."""
    if not rounding.startswith("stochastic"):
        return None
    return random_bits(x.shape, seed=seed, stream=stream, generator=generator, device=x.device)


def quantize(
    x: Tensor,
    format: lowp.Format | lowp.BlockFormat,
    *,
    axis: int = -1,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: Word = 0,
    stream: Word = 0,
    generator: str = "philox4x32_10",
) -> Tensor:
    """x on the grid of the format: `lowp.quantize` in tensor operations, equal to the bit.

    x: float32, float64, float16 or bfloat16, any shape, any device. Result: x's shape and dtype, in
    C order. NaN stays as it is (in blocks as the format's edges say, payloads apart); overflow and
    infinity as the saturation says; -0 stays where the format has one; empty gives empty. seed,
    stream: ints below 2**64 or 0-dim int64 tensors. ValueError where the dtype does not hold the
    format's values. NotImplementedError for block formats that `_plain_blocks.quantize` lists.
    """
    source: dict[str, Any] = {"seed": seed, "stream": stream, "generator": generator}
    if isinstance(format, lowp.BlockFormat):
        from lowp.torch import _plain_blocks

        block = _plain_blocks.with_options(format, rounding, saturation, random_bits)
        return _plain_blocks.quantize(x, block, axis=axis, **source)
    p = make_plan(
        format, rounding or "nearest_ties_to_even", saturation or "none", random_bits or 32, x.dtype
    )
    return from_words(quantize_bits(p, to_words(x), _words(x, p.rounding, **source)), x.dtype)


def encode(
    x: Tensor,
    format: lowp.Format,
    *,
    nan: int | None = None,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: Word = 0,
    stream: Word = 0,
    generator: str = "philox4x32_10",
) -> Tensor:
    """Codes of x: uint8, uint16, uint32 or uint64, the narrowest that holds them; x's shape.

    nan: the code that NaN gets, None for the format's own. ValueError for a NaN where there is
    neither; only then the device is waited for. Otherwise as `quantize`.
    """
    wide = x.float() if CARRIERS[x.dtype].width == 16 else x
    p = make_plan(
        format,
        rounding or "nearest_ties_to_even",
        saturation or "none",
        random_bits or 32,
        wide.dtype,
    )
    nan_code = p.nan_code if nan is None else signed(nan)
    if nan_code is None and bool(x.isnan().any()):
        raise ValueError(f"{format} has no NaN; got NaN: pass nan, the code it is to get")
    random = _words(x, p.rounding, seed, stream, generator)
    codes = encode_bits(p, to_words(wide), random, nan_code or 0)
    return codes.to(getattr(torch, code_dtype(format.bits).name))


def decode(codes: Tensor, format: lowp.Format, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values of codes in dtype; codes: integers of any size, as `encode` gives them.

    A NaN code gives a quiet NaN. ValueError for a code with bits above the format's, and where the
    dtype does not hold the format's values.
    """
    p = make_plan(format, "nearest_ties_to_even", "none", 32, dtype)
    width = codes.element_size() * 8
    whole = codes.to(torch.int64) & signed((1 << width) - 1)
    if width > format.bits and bool((whole >> format.bits != 0).any()):
        raise ValueError(f"codes of {format} have {format.bits} bits; got a code with higher bits")
    return from_words(decode_bits(p, whole), dtype)


def hadamard(
    x: Tensor,
    size: int = 16,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    signs: Tensor | None = None,
    inverse: bool = False,
    axis: int = -1,
) -> Tensor:
    """`lowp.hadamard` in tensor operations: the same sums in the same order, so the same bits.

    x: a float tensor, its axis a multiple of size; size: a power of two, 2 to 256. signs: 1 or -1,
    size of them, of any dtype; they are not looked at. ValueError for other sizes.
    """
    if size < 2 or size > 256 or size & (size - 1):
        raise ValueError(f"size must be a power of two from 2 to 256; got {size}")
    length = x.shape[axis] if x.ndim else 1
    if length % size:
        raise ValueError(f"axis {axis} must be a multiple of size {size}; got {length}: pad it")
    if seed is not None and signs is not None:
        raise ValueError("give signs or a seed for them, not both")
    minus = None if signs is None else signs.to(x.device).reshape(-1) < 0
    if seed is not None:
        minus = random_bits(size, seed=seed, stream=stream, device=x.device) >> 31 != 0
    if minus is not None and minus.numel() != size:
        raise ValueError(f"signs must have {size} entries; got {minus.numel()}")
    y = x.movedim(axis, -1).to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    moved = y.shape
    y = y.reshape(-1, size)
    if minus is not None and not inverse:
        y = torch.where(minus, -y, y)
    distance = 1
    while distance < size:
        a, b = y.reshape(-1, size // (2 * distance), 2, distance).unbind(2)
        y = torch.stack((a + b, a - b), 2).reshape(-1, size)
        distance *= 2
    y = y * (1 / math.sqrt(size))
    if minus is not None and inverse:
        y = torch.where(minus, -y, y)
    return y.reshape(moved).movedim(-1, axis).to(x.dtype).contiguous()
