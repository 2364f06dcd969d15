"""The three products of a layer, each operand in the format of its role.

y = x w^T, dx = dy w, dw = dy^T x: every operand is cast along the axis that its product sums over,
after the product's transform of both, from the original tensor, or backward from the forward
pass's operand where the layer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from lowp.torch import _pairs, _state, _tensor_cores
from lowp.torch._state import (
    OWN_FORMAT,
    LayerState,
    cast,
    cast_pair,
    clip_scale,
    mask_saturated,
)
from lowp.torch.recipe import OPERANDS, Hadamard, KSort, Smooth

__all__ = ["linear", "matmul", "operands", "product"]


# ---- transforms ----------------------------------------------------------------------------------


def _filled(x: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Zeros after the axis up to a multiple of size: they add nothing to a product."""
    missing = -x.shape[axis] % size
    if not missing:
        return x
    shape = list(x.shape)
    shape[axis] = missing
    return torch.cat([x, x.new_zeros(shape)], axis)


def _along(v: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """v, one value a channel, in a shape that broadcasts along x's axis."""
    shape = [1] * x.ndim
    shape[axis] = -1
    return v.reshape(shape)


def _largest(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.abs().movedim(axis, 0).flatten(1).amax(1)


def _smoothed(
    a: torch.Tensor, b: torch.Tensor, at_a: int, at_b: int, alpha: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As lowp.transforms.smooth, in float64 until each entry is rounded once."""
    large_a, large_b = _largest(a, at_a).double(), _largest(b, at_b).double()
    scale = large_a**alpha / large_b ** (1 - alpha)
    scale = torch.where((large_a > 0) & (large_b > 0), scale, torch.ones_like(scale))
    down, up = _along(scale, a, at_a), _along(scale, b, at_b)
    return (a.double() / down).to(a.dtype), (b.double() * up).to(b.dtype)


def _sorted(
    a: torch.Tensor, b: torch.Tensor, at_a: int, at_b: int, norm: float
) -> tuple[torch.Tensor, torch.Tensor]:
    norms = torch.linalg.vector_norm(a.movedim(at_a, 0).flatten(1).double(), norm, dim=1)
    order = torch.argsort(norms, descending=True, stable=True)
    return a.index_select(at_a, order), b.index_select(at_b, order)


def _rotated(
    x: torch.Tensor, axis: int, transform: Hadamard, source: dict[str, Any]
) -> torch.Tensor:
    x = _filled(x, axis, transform.size)
    return torch.ops.lowp.hadamard(x, transform.size, axis, **source)


def transformed(
    a: torch.Tensor, b: torch.Tensor, at: tuple[int, int], name: str, s: LayerState, calls: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both operands after the product's transform, which leaves the exact product as it is."""
    transform = getattr(s.layer, f"{name}_transform")
    if transform is None or not a.numel() or not b.numel():
        return a, b
    if isinstance(transform, Hadamard):
        source = _state.hadamard_source(s, name, transform, calls)
        return _rotated(a, at[0], transform, source), _rotated(b, at[1], transform, source)
    if isinstance(transform, Smooth):
        return _smoothed(a, b, *at, transform.alpha)
    if isinstance(transform, KSort):
        return _sorted(a, b, *at, transform.norm)
    return a, b


# ---- products ------------------------------------------------------------------------------------


def operands(
    a: torch.Tensor, b: torch.Tensor, at: tuple[int, int], name: str, s: LayerState, calls: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both operands of a product as its roles say; at: the axes that it sums over."""
    first, second = OPERANDS[name]
    a, b = transformed(a, b, at, name, s, calls)
    return cast(a, first, at[0], s, calls), cast(b, second, at[1], s, calls)


def forward_operands(
    x: torch.Tensor, w: torch.Tensor, at: tuple[int, int], s: LayerState, calls: Any
) -> tuple[Any, ...]:
    """Both operands of the forward product; then what the backward pass keeps: of each what was
    quantized, of each what its products are made from, and of each the scale that clips it.
    """
    scales = clip_scale("x", s), clip_scale("w", s)
    if s.layer.backward_from == "original":
        return *operands(x, w, at, "forward", s, calls), x, w, x, w, *scales
    x, w = transformed(x, w, at, "forward", s, calls)
    a, b = cast(x, "x", at[0], s, calls), cast(w, "w", at[1], s, calls)
    return a, b, x, w, a, b, *scales


def derivative(
    dx: torch.Tensor,
    x: torch.Tensor,
    role: str,
    axis: int,
    size: int,
    s: LayerState,
    calls: Any,
    scale: torch.Tensor | None,
) -> torch.Tensor:
    """dx of an operand from that of what was quantized, x: zero where it was clipped, and, where
    the backward pass goes from the forward's operands, out of its transform. size: the operand's.
    """
    dx = mask_saturated(dx, x, role, axis, s, scale)
    transform = s.layer.forward_transform
    if s.layer.backward_from == "original" or not isinstance(transform, Hadamard):
        return dx
    source = _state.hadamard_source(s, "forward", transform, calls)
    dx = torch.ops.lowp.hadamard(dx, transform.size, axis, inverse=True, **source)
    return dx.narrow(axis, 0, size)


def _known(x: torch.Tensor, role: str, s: LayerState) -> str | None:
    """A scalar format that holds an operand, by its role or its dtype."""
    return s.scalar_formats[role] or OWN_FORMAT.get(x.dtype)


def product(
    a: torch.Tensor,
    b: torch.Tensor,
    name: str,
    s: LayerState,
    plain: Callable[..., torch.Tensor],
    roles: tuple[str, str] | None = None,
) -> torch.Tensor:
    """a @ b, by PyTorch or with every addition as the product's accumulator makes it.

    roles: those of a and b, where they are not OPERANDS[name].
    """
    accumulator = getattr(s.layer, f"{name}_accumulator")
    if accumulator is None:
        found = _tensor_cores.matmul(a, b, s.routes[name])
        return plain(a, b) if found is None else found
    first, second = roles or OPERANDS[name]
    known = {"a_format": _known(a, first, s), "b_format": _known(b, second, s)}
    try:
        return torch.ops.lowp.matmul(a, b, accumulator, **known)
    except (TypeError, ValueError) as error:
        raise s.fail(f"{name}_accumulator", error) from error


def linear_product(
    a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, s: LayerState
) -> torch.Tensor:
    """a b^T + bias, as the forward product is made."""
    on_tensor_cores = s.routes["forward"] and a.is_cuda and a.dtype == torch.float32
    if s.layer.forward_accumulator is None and not on_tensor_cores:
        return F.linear(a, b, bias)
    y = product(a, b.t(), "forward", s, torch.matmul)
    return y if bias is None else y + bias


class _Linear(torch.autograd.Function):
    """y = x w^T + bias, with its two products backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        s: LayerState,
        calls: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.s, ctx.has_bias, ctx.size = s, bias is not None, x.shape[-1]
        a, b, *kept = forward_operands(x, w, (-1, -1), s, calls)
        ctx.save_for_backward(*kept, calls)
        return linear_product(a, b, bias, s)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        given_x, given_w, x, w, x_scale, w_scale, calls = ctx.saved_tensors
        s, dx, dw, db = ctx.s, None, None, None
        rows_dy, rows_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[0]:
            a, b = operands(rows_dy, w, (-1, 0), "dgrad", s, calls)
            dx = product(a, b, "dgrad", s, torch.mm).reshape(x.shape)
            dx = derivative(dx, given_x, "x", -1, ctx.size, s, calls, x_scale)
        if ctx.needs_input_grad[1]:
            a, b = operands(rows_x, rows_dy, (0, 0), "wgrad", s, calls)
            dw = product(b.t(), a, "wgrad", s, torch.mm, OPERANDS["wgrad"][::-1])
            dw = derivative(dw, given_w, "w", -1, ctx.size, s, calls, w_scale)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            db = rows_dy.sum(0)
        return dx, dw, db, None, None


def autocast(*tensors: torch.Tensor | None) -> tuple[Any, ...]:
    """The tensors in the dtype that torch.autocast asks products to have, where it is on."""
    given = tensors[0]
    assert given is not None
    kind = given.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind) or given.dtype == torch.float64:
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(None if t is None else t.to(dtype) for t in tensors)


def linear(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, s: LayerState
) -> torch.Tensor:
    """x w^T + bias in the layer's formats. x: (..., K), w: (N, K), bias: (N,) or None."""
    calls = s.next_call()
    x, w, bias = autocast(x, w, bias)
    if bias is not None:
        bias = cast_pair(bias, "bias", "", s, calls)
    y: torch.Tensor
    if _pairs.pays(x, s):
        y = _pairs.linear(x, w, bias, s, calls)
    else:
        y = _Linear.apply(x, w, bias, s, calls)
    return cast_pair(y, "output", "", s, calls)


class _Matmul(torch.autograd.Function):
    """y = a b of batches of matrices, with its two products backward."""

    @staticmethod
    def forward(
        ctx: Any, a: torch.Tensor, b: torch.Tensor, s: LayerState, calls: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.s, ctx.size = s, a.shape[-1]
        left, right, *kept = forward_operands(a, b, (-1, -2), s, calls)
        ctx.save_for_backward(*kept, calls)
        return product(left, right, "forward", s, torch.matmul)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        given_a, given_b, a, b, a_scale, b_scale, calls = ctx.saved_tensors
        s, da, db = ctx.s, None, None
        if ctx.needs_input_grad[0]:
            left, right = operands(dy, b, (-1, -1), "dgrad", s, calls)
            da = product(left, right.mT, "dgrad", s, torch.matmul).sum_to_size(a.shape)
            da = derivative(da, given_a, "x", -1, ctx.size, s, calls, a_scale)
        if ctx.needs_input_grad[1]:
            left, right = operands(a, dy, (-2, -2), "wgrad", s, calls)
            db = product(left.mT, right, "wgrad", s, torch.matmul).sum_to_size(b.shape)
            db = derivative(db, given_b, "w", -2, ctx.size, s, calls, b_scale)
        return da, db, None, None


def matmul(a: torch.Tensor, b: torch.Tensor, s: LayerState) -> torch.Tensor:
    """a b in the layer's formats. a: (..., M, K), b: (..., K, N); a is the layer's x, b its w."""
    calls = s.next_call()
    a, b = autocast(a, b)
    y: torch.Tensor = _Matmul.apply(a, b, s, calls)
    return cast_pair(y, "output", "", s, calls)
