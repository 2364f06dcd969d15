"""A GPU that is none: tensors of the CPU that say they lie on one, and kernels that do the CPU's
work at the addresses they get, element by element in no order, as threads do.

What is refused before a kernel runs, and which memory kernels are handed, is tested so anywhere.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lowp
import numpy as np
import pytest
import torch
from lowp import _device, _device_calls, _device_libraries

NAN = 1  # lowp::cuda::nan_without_code


class Tensor(torch.Tensor):
    """A tensor that says so; `place` is the number of its GPU."""

    is_cuda = True
    place = 0


def there(x: torch.Tensor, place: int = 0) -> Any:
    """x, its memory as it is, on the made-up GPU; a fake tensor has none."""
    if type(x) not in (torch.Tensor, Tensor):
        return x
    tensor = x.as_subclass(Tensor)
    tensor.place = place
    return tensor


def memory(pointer: int, dtype: Any, shape: Any, strides: Any = None) -> Any:
    """The array at an address."""
    size = np.dtype(dtype).itemsize
    steps = strides or [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    count = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    flat = np.frombuffer((ctypes.c_char * (count * size)).from_address(pointer), dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, [step * size for step in steps])


def in_no_order(places: list[Any]) -> list[Any]:
    order = np.random.default_rng(0).permutation(len(places))
    return [places[number] for number in order]


class Conversion:
    """Of float32 to a scalar format."""

    def __init__(self, format: str, dtype: str, *modes: Any) -> None:
        self.format, self.dtype = format, dtype

    def quantize(self, x: int, y: int, count: int, given: Any) -> None:
        self.quantize_strided(x, (1,), y, (1,), (count,), given)

    def quantize_strided(
        self, x: int, x_strides: Any, y: int, y_strides: Any, shape: Any, given: Any
    ) -> None:
        source = memory(x, self.dtype, shape, x_strides)
        result = memory(y, self.dtype, shape, y_strides)
        for at in in_no_order(list(np.ndindex(*shape))):
            result[at] = lowp.quantize(source[at], self.format)

    def encode(
        self, x: int, x_strides: Any, codes: int, strides: Any, size: int, shape: Any, *rest: Any
    ) -> None:
        source = memory(x, self.dtype, shape, x_strides)
        result = memory(codes, f"u{size}", shape, strides)
        word = rest[-1][4]
        for at in in_no_order(list(np.ndindex(*shape))):
            if word and math.isnan(source[at]):
                memory(word, np.int32, (1,))[0] |= NAN
                continue
            result[at] = lowp.encode(source[at], self.format)

    def decode(
        self, codes: int, strides: Any, size: int, y: int, y_strides: Any, shape: Any, given: Any
    ) -> None:
        source = memory(codes, f"u{size}", shape, strides)
        result = memory(y, self.dtype, shape, y_strides)
        for at in in_no_order(list(np.ndindex(*shape))):
            result[at] = lowp.decode(source[at], self.format)


class BlockConversion:
    """Of float32 to a block format without outer scales, line by line."""

    def __init__(self, format: str, dtype: str, shape: Any, axis: int) -> None:
        self.format, self.dtype, self.shape, self.axis = format, dtype, tuple(shape), axis

    def workspace(self, packed: bool) -> int:
        return 0

    def quantize(self, x: int, y: int, work: int, scales: int, given: Any) -> None:
        source, result = (memory(p, self.dtype, self.shape) for p in (x, y))
        for line in in_no_order(list(range(self.shape[0]))):
            result[line] = lowp.quantize(source[line], self.format)

    def decode(
        self, codes: int, scales: int, outer: int, outers: int, packed: bool, y: int, *rest: Any
    ) -> None:
        like = lowp.encode(np.zeros(self.shape, self.dtype), self.format, packed=packed)
        parts = [
            memory(pointer, part.dtype, part.shape)
            for pointer, part in ((codes, like.codes), (scales, like.scales))
        ]
        tensor = lowp.BlockTensor(
            self.format, *parts, like.outer_scale, self.shape, self.axis, self.dtype, packed
        )
        memory(y, self.dtype, self.shape)[...] = tensor.decode()


class Kernels:
    """lowp._cuda."""

    Conversion = Conversion
    BlockConversion = BlockConversion

    @staticmethod
    def hadamard(x: int, y: int, dtype: str, count: int, size: int, columns: int, *_: Any) -> None:
        source, result = (memory(p, dtype, (count // size, size)) for p in (x, y))
        assert columns == 1
        for line in in_no_order(list(range(len(source)))):
            result[line] = lowp.hadamard(source[line], size)

    @staticmethod
    def has_product_kernels(name: str, dtype: str) -> bool:
        return True

    @staticmethod
    def matmul(a: Any, b: Any, c: Any, out: Any, *_: Any) -> None:
        x, y, result = (memory(p, dtype, shape, s) for p, dtype, shape, s in (a, b, out))
        result[...] = x @ y
        if c is not None:
            result += memory(c[0], c[1], c[2], c[3])


@contextmanager
def lent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """lowp with kernels for the GPU that is none."""
    library: Any = _device_libraries._load("torch")
    own = {name: getattr(library, name) for name in ("empty", "empty_like", "from_host", "zero")}

    def on_it(verb: Any) -> Any:
        return lambda x, *rest: there(verb(x, *rest), getattr(x, "place", 0))

    for name, verb in own.items():
        monkeypatch.setattr(library, name, on_it(verb), raising=False)
    monkeypatch.setattr(library, "index", lambda x: getattr(x, "place", 0), raising=False)
    monkeypatch.setattr(library, "is_current", lambda x: True, raising=False)
    monkeypatch.setattr(library, "device", lambda x: nullcontext(), raising=False)
    monkeypatch.setattr(library, "stream", lambda x: 0, raising=False)
    monkeypatch.setattr(library, "is_captured", lambda x: False, raising=False)
    monkeypatch.setattr(_device_calls, "kernels", Kernels)
    monkeypatch.setattr(_device_calls, "_WORDS", {})

    def forget() -> None:
        _device._conversion.cache_clear()
        _device.block_conversion.cache_clear()

    forget()
    yield
    forget()
