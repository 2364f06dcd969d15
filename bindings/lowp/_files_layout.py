"""How tensors lie in a safetensors file: the parts of each, and what the metadata says of it.

A block tensor `w` is `w` (codes), `w.scales` and, where there is a second level, `w.outer_scale`,
so that any safetensors library reads the file as plain tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lowp

from ._arrays import code_dtype
from ._block_tensor import BlockTensor, grid, line_length, outer_count
from ._readers_core import KINDS, TensorFile, brief
from .readers import PACKED_BITS

__all__ = [
    "KEY",
    "VERSION",
    "Blocks",
    "Codes",
    "Layout",
    "Part",
    "Plain",
    "blocks_of_tensor",
    "parse_layout",
    "pieces_of_bytes",
]

#: The metadata entry that says which tensors are in lowp's formats, and its version.
KEY, VERSION = "lowp", 1

Shape = tuple[int, ...]
Array = NDArray[Any]


class Part(NamedTuple):
    """A plain tensor of the file: its type in the words of `lowp.readers`, and its shape."""

    dtype: str
    shape: Shape

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        bits = PACKED_BITS.get(self.dtype) or 8 * np.dtype(KINDS[self.dtype].storage).itemsize
        return math.prod(self.shape) * bits // 8


@dataclass(frozen=True)
class Plain:
    """An ordinary tensor. dtype: in the words of `lowp.readers` (float32, bfloat16, int64)."""

    dtype: str
    shape: Shape

    def parts(self, name: str) -> dict[str, Part]:
        """The tensor itself."""
        return {name: Part(self.dtype, self.shape)}

    def record(self) -> None:
        """Nothing: an ordinary tensor needs no word in the metadata."""


@dataclass(frozen=True)
class Codes:
    """A tensor in a scalar format. dtype: that of the numbers before. Formats that safetensors has
    (float8_e4m3fn, bfloat16) are written as such, others of less than 8 bits are packed.
    """

    format: lowp.Format
    shape: Shape
    dtype: str

    @property
    def packed(self) -> bool:
        """Whether lines of the last axis are closed up to whole bytes."""
        return self.format.bits < 8

    def parts(self, name: str) -> dict[str, Part]:
        """The codes."""
        code_format = self.format.name
        if code_format in KINDS:
            return {name: Part(code_format, self.shape)}
        return {name: _codes_part(self.format.bits, self.shape, len(self.shape) - 1, self.packed)}

    def record(self) -> dict[str, Any] | None:
        """What the metadata says; nothing of a bfloat16 tensor that was one before."""
        if self.format.name == self.dtype:
            return None
        shape = list(self.shape)
        words = {"format": self.format.name, "shape": shape, "dtype": self.dtype}
        return words | {"packed": self.packed}


@dataclass(frozen=True)
class Blocks:
    """A tensor in a block format; the fields are those of `lowp.BlockTensor`. dtype: that of the
    numbers before. has_wide_outer: whether outer scales need float64.
    """

    format: lowp.BlockFormat
    shape: Shape
    axis: int
    dtype: str
    packed: bool
    has_wide_outer: bool = False

    def parts(self, name: str) -> dict[str, Part]:
        """Codes, scales and outer scales."""
        bits = self.format.element_bits
        scale = f"uint{8 * code_dtype(self.format.scale.bits).itemsize}"
        parts = {
            name: _codes_part(bits, self.shape, self._first_of_line(), self.packed),
            f"{name}.scales": Part(scale, grid(self.format, self.shape, self.axis)),
        }
        if count := self.outer_count():
            dtype = "float64" if self.has_wide_outer else "float32"
            parts[f"{name}.outer_scale"] = Part(dtype, (count,))
        return parts

    def record(self) -> dict[str, Any]:
        """What the metadata says."""
        shape = list(self.shape)
        words = {"format": self.format.name, "shape": shape, "axis": self.axis}
        return words | {"dtype": self.dtype, "packed": self.packed}

    def outer_count(self) -> int:
        """Number of outer scales."""
        return outer_count(self.format, self.shape, self.axis)

    def line(self) -> int:
        """Elements of a line, which packed codes close up to whole bytes."""
        return line_length(self.format, self.shape, self.axis)

    def _first_of_line(self) -> int:
        """The first axis of those that make up a line of packed codes."""
        columns, size = self.line(), 1
        for axis in range(len(self.shape) - 1, -1, -1):
            size *= self.shape[axis]
            if size == columns:
                return axis
        return 0


Layout = Plain | Codes | Blocks


def _codes_part(bits: int, shape: Shape, first_of_line: int, packed: bool) -> Part:
    """Codes as bytes of packed lines, or as integers in the tensor's shape."""
    if not packed:
        return Part(f"uint{8 * code_dtype(bits).itemsize}", shape)
    first = max(first_of_line, 0)
    line = math.prod(shape[first:])
    return Part("uint8", (*shape[:first], (line * bits + 7) // 8))


# ---- from the metadata ---------------------------------------------------------------------------


def parse_layout(record: Any, parts: Mapping[str, Part], name: str) -> Codes | Blocks:
    """The layout that a record of the metadata describes, with what the file holds: `parts`.

    ValueError: the record, or parts that are missing or of another type or shape.
    """
    layout = _parse_record(record, parts.get(f"{name}.outer_scale"))
    for part, wanted in layout.parts(name).items():
        found = parts.get(part)
        if found is None:
            raise ValueError(f"{layout.format} needs {part!r}, which the file lacks")
        if found != wanted:
            raise ValueError(
                f"{part!r} must be {wanted.dtype} of shape {wanted.shape} for {layout.format} of "
                f"shape {layout.shape}; the file has {found.dtype} of shape {found.shape}"
            )
    return layout


def _parse_record(record: Any, outer: Part | None) -> Codes | Blocks:
    if not isinstance(record, dict):
        raise ValueError(f"its record must be an object; got {brief(record)}")
    name = record.get("format")
    if not isinstance(name, str) or len(name) > 4096:
        raise ValueError(f"its format must be a text; got {brief(name)}")
    is_block = lowp.is_block_format(name)
    wanted = {"format", "shape", "dtype", "packed"} | ({"axis"} if is_block else set())
    if set(record) != wanted:
        raise ValueError(f"its record must have {', '.join(sorted(wanted))}, and no more")
    shape, dtype, packed = _shape(record["shape"]), record["dtype"], record["packed"]
    if not isinstance(dtype, str) or dtype not in KINDS or not KINDS[dtype].is_float:
        raise ValueError(f"its dtype must be that of floats; got {brief(dtype)}")
    if not isinstance(packed, bool):
        raise ValueError(f"packed must be true or false; got {brief(packed)}")
    if not is_block:
        codes = Codes(lowp.format(name), shape, dtype)
        if codes.packed != packed:
            raise ValueError(f"codes of {name} have packed {str(codes.packed).lower()}")
        return codes
    axis = record["axis"]
    if type(axis) is not int or not -max(len(shape), 1) <= axis < max(len(shape), 1):
        raise ValueError(f"axis must be one of the {len(shape)} axes; got {brief(axis)}")
    is_wide = outer is not None and outer.dtype == "float64"
    return Blocks(lowp.block_format(name), shape, axis, dtype, packed, is_wide)


def _shape(sizes: Any) -> Shape:
    if not isinstance(sizes, list) or len(sizes) > 32:
        raise ValueError("its shape must be a list of at most 32 sizes")
    for n in sizes:
        if type(n) is not int or not 0 <= n < 2**63:
            raise ValueError(f"a size must be an integer >= 0; got {brief(n)}")
    if math.prod(n or 1 for n in sizes) >= 2**58:
        raise ValueError("its sizes multiply to over 2^58 elements")
    return tuple(index(n) for n in sizes)


def blocks_of_tensor(tensor: BlockTensor) -> Blocks:
    """The layout of a block tensor; outer scales are float32 where that holds them."""
    outer = tensor.outer_scale
    with np.errstate(over="ignore"):
        is_wide = not np.array_equal(outer.astype(np.float32), outer, equal_nan=True)
    dtype = tensor.dtype.name
    return Blocks(tensor.format, tensor.shape, tensor.axis, dtype, tensor.packed, is_wide)


def pieces_of_bytes(file: TensorFile, name: str, size: int = 1 << 24) -> Iterator[Array]:
    """The bytes of a tensor as they are to lie in a safetensors file, `size` at a time."""
    if file.dtypes[name] not in KINDS:
        data = file.raw(name)
        yield from (data[start : start + size] for start in range(0, data.size, size))
        return
    elements = file.elements(name)
    flat = elements.reshape(-1) if elements.flags.c_contiguous else elements.flat
    step = max(1, size // elements.itemsize)
    little = elements.dtype.newbyteorder("<")
    for start in range(0, elements.size, step):
        piece = np.ascontiguousarray(flat[start : start + step], dtype=little)
        yield piece.view(np.uint8)
