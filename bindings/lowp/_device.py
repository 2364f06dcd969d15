"""The verbs on arrays of a GPU: PyTorch's and CuPy's, through lowp._cuda.

Nothing here waits for the device but what the data may refuse: a NaN for a format without one, bits
above a code's. Results are new arrays of the library that x is of, on the stream that is current.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from lowp import _arrays, _blocks, _core
from lowp._block_tensor import check_axis, grid, outer_count
from lowp._device_libraries import Library, library_of

__all__ = ["decode", "decode_blocks", "encode", "encode_blocks", "is_device", "kernels", "quantize"]

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_PHILOX = "philox4x32_10"


@lru_cache(maxsize=1)
def kernels() -> ModuleType | None:
    """lowp._cuda, or None in a package that was built without CUDA."""
    try:
        return import_module("lowp._cuda")
    except ImportError:
        return None


def is_device(x: Any) -> bool:
    """Whether x lies in the memory of a CUDA device."""
    tensor = getattr(x, "is_cuda", None)  # PyTorch's: its interface refuses tensors with a gradient
    return hasattr(type(x), "__cuda_array_interface__") if tensor is None else bool(tensor)


def _module() -> Any:
    found = kernels()
    if found is None:
        raise TypeError(
            "this lowp was built without CUDA; build it where nvcc is, use lowp.torch, which has a "
            "path of PyTorch's own operations, or pass arrays of the CPU"
        )
    return found


def _check_floats(dtype: str, what: str = "x") -> None:
    if dtype not in _FLOATS:
        raise TypeError(f"{what} must have dtype {', '.join(_FLOATS)}; got {dtype}")


class _Call:
    """Where a call runs: library, device and stream; and the word that failures are told to."""

    def __init__(self, x: Any, *, reports: bool, **source: Any) -> None:
        self.library = library_of(x)
        self.x = x
        self.word = None
        if reports:
            self.word = self.library.empty(x, (1,), "int32")
            self.library.clear(self.word)
        offset = source.get("stream_offset")
        self._offset = offset  # alive until the call is over
        self.place = _module().Place(
            _arrays.word(source.get("seed", 0), "seed"),
            _arrays.word(source.get("stream", 0), "stream"),
            source.get("generator", _PHILOX),
            0 if offset is None else self.library.pointer(offset),
            0 if self.word is None else self.library.pointer(self.word),
            self.library.stream(x),
        )

    def failure(self) -> int:
        """What was told, once the device is there."""
        return 0 if self.word is None else int(self.word[0])


def _refuse(random: Any, scales: Any) -> None:
    if random is not None or scales is not None:
        raise NotImplementedError("random and scales are not taken on the device: pass CPU arrays")


def _block(fmt: Any, rounding: Any, saturation: Any, random_bits: Any) -> _core.BlockFormat:
    """The block format of a call; NotImplementedError where the device has no kernels for it."""
    block = _blocks._format(fmt, rounding, saturation, random_bits)
    if not _module().has_kernels(block.name):
        raise NotImplementedError(f"{block} is not worked on by the device: pass a CPU array")
    return block


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
    NotImplementedError for what the device does not do: random, scales, rules that search.
    """
    _refuse(random, scales)
    call = _Call(x, reports=False, **source)
    library = call.library
    dtype = library.dtype(x)
    _check_floats(dtype)
    if out is not None and (tuple(out.shape) != tuple(x.shape) or library.dtype(out) != dtype):
        raise ValueError(f"out must have x's shape {tuple(x.shape)} and dtype {dtype}")
    shape = list(x.shape)
    y = library.empty_like(x) if out is None else out
    with library.device(x):
        if not _core.is_block_format(fmt):
            _module().quantize(
                library.pointer(x),
                list(library.strides(x)),
                library.pointer(y),
                list(library.strides(y)),
                shape,
                dtype,
                _core.format(fmt).name,
                rounding or "nearest_ties_to_even",
                saturation or "none",
                random_bits or 32,
                call.place,
            )
            return y
        block = _block(fmt, rounding, saturation, random_bits)
        at = check_axis(axis, len(shape))
        plain = library.contiguous(x)
        target = y if _is_plain(library, y) else library.empty(x, tuple(shape), dtype)
        work = _workspace(library, x, dtype, block, shape, at)
        _module().quantize_blocks(
            library.pointer(plain),
            library.pointer(target),
            shape,
            at,
            dtype,
            block.name,
            library.pointer(work),
            call.place,
        )
        if target is not y:
            y[...] = target
        return y


def _is_plain(library: Library, x: Any) -> bool:
    """Whether x lies in C order without gaps."""
    run = 1
    for length, step in zip(reversed(x.shape), reversed(library.strides(x)), strict=True):
        if length != 1 and step != run:
            return bool(math.prod(x.shape) == 0)
        run *= length
    return True


def _workspace(
    library: Library, x: Any, dtype: str, block: _core.BlockFormat, shape: list[int], axis: int
) -> Any:
    size = _module().workspace_size(dtype, block.name, shape, axis)
    return library.empty(x, (max(size, 16),), "uint8")


def _code_dtype(bits: int) -> str:
    return str(np.dtype(_arrays._code_dtype(bits)).name)


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
    """Codes of x, in C order: lowp.encode of an array on a device.

    Waits for the device only where the format has no NaN and nan does not say what one becomes.
    """
    _refuse(random, None)
    if out is not None:
        raise NotImplementedError("out is not taken on the device: leave it out")
    target = _core.format(fmt)
    nan_code = None if nan is None else int(_core.encode(math.nan, target, nan=nan))
    call = _Call(x, reports=nan_code is None and not target.has_nan, **source)
    library = call.library
    dtype = library.dtype(x)
    _check_floats(dtype)
    name = _code_dtype(target.bits)
    codes = library.empty(x, tuple(x.shape), name)
    with library.device(x):
        _module().encode(
            library.pointer(x),
            list(library.strides(x)),
            library.pointer(codes),
            list(x.shape),
            dtype,
            np.dtype(name).itemsize,
            target.name,
            rounding or "nearest_ties_to_even",
            saturation or "none",
            random_bits or 32,
            nan_code,
            call.place,
        )
        if call.failure():
            raise ValueError(f"{target} has no NaN; got NaN: pass nan, the code it is to get")
    return codes


def decode(codes: Any, fmt: Any, *, dtype: Any = "float32", out: Any = None, **_: Any) -> Any:
    """Values of codes in dtype, in C order: lowp.decode of an array on a device.

    Waits for the device only where the codes' integers have more bits than the format.
    """
    if out is not None:
        raise NotImplementedError("out is not taken on the device: leave it out")
    source = _core.format(fmt)
    library = library_of(codes)
    integer = library.dtype(codes)
    if integer not in ("uint8", "uint16", "uint32", "uint64"):
        raise TypeError(f"codes must be unsigned integers; got {integer}")
    size = np.dtype(integer).itemsize
    call = _Call(codes, reports=8 * size > source.bits)
    name = _dtype_name(dtype)
    _check_floats(name, "dtype")
    y = library.empty(codes, tuple(codes.shape), name)
    with library.device(codes):
        _module().decode(
            library.pointer(codes),
            list(library.strides(codes)),
            size,
            library.pointer(y),
            list(codes.shape),
            name,
            source.name,
            call.place,
        )
        if call.failure():
            raise ValueError(
                f"codes of {source} have {source.bits} bits; got a code with higher bits"
            )
    return y


def _dtype_name(dtype: Any) -> str:
    if dtype is None:
        return "float32"
    text = str(dtype)
    return text.removeprefix("torch.") if text.startswith("torch.") else str(np.dtype(dtype).name)


def _line_bytes(block: _core.BlockFormat, shape: list[int], axis: int) -> int:
    """Bytes of all codes, closed up line by line."""
    count, rows, columns, *_ = _core._block_grid(block, shape, axis)
    bits = block.element_bits
    if bits > 8:
        return math.prod(shape) * np.dtype(_arrays._code_dtype(bits)).itemsize
    return count * rows * ((columns * bits + 7) // 8)


def encode_blocks(x: Any, fmt: Any, *, axis: int = -1, **source: Any) -> tuple[Any, Any, Any]:
    """Codes, scales and outer scales of x, as a BlockTensor has them, on x's device."""
    block = _block(fmt, None, None, None)
    may_refuse = not (block.scale.has_nan and _has_nan_code(block))
    call = _Call(x, reports=may_refuse, **source)
    library = call.library
    dtype = library.dtype(x)
    _check_floats(dtype)
    shape = list(x.shape)
    at = check_axis(axis, len(shape))
    codes = library.empty(x, (_line_bytes(block, shape, at),), "uint8")
    scales = library.empty(x, grid(block, tuple(shape), at), _code_dtype(block.scale.bits))
    outer = library.empty(x, (outer_count(block, tuple(shape), at),), "float64")
    with library.device(x):
        plain = library.contiguous(x)
        if library.pointer(plain) % 16:
            plain = library.empty(x, tuple(shape), dtype)
            plain[...] = x
        work = _workspace(library, x, dtype, block, shape, at)
        _module().encode_blocks(
            library.pointer(plain),
            library.pointer(codes),
            library.pointer(scales),
            library.pointer(outer),
            shape,
            at,
            dtype,
            block.name,
            library.pointer(work),
            call.place,
        )
        if call.failure():
            raise ValueError(
                "the input has NaN or infinity, for which neither scale nor element of "
                f"{block} has a code"
            )
    return codes, scales, outer


def _has_nan_code(block: _core.BlockFormat) -> bool:
    """Whether a NaN never gets lost for want of an element's code."""
    alone = block.fields["nan"] == "element"
    return not alone or (isinstance(block.element, _core.Format) and block.element.has_nan)


def decode_blocks(
    codes: Any, scales: Any, outer: Any, fmt: Any, shape: list[int], axis: int, dtype: Any
) -> Any:
    """Values of what encode_blocks gave, in C order."""
    block = _core.block_format(fmt)
    widths = (8, 16, 32, 64)
    may_be_wide = block.scale.bits not in widths or block.element_bits > 8
    call = _Call(codes, reports=may_be_wide)
    library = call.library
    name = _dtype_name(dtype)
    _check_floats(name, "dtype")
    lengths = [int(n) for n in shape]
    at = check_axis(axis, len(lengths))
    y = library.empty(codes, tuple(lengths), name)
    with library.device(codes):
        parts = [library.contiguous(part) for part in (codes, scales, outer)]
        work = _workspace(library, codes, name, block, lengths, at)
        _module().decode_blocks(
            *(library.pointer(part) for part in parts),
            int(math.prod(outer.shape)),
            library.pointer(y),
            lengths,
            at,
            name,
            block.name,
            library.pointer(work),
            call.place,
        )
        if call.failure():
            raise ValueError(f"a code or scale has bits above its format's in {block}")
    return y
