"""Arrays as blocks see them, in five axes, and sums over blocks in the kernel's order.

    count    high    down    wide    across        down x across: the elements of a block

What a block has is one entry of the shape (count, high, 1, wide, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import lowp
from lowp import _core

__all__ = ["Layout", "layout_of"]

_CHUNK = 2048  # elements whose sum the kernel makes at once
_MOST_CHUNKS = 4096


@dataclass(frozen=True)
class Layout:
    """An array of a shape in blocks: see the top."""

    shape: tuple[int, ...]
    count: int
    rows: int
    columns: int
    down: int
    across: int
    upright: bool

    @property
    def high(self) -> int:
        """Blocks down."""
        return -(-self.rows // self.down)

    @property
    def wide(self) -> int:
        """Blocks across."""
        return -(-self.columns // self.across)

    @property
    def blocks(self) -> tuple[int, int, int, int, int]:
        """The shape of what each block has one of."""
        return self.count, self.high, 1, self.wide, 1

    def split(self, x: Tensor) -> Tensor:
        """x in five axes, zeros behind the last rows and columns."""
        matrices = x.reshape(self.count, self.rows, self.columns)
        right, below = self.wide * self.across - self.columns, self.high * self.down - self.rows
        if right or below:
            matrices = torch.nn.functional.pad(matrices, (0, right, 0, below))
        return matrices.reshape(self.count, self.high, self.down, self.wide, self.across)

    def join(self, y: Tensor) -> Tensor:
        """The array of five axes."""
        matrices = y.reshape(self.count, self.high * self.down, self.wide * self.across)
        return matrices[:, : self.rows, : self.columns].reshape(self.shape)

    def sizes(self, device: torch.device) -> Tensor:
        """Elements of each block, float64."""

        def of(length: int, block: int, count: int) -> Tensor:
            starts = torch.arange(count, dtype=torch.float64, device=device) * block
            return (length - starts).clamp(max=block)

        rows = of(self.rows, self.down, self.high).reshape(1, -1, 1, 1, 1)
        return (rows * of(self.columns, self.across, self.wide).reshape(-1, 1)).expand(self.blocks)

    def sums(self, terms: Tensor) -> Tensor:
        """Sums over blocks of float64 terms, zeros behind, in the kernel's order.

        Chunks of a row (of the whole block, where it is one run of memory) are summed in eight
        parts, and added up one after the other. NotImplementedError where that would be too many.
        """
        rows, length = self.down, self.across
        lines = terms.transpose(2, 3)  # count, high, wide, down, across
        if self.across == self.columns:
            rows, length = 1, rows * length
        chunks = -(-length // _CHUNK)
        if rows * chunks > _MOST_CHUNKS:
            raise NotImplementedError("sums in order over blocks as large as these")
        lines = lines.reshape(*lines.shape[:3], rows, length)
        wide = min(length, _CHUNK) + (-min(length, _CHUNK)) % 8
        lines = torch.nn.functional.pad(lines, (0, -length % 8 if chunks == 1 else -length % wide))
        groups = lines.reshape(*lines.shape[:3], rows * chunks, wide // 8, 8).unbind(-2)
        parts = groups[0]
        for group in groups[1:]:
            parts = parts + group
        p = parts.unbind(-1)
        whole = ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]))
        each = whole.unbind(-1)
        total = each[0]
        for chunk in each[1:]:
            total = total + chunk
        return total.reshape(self.blocks)


def layout_of(block: lowp.BlockFormat, shape: tuple[int, ...], axis: int) -> Layout:
    count, rows, columns, down, across, upright = _core._block_grid(block, list(shape), axis)
    return Layout(shape, count, rows, columns, down, across, bool(upright))
