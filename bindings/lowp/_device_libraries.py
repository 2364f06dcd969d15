"""The array libraries of a GPU: what lowp._device needs of PyTorch and of CuPy, and how the arrays
of others (JAX, Numba, whatever has DLPack or __cuda_array_interface__) go through one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np

__all__ = ["Library", "adopt", "check_place", "is_device", "library_of"]

#: DLPack's numbers of CUDA memory, plain and managed.
_DLPACK_CUDA = (2, 13)


class Library(Protocol):
    """What is needed of an array library; `x` is an array on the device in question."""

    def dtype(self, x: Any) -> str: ...
    def pointer(self, x: Any) -> int: ...
    def is_plain(self, x: Any) -> bool: ...
    def strides(self, x: Any) -> tuple[int, ...]: ...
    def contiguous(self, x: Any) -> Any: ...
    def convert(self, x: Any, dtype: str) -> Any: ...
    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any: ...
    def empty_like(self, x: Any) -> Any: ...
    def zero(self, x: Any) -> Any: ...
    def from_host(self, x: Any, values: np.ndarray[Any, Any]) -> Any: ...
    def host(self, x: Any) -> np.ndarray[Any, Any]: ...
    def index(self, x: Any) -> int: ...
    def is_current(self, x: Any) -> bool: ...
    def device(self, x: Any) -> AbstractContextManager[Any]: ...
    def stream(self, x: Any) -> int: ...
    def is_captured(self, x: Any) -> bool: ...
    def written(self, x: Any) -> None: ...


class _Torch:
    def __init__(self) -> None:
        self._torch: Any = import_module("torch")
        # Stream objects cost as much as a launch; PyTorch's own compiler asks for the raw one.
        self._raw: Any = getattr(self._torch._C, "_cuda_getCurrentRawStream", None)
        self._current: Any = getattr(
            self._torch._C, "_cuda_getDevice", self._torch.cuda.current_device
        )
        self._names: dict[Any, str] = {}

    def dtype(self, x: Any) -> str:
        name = self._names.get(x.dtype)
        if name is None:
            name = self._names[x.dtype] = str(x.dtype).removeprefix("torch.")
        return name

    def pointer(self, x: Any) -> int:
        if x.is_neg():  # its memory has the other sign
            raise TypeError("got a tensor that PyTorch negates when it reads it: x.resolve_neg()")
        pointer: int = x.data_ptr()
        if not pointer and x.numel():  # a DTensor's parts lie elsewhere, a fake tensor's nowhere
            raise TypeError(
                f"got a {type(x).__name__}, which has no memory of its own: pass the tensor in it, "
                "as x.to_local() of a DTensor"
            )
        return pointer

    def is_plain(self, x: Any) -> bool:
        return x.is_contiguous()  # type: ignore[no-any-return]

    def strides(self, x: Any) -> tuple[int, ...]:
        return x.stride()  # type: ignore[no-any-return]

    def contiguous(self, x: Any) -> Any:
        return x.contiguous()

    def convert(self, x: Any, dtype: str) -> Any:
        return x.to(getattr(self._torch, dtype))

    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any:
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=x.device)

    def empty_like(self, x: Any) -> Any:
        return self._torch.empty_like(x)

    def zero(self, x: Any) -> Any:
        """An int32 that calls in and out of inference mode may change."""
        with self._torch.inference_mode(False):
            return self._torch.zeros(1, dtype=self._torch.int32, device=x.device)

    def from_host(self, x: Any, values: np.ndarray[Any, Any]) -> Any:
        return self._torch.from_numpy(values).to(x.device)

    def host(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(x.cpu().numpy())

    def index(self, x: Any) -> int:
        return x.get_device()  # type: ignore[no-any-return]

    def is_current(self, x: Any) -> bool:
        return x.get_device() == self._current()  # type: ignore[no-any-return]

    def device(self, x: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._torch.cuda.device(x.device)
        return context

    def stream(self, x: Any) -> int:
        if self._raw is not None:
            return self._raw(x.get_device())  # type: ignore[no-any-return]
        return int(self._torch.cuda.current_stream(x.device).cuda_stream)

    def is_captured(self, x: Any) -> bool:
        return bool(self._torch.cuda.is_current_stream_capturing())

    def written(self, x: Any) -> None:
        """Tell autograd, which would else use what it saved of x."""
        self._torch.autograd.graph.increment_version(x)


class _CuPy:
    def __init__(self) -> None:
        self._cupy: Any = import_module("cupy")

    def dtype(self, x: Any) -> str:
        return str(x.dtype.name)

    def pointer(self, x: Any) -> int:
        return x.data.ptr  # type: ignore[no-any-return]

    def is_plain(self, x: Any) -> bool:
        return x.flags.c_contiguous  # type: ignore[no-any-return]

    def strides(self, x: Any) -> tuple[int, ...]:
        return tuple(step // x.itemsize for step in x.strides)

    def contiguous(self, x: Any) -> Any:
        return self._cupy.ascontiguousarray(x)

    def convert(self, x: Any, dtype: str) -> Any:
        return x.astype(dtype, copy=False)

    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any:
        with x.device:
            return self._cupy.empty(shape, dtype)

    def empty_like(self, x: Any) -> Any:
        with x.device:
            return self._cupy.empty_like(x)

    def zero(self, x: Any) -> Any:
        with x.device:
            return self._cupy.zeros(1, np.int32)

    def from_host(self, x: Any, values: np.ndarray[Any, Any]) -> Any:
        with x.device:
            return self._cupy.asarray(values)

    def host(self, x: Any) -> np.ndarray[Any, Any]:
        return np.asarray(self._cupy.asnumpy(x))

    def index(self, x: Any) -> int:
        return int(x.device.id)

    def is_current(self, x: Any) -> bool:
        return bool(x.device.id == self._cupy.cuda.runtime.getDevice())

    def device(self, x: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = x.device
        return context

    def stream(self, x: Any) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)

    def is_captured(self, x: Any) -> bool:
        return bool(self._cupy.cuda.get_current_stream().is_capturing())

    def written(self, x: Any) -> None:
        """CuPy keeps nothing of x that could be out of date."""


@lru_cache(maxsize=2)
def _load(name: str) -> Library:
    return _Torch() if name == "torch" else _CuPy()


@lru_cache(maxsize=256)
def _root(kind: Any) -> str:
    """The package of a type, or of what it derives from: torch, cupy or another."""
    packages: list[str] = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return next((name for name in packages if name in ("torch", "cupy")), packages[0])


def is_device(x: Any) -> bool:
    """Whether x lies in the memory of a CUDA device."""
    if isinstance(x, (np.ndarray, np.generic, float, int, str, list, tuple)):
        return False
    tensor = getattr(x, "is_cuda", None)  # PyTorch's: its interface refuses tensors with a gradient
    if isinstance(tensor, bool):
        return tensor
    kind: Any = type(x)
    if _root(kind) == "cupy":
        return hasattr(x, "__cuda_array_interface__")
    try:
        return int(x.__dlpack_device__()[0]) in _DLPACK_CUDA
    except Exception:  # no DLPack, or none of this array: libraries differ in what they raise
        return hasattr(x, "__cuda_array_interface__")


@lru_cache(maxsize=256)
def _library(kind: Any) -> Library | None:
    name = _root(kind)
    return _load(name) if name in ("torch", "cupy") else None


def library_of(x: Any) -> Library | None:
    """The library that x is of, or None for one that lowp does not know."""
    kind: Any = type(x)
    return _library(kind)


def check_place(library: Library, x: Any, other: Any, what: str, of: str = "x") -> None:
    """ValueError for an array that is not of x's library or not on its device; of: x's name."""
    if not is_device(other) or library_of(other) is not library:
        raise ValueError(f"{what} must be on the device of {of} and of its library")
    if library.index(other) != library.index(x):
        raise ValueError(
            f"{what} must be on the device of {of}, {library.index(x)}; got one on "
            f"{library.index(other)}"
        )


def _helper() -> tuple[str, Any]:
    """A library to look at others' arrays with: one that is there already, or one that there is."""
    for is_loaded in (True, False):
        for name in ("torch", "cupy"):
            if is_loaded and name not in sys.modules:
                continue
            try:
                module = import_module(name)
            except ImportError:
                continue
            if name == "cupy" or module.cuda.is_available():
                return name, module
    raise TypeError(
        "arrays of a GPU that are not PyTorch's or CuPy's go through one of these, and neither is "
        "installed: pip install cupy-cuda13x (or cupy-cuda12x), or torch"
    )


def adopt(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """x as an array of PyTorch or CuPy, without a copy, and what makes such a one x's kind again:
    JAX's and Numba's; others' results stay arrays of the library in between.
    """
    name, module = _helper()
    try:
        if hasattr(x, "__dlpack__"):
            own = module.from_dlpack(x)
        else:
            own = module.as_tensor(x, device="cuda") if name == "torch" else module.asarray(x)
    except (BufferError, RuntimeError, TypeError) as error:
        kind = f"{type(x).__module__}.{type(x).__name__}"
        raise TypeError(
            f"{kind} cannot be read as an array of a GPU ({error}); pass one of PyTorch or CuPy, "
            "or of the CPU"
        ) from error
    package = type(x).__module__.partition(".")[0]
    if package in ("jax", "jaxlib"):
        return own, import_module("jax.dlpack").from_dlpack
    if package == "numba":
        return own, import_module("numba.cuda").as_cuda_array
    return own, lambda y: y
