"""The verbs on everything that is not a plain array: brought into that form, or refused.

Plain is a C-contiguous float32 or float64 array in the machine's byte order; `lowp._core` converts
those itself and comes here with the rest. Arrays of float16 and bfloat16 are worked on as their
codes (`lowp._halves`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _core

Array = NDArray[Any]

_CARRIERS = "float32, float64, float16 or bfloat16"


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return str(dtype.name) == "bfloat16"  # ml_dtypes registers it; NumPy has none of its own


def _half_format(dtype: np.dtype[Any]) -> _core.Format | None:
    """The format of a 16-bit float dtype, whose codes its arrays hold."""
    if dtype.newbyteorder("=") == np.float16:
        return _core.format("float16")
    return _core.format("bfloat16") if _is_bfloat16(dtype) else None


def _from_dlpack(x: Any) -> Array:
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError) as error:
        kind = f"{type(x).__module__}.{type(x).__name__}"
        if _device().is_device(x):
            raise TypeError(
                f"{kind} is on a GPU, where this is not done: pass it as an array of the CPU, as "
                "x.cpu().numpy() or cupy.asnumpy(x); docs/gpu.md lists what is done there"
            ) from error
        raise TypeError(
            f"{kind} cannot be read as a NumPy array ({error}); pass a CPU tensor of dtype "
            "float32, float64 or float16, detached from any gradient, or call lowp.torch, whose "
            "functions of the same names take every tensor"
        ) from error


def as_array(x: Any, what: str = "x", kinds: str = f"a float or an array of {_CARRIERS}") -> Array:
    """x as an ndarray without a copy where it has a buffer. TypeError for what is no array."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, whose mask would be lost; pass x.filled(value)")
    if isinstance(x, np.ndarray):
        return x.view(np.ndarray)
    if isinstance(x, float):
        return np.asarray(x)
    if isinstance(x, (str, bytes, bool, int)) or x is None:
        is_number = isinstance(x, int) and what == "x"
        raise TypeError(
            f"{what} must be {kinds}; got {type(x).__name__} {x!r:.40}"
            + (": write it with a point, as float(x)" if is_number else "")
        )
    if isinstance(x, Sequence) or hasattr(x, "__array_interface__"):
        return np.asarray(x)
    if hasattr(x, "__dlpack__"):
        return _from_dlpack(x)
    if hasattr(x, "__array__"):
        return np.asarray(x)
    raise TypeError(f"{what} must be {kinds}; got {type(x).__name__}")


def _refuse(dtype: np.dtype[Any], what: str) -> TypeError:
    hints = {
        "b": "booleans are not numbers here",
        "i": "convert it yourself, as x.astype(np.float64): integers beyond 2**53 change there",
        "u": "convert it yourself, as x.astype(np.float64); to read codes, use decode",
        "c": "take real and imaginary part apart",
        "O": "convert it yourself, as x.astype(np.float64)",
        "f": "no carrier is wider than float64",
    }
    hint = hints.get(dtype.kind, "convert it to float32 or float64 yourself")
    return TypeError(f"{what} must have dtype {_CARRIERS}; got {dtype}: {hint}")


def _contiguous(x: Array) -> Array:
    """x in C order, aligned, in the machine's byte order."""
    return np.require(x, x.dtype.newbyteorder("="), ("C", "A")).reshape(x.shape)


def half_codes(x: Array) -> Array:
    """The codes of a float16 or bfloat16 array: plain uint16, a view where x itself is plain."""
    codes = np.require(x, requirements=("C", "A")).view(np.uint16)
    return (codes if x.dtype.isnative else codes.byteswap()).reshape(x.shape)


def from_half_codes(codes: Array, dtype: np.dtype[Any]) -> Array:
    """The array of `dtype`, float16 or bfloat16, that has these codes."""
    halves: Array = codes.view(dtype.newbyteorder("="))
    return halves.astype(dtype, copy=False)


def out_codes(out: Array | None) -> Array | None:
    """The codes of `out`, to be written where it is plain; else None."""
    if out is None or not (out.dtype.isnative and out.flags.c_contiguous and out.flags.aligned):
        return None
    return out.view(np.ndarray).view(np.uint16)


def _to_carrier(x: Array, what: str = "x") -> Array:
    """x as a plain array; 16-bit floats become float32, which holds them exactly."""
    half = _half_format(x.dtype)
    if half is not None:
        return np.asarray(_core.decode(half_codes(x), half, dtype=np.float32))
    if x.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise _refuse(x.dtype, what)
    return _contiguous(x)


def _from_carrier(y: Array, dtype: np.dtype[Any]) -> Array:
    """Float32 or float64 values in `dtype`, which holds them."""
    half = _half_format(dtype)
    if half is None:
        return y.astype(dtype, copy=False)
    return from_half_codes(np.asarray(_core.encode(y, half), dtype=np.uint16), dtype)


def _check_half_holds(fmt: _core.Format, dtype: np.dtype[Any]) -> None:
    half = _half_format(dtype)
    if half is not None:
        _check_holds(half, fmt)


def _check_holds(half: _core.Format, fmt: _core.Format) -> None:
    if not half.holds(fmt):
        raise ValueError(
            f"{half} does not hold every value of {fmt}; pass x.astype(np.float32), which does"
            if fmt.precision <= 24
            else f"{half} does not hold every value of {fmt}; pass x.astype(np.float64)"
        )


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray; got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out must have shape {shape} and dtype {what}; got {out.shape} and {out.dtype}"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only; pass a writable array or leave it out")
    return out


def target(out: Any, plain: Array, *others: Array | None) -> Array:
    """Memory for results in the shape and dtype of `plain`, from which they are made: `out` if they
    can go there while `plain` and the others are read, else new memory.
    """
    fits = isinstance(out, np.ndarray) and out.dtype == plain.dtype and out.shape == plain.shape
    if not fits or not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        return np.empty_like(plain, subok=False)
    apart = not np.may_share_memory(out, plain) or out.ctypes.data == plain.ctypes.data
    unread = not any(other is not None and np.may_share_memory(out, other) for other in others)
    result: Array = out if apart and unread else np.empty_like(plain, subok=False)
    return result


def _result(y: Array, x: Any, out: Any) -> Any:
    """y where the caller wants it: in out, as a scalar for a scalar, or as an array."""
    if out is not None:
        np.copyto(out, y)
        return out
    if isinstance(x, np.generic):
        return y[()]
    return y.item() if isinstance(x, float) else y


def integer(value: Any, what: str) -> int:
    """The value as an int. TypeError names what is none."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer; got {value!r:.60}") from None


def word(value: Any, what: str) -> int:
    """An integer of 64 bits: a seed or a stream."""
    number = integer(value, what)
    if not 0 <= number < 2**64:
        raise ValueError(f"{what} must be between 0 and 2**64 - 1; got {number}")
    return number


def _plain_random(random: Any, shape: tuple[int, ...]) -> Any:
    if random is None:
        return None
    words = np.asarray(random)
    if words.dtype.kind not in "ui" or (words.size and int(words.min()) < 0):
        raise TypeError(
            f"random must hold integers from 0 to 2**random_bits - 1; got {words.dtype}"
        )
    if words.shape != shape:
        raise ValueError(f"random must have the shape of x, {shape}; got {words.shape}")
    if words.size and int(words.max()) > 0xFFFFFFFF:
        raise ValueError(f"random must be below 2**32; got {words.max()}")
    return np.ascontiguousarray(words, dtype=np.uint32)


def _halves() -> Any:
    from lowp import _halves  # which needs this module

    return _halves


_DEVICE: list[Any] = []


def _device() -> Any:
    if not _DEVICE:
        from lowp import _device  # which needs this module

        _DEVICE.append(_device)
    return _DEVICE[0]


def quantize(x: Any, fmt: Any, *, random: Any, out: Any, **options: Any) -> Any:
    """See lowp.quantize."""
    device = _device()
    if device.is_device(x):
        device.check_no_gradient(x)
        return device.quantize(x, fmt, random=random, out=out, **options)
    target = _core.format(fmt)
    array = as_array(x)
    _check_half_holds(target, array.dtype)
    if out is not None:
        _check_out(out, array.shape, array.dtype, f"{array.dtype}, those of x")
    half = _half_format(array.dtype)
    if half is None:
        words = _plain_random(random, array.shape)
        y = np.asarray(_core.quantize(_to_carrier(array), target, random=words, **options))
        return _result(y.astype(array.dtype, copy=False), x, out)
    to = out_codes(out)
    y = _halves().quantize(half_codes(array), half, target, random=random, out=to, **options)
    return out if to is not None else _result(from_half_codes(y, array.dtype), x, out)


def code_dtype(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest unsigned integers that hold codes of so many bits."""
    return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if bits <= 8 * size)}")


def encode(x: Any, fmt: Any, *, nan: Any, random: Any, out: Any, **options: Any) -> Any:
    """See lowp.encode."""
    if _device().is_device(x):
        _device().check_no_gradient(x)
        return _device().encode(x, fmt, nan=nan, random=random, out=out, **options)
    target = _core.format(fmt)
    array = as_array(x)
    dtype: np.dtype[Any] = code_dtype(target.bits)
    if out is not None:
        if isinstance(out, np.ndarray) and out.dtype.kind == "u":
            wide_enough = out.dtype.itemsize * 8 >= target.bits
            dtype = out.dtype if wide_enough else dtype
        _check_out(out, array.shape, dtype, f"uint{dtype.itemsize * 8} or wider")
    options |= {"nan": nan, "random": _plain_random(random, array.shape)}
    half = _half_format(array.dtype)
    if half is None:
        codes = np.asarray(_core.encode(_to_carrier(array), target, **options))
    else:
        codes = _halves().encode(half_codes(array), half, target, **options)
    return _result(codes.astype(dtype, copy=False), x, out)


def source_bytes(source: _core.Format) -> int:
    """Bytes of the smallest integer that holds a code."""
    return code_dtype(source.bits).itemsize


def decode(codes: Any, fmt: Any, *, dtype: Any, out: Any, threads: Any) -> Any:
    """See lowp.decode."""
    if _device().is_device(codes):
        return _device().decode(codes, fmt, dtype=dtype, out=out)
    source = _core.format(fmt)
    dtype = np.dtype(dtype)
    half = _half_format(dtype)
    if half is None and dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise _refuse(dtype, "dtype")
    _check_half_holds(source, dtype)
    array = as_array(codes, "codes", "unsigned integers")
    if array.dtype.kind != "u":
        view = f"codes.view(np.uint{8 * array.dtype.itemsize})"
        hint = f"; pass codes.astype(np.uint{source_bytes(source) * 8})"
        if array.dtype.itemsize == source_bytes(source):
            hint = f"; pass {view}, which keeps the bits"
        raise TypeError(f"codes must be unsigned integers; got {array.dtype}{hint}")
    if out is not None:
        _check_out(out, array.shape, dtype, f"{dtype}")
    plain = _contiguous(array)
    if half is None:
        y = np.asarray(_core.decode(plain, source, dtype=dtype.newbyteorder("="), threads=threads))
        return _result(y.astype(dtype, copy=False), codes, out)
    to = out_codes(out)
    y = _halves().decode(plain, half, source, out=to, threads=threads)
    return out if to is not None else _result(from_half_codes(y, dtype), codes, out)


def _plain_codes(codes: Any, what: str) -> Array:
    array = as_array(codes, what, "an array of uint8")
    if array.dtype != np.uint8:
        raise TypeError(f"{what} must be uint8; got {array.dtype}")
    return np.ascontiguousarray(array).reshape(-1)


def pack(codes: Any, bits: int) -> NDArray[np.uint8]:
    """Codes of 1 to 8 bits as dense bytes.

    codes: uint8 of any shape, taken in C order. bits: 1..8. Result: one dimension, uint8,
    (count * bits + 7) // 8 bytes, little-endian: the first code in the lowest bits, so FP4 has the
    even element in the low nibble; unused bits of the last byte are zero. Raises ValueError for a
    code of more than `bits` bits. Source: OCP MX 1.0 leaves the layout open; this is CUDA's and
    PyTorch's for FP4.
    """
    if _device().is_device(codes):
        packed: NDArray[np.uint8] = _device().pack(codes, integer(bits, "bits"))
        return packed
    return _core._pack(_plain_codes(codes, "codes"), integer(bits, "bits"))


def unpack(buffer: Any, bits: int, count: int) -> NDArray[np.uint8]:
    """The first `count` codes of dense bytes, as pack wrote them.

    buffer: uint8, exactly (count * bits + 7) // 8 bytes; bytes objects do. Result: uint8, one
    dimension. Raises ValueError where the sizes do not agree.
    """
    if isinstance(buffer, (bytes, bytearray, memoryview)):
        buffer = np.frombuffer(buffer, dtype=np.uint8)
    sizes = integer(bits, "bits"), integer(count, "count")
    if _device().is_device(buffer):
        codes: NDArray[np.uint8] = _device().unpack(buffer, *sizes)
        return codes
    return _core._unpack(_plain_codes(buffer, "buffer"), *sizes)


def _whole(bits: int) -> int:
    """The fewest codes that fill whole bytes."""
    return 8 // math.gcd(8, bits)


def pack_lines(codes: Array, bits: int) -> Array:
    """Each line of the last axis as dense bytes, as BlockTensor has it."""
    lines = codes.reshape(-1, codes.shape[-1] if codes.ndim else 1)
    count = lines.shape[1]
    padded = np.pad(lines, ((0, 0), (0, -count % _whole(bits))))
    packed = pack(padded, bits).reshape(len(lines), padded.shape[1] * bits // 8)
    return packed[:, : (count * bits + 7) // 8]


def unpack_lines(packed: Array, bits: int, shape: tuple[int, ...]) -> Array:
    """The codes of such lines, in the tensor's shape."""
    count = shape[-1] if shape else 1
    lines = packed.reshape(math.prod(shape[:-1]), (count * bits + 7) // 8)
    wide = -(-count // _whole(bits)) * _whole(bits)
    padded = np.pad(lines, ((0, 0), (0, wide * bits // 8 - lines.shape[1])))
    codes = unpack(padded, bits, len(lines) * wide).reshape(len(lines), wide)
    return np.ascontiguousarray(codes[:, :count]).reshape(shape)
