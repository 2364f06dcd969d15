"""The verbs on arrays of a GPU: PyTorch's, CuPy's and through these any other's, by lowp._cuda.

Nothing here waits for the device but what the data may refuse: a NaN for a format without one, bits
above a code's. Results are new arrays of the library that x is of, on the stream that is current.
What depends on names and shapes alone is worked out once: a call costs some microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from lowp import _arrays, _blocks, _core
from lowp._block_tensor import check_axis
from lowp._device_libraries import Library, adopt, is_device, library_of

__all__ = [
    "check_no_gradient",
    "decode",
    "encode",
    "foreign",
    "is_device",
    "kernels",
    "pack",
    "quantize",
    "unpack",
]

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_GENERATORS = {"philox4x32_10": 0, "philox4x32_7": 1}
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")

#: Seed, stream, generator, addresses of the stream's offset and of the word for failures, queue.
Source = tuple[int, int, int, int, int, int]


@lru_cache(maxsize=1)
def kernels() -> ModuleType | None:
    """lowp._cuda, or None in a package that was built without CUDA."""
    try:
        return import_module("lowp._cuda")
    except ImportError:
        return None


def module() -> Any:
    """lowp._cuda; TypeError says how to come by it."""
    found = kernels()
    if found is None:
        raise TypeError(
            "this lowp was built without CUDA, and the array is on a GPU. Install it where nvcc "
            "12.4 or later is: pip install --no-binary lowp -C cmake.define.LOWP_CUDA=ON lowp. "
            "Without, lowp.torch works on a GPU by PyTorch's own operations, to the same bits, and "
            "lowp on arrays of the CPU: x.cpu().numpy(), cupy.asnumpy(x)"
        )
    return found


def check_no_gradient(x: Any) -> None:
    """TypeError for a tensor whose derivative would be lost."""
    if getattr(x, "requires_grad", False) and import_module("torch").is_grad_enabled():
        raise TypeError(
            "x requires a gradient, which would end here: lowp.torch's verbs have derivatives; "
            "without one, pass x.detach()"
        )


def check_floats(dtype: str, what: str = "x") -> None:
    """TypeError for a dtype that is no carrier."""
    if dtype not in _FLOATS:
        raise TypeError(f"{what} must have dtype {', '.join(_FLOATS)}; got {dtype}")


def foreign(verb: Callable[..., Any], x: Any, *rest: Any, out: Any = None, **options: Any) -> Any:
    """A verb on an array of a library that lowp does not know: through one that it does."""
    module()
    own, back = adopt(x)
    if out is None:
        return back(verb(own, *rest, **options))
    if type(x).__module__.partition(".")[0] in ("jax", "jaxlib"):
        raise TypeError("arrays of JAX do not change: leave out= out")
    verb(own, *rest, out=adopt(out)[0], **options)
    return out


# ---- where a call runs ---------------------------------------------------------------------------

#: Words that failures are told to, one a queue of a device; zero between calls.
_WORDS: dict[tuple[int, int, int], Any] = {}


def word_of(library: Library, x: Any, why: str) -> Any:
    """A zero word that kernels of the current stream tell failures to. RuntimeError in the capture
    of a graph, which cannot wait for what is told.
    """
    if library.is_captured(x):
        raise RuntimeError(
            f"the capture of a CUDA graph cannot wait for the device, which has to tell {why}"
        )
    key = (id(library), library.index(x), library.stream(x))
    word = _WORDS.get(key)
    if word is None:
        word = _WORDS[key] = library.from_host(x, np.zeros(1, np.int32))
    return word


def told(word: Any) -> bool:
    """Whether something was told, once the device is there; the word is zero again."""
    if int(word.item()) == 0:
        return False
    word[...] = 0
    return True


def source_of(
    library: Library,
    x: Any,
    word: Any = None,
    *,
    seed: Any = 0,
    stream: Any = 0,
    generator: str = "philox4x32_10",
    stream_offset: Any = None,
) -> Source:
    """What a kernel is told of random bits, failures and its queue. stream_offset: an int64 array
    of one on the device, which must live until the call is over.
    """
    if generator not in _GENERATORS:
        raise ValueError(f"generator must be one of {', '.join(_GENERATORS)}; got {generator!r}")
    return (
        seed if seed == 0 and type(seed) is int else _arrays.word(seed, "seed"),
        stream if stream == 0 and type(stream) is int else _arrays.word(stream, "stream"),
        _GENERATORS[generator],
        0 if stream_offset is None else library.pointer(stream_offset),
        0 if word is None else library.pointer(word),
        library.stream(x),
    )


# ---- what is worked out once ---------------------------------------------------------------------


@lru_cache(maxsize=4096, typed=True)
def _conversion(
    fmt: Any, dtype: str, rounding: Any, saturation: Any, random_bits: Any
) -> tuple[Any, _core.Format]:
    check_floats(dtype)
    target = _core.format(fmt)
    modes = (rounding or "nearest_ties_to_even", saturation or "none")
    bits = 32 if random_bits is None else random_bits
    return module().Conversion(target.name, dtype, *modes, bits), target


@lru_cache(maxsize=4096, typed=True)
def block_of(fmt: Any, rounding: Any, saturation: Any, random_bits: Any) -> _core.BlockFormat:
    """The block format of a call; NotImplementedError where the device has no kernels for it."""
    block = _blocks._format(fmt, rounding, saturation, random_bits)
    if not module().has_kernels(block.name):
        raise NotImplementedError(
            f"{block} is not worked on by the device: pass a CPU array, or use lowp.torch"
        )
    return block


@lru_cache(maxsize=4096)
def block_conversion(name: str, dtype: str, shape: tuple[int, ...], axis: int) -> tuple[Any, int]:
    """What converts arrays of one shape, and the bytes of workspace that quantize needs."""
    check_floats(dtype)
    made = module().BlockConversion(name, dtype, list(shape), axis)
    return made, made.workspace(False)


_is_block = lru_cache(maxsize=4096, typed=True)(_core.is_block_format)


def _refuse(random: Any, scales: Any) -> None:
    if random is not None or scales is not None:
        raise NotImplementedError("random and scales are not taken on the device: pass CPU arrays")


def work_of(library: Library, x: Any, size: int) -> tuple[Any, int]:
    """Workspace of so many bytes and its address; the first must outlive the call."""
    if size == 0:
        return None, 0
    work = library.empty(x, (size,), "uint8")
    return work, library.pointer(work)


# ---- quantize ------------------------------------------------------------------------------------


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
    library = library_of(x)
    rest = {"axis": axis, "random": random, "scales": scales, **source}
    modes = (rounding, saturation, random_bits)
    if library is None:
        named = dict(zip(("rounding", "saturation", "random_bits"), modes, strict=True))
        return foreign(quantize, x, fmt, out=out, **named, **rest)
    if not library.is_current(x):
        with library.device(x):
            return quantize(
                x,
                fmt,
                out=out,
                rounding=rounding,
                saturation=saturation,
                random_bits=random_bits,
                **rest,
            )
    _refuse(random, scales)
    dtype = library.dtype(x)
    if out is None:
        y = library.empty_like(x)
    else:
        y = out
        if not is_device(out) or out.shape != x.shape or library.dtype(out) != dtype:
            raise ValueError(
                f"out must be on x's device, with its shape {tuple(x.shape)} and dtype {dtype}"
            )
    given = source_of(library, x, **source)
    if _is_block(fmt):
        block = block_of(fmt, *modes)
        return _quantize_blocks(library, x, y, block, dtype, check_axis(axis, x.ndim), given)
    made, _ = _conversion(fmt, dtype, *modes)
    if library.is_plain(x) and library.is_plain(y):
        made.quantize(library.pointer(x), library.pointer(y), math.prod(x.shape), given)
    else:
        made.quantize_strided(
            library.pointer(x),
            library.strides(x),
            library.pointer(y),
            library.strides(y),
            x.shape,
            given,
        )
    return y


def _quantize_blocks(
    library: Library, x: Any, y: Any, block: _core.BlockFormat, dtype: str, axis: int, given: Source
) -> Any:
    made, size = block_conversion(block.name, dtype, tuple(x.shape), axis)
    plain = library.contiguous(x)
    target = y if library.is_plain(y) else library.empty(x, tuple(x.shape), dtype)
    work, at = work_of(library, x, size)
    made.quantize(library.pointer(plain), library.pointer(target), at, given)
    del work
    if target is not y:
        y[...] = target
    return y


# ---- encode, decode ------------------------------------------------------------------------------


def _code_dtype(bits: int) -> str:
    return str(np.dtype(_arrays._code_dtype(bits)).name)


def _nan_code(nan: Any, target: _core.Format) -> int | None:
    return None if nan is None else int(_core.encode(math.nan, target, nan=nan))


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
    """Codes of x, in C order or in out: lowp.encode of an array on a device.

    Waits for the device only where the format has no NaN and nan does not say what one becomes.
    """
    library = library_of(x)
    if library is None or not library.is_current(x):
        named: dict[str, Any] = {"rounding": rounding, "saturation": saturation}
        named |= {"random_bits": random_bits, "nan": nan, "random": random, "out": out, **source}
        if library is None:
            return foreign(encode, x, fmt, **named)
        with library.device(x):
            return encode(x, fmt, **named)
    _refuse(random, None)
    made, target = _conversion(fmt, library.dtype(x), rounding, saturation, random_bits)
    nan_code = _nan_code(nan, target)
    word = None
    if nan_code is None and not target.has_nan:
        word = word_of(library, x, f"of a NaN, for which {target} has no code: pass nan, its code")
    codes, size = _codes_for(library, x, target, out)
    made.encode(
        library.pointer(x),
        library.strides(x),
        library.pointer(codes),
        library.strides(codes),
        size,
        x.shape,
        nan_code,
        source_of(library, x, word, **source),
    )
    if word is not None and told(word):
        raise ValueError(f"{target} has no NaN; got NaN: pass nan, the code it is to get")
    return codes


def _codes_for(library: Library, x: Any, target: _core.Format, out: Any) -> tuple[Any, int]:
    """Memory for codes of x, and the bytes of one."""
    name = _code_dtype(target.bits)
    if out is None:
        return library.empty(x, tuple(x.shape), name), np.dtype(name).itemsize
    integer = library.dtype(out) if is_device(out) else ""
    fits = integer in _UNSIGNED and np.dtype(integer).itemsize * 8 >= target.bits
    if not fits or tuple(out.shape) != tuple(x.shape):
        raise ValueError(
            f"out must be on x's device, with its shape {tuple(x.shape)} and dtype {name} or wider"
        )
    return out, np.dtype(integer).itemsize


def dtype_name(dtype: Any) -> str:
    """float32 of torch.float32, np.float32, "float32" or None."""
    if dtype is None:
        return "float32"
    text = str(dtype)
    if text in _FLOATS:
        return text
    return text.removeprefix("torch.") if text.startswith("torch.") else str(np.dtype(dtype).name)


def decode(codes: Any, fmt: Any, *, dtype: Any = None, out: Any = None, threads: Any = None) -> Any:
    """Values of codes in dtype (None: out's, or float32), in C order or in out: lowp.decode of an
    array on a device. Waits for the device only where the codes' integers have more bits than the
    format.
    """
    library = library_of(codes)
    if library is None:
        return foreign(decode, codes, fmt, dtype=dtype, out=out)
    if not library.is_current(codes):
        with library.device(codes):
            return decode(codes, fmt, dtype=dtype, out=out)
    integer = library.dtype(codes)
    if integer not in _UNSIGNED:
        raise TypeError(f"codes must be unsigned integers; got {integer}")
    size = np.dtype(integer).itemsize
    name = library.dtype(out) if dtype is None and out is not None else dtype_name(dtype)
    check_floats(name, "dtype")
    if out is None:
        y = library.empty(codes, tuple(codes.shape), name)
    else:
        y = out
        if not is_device(out) or out.shape != codes.shape or library.dtype(out) != name:
            raise ValueError(f"out must have shape {tuple(codes.shape)} and dtype {name}")
    made, source = _conversion(fmt, name, None, None, None)
    word = None
    if 8 * size > source.bits:
        word = word_of(
            library, codes, f"of codes with more bits than the {source.bits} of {source}"
        )
    made.decode(
        library.pointer(codes),
        library.strides(codes),
        size,
        library.pointer(y),
        library.strides(y),
        codes.shape,
        source_of(library, codes, word),
    )
    if word is not None and told(word):
        raise ValueError(f"codes of {source} have {source.bits} bits; got a code with higher bits")
    return y


# ---- dense bytes ---------------------------------------------------------------------------------


def pack(codes: Any, bits: int) -> Any:
    """lowp.pack of an array on a device; waits for it where codes could have more bits."""
    library = library_of(codes)
    if library is None:
        return foreign(pack, codes, bits)
    if library.dtype(codes) != "uint8":
        raise TypeError(f"codes must be uint8; got {library.dtype(codes)}")
    plain, count = library.contiguous(codes), math.prod(codes.shape)
    word = word_of(library, codes, "of codes with more bits") if bits < 8 else None
    packed = library.empty(codes, ((count * max(bits, 0) + 7) // 8,), "uint8")
    with library.device(codes):
        given = source_of(library, codes, word)
        module().pack(library.pointer(plain), count, bits, library.pointer(packed), given)
        if word is not None and told(word):
            raise ValueError(f"a code has more than {bits} bits")
    return packed


def unpack(buffer: Any, bits: int, count: int) -> Any:
    """lowp.unpack of an array on a device."""
    library = library_of(buffer)
    if library is None:
        return foreign(unpack, buffer, bits, count)
    wanted = (count * bits + 7) // 8
    if library.dtype(buffer) != "uint8":
        raise TypeError(f"buffer must be uint8; got {library.dtype(buffer)}")
    if math.prod(buffer.shape) != wanted or count < 0:
        raise ValueError(
            f"{count} codes of {bits} bits take {wanted} bytes; got {math.prod(buffer.shape)}"
        )
    plain = library.contiguous(buffer)
    codes = library.empty(buffer, (count,), "uint8")
    with library.device(buffer):
        given = source_of(library, buffer)
        module().unpack(library.pointer(plain), bits, library.pointer(codes), count, given)
    return codes


def __getattr__(name: str) -> Any:
    """What is in lowp._device_blocks, under the names that it had here."""
    if name in ("decode_blocks", "encode_blocks"):
        return getattr(import_module("lowp._device_blocks"), name)
    raise AttributeError(f"module 'lowp._device' has no attribute {name!r}")
