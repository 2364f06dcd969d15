"""lowp's verbs on tensors, with derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import lowp
from lowp.torch import _codes, _state
from lowp.torch._given import check_words, format_name
from lowp.torch._ops import check_dtype, parse
from lowp.torch._quantize import is_eager, quantize_eager
from lowp.torch.recipe import Quantizer

__all__ = ["TensorBlocks", "decode", "encode", "hadamard", "matmul", "quantize"]

Gradient = str | Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Call = tuple[Any, ...]  # format, axis, rounding, saturation, random_bits, seed, stream


def _call(x: torch.Tensor, call: Call) -> torch.Tensor:
    format, axis, rounding, saturation, random_bits, seed, stream = call
    return torch.ops.lowp.quantize(
        x,
        format,
        axis,
        rounding=rounding,
        saturation=saturation,
        random_bits=random_bits,
        seed=seed,
        stream=stream,
    )


class _Quantize(torch.autograd.Function):
    """The operator with any derivative, and under torch.func, which operators' own do not serve."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, call: Call, gradient: Gradient, back: Call | None) -> torch.Tensor:
        return _call(x, call)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
        x, ctx.call, ctx.gradient, ctx.back = inputs
        if ctx.gradient != "straight_through":
            ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        dx = dy if ctx.back is None else _call(dy, ctx.back)
        if ctx.gradient != "straight_through":
            x, y = ctx.saved_tensors
            if callable(ctx.gradient):
                dx = ctx.gradient(x, y, dx)
            else:
                format, axis = ctx.call[:2]
                dx = dx.masked_fill(torch.ops.lowp.saturated(x, format, axis), 0)
        return dx, None, None, None


def _prepared(x: torch.Tensor, format: Any, axis: int, modes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Name, axis, rounding, saturation and random_bits; of a Quantizer where none are given."""
    if not isinstance(format, Quantizer):
        return (format_name(format), axis, *modes)
    if format.scaling is not None:
        raise ValueError("delayed scaling needs a layer that remembers; got a Quantizer with it")
    if any(mode is not None for mode in modes):
        raise TypeError("a Quantizer says its rounding, saturation and random_bits; give no others")
    at = axis if format.axis is None else format.axis
    _state._check_ragged(x, format, at)
    return (format.format, at, format.rounding, format.saturation, format.random_bits)


def quantize(
    x: torch.Tensor,
    format: Any,
    *,
    axis: int = -1,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    gradient: Gradient = "straight_through",
    gradient_format: Any = None,
) -> torch.Tensor:
    """x on the grid of a format: same shape, dtype and device, the bits of lowp.quantize.

    x: float32, float64, float16 or bfloat16, of any strides. format: a name, Format, BlockFormat,
    dtype or Quantizer, which brings its modes, axis and gradient. axis: where blocks lie. rounding,
    saturation, random_bits, seed, stream: as in lowp.quantize, where NaN, infinity and -0 are told,
    but seed and stream below 2**63.

    gradient: the derivative: "straight_through" (one), "clipped" (zero where x is beyond the
    largest value of its format or block) or a function of (x, y, dy) that gives dx.
    gradient_format: the format that dy is put in before, a Quantizer or what format may be; its
    random bits are those of stream + 1. TypeError: integers, complex numbers. ValueError: a format
    that the dtype does not hold, an axis that there is not.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x must be a tensor; got {type(x).__name__}: lowp.quantize takes arrays")
    if not callable(gradient) and gradient not in ("straight_through", "clipped"):
        raise ValueError(
            f"gradient must be straight_through, clipped or a function; got {gradient!r}"
        )
    check_words(seed, stream if gradient_format is None else stream + 1)
    modes = (rounding, saturation, random_bits)
    is_plain = gradient == "straight_through" and gradient_format is None
    if is_plain and x.is_cuda and type(format) is str and is_eager(x):
        return quantize_eager(x, format, axis, *modes, seed, stream)
    call = (*_prepared(x, format, axis, modes), seed, stream)
    if isinstance(format, Quantizer) and gradient == "straight_through":
        gradient = format.gradient
    back = None
    if gradient_format is not None:
        back = (*_prepared(x, gradient_format, axis, (None,) * 3), seed, stream + 1)
    y: torch.Tensor = _Quantize.apply(x, call, gradient, back)
    return y


@dataclass(frozen=True, eq=False)
class TensorBlocks:
    """A tensor in a block format: what lowp.BlockTensor is, of tensors.

    codes: uint8, packed as there; scales: codes of the scale format in the shape of the blocks;
    outer_scale: float64, empty, one, or one a line.
    """

    format: lowp.BlockFormat
    codes: torch.Tensor
    scales: torch.Tensor
    outer_scale: torch.Tensor
    shape: torch.Size
    axis: int
    dtype: torch.dtype

    def decode(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The values, in dtype (None: that of the encoded tensor)."""
        return torch.ops.lowp.decode_blocks(
            self.codes,
            self.scales,
            self.outer_scale,
            self.format.name,
            list(self.shape),
            self.axis,
            dtype=dtype or self.dtype,
        )

    def numpy(self) -> lowp.BlockTensor:
        """The same as a lowp.BlockTensor, which can be saved; of the host."""
        host = [part.cpu().numpy() for part in (self.codes, self.scales, self.outer_scale)]
        dtype = np.float64 if self.dtype == torch.float64 else np.float32
        shape = tuple(self.shape)
        return lowp.BlockTensor(self.format, host[0], host[1], host[2], shape, self.axis, dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and outer scales (float32)."""
        return self.codes.nbytes + self.scales.nbytes + 4 * self.outer_scale.numel()


def encode(
    x: torch.Tensor,
    format: Any,
    *,
    axis: int = -1,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> Any:
    """Codes of x: a tensor of the smallest unsigned integers, or TensorBlocks for a block format.

    Arguments as in quantize; no derivative. TypeError and ValueError as in lowp.encode.
    """
    check_dtype(x)
    check_words(seed, stream)
    name, axis, *modes = _prepared(x, format, axis, (rounding, saturation, random_bits))
    q = Quantizer(name, *modes)
    found = parse(q.format)
    if isinstance(found, lowp.BlockFormat):
        codes, scales, outer = torch.ops.lowp.encode_blocks(
            x, q.format, axis, seed=seed, stream=stream
        )
        return TensorBlocks(found, codes, scales, outer, x.shape, axis, x.dtype)
    return torch.ops.lowp.encode(
        x,
        q.format,
        rounding=q.rounding,
        saturation=q.saturation,
        random_bits=q.random_bits,
        seed=seed,
        stream=stream,
    )


def decode(codes: Any, format: Any = None, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The values of codes in a format, or of TensorBlocks, which know theirs.

    dtype: of the result; None is float32, or that of the encoded tensor. ValueError where it does
    not hold the format's values.
    """
    if isinstance(format, Quantizer):
        format = format.format
    name = None if format is None else format_name(format)
    if isinstance(codes, TensorBlocks):
        if name is not None and parse(name) != codes.format:
            raise ValueError(f"the tensor is in {codes.format}, not in {name}")
        return codes.decode(dtype)
    if name is None:
        raise TypeError("decode: codes need their format; only TensorBlocks know theirs")
    return torch.ops.lowp.decode(codes, name, dtype=dtype or torch.float32)


def hadamard(
    x: torch.Tensor,
    size: int = 16,
    *,
    axis: int = -1,
    seed: int | None = None,
    stream: int = 0,
    inverse: bool = False,
) -> torch.Tensor:
    """Runs of `size` values along an axis by a (random) Hadamard matrix: see lowp.hadamard."""
    check_dtype(x)
    check_words(seed or 0, stream)
    return torch.ops.lowp.hadamard(x, size, axis, inverse=inverse, seed=seed, stream=stream)


def _known(format: Any) -> str | None:
    if format is None:
        return None
    return format.format if isinstance(format, Quantizer) else format_name(format)


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    c: torch.Tensor | None = None,
    accumulator: Any = "float32",
    a_format: Any = None,
    b_format: Any = None,
    out_format: Any = None,
) -> torch.Tensor:
    """a b (+ c) with every addition as the accumulator makes it, the bits of lowp.matmul of values.

    a: (..., M, K), b: (..., K, N), or vectors, as in torch.matmul. a_format, b_format: the grids
    that a (along K) and b are put on first; out_format: that of the result. Units that sum
    groups exactly (b200_mxf4, b200_nvfp4) take values of few bits, scales included, as those of
    MXFP4 are: for NVFP4 use lowp.matmul, which keeps scales apart. The derivative is that of the
    exact product: roundings pass straight through.
    """
    at = -1 if b.ndim == 1 else -2
    if a_format is not None:
        a = quantize(a, a_format, axis=-1)
    if b_format is not None:
        b = quantize(b, b_format, axis=at)
    name = accumulator if isinstance(accumulator, str) else accumulator.name
    known = {"a_format": _known(a_format), "b_format": _known(b_format)}
    y = torch.ops.lowp.matmul(a, b, name, c, **known)
    return y if out_format is None else quantize(y, out_format)


_ = _codes  # its operators are registered where it is imported
