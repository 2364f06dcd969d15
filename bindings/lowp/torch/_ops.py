"""The library of operators torch.ops.lowp.*, and what they share; a module for each of them.

On the CPU they call the C++ kernels on the tensor's own memory, on CUDA devices those of lowp::cuda
where the package has them; on any other device the plain PyTorch path (`lowp.torch._plain`). All
give the same bits. Each has a fake kernel, so that a compiler sees shapes, strides and dtypes
without running it, and the derivative of the identity.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch

import lowp
from lowp import _device

__all__ = [
    "HALVES",
    "LIBRARY",
    "check_dtype",
    "counter",
    "has_kernels",
    "modes",
    "parse",
    "plain",
    "stream_of",
]

LIBRARY = torch.library.Library("lowp", "DEF")

HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
_CARRIERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@lru_cache(maxsize=4096)
def parse(name: str) -> Any:
    """The Format or BlockFormat of a name; ValueError says what names there are."""
    return lowp.block_format(name) if lowp.is_block_format(name) else lowp.format(name)


@lru_cache(maxsize=4096)
def _refusal(name: str, dtype: torch.dtype) -> str | None:
    """Why tensors of dtype cannot hold the values of the format, or None."""
    found = parse(name)
    if isinstance(found, lowp.BlockFormat):
        largest = 65504.0 if dtype == torch.float16 else 3.3895313892515355e38
        if dtype in HALVES and found.element_max > largest:
            return f"{dtype} does not hold every element of {name}; pass x.float()"
        return None
    carrier = lowp.format(HALVES.get(dtype, str(dtype).removeprefix("torch.")))
    smallest = found.min_subnormal if found.has_subnormals else found.min_normal * found.epsilon
    if (
        found.precision > carrier.precision
        or max(found.max, -found.lowest) > carrier.max
        or smallest < carrier.min_subnormal
    ):
        wider = "x.float()" if found.precision <= 24 and carrier.bits < 32 else "x.double()"
        return f"{dtype} does not hold every value of {name}; pass {wider}"
    return None


def check_dtype(x: torch.Tensor, name: str | None = None, what: str = "x") -> None:
    """TypeError where x is no float tensor; ValueError where its dtype cannot hold the format."""
    if x.dtype not in _CARRIERS:
        hint = "take real and imaginary part apart" if x.is_complex() else f"pass {what}.float()"
        raise TypeError(
            f"{what} must be float32, float64, float16 or bfloat16; got {x.dtype}: {hint}"
        )
    refused = None if name is None else _refusal(name, x.dtype)
    if refused:
        raise ValueError(refused)


def plain() -> Any:
    """The plain path, which only devices without kernels need."""
    return import_module("lowp.torch._plain")


def stream_of(stream: int, calls: torch.Tensor | None) -> int:
    """A stream with the number of the call, read on the host."""
    return stream if calls is None else stream + int(calls)


def modes(rounding: str | None, saturation: str | None, random_bits: int | None) -> dict[str, Any]:
    """The keywords of lowp's verbs."""
    return {"rounding": rounding, "saturation": saturation, "random_bits": random_bits}


def counter(calls: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    """A number of calls, where kernels can read it that work on x."""
    return None if calls is None else calls.to(x.device, torch.int64)


def has_kernels(x: torch.Tensor) -> bool:
    """Whether x lies where lowp._cuda works."""
    return bool(x.is_cuda) and _device.kernels() is not None


# ---- the number of a call ------------------------------------------------------------------------

LIBRARY.define("next_call(Tensor(a!) calls, Tensor? origin=None, *, bool count) -> Tensor")


def _next_call(
    calls: torch.Tensor, origin: torch.Tensor | None = None, *, count: bool
) -> torch.Tensor:
    """The number of this call, counted from origin; then one more, where it counts.

    An operator of its own: a compiler that saw a copy and an addition could make the copy again in
    the backward pass, after the addition.
    """
    number = calls.clone() if origin is None else calls + origin
    if count:
        calls += 1
    return number


LIBRARY.impl("next_call", _next_call, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::next_call", lambda calls, *_, **__: torch.empty_like(calls))
