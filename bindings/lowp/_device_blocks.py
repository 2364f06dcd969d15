"""Block formats on arrays of a GPU: what encode makes of them, and how it is read."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from lowp import _blocks, _core
from lowp._arrays import code_dtype
from lowp._block_tensor import (
    BlockTensor,
    check_axis,
    check_sizes,
    code_bytes,
    grid,
    line_length,
    outer_count,
)
from lowp._device import block_conversion, block_of, given_random, given_scales
from lowp._device_calls import (
    NAN_WITHOUT_CODE,
    check_floats,
    dtype_name,
    module,
    source_of,
    told,
    word_of,
    work_of,
)
from lowp._device_libraries import Library, adopt, check_place, library_of
from lowp._device_out import check_out, plain_target, settled

__all__ = ["DeviceBlockTensor", "decode_blocks", "encode", "encode_blocks", "limits"]


def _known(x: Any) -> Library:
    library = library_of(x)
    if library is None:
        raise TypeError(f"arrays of a GPU must be PyTorch's or CuPy's here; got {type(x).__name__}")
    return library


def _loses_nan(block: _core.BlockFormat, nan: int | None) -> bool:
    """Whether a NaN, or an infinity, could get lost for want of a code."""
    fields = block.fields
    if (fields["nan"] == "block" or fields["infinity"] == "nan") and not block.scale.has_nan:
        return True
    has_code = isinstance(block.element, _core.Format) and block.element.has_nan
    return fields["nan"] == "element" and nan is None and not has_code


def encode_blocks(
    x: Any,
    fmt: Any,
    *,
    axis: int = -1,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    packed: bool | None = None,
    nan: Any = None,
    random: Any = None,
    scales: Any = None,
    **source: Any,
) -> tuple[Any, Any, Any]:
    """Codes, scales and outer scales of x, as a BlockTensor has them, on x's device."""
    library = _known(x)
    block = block_of(fmt, rounding, saturation, random_bits)
    shape, at = tuple(x.shape), check_axis(axis, x.ndim)
    closed = block.element_bits <= 8 if packed is None else bool(packed)
    made, _ = block_conversion(block.name, library.dtype(x), shape, at)
    nan_code = _blocks._nan_code(nan, block)
    codes = library.empty(x, (code_bytes(block, shape, at, packed=closed),), "uint8")
    scale_codes = library.empty(x, grid(block, shape, at), code_dtype(block.scale.bits).name)
    outer = library.empty(x, (outer_count(block, shape, at),), "float64")
    with library.device(x):
        word = words = None
        if _loses_nan(block, nan_code):
            word = word_of(library, x, f"of a NaN, for which {block} has no code")
        if random is not None:
            words, told_to = given_random(library, x, random, block)
            word = word if told_to is None else told_to
        ideals = given_scales(library, x, block, at, scales)
        plain = _aligned(library, x)
        work, place = work_of(library, x, made.workspace(closed))
        made.encode(
            library.pointer(plain),
            library.pointer(codes),
            library.pointer(scale_codes),
            library.pointer(outer),
            closed,
            nan_code,
            place,
            0 if ideals is None else library.pointer(ideals),
            source_of(library, x, word, random=words, **source),
        )
        del work
        _refuse(0 if word is None else told(word), block)
    return codes, scale_codes, outer


def _aligned(library: Library, x: Any) -> Any:
    """x in C order, at an address that vectors are read from."""
    plain = library.contiguous(x)
    if library.pointer(plain) % 16 == 0:
        return plain
    copy = library.empty(x, tuple(x.shape), library.dtype(x))
    copy[...] = x
    return copy


def _refuse(bits: int, block: _core.BlockFormat) -> None:
    """ValueError for what the word of failures tells of an input."""
    if bits & NAN_WITHOUT_CODE:
        raise ValueError(
            "the input has NaN or infinity, for which neither scale nor element of "
            f"{block} has a code"
        )
    if bits:
        raise ValueError("random must be below 2**random_bits; got larger ones")


def _parts(
    library: Library,
    block: _core.BlockFormat,
    given: tuple[Any, Any, Any],
    shape: tuple[int, ...],
    axis: int,
    packed: bool,
) -> tuple[Any, Any, Any]:
    """Codes, scales and outer scales as kernels read them: in C order, the last float64.

    Refused as by BlockTensor: TypeError for dtypes, ValueError for sizes; and for several devices.
    """
    codes, scales, outer = given
    if any(n < 0 for n in shape):
        raise ValueError(f"shape must have no negative length; got {shape}")
    check_place(library, codes, scales, "scales", "codes")
    check_place(library, codes, outer, "outer_scale", "codes")
    for part, what, bits in ((codes, "codes", 8), (scales, "scales", block.scale.bits)):
        wanted = code_dtype(bits).name
        if library.dtype(part) != wanted:
            raise TypeError(f"{what} must be {wanted}; got {library.dtype(part)}")
    check_floats(library.dtype(outer), "outer_scale")
    got = (math.prod(codes.shape), tuple(scales.shape), math.prod(outer.shape))
    check_sizes(block, shape, axis, packed, got)
    outer = library.convert(outer, "float64")
    return library.contiguous(codes), library.contiguous(scales), library.contiguous(outer)


def decode_blocks(
    codes: Any,
    scales: Any,
    outer: Any,
    fmt: Any,
    shape: Any,
    axis: int,
    dtype: Any,
    *,
    packed: bool | None = None,
    out: Any = None,
) -> Any:
    """Values of what encode_blocks gave, in C order or in out. Errors: as of BlockTensor."""
    library = _known(codes)
    block = _core.block_format(fmt)
    closed = block.element_bits <= 8 if packed is None else bool(packed)
    lengths, name = tuple(int(n) for n in shape), dtype_name(dtype)
    at = check_axis(axis, len(lengths))
    if out is not None:
        check_out(library, codes, out, lengths, (name,), "codes")
    with library.device(codes):
        parts = _parts(library, block, (codes, scales, outer), lengths, at, closed)
        made, _ = block_conversion(block.name, name, lengths, at)
        if out is None:
            y = library.empty(codes, lengths, name)
        else:
            y = plain_target(library, out, None, *parts)
        may_be_wide = _may_be_wide(block, closed)
        word = word_of(library, codes, "of codes with more bits") if may_be_wide else None
        work, place = work_of(library, codes, made.workspace(closed))
        made.decode(
            *(library.pointer(part) for part in parts),
            math.prod(outer.shape),
            closed,
            library.pointer(y),
            place,
            source_of(library, codes, word),
        )
        del work
        result = y if out is None else settled(library, y, out)
        if word is not None and told(word):
            raise ValueError(f"a code or scale has bits above its format's in {block}")
    return result


def _may_be_wide(block: _core.BlockFormat, packed: bool) -> bool:
    """Whether integers of a tensor's parts could have more bits than their codes."""
    widths = (8, 16, 32, 64)
    is_closed = packed and block.element_bits <= 8
    return block.scale.bits not in widths or (block.element_bits not in widths and not is_closed)


class DeviceBlockTensor(BlockTensor):
    """A BlockTensor whose parts lie on a GPU, as arrays of the library that the encoded one was of.

    What lowp.encode gives for an array of a GPU in a block format. decode, slices, element_codes
    and scale_values stay on the device; numpy() makes a BlockTensor of the host, which save writes.
    np.asarray raises TypeError: nothing is copied to the host unasked.
    """

    __slots__ = ("_library",)

    def __init__(
        self,
        format: Any,
        codes: Any,
        scales: Any,
        outer_scale: Any,
        shape: tuple[int, ...],
        axis: int = -1,
        dtype: Any = "float32",
        packed: bool = True,
    ) -> None:
        """See the class. ValueError where sizes do not agree with shape and format, or parts lie on
        several devices; TypeError for other integers.
        """
        self._library = _known(codes)
        self.format = _core.block_format(format)
        self.shape = tuple(index(n) for n in shape)
        self.axis = check_axis(axis, len(self.shape))
        self.dtype = dtype  # the library's
        self.packed = bool(packed)
        given = (codes, scales, outer_scale)
        parts = _parts(self._library, self.format, given, self.shape, self.axis, self.packed)
        self.codes = parts[0].reshape(-1)
        self.scales = parts[1].reshape(grid(self.format, self.shape, self.axis))
        self.outer_scale = parts[2].reshape(-1)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and outer scales (float32)."""
        outer = math.prod(self.outer_scale.shape)
        return int(self.codes.nbytes + self.scales.nbytes + 4 * outer)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """TypeError: the values are on the device."""
        raise TypeError(
            "this BlockTensor is on a GPU: decode() gives its values there, numpy() the tensor of "
            "the host"
        )

    def numpy(self) -> BlockTensor:
        """The same in the memory of the host. bfloat16 is decoded to float32 there, unless NumPy
        knows it.
        """
        name = dtype_name(self.dtype)
        try:
            dtype = np.dtype(name)
        except TypeError:
            dtype = np.dtype(np.float32)
        parts = [self._library.host(part) for part in (self.codes, self.scales, self.outer_scale)]
        return BlockTensor(
            self.format, parts[0], parts[1], parts[2], self.shape, self.axis, dtype, self.packed
        )

    def decode(self, dtype: Any = None, *, out: Any = None, threads: int | None = None) -> Any:
        """The values on the device: in dtype (None: that of the encoded array), or in out."""
        name = dtype_name(self.dtype if dtype is None else dtype)
        parts = (self.codes, self.scales, self.outer_scale)
        return decode_blocks(
            *parts, self.format, self.shape, self.axis, name, packed=self.packed, out=out
        )

    def element_codes(self) -> Any:
        """Codes of the elements, one an unsigned integer, in the tensor's shape, on the device."""
        bits, library = self.format.element_bits, self._library
        if not self.size:
            return library.empty(self.codes, self.shape, code_dtype(bits).name)
        if not self.packed:
            wide = code_dtype(bits).name
            whole = self.codes if wide == "uint8" else _viewed(library, self.codes, wide)
            return whole.reshape(self.shape)
        line = line_length(self.format, self.shape, self.axis)
        codes = library.empty(self.codes, self.shape, "uint8")
        with library.device(self.codes):
            module().unpack_lines(
                library.pointer(self.codes),
                self.size // line,
                line,
                bits,
                library.pointer(codes),
                source_of(library, self.codes),
            )
        return codes

    def scale_values(self) -> Any:
        """Values of the scales, float64, in the shape of the blocks; outer scales are left out."""
        return _core.decode(self.scales, self.format.scale, dtype=np.float64)

    def _with(self, codes: Any, scales: Any, shape: Any, keys: tuple[slice, ...]) -> BlockTensor:
        library, bits = self._library, self.format.element_bits
        outer = self.outer_scale
        if math.prod(outer.shape) > 1:
            at = self.axis % len(self.shape)
            lines = tuple(n for a, n in enumerate(self.shape) if a != at)
            outer = outer.reshape(lines)[tuple(k for a, k in enumerate(keys) if a != at)]
        lengths = tuple(int(n) for n in shape)
        codes = library.contiguous(codes)
        size = math.prod(lengths)
        if self.packed and size:
            line = line_length(self.format, lengths, self.axis)
            wanted = code_bytes(self.format, lengths, self.axis, packed=True)
            closed = library.empty(codes, (wanted,), "uint8")
            with library.device(codes):
                word = word_of(library, codes, "of codes with more bits")  # there are none
                module().pack_lines(
                    library.pointer(codes),
                    size // line,
                    line,
                    bits,
                    library.pointer(closed),
                    source_of(library, codes, word),
                )
            codes = closed
        elif library.dtype(codes) != "uint8":
            codes = _viewed(library, codes.reshape(-1), "uint8")
        return DeviceBlockTensor(
            self.format,
            codes.reshape(-1),
            library.contiguous(scales),
            library.contiguous(outer).reshape(-1),
            lengths,
            self.axis,
            self.dtype,
            self.packed,
        )

    def save(self, path: Any, name: str = "tensor") -> None:
        """Write a safetensors file that names the format (lowp.files), by way of the host."""
        self.numpy().save(path, name)

    def __eq__(self, other: object) -> bool:
        """Equal if all of it is; by way of the host."""
        if not isinstance(other, BlockTensor):
            return NotImplemented
        there = other.numpy() if isinstance(other, DeviceBlockTensor) else other
        return self.numpy() == there

    __hash__ = None


def _viewed(library: Library, x: Any, dtype: str) -> Any:
    """The bytes of a plain array as other integers."""
    module_of = type(x).__module__.partition(".")[0]
    if module_of == "cupy":
        return x.view(dtype)
    import torch

    return x.view(getattr(torch, dtype))


def _bytes_of(library: Library, codes: Any, value: int) -> Any:
    """As many codes as there are, all of one value, as a loose tensor has them."""
    filled = library.empty(codes, tuple(codes.shape), library.dtype(codes))
    filled[...] = value
    return _viewed(library, filled.reshape(-1), "uint8")


def limits(tensor: DeviceBlockTensor) -> tuple[Any, Any]:
    """The lowest and the largest value that each element could have in its block."""
    library, block, element = tensor._library, tensor.format, tensor.format.element
    if isinstance(element, _core.Format):
        ends = (element.lowest_code, element.max_code)
    else:
        ends = (0, len(element) - 1)
    codes = tensor.element_codes()
    lowest, largest = (
        decode_blocks(
            _bytes_of(library, codes, end),
            tensor.scales,
            tensor.outer_scale,
            block,
            tensor.shape,
            tensor.axis,
            tensor.dtype,
            packed=False,
        )
        for end in ends
    )
    return lowest, largest


def encode(x: Any, fmt: Any, **options: Any) -> DeviceBlockTensor:
    """lowp.encode of an array on a device in a block format.

    Arrays of other libraries than PyTorch and CuPy give a tensor with parts of the one in between.
    """
    options.pop("threads", None)
    if library_of(x) is None:
        x = adopt(x)[0]
    packed, axis = options.pop("packed", None), options.pop("axis", -1)
    parts = encode_blocks(x, fmt, axis=axis, packed=packed, **options)
    modes = (options.get(name) for name in ("rounding", "saturation", "random_bits"))
    block = block_of(fmt, *modes)
    closed = block.element_bits <= 8 if packed is None else bool(packed)
    at = check_axis(axis, x.ndim)
    return DeviceBlockTensor(block, *parts, tuple(x.shape), at, x.dtype, closed)
