"""Arrays in block-scaled formats: codes, scales, and what reads them."""

from __future__ import annotations

import math
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays, _core
from lowp._arrays import code_dtype

Array = NDArray[Any]


def check_axis(axis: Any, ndim: int) -> int:
    """axis as an int; ValueError where an array of ndim axes has none such."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be an integer; got {axis!r}")
    number = index(axis)
    if ndim and not -ndim <= number < ndim:
        raise ValueError(f"axis must be between {-ndim} and {ndim - 1}; got {number}")
    return number


def grid(block: _core.BlockFormat, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Number of blocks along each axis: the shape of the scales."""
    _, rows, columns, down, across, upright = _core._block_grid(block, list(shape), axis)
    if not shape:
        return ()
    at = axis % len(shape)
    if block.shape == "tensor":
        return (1,) * len(shape) if math.prod(shape) else (0,) * len(shape)
    result = list(shape)
    if upright:
        result[at] = -(-rows // down)
    else:
        result[at] = -(-columns // across)
        if down > 1:
            result[at - 1] = -(-rows // down)
    return tuple(result)


def line_length(block: _core.BlockFormat, shape: tuple[int, ...], axis: int) -> int:
    """Elements of a line, after which packed codes start anew."""
    return _core._block_grid(block, list(shape), axis)[2]


def outer_count(block: _core.BlockFormat, shape: tuple[int, ...], axis: int) -> int:
    """Outer scales: none, one of the tensor, or one a line of blocks."""
    count, rows, columns, _, _, upright = _core._block_grid(block, list(shape), axis)
    lines = count * (columns if upright else rows)
    return {"none": 0, "tensor": 1, "row": lines}[block.fields["outer"]]


def code_bytes(block: _core.BlockFormat, shape: tuple[int, ...], axis: int, *, packed: bool) -> int:
    """Bytes of all codes: packed, closed up line by line."""
    count, rows, columns, *_ = _core._block_grid(block, list(shape), axis)
    if not packed:
        return math.prod(shape) * code_dtype(block.element_bits).itemsize
    return count * rows * ((columns * block.element_bits + 7) // 8)


def check_sizes(
    block: _core.BlockFormat,
    shape: tuple[int, ...],
    axis: int,
    packed: bool,
    got: tuple[int, tuple[int, ...], int],
) -> None:
    """ValueError where parts do not agree with shape and format; got: bytes of codes, the shape of
    the scales, outer scales.
    """
    codes, scales, outer = got
    blocks = grid(block, shape, axis)
    if math.prod(scales) != math.prod(blocks):
        raise ValueError(f"scales must have shape {blocks}; got {scales}")
    wanted = code_bytes(block, shape, axis, packed=packed)
    if codes != wanted:
        raise ValueError(f"codes of shape {shape} in {block} take {wanted} bytes; got {codes}")
    needed = outer_count(block, shape, axis)
    if outer not in {needed, min(needed, 1)}:
        raise ValueError(f"shape {shape} in {block} has {needed} outer scales; got {outer}")


def block_bits(block: _core.BlockFormat, shape: tuple[int, ...], axis: int) -> float:
    """Bits an element, all scales counted; NaN for an empty tensor."""
    size = math.prod(shape)
    if not size:
        return math.nan
    scales = math.prod(grid(block, shape, axis)) * block.scale.bits
    return block.element_bits + (scales + 32 * outer_count(block, shape, axis)) / size


def _check_codes(codes: Any, dtype: np.dtype[Any], what: str) -> Array:
    """codes as they are; TypeError where they would have to be converted."""
    array = np.asarray(codes)
    if array.dtype.kind != "u" or array.dtype.itemsize > dtype.itemsize:
        raise TypeError(f"{what} must be {dtype}; got {array.dtype}")
    return array


class BlockTensor:
    """An array in a block-scaled format: codes, scales, and what is needed to read them.

    codes: uint8, one dimension; packed (each line of the last axis closed up to whole bytes, the
    first code in the lowest bits) or little-endian integers of the fewest bytes. scales: codes of
    the scale format in the shape of the blocks. outer_scale: float64, the second level: empty, one,
    or one a line. Made by lowp.encode; `t[a:b, c:d]` takes whole blocks, np.asarray(t) decodes; two
    are equal if all of it is.
    """

    __slots__ = ("axis", "codes", "dtype", "format", "outer_scale", "packed", "scales", "shape")

    def __init__(
        self,
        format: Any,
        codes: Array,
        scales: Array,
        outer_scale: Any,
        shape: tuple[int, ...],
        axis: int = -1,
        dtype: Any = np.float32,
        packed: bool = True,
    ) -> None:
        """See the class. ValueError where sizes do not agree with shape and format."""
        self.format = _core.block_format(format)
        self.shape = tuple(index(n) for n in shape)
        if any(n < 0 for n in self.shape):
            raise ValueError(f"shape must have no negative length; got {self.shape}")
        self.axis = check_axis(axis, len(self.shape))
        self.dtype = np.dtype(dtype)
        self.packed = bool(packed)
        self.codes = np.ascontiguousarray(_check_codes(codes, np.dtype(np.uint8), "codes")).reshape(
            -1
        )
        wide = code_dtype(self.format.scale.bits)
        scales = _check_codes(scales, wide, "scales")
        if scales.dtype == np.uint8 and wide != np.uint8:
            scales = np.ascontiguousarray(scales).reshape(-1).view(wide.newbyteorder("<"))
        self.outer_scale = np.asarray(outer_scale, dtype=np.float64).reshape(-1)
        got = (self.codes.size, scales.shape, self.outer_scale.size)
        check_sizes(self.format, self.shape, self.axis, self.packed, got)
        blocks = grid(self.format, self.shape, self.axis)
        self.scales: Array = np.asarray(scales, dtype=wide).reshape(blocks)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The decoded values: for NumPy's functions and lowp.error."""
        if copy is False:
            raise ValueError("a BlockTensor is decoded into a new array; copy=False cannot be had")
        values: Array = self.decode()
        return values if dtype is None else values.astype(dtype)

    def numpy(self) -> BlockTensor:
        """The tensor in the memory of the host: itself."""
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and outer scales (float32)."""
        return int(self.codes.nbytes + self.scales.nbytes + 4 * self.outer_scale.size)

    @property
    def bits_per_value(self) -> float:
        """Bits an element, scales counted as the format has them; NaN for an empty tensor."""
        return block_bits(self.format, self.shape, self.axis)

    def element_codes(self) -> Array:
        """Codes of the elements, one an unsigned integer, in the tensor's shape."""
        if not self.size:
            return np.empty(self.shape, code_dtype(self.format.element_bits))
        bits = self.format.element_bits
        if not self.packed:
            dtype = code_dtype(bits).newbyteorder("<")
            whole: Array = self.codes.view(dtype).reshape(self.shape).copy()
            return whole
        line = line_length(self.format, self.shape, self.axis)
        return _arrays.unpack_lines(self.codes, bits, (self.size // line, line)).reshape(self.shape)

    def scale_values(self) -> NDArray[np.float64]:
        """Values of the scales, float64, in the shape of the blocks; outer scales are left out."""
        return np.asarray(_core.decode(self.scales, self.format.scale, dtype=np.float64))

    def decode(self, dtype: Any = None, *, out: Any = None, threads: int | None = None) -> Any:
        """The values: in dtype (None: that of the encoded array), or in `out`."""
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        half = _arrays._half_format(wanted)
        if half is None and wanted.newbyteorder("=") not in (np.float32, np.float64):
            raise _arrays._refuse(wanted, "dtype")
        if out is not None:
            _arrays._check_out(out, self.shape, wanted, f"{wanted}")
        y = np.empty(self.shape, np.uint16 if half is not None else wanted.newbyteorder("="))
        self.decode_memory(y, half, threads)
        values = _arrays.from_half_codes(y, wanted) if half is not None else y
        return _arrays._result(values.astype(wanted, copy=False), None, out)

    def decode_memory(self, y: Array, half: _core.Format | None, threads: int | None) -> None:
        """The values into a plain array, or their codes in a half into one of uint16."""
        parts = (
            self.codes,
            np.ascontiguousarray(self.scales.astype(self.scales.dtype.newbyteorder("<")))
            .reshape(-1)
            .view(np.uint8),
            self.outer_scale,
            y,
            self.format,
            self.axis,
            self.packed,
            _core.get_threads() if threads is None else _arrays.integer(threads, "threads"),
        )
        if half is None:
            _core._block_decode(*parts)
        else:
            _core._block_decode_halves(half, *parts)

    def save(self, path: str | Path, name: str = "tensor") -> None:
        """Write a safetensors file that names the format (lowp.files)."""
        from lowp import files

        files.save(path, {name: self})

    @staticmethod
    def load(path: str | Path, name: str = "tensor") -> BlockTensor:
        """Read one back; ValueError for a file that is cut short or says what cannot be."""
        from lowp import files

        found = files.load(path)[name]
        if not isinstance(found, BlockTensor):
            raise ValueError(f"{path}: {name} is a plain tensor of {found.dtype}")
        return found

    def __getitem__(self, key: Any) -> BlockTensor:
        """Whole blocks: slices without a step that begin and end between blocks."""
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > len(self.shape) or not all(isinstance(k, slice) for k in keys):
            raise TypeError("a BlockTensor takes slices, at most one an axis")
        keys = keys + (slice(None),) * (len(self.shape) - len(keys))
        blocks = []
        for axis, (k, size, count) in enumerate(
            zip(keys, self.shape, self.scales.shape, strict=True)
        ):
            start, stop, step = k.indices(size)
            stop = max(start, stop)
            width = self._block_width(axis)
            if start == stop:  # nothing of the axis: no blocks, wherever that is
                start = stop = 0
            if step != 1 or start % width or (stop % width and stop != size):
                raise ValueError(
                    f"axis {axis} has blocks of {width}: slices must begin and end between blocks; "
                    f"got {start}:{stop}:{step}"
                )
            blocks.append(slice(start // width, min(-(-stop // width), count)))
        codes = self.element_codes()[keys]
        return self._with(codes, self.scales[tuple(blocks)], codes.shape, keys)

    def _block_width(self, axis: int) -> int:
        """Elements of a block along an axis."""
        shape, at = self.format.shape, self.axis % len(self.shape)
        if shape == "tensor":
            return max(self.shape[axis], 1)
        if shape == "row":
            return max(self.shape[axis], 1) if axis == at else 1
        if shape == "column":
            return max(self.shape[axis], 1) if axis == at - 1 else 1
        if isinstance(shape, tuple):
            return {at - 1: shape[0], at: shape[1]}.get(axis, 1)
        return int(shape) if axis == at else 1

    def _with(
        self, codes: Array, scales: Array, shape: tuple[int, ...], keys: tuple[slice, ...]
    ) -> BlockTensor:
        outer = self.outer_scale
        if outer.size > 1:
            lines = tuple(n for a, n in enumerate(self.shape) if a != self.axis % len(self.shape))
            taken = tuple(k for a, k in enumerate(keys) if a != self.axis % len(self.shape))
            outer = outer.reshape(lines)[taken]
        if self.packed and codes.size:
            line = line_length(self.format, shape, self.axis)
            codes = _arrays.pack_lines(codes.reshape(-1, line), self.format.element_bits)
        little = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
        return BlockTensor(
            self.format,
            np.ascontiguousarray(little).reshape(-1).view(np.uint8),
            scales,
            outer,
            shape,
            self.axis,
            self.dtype,
            self.packed,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockTensor):
            return NotImplemented
        same = (self.format, self.shape, self.packed) == (other.format, other.shape, other.packed)
        return (
            same
            and self.axis % max(len(self.shape), 1) == other.axis % max(len(self.shape), 1)
            and np.array_equal(self.codes, other.codes)
            and np.array_equal(self.scales, other.scales)
            and np.array_equal(self.outer_scale, other.outer_scale)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Shape, format and size."""
        return (
            f"<lowp.BlockTensor {self.shape} in {self.format}, axis {self.axis}, "
            f"{self.nbytes} bytes>"
        )
