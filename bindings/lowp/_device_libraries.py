"""The array libraries of a GPU: what lowp._device needs of PyTorch and of CuPy."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

__all__ = ["Library", "library_of"]


class Library(Protocol):
    """What is needed of an array library."""

    def dtype(self, x: Any) -> str: ...
    def pointer(self, x: Any) -> int: ...
    def strides(self, x: Any) -> tuple[int, ...]: ...
    def contiguous(self, x: Any) -> Any: ...
    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any: ...
    def empty_like(self, x: Any) -> Any: ...
    def clear(self, x: Any) -> None: ...
    def device(self, x: Any) -> AbstractContextManager[Any]: ...
    def stream(self, x: Any) -> int: ...


class _Torch:
    def __init__(self) -> None:
        self._torch: Any = import_module("torch")

    def dtype(self, x: Any) -> str:
        return str(x.dtype).removeprefix("torch.")

    def pointer(self, x: Any) -> int:
        return int(x.data_ptr())

    def strides(self, x: Any) -> tuple[int, ...]:
        return tuple(x.stride())

    def contiguous(self, x: Any) -> Any:
        return x.contiguous()

    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any:
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=x.device)

    def empty_like(self, x: Any) -> Any:
        return self._torch.empty_like(x)

    def clear(self, x: Any) -> None:
        x.zero_()

    def device(self, x: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._torch.cuda.device(x.device)
        return context

    def stream(self, x: Any) -> int:
        return int(self._torch.cuda.current_stream(x.device).cuda_stream)


class _CuPy:
    def __init__(self) -> None:
        self._cupy: Any = import_module("cupy")

    def dtype(self, x: Any) -> str:
        return str(x.dtype.name)

    def pointer(self, x: Any) -> int:
        return int(x.data.ptr)

    def strides(self, x: Any) -> tuple[int, ...]:
        return tuple(step // x.itemsize for step in x.strides)

    def contiguous(self, x: Any) -> Any:
        return self._cupy.ascontiguousarray(x)

    def empty(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any:
        return self._cupy.empty(shape, dtype)

    def empty_like(self, x: Any) -> Any:
        return self._cupy.empty_like(x)

    def clear(self, x: Any) -> None:
        x.fill(0)

    def device(self, x: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = x.device
        return context

    def stream(self, x: Any) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)


@lru_cache(maxsize=2)
def _load(name: str) -> Library:
    return _Torch() if name == "torch" else _CuPy()


def library_of(x: Any) -> Library:
    """The library that x is of; TypeError for any other."""
    name = type(x).__module__.partition(".")[0]
    if any(base.__module__.partition(".")[0] == "torch" for base in type(x).__mro__):
        name = "torch"
    if name not in ("torch", "cupy"):
        raise TypeError(
            f"arrays of a GPU must be PyTorch's or CuPy's; got {name}.{type(x).__name__}: pass "
            "torch.as_tensor(x) or cupy.asarray(x), which copy nothing"
        )
    return _load(name)
