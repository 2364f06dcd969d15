"""Delayed scaling: the operator of a cast whose scale past steps left.

On a device nothing waits for it, and graphs may be captured: kernels round x and take the step of
lowp.DelayedScaling (include/lowp/scale.hpp); on devices without, tensor operations do. Directed
modes, and formats that layers do not ask for, take the scale by way of the host.
"""

from __future__ import annotations

import contextlib
import math
from functools import lru_cache
from typing import Any

import torch

import lowp
from lowp import _device, _device_delayed
from lowp._device_libraries import library_of
from lowp.torch import _ops
from lowp.torch._quantize import quantize_host

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
    stays = x.device.type != "cpu" and options.get("rounding") not in _LOOKS_FOR_ANYTHING
    if stays and _ops.has_kernels(x):
        step = {"margin": margin, "take": take, "observe": observe}
        cast = _by_kernel(x, history, scale, format, calls, step, **options)
        if cast is not None:
            return cast
    elif stays:
        amax = _amax(x)
        y = _on_grid(x, scale, amax, block.element, calls, options)
        if observe:
            _observe(history, scale, amax, block.element.max, margin, take)
        return y
    state = lowp.DelayedScaling(block.element.max, len(history), margin, take)
    state.restore(history.cpu().numpy(), float(scale))
    fixed = block.replace(rule=state.scale)
    if x.device.type == "cpu" and not x.requires_grad:
        _ops.check_dtype(x, format)
        y = quantize_host(x, fixed, -1, None, _host_options(calls, **options))
    else:
        y = torch.ops.lowp.quantize(x, fixed.name, -1, calls, **options)
    if observe:
        state.observe(float(x.detach().abs().amax()) if x.numel() else 0.0)
        history.copy_(torch.from_numpy(state.history))
        scale.fill_(state.scale)
    return y


# ---- on the host ---------------------------------------------------------------------------------


def _host_options(
    calls: torch.Tensor | None,
    *,
    rounding: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> dict[str, Any]:
    """The operator's options as lowp.quantize has them."""
    source = {"seed": seed, "stream": _ops.stream_of(stream, calls)}
    return _ops.modes(rounding, None, random_bits) | source


# ---- on a device ---------------------------------------------------------------------------------


def _by_kernel(
    x: torch.Tensor,
    history: torch.Tensor,
    scale: torch.Tensor,
    format: str,
    calls: torch.Tensor | None,
    step: dict[str, Any],
    *,
    rounding: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> torch.Tensor | None:
    """The cast and its step by kernels that read x once; None where none do."""
    library: Any = library_of(x)
    with contextlib.nullcontext() if library.is_current(x) else library.device(x):
        name = _device.block_of(format, rounding, None, random_bits).name
        source: dict[str, Any] = {"seed": seed, "stream": stream}
        source["stream_offset"] = _ops.counter(calls, x)
        y: torch.Tensor | None = _device_delayed.quantize(x, history, scale, name, **step, **source)
    return y


# Where there are none, tensor operations, few: on one number, one costs the host as on all of x.


def _amax(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude, float32, of float64 in that; NaN where there is one. x is read once,
    by one kernel, and no copy of it is made.
    """
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if not x.numel():
        return x.new_zeros((), dtype=wide)
    return torch.linalg.vector_norm(x.detach(), torch.inf, dtype=wide)


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


def _on_host(value: float) -> torch.Tensor:
    """A float64 that operations on a device take from the host, as they take Python's numbers,
    but with its digits: they calculate in float64 then.
    """
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _power(margin: int) -> float:
    """2^margin, or as much as takes every float out of float32's range."""
    return math.ldexp(1.0, max(-400, min(margin, 400)))


@lru_cache(maxsize=256)
def _factor(largest: float, margin: int) -> torch.Tensor | None:
    """2^margin / largest, by which the product in float64 of a float32 rounds to the next scale in
    float32; or None, where it could round to another.

    The quotient a / b of numbers of 24 bits is no midpoint of two floats, and 2^-49 of itself away
    from the nearest: |a - m b| >= 1 in units of its last place, where m has 25 bits. The product is
    2^-52 off. Among subnormals there are midpoints, but with margin <= 0 they all become the
    smallest normal number. From largest = 2 on nothing overflows, and the product of a positive
    finite number is below it.
    """
    has_24_bits = (math.frexp(largest)[0] * 2**24).is_integer()
    if largest < 2 or margin > 0 or not has_24_bits:
        return None
    return _on_host(_power(margin) / largest)


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
    factor, fitting = _factor(largest, margin), scale.new_empty(())
    if factor is not None:
        torch.mul(chosen, factor, out=fitting)
        is_usable = fitting < chosen  # neither 0 nor infinite nor NaN
    else:
        # A divisor on the device: of the host's numbers a GPU takes the rounded reciprocal.
        divisor = torch.full((), largest, dtype=torch.float64, device=scale.device)
        torch.div(chosen, divisor, out=fitting)
        torch.mul(fitting, _on_host(_power(margin)), out=fitting)
        is_usable = chosen * 0 < chosen
    limits = torch.finfo(torch.float32)
    fitting.clamp_(limits.tiny, limits.max)
    torch.where(is_usable, fitting, scale, out=scale)


_ops.LIBRARY.impl("delayed_quantize", _delayed_quantize, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::delayed_quantize", lambda x, *_, **__: torch.empty_like(x))
