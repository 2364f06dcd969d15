"""What a tensor is quantized to, a format or a block format, behind calls of one shape.

Measures and pictures take either and ask here for the values, the codes and the number of codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lowp

from ._arrays import code_dtype
from ._block_tensor import BlockTensor, block_bits

__all__ = [
    "MAX_CODE_BITS",
    "BlockCodes",
    "Options",
    "bits_per_value",
    "block_limits",
    "code_count",
    "resolve",
    "slabs",
]

#: Formats of more bits have no histogram of codes: it would be larger than most tensors.
MAX_CODE_BITS = 16

#: About the elements that are converted at a time, where blocks do not reach further.
_SLAB = 1 << 24

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Target = lowp.Format | lowp.BlockFormat


class BlockCodes(NamedTuple):
    """What a block format made of a tensor besides the values, in the tensor's shape."""

    #: Codes of the elements.
    codes: NDArray[np.unsignedinteger[Any]]
    #: Where values are beyond the largest or lowest of their block.
    clipped: Bools
    #: Where elements are subnormal; None for a codebook, which has no such.
    subnormal: Bools | None


@dataclass(frozen=True)
class Options:
    """How to quantize; the names and defaults are those of `lowp.quantize`."""

    rounding: str | None = None
    saturation: str | None = None
    random_bits: int | None = None
    seed: int = 0
    stream: int = 0

    def quantize(self, x: Floats, target: Target, axis: int, first_index: int = 0) -> Floats:
        """`x` on the target's grid. `first_index` is the place of x's first element in the whole
        tensor, so that stochastic rounding does not depend on how the tensor was cut.
        """
        if isinstance(target, lowp.BlockFormat):
            return np.asarray(lowp.quantize(x, target, axis=axis, **vars(self)))
        if first_index == 0 or not (self.rounding or "").startswith("stochastic"):
            return lowp.quantize(x, target, **vars(self))
        random_bits = 32 if self.random_bits is None else self.random_bits
        words = lowp.random_bits(
            x.size, seed=self.seed, stream=self.stream, first_index=first_index
        )
        return lowp.quantize(
            x,
            target,
            rounding=self.rounding,
            saturation=self.saturation,
            random_bits=random_bits,
            random=(words >> np.uint32(32 - random_bits)).reshape(x.shape),
        )

    def block_codes(self, x: Floats, target: lowp.BlockFormat, axis: int) -> BlockCodes:
        """Codes of the elements of a block format, and which are clipped or subnormal. They are
        those of x itself: values that are on the grid already may get other scales.
        """
        tensor = self._encoded(x, target, axis)
        codes = tensor.element_codes()
        lowest, largest = block_limits(tensor)
        with np.errstate(invalid="ignore"):
            clipped = (x < lowest) | (x > largest)
        return BlockCodes(codes, clipped, _subnormal(codes, target.element))

    def _encoded(self, x: Floats, target: lowp.BlockFormat, axis: int) -> BlockTensor:
        """x in a block format, to count by: codes of NaN and infinite values are of no matter.

        Where neither scale nor element has a NaN, zeros stand for them; `quantize` makes their
        blocks NaN all the same.
        """
        element = target.element
        if not (target.scale.has_nan or (isinstance(element, lowp.Format) and element.has_nan)):
            is_number = target.fields["infinity"] == "number"
            x = np.where(np.isnan(x) if is_number else ~np.isfinite(x), x.dtype.type(0), x)
        # The code of NaN: elements without NaN need one.
        return lowp.encode(x, target, axis=axis, nan=0, packed=False, **vars(self))

    def in_units(self, x: Floats, target: lowp.BlockFormat, axis: int) -> Floats:
        """x over its scales, so that the largest element is that of the element format; NaN where
        a scale is zero.
        """
        tensor = self._encoded(x, target, axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(x / (block_limits(tensor)[1] / target.element_max))


def block_limits(tensor: BlockTensor) -> tuple[Floats, Floats]:
    """The lowest and the largest value that each element could have in its block."""
    block, element = tensor.format, tensor.format.element
    wide = np.dtype(np.float64 if tensor.dtype == np.float64 else np.float32)
    code_type = code_dtype(block.element_bits).newbyteorder("<")
    ends = (0, len(element) - 1) if isinstance(element, np.ndarray) else _ends(element)
    lowest, largest = (
        BlockTensor(
            block,
            np.full(tensor.shape, code, code_type).reshape(-1).view(np.uint8),
            tensor.scales,
            tensor.outer_scale,
            tensor.shape,
            tensor.axis,
            wide,
            packed=False,
        ).decode()
        for code in ends
    )
    return lowest, largest


def _ends(element: lowp.Format) -> tuple[int, int]:
    return element.lowest_code, element.max_code


def _subnormal(codes: NDArray[Any], element: lowp.Format | NDArray[Any]) -> Bools | None:
    if not isinstance(element, lowp.Format):
        return None
    if element.bits > MAX_CODE_BITS:
        magnitudes = np.abs(lowp.decode(codes, element, dtype=np.float64))
        return np.asarray((magnitudes > 0) & (magnitudes < element.min_normal))
    every = np.arange(1 << element.bits).astype(codes.dtype)
    magnitudes = np.abs(lowp.decode(every, element, dtype=np.float64))
    table = (magnitudes > 0) & (magnitudes < element.min_normal)
    return np.asarray(table[codes])


def resolve(target: Any) -> Target:
    """The format or block format of a name; formats themselves are returned as they are.

    ValueError: an unknown name. TypeError: neither a name nor a format.
    """
    if lowp.is_block_format(target):
        return lowp.block_format(target)
    try:
        return lowp.format(target)
    except ValueError as error:
        is_said = "; block formats: " in str(error)
        near = [] if is_said else get_close_matches(str(target), lowp.block_formats(), 1)
        hint = f"; did you mean the block format {near[0]!r}?" if near else ""
        raise ValueError(f"{error}{hint}") from None


def code_count(target: Target) -> int | None:
    """Number of codes of an element: 2**bits, or a codebook's length. None above 16 bits."""
    element = target.element if isinstance(target, lowp.BlockFormat) else target
    if not isinstance(element, lowp.Format):
        return len(element)
    return 2**element.bits if element.bits <= MAX_CODE_BITS else None


def bits_per_value(target: Target, shape: tuple[int, ...], axis: int = -1) -> float:
    """Bits an element of a tensor takes, scales included; NaN for an empty one."""
    if isinstance(target, lowp.Format):
        return float(target.bits)
    return block_bits(target, shape, axis)


def slabs(
    shape: tuple[int, ...], target: Target, axis: int, rounding: str | None = None
) -> list[slice]:
    """Rows along the first axis that can be converted one after the other with the result of the
    whole: whole blocks, no second level, no random bits that count from the first element.
    """
    whole = [slice(None)]
    if len(shape) < 2 or (rounding or "").startswith("stochastic"):
        return whole
    step = max(1, _SLAB // max(1, math.prod(shape[1:])))
    if isinstance(target, lowp.BlockFormat):
        roundings = target.fields["rounding"], target.fields["scale_rounding"]
        is_random = any(word.startswith("stochastic") for word in roundings)
        is_wide = target.fields["outer"] != "none" or target.shape in ("tensor", "column")
        if is_random or is_wide or axis % len(shape) == 0:
            return whole
        if isinstance(target.shape, tuple) and len(shape) == 2:
            step = -(-step // target.shape[0]) * target.shape[0]
    return [slice(start, start + step) for start in range(0, shape[0], step)]
