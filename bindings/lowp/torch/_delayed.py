"""Delayed scaling: the operator of a cast whose scale past steps left.

On a device nothing waits for it, and graphs may be captured: the steps of lowp.DelayedScaling
(include/lowp/scale.hpp) are tensor operations there, and so is a block of the whole tensor with a
given scale where there is no kernel.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

import lowp
from lowp import _device
from lowp._block_tensor import check_axis
from lowp._device_calls import source_of
from lowp._device_libraries import library_of
from lowp.torch import _ops

__all__: list[str] = []  # an operator: torch.ops.lowp.delayed_quantize

_ops.LIBRARY.define(
    "delayed_quantize(Tensor x, Tensor(a!) history, Tensor(b!) scale, str format, "
    "Tensor? calls=None, *, int margin=0, str take='max', bool observe=True, str? rounding=None, "
    "int? random_bits=None, SymInt seed=0, SymInt stream=0) -> Tensor"
)

#: Modes that ask whether anything was cut off, which x / scale may have lost: the host's work.
_LOOKS_FOR_ANYTHING = (
    "toward_positive",
    "toward_negative",
    "away_from_zero",
    "to_odd",
    "stochastic_equal",
)


def _delayed_quantize(
    x: torch.Tensor,
    history: torch.Tensor,
    scale: torch.Tensor,
    format: str,
    calls: torch.Tensor | None = None,
    *,
    margin: int = 0,
    take: str = "max",
    observe: bool = True,
    **options: Any,
) -> torch.Tensor:
    """x on the format's grid times the scale that past steps left; then its amax joins them."""
    block = _ops.parse(format)
    for what, buffer in (("history", history), ("scale", scale)):
        if buffer.device != x.device:
            raise ValueError(
                f"{what} is on {buffer.device}, x on {x.device}: move the layer or LayerState, "
                f"by .to({str(x.device)!r})"
            )
    if x.device.type != "cpu" and options.get("rounding") not in _LOOKS_FOR_ANYTHING:
        amax = _amax(x)
        if _ops.has_kernels(x):
            y = _by_kernel(x, scale, format, calls, **options)
        else:
            y = _on_grid(x, scale, amax, block.element, calls, options)
        if observe:
            _observe(history, scale, amax, block.element.max, margin, take)
        return y
    state = lowp.DelayedScaling(block.element.max, len(history), margin, take)
    state.restore(history.cpu().numpy(), float(scale))
    y = torch.ops.lowp.quantize(x, block.replace(rule=state.scale).name, -1, calls, **options)
    if observe:
        state.observe(float(x.abs().amax()) if x.numel() else 0.0)
        history.copy_(torch.from_numpy(state.history))
        scale.fill_(state.scale)
    return y


# ---- on a device ---------------------------------------------------------------------------------


def _amax(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude, float32, of float64 in that; NaN where there is one."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if not x.numel():
        return x.new_zeros((), dtype=wide)
    return torch.linalg.vector_norm(x, torch.inf).to(wide)


def _by_kernel(
    x: torch.Tensor,
    scale: torch.Tensor,
    format: str,
    calls: torch.Tensor | None,
    *,
    rounding: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> torch.Tensor:
    """x in a block of the whole tensor with this scale, which needs no look: it is positive."""
    library: Any = library_of(x)
    with contextlib.nullcontext() if library.is_current(x) else library.device(x):
        block = _device.block_of(format, rounding, None, random_bits)
        given = source_of(
            library, x, seed=seed, stream=stream, stream_offset=_ops.counter(calls, x)
        )
        ideal, axis = scale.double().reshape(1), check_axis(-1, x.ndim)
        y: torch.Tensor = _device.quantize_blocks(library, x, block, axis, given, ideals=ideal)
    return y


def _on_grid(
    x: torch.Tensor,
    scale: torch.Tensor,
    amax: torch.Tensor,
    element: lowp.Format,
    calls: torch.Tensor | None,
    options: dict[str, Any],
) -> torch.Tensor:
    """x on the element's grid times the scale; all NaN where amax is NaN or infinite."""
    wide = x if x.dtype == torch.float64 else x.float()
    factor = scale.to(wide.dtype)
    y = torch.ops.lowp.quantize(
        wide / factor, element.name, -1, calls, saturation="finite", **options
    )
    return torch.where(amax.isfinite(), y * factor, torch.nan).to(x.dtype)


def _observe(
    history: torch.Tensor,
    scale: torch.Tensor,
    amax: torch.Tensor,
    largest: float,
    margin: int,
    take: str,
) -> None:
    """lowp.DelayedScaling.observe of buffers, in place. largest: the element's."""
    amax = amax.float()
    history.copy_(torch.cat([amax.reshape(1), history[:-1]]))
    chosen = history.amax() if take == "max" else amax
    # A divisor that is a tensor: of Python's numbers a GPU takes the rounded reciprocal.
    divisor = torch.full((), largest, dtype=torch.float64, device=scale.device)
    fitting = (chosen.double() / divisor).float().double() * 2.0**margin
    limits = torch.finfo(torch.float32)
    fitting = fitting.clamp(limits.tiny, limits.max).float()
    scale.copy_(torch.where((chosen > 0) & chosen.isfinite(), fitting, scale))


_ops.LIBRARY.impl("delayed_quantize", _delayed_quantize, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::delayed_quantize", lambda x, *_, **__: torch.empty_like(x))
