"""The operator hadamard: runs of values by a (random) Hadamard matrix."""

from __future__ import annotations

from typing import Any

import torch

import lowp
from lowp import _device, _device_hadamard
from lowp.torch._ops import HALVES, LIBRARY, check_dtype, plain, stream_of

__all__: list[str] = []  # an operator: torch.ops.lowp.hadamard

LIBRARY.define(
    "hadamard(Tensor x, int size, int axis=-1, Tensor? calls=None, *, bool inverse=False, "
    "SymInt? seed=None, SymInt stream=0) -> Tensor"
)


def _hadamard(
    x: torch.Tensor,
    size: int,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    *,
    inverse: bool = False,
    seed: int | None = None,
    stream: int = 0,
) -> torch.Tensor:
    check_dtype(x)
    if x.device.type != "cpu":
        counted: Any = stream if calls is None else calls + stream
        lines = x.movedim(axis, -1).contiguous()
        y = plain().hadamard(lines, size, seed=seed, stream=counted, inverse=inverse)
        return y.movedim(-1, axis).contiguous()
    wide = (x.float() if x.dtype in HALVES else x).contiguous()
    number = stream_of(stream, calls)
    values = lowp.hadamard(wide.numpy(), size, seed=seed, stream=number, inverse=inverse, axis=axis)
    return torch.from_numpy(values).to(x.dtype)


def _hadamard_cuda(
    x: torch.Tensor,
    size: int,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    *,
    inverse: bool = False,
    seed: int | None = None,
    stream: int = 0,
) -> torch.Tensor:
    """The device's kernel where the package has them; the number of the call stays there."""
    named: dict[str, Any] = {"inverse": inverse, "seed": seed, "stream": stream}
    if _device.kernels() is None:
        return _hadamard(x, size, axis, calls, **named)
    check_dtype(x)
    if calls is not None:
        named["stream_offset"] = calls.to(x.device, torch.int64)
    return _device_hadamard.hadamard(x, size, axis=axis, **named)  # type: ignore[no-any-return]


def _hadamard_fake(x: torch.Tensor, size: int, axis: int = -1, *_: Any, **__: Any) -> torch.Tensor:
    check_dtype(x)
    if x.shape[axis] % size:
        raise ValueError(
            f"axis {axis} must be a multiple of size {size}; got {x.shape[axis]}: pad it"
        )
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _hadamard_backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    size, axis, keywords = ctx.arguments
    (calls,) = ctx.saved_tensors
    keywords = {**keywords, "inverse": not keywords["inverse"]}
    return torch.ops.lowp.hadamard(dy, size, axis, calls, **keywords), None, None, None


def _hadamard_setup(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
    ctx.arguments = (inputs[1], inputs[2], keyword_only_inputs)
    ctx.save_for_backward(inputs[3])


LIBRARY.impl("hadamard", _hadamard, "CompositeExplicitAutograd")
LIBRARY.impl("hadamard", _hadamard_cuda, "CUDA")
torch.library.register_fake("lowp::hadamard", _hadamard_fake)
torch.library.register_autograd("lowp::hadamard", _hadamard_backward, setup_context=_hadamard_setup)
