"""The verbs on block formats: any array is brought to a plain one, or refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays, _core
from lowp._block_tensor import BlockTensor, check_axis, grid

Array = NDArray[Any]
Scales = Array | Callable[[Array], Any] | None

__all__ = ["BlockTensor", "blocks_of", "decode", "encode", "quantize"]


def _format(fmt: Any, rounding: Any, saturation: Any, random_bits: Any) -> _core.BlockFormat:
    """The block format with what the call says otherwise."""
    found = _core.block_format(fmt)
    if saturation not in (None, "finite"):
        raise ValueError(
            f"elements of block formats saturate: saturation must be None or 'finite'; "
            f"got {saturation!r}"
        )
    changes = {"rounding": rounding, "random_bits": random_bits}
    changes = {key: value for key, value in changes.items() if value is not None}
    return found.replace(**changes) if changes else found


def _check_holds(half: _core.Format | None, block: _core.BlockFormat) -> None:
    if half is not None and block.element_max > half.max:
        raise ValueError(f"{half} does not hold every element of {block}; pass float32")


def _memory(x: Array) -> tuple[Array, _core.Format | None]:
    """What the loops read: a plain array, or the codes of halves and their format."""
    half = _arrays._half_format(x.dtype)
    return (_arrays._to_carrier(x), None) if half is None else (_arrays.half_codes(x), half)


def blocks_of(x: Any, block: Any, *, axis: int = -1) -> Array:
    """The blocks of x, one a row, in the order of their scales; short ones are filled with zeros.

    x: array of any shape. Result: (number of blocks, elements of a block), x's dtype. Tiles are
    taken row by row.
    """
    fmt = _core.block_format(block)
    if _arrays._device().is_device(x):
        from lowp import _device_given  # which needs this module

        return _device_given.blocks_of(x, fmt, axis=axis)  # type: ignore[no-any-return]
    array = np.asarray(x)
    count, rows, columns, down, across, _ = _core._block_grid(
        fmt, list(array.shape), check_axis(axis, array.ndim)
    )
    matrices = array.reshape(count, rows, columns)
    high, wide = -(-rows // down), -(-columns // across)
    padded = np.zeros((count, high * down, wide * across), array.dtype)
    padded[:, :rows, :columns] = matrices
    tiles = padded.reshape(count, high, down, wide, across).transpose(0, 1, 3, 2, 4)
    result: Array = tiles.reshape(count * high * wide, down * across)
    return result


def _ideal_scales(
    x: Array, half: _core.Format | None, block: _core.BlockFormat, axis: int, scales: Scales
) -> Array | None:
    if scales is None:
        return None
    shape = grid(block, x.shape, axis)
    given: Any = scales
    if callable(scales):
        floats = x if half is None else np.asarray(_core.decode(x, half))
        given = scales(blocks_of(floats, block, axis=axis))
    values = np.asarray(given, dtype=np.float64)
    count = math.prod(shape)
    shapes = [shape, (count,), (count, 1)] if callable(scales) else [shape]
    if values.shape not in shapes:
        raise ValueError(
            f"scales must have one entry a block, shape {shape}; got shape {values.shape}"
        )
    return np.ascontiguousarray(values.reshape(-1))


def _options(x: Array, random: Any, **rest: Any) -> dict[str, Any]:
    threads = rest["threads"]
    return {
        "seed": _arrays.word(rest["seed"], "seed"),
        "stream": _arrays.word(rest["stream"], "stream"),
        "generator": rest["generator"],
        "random": _arrays._plain_random(random, x.shape),
        "threads": _core.get_threads() if threads is None else _arrays.integer(threads, "threads"),
    }


def quantize(x: Any, fmt: Any, *, out: Any, **rest: Any) -> Any:
    """See lowp.quantize."""
    device = _arrays._device()
    if device.is_device(x):
        device.check_no_gradient(x)
        return device.quantize(x, fmt, out=out, **rest)
    array = _arrays.as_array(x)
    if out is not None:
        _arrays._check_out(out, array.shape, array.dtype, f"{array.dtype}, those of x")
    memory, half = _memory(array)
    to = out if half is None else _arrays.out_codes(out)
    y = quantize_memory(memory, half, fmt, out=to, **rest)
    if y is to:
        return out
    values = y if half is None else _arrays.from_half_codes(y, array.dtype)
    return _arrays._result(values.astype(array.dtype, copy=False), x, out)


def quantize_memory(
    x: Array,
    half: _core.Format | None,
    fmt: Any,
    *,
    axis: Any,
    scales: Scales,
    rounding: Any,
    saturation: Any,
    random_bits: Any,
    out: Array | None,
    **rest: Any,
) -> Array:
    """quantize of what _memory gives; the result is `out` where it could be written at once."""
    block = _format(fmt, rounding, saturation, random_bits)
    _check_holds(half, block)
    at = check_axis(axis, x.ndim)
    ideal = _ideal_scales(x, half, block, at, scales)
    options = _options(x, **rest)
    y = _arrays.target(out, x, options["random"], ideal)
    if half is None:
        _core._block_quantize(x, y, block, at, scales=ideal, **options)
    else:
        _core._block_quantize_halves(half, x, y, block, at, scales=ideal, **options)
    return y


def encode(x: Any, fmt: Any, *, out: Any, **rest: Any) -> BlockTensor:
    """See lowp.encode."""
    if out is not None:
        raise ValueError("encode in a block format makes a BlockTensor; it takes no out")
    if _arrays._device().is_device(x):
        _arrays._device().check_no_gradient(x)
        from lowp import _device_blocks  # which needs this module

        return _device_blocks.encode(x, fmt, **rest)
    array = _arrays.as_array(x)
    return encode_memory(*_memory(array), array.dtype, fmt, **rest)


def encode_memory(
    x: Array,
    half: _core.Format | None,
    dtype: np.dtype[Any],
    fmt: Any,
    *,
    axis: Any,
    scales: Scales,
    packed: bool | None,
    nan: Any,
    rounding: Any,
    saturation: Any,
    random_bits: Any,
    **rest: Any,
) -> BlockTensor:
    """encode of what _memory gives. dtype: what the tensor is decoded to where nothing is said."""
    block = _format(fmt, rounding, saturation, random_bits)
    at = check_axis(axis, x.ndim)
    is_packed = block.element_bits <= 8 if packed is None else bool(packed)
    options = _options(x, **rest)
    options |= {"nan": _nan_code(nan, block), "scales": _ideal_scales(x, half, block, at, scales)}
    if half is None:
        parts = _core._block_encode(x, block, at, is_packed, **options)
    else:
        parts = _core._block_encode_halves(half, x, block, at, is_packed, **options)
    return BlockTensor(block, *parts, x.shape, at, dtype, is_packed)


def _nan_code(nan: Any, block: _core.BlockFormat) -> int | None:
    if nan is None:
        return None
    if isinstance(nan, float):
        if not isinstance(block.element, _core.Format):
            raise TypeError("nan must be a code (an int) where elements are a codebook")
        return int(_core.encode(nan, block.element, saturation="finite"))
    code = _arrays.integer(nan, "nan")
    if not 0 <= code < 1 << block.element_bits:
        raise ValueError(f"nan must be a code of {block.element_bits} bits; got {code}")
    return code


def decode(tensor: Any, fmt: Any, *, dtype: Any, out: Any, threads: Any) -> Any:
    """See lowp.decode."""
    if not isinstance(tensor, BlockTensor):
        raise TypeError(
            f"format must be that of the codes; got {fmt!r} for {type(tensor).__name__} (only a "
            "BlockTensor knows its own, and brings its scales)"
        )
    if fmt is not None and _core.block_format(fmt) != tensor.format:
        raise ValueError(f"the tensor is in {tensor.format}, not in {_core.block_format(fmt)}")
    return tensor.decode(dtype, out=out, threads=threads)
