"""Where a call on a GPU runs and what it is told: the module, streams, words for failures."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from threading import get_ident
from types import ModuleType
from typing import Any

import numpy as np

from lowp import _arrays
from lowp._device_libraries import Library, adopt

__all__ = [
    "NAN_WITHOUT_CODE",
    "Source",
    "check_floats",
    "check_no_gradient",
    "check_random",
    "dtype_name",
    "foreign",
    "kernels",
    "module",
    "remembered",
    "source_of",
    "told",
    "word_of",
    "work_of",
]

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_GENERATORS = {"philox4x32_10": 0, "philox4x32_7": 1}
#: A bit of the word for failures, lowp::cuda::nan_without_code.
NAN_WITHOUT_CODE = 1
#: Another, lowp::cuda::random_too_wide.
RANDOM_TOO_WIDE = 4

#: Seed, stream, generator, addresses of the stream's offset and of the word for failures, the
#: queue, and the address of random bits that are given.
Source = tuple[int, int, int, int, int, int, int]


@lru_cache(maxsize=1)
def kernels() -> ModuleType | None:
    """lowp._cuda, or None in a package that was built without CUDA. ImportError: it is there and
    does not load, as where a library of CUDA's is missing.
    """
    try:
        return import_module("lowp._cuda")
    except ModuleNotFoundError as error:
        if error.name != "lowp._cuda":
            raise
        return None


def module() -> Any:
    """lowp._cuda; TypeError says how to come by it."""
    found = kernels()
    if found is None:
        raise TypeError(
            "this lowp was built without CUDA, and the array is on a GPU. Build it where nvcc 12.4 "
            "or later is, in the folder of its sources: pip install -C cmake.define.LOWP_CUDA=ON . "
            "Without, lowp.torch works on a GPU by PyTorch's own operations, to the same bits, and "
            "lowp on arrays of the CPU: x.cpu().numpy(), cupy.asnumpy(x)"
        )
    return found


def check_no_gradient(x: Any, what: str = "x") -> None:
    """TypeError for a tensor whose derivative would be lost."""
    if getattr(x, "requires_grad", False) and import_module("torch").is_grad_enabled():
        raise TypeError(
            f"{what} requires a gradient, which would end here: lowp.torch's verbs have "
            f"derivatives; without one, pass {what}.detach()"
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


def dtype_name(dtype: Any) -> str:
    """float32 of torch.float32, np.float32, "float32" or None."""
    if dtype is None:
        return "float32"
    text = str(dtype)
    if text in _FLOATS:
        return text
    return text.removeprefix("torch.") if text.startswith("torch.") else str(np.dtype(dtype).name)


# ---- where a call runs ---------------------------------------------------------------------------

#: Words that failures are told to, one a thread and queue of a device; zero between calls.
_WORDS: dict[tuple[int, int, int, int], Any] = {}


def word_of(library: Library, x: Any, why: str) -> Any:
    """A zero word that kernels of the current stream tell failures to. RuntimeError in the capture
    of a graph, which cannot wait for what is told.
    """
    if library.is_captured(x):
        raise RuntimeError(
            f"the capture of a CUDA graph cannot wait for the device, which has to tell {why}"
        )
    key = (get_ident(), id(library), library.index(x), library.stream(x))
    word = _WORDS.get(key)
    if word is None:
        word = library.zero(x)
        library.pointer(word)  # a fake tensor is refused here, and not kept
        _WORDS[key] = word
    return word


def told(word: Any) -> int:
    """What was told, once the device is there; the word is zero again."""
    bits = int(word.item())
    if bits:
        word[...] = 0
    return bits


def source_of(
    library: Library,
    x: Any,
    word: Any = None,
    *,
    seed: Any = 0,
    stream: Any = 0,
    generator: str = "philox4x32_10",
    stream_offset: Any = None,
    random: Any = None,
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
        0 if random is None else library.pointer(random),
    )


def check_random(word: Any) -> None:
    """ValueError where random bits were told to be too large."""
    if word is not None and told(word) & RANDOM_TOO_WIDE:
        raise ValueError("random must be below 2**random_bits; got larger ones")


def _has_hash(x: Any) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


def remembered(function: Callable[..., Any]) -> Any:
    """function, whose last 4096 results are kept; what has no hash goes to it, which refuses that
    in its own words.
    """
    kept = lru_cache(maxsize=4096, typed=True)(function)

    @wraps(function)
    def call(*given: Any) -> Any:
        try:
            return kept(*given)
        except TypeError:
            if _has_hash(given):
                raise
        return function(*given)

    call.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return call


def work_of(library: Library, x: Any, size: int) -> tuple[Any, int]:
    """Workspace of so many bytes and its address; the first must outlive the call."""
    if size == 0:
        return None, 0
    work = library.empty(x, (size,), "uint8")
    return work, library.pointer(work)
