"""Convolutions of one to three dimensions, plain and transposed, with their products backward.

Blocks lie along channels forward and in the input gradient, along the batch in the weight gradient,
as in microxcaling: the sum over places of the kernel is between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from lowp.torch._products import autocast, derivative, forward_operands, operands, product
from lowp.torch._state import LayerState, cast_pair
from lowp.torch.recipe import OPERANDS

__all__ = ["Geometry", "convolution"]


@dataclass(frozen=True)
class Geometry:
    """Everything about a convolution but its tensors; one number a dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int = 1
    transposed: bool = False

    def call(self) -> tuple[Any, ...]:
        """The arguments of aten::convolution after the tensors."""
        return (
            list(self.stride),
            list(self.padding),
            list(self.dilation),
            self.transposed,
            list(self.output_padding),
            self.groups,
        )


# ---- through an accumulator: as matrix products --------------------------------------------------


def _windows(x: torch.Tensor, kernel: tuple[int, ...], g: Geometry) -> torch.Tensor:
    """The values under the kernel: (N, groups, channels of a group * places, outputs)."""
    pads = [p for pad in reversed(g.padding) for p in (pad, pad)]
    padded = F.pad(x, pads)
    for axis, (size, stride, dilation) in enumerate(
        zip(kernel, g.stride, g.dilation, strict=True), 2
    ):
        # unfold puts the window last; every dilation-th of it is under the kernel
        padded = padded.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    n, channels, dims = padded.shape[0], padded.shape[1], len(kernel)
    outputs = padded.shape[2 : 2 + dims]
    moved = padded.movedim(tuple(range(2 + dims, 2 + 2 * dims)), tuple(range(2, 2 + dims)))
    return moved.reshape(n, g.groups, channels // g.groups * kernel.numel(), outputs.numel())  # type: ignore[attr-defined]


def _forward(
    x: torch.Tensor, w: torch.Tensor, g: Geometry, name: str, s: LayerState
) -> torch.Tensor:
    kernel = w.shape[2:]
    columns = _windows(x, kernel, g)
    rows = w.reshape(g.groups, w.shape[0] // g.groups, -1)
    y = product(rows, columns, name, s, torch.matmul, OPERANDS[name][::-1])
    spans = zip(x.shape[2:], kernel, g.stride, g.padding, g.dilation, strict=True)
    outputs = [(n + 2 * p - d * (k - 1) - 1) // t + 1 for n, k, t, p, d in spans]
    return y.reshape(x.shape[0], w.shape[0], *outputs)


def _input_gradient(
    dy: torch.Tensor, w: torch.Tensor, sizes: tuple[int, ...], g: Geometry, name: str, s: LayerState
) -> torch.Tensor:
    """A convolution of dy, its stride filled with zeros, with the kernel turned round."""
    kernel = w.shape[2:]
    spread = dy.new_zeros(
        *dy.shape[:2],
        *((n - 1) * t + 1 for n, t in zip(dy.shape[2:], g.stride, strict=True)),
    )
    places = (..., *(slice(None, None, t) for t in g.stride))
    spread[places] = dy
    pads: list[int] = []
    for n, m, k, p, d in zip(sizes, spread.shape[2:], kernel, g.padding, g.dilation, strict=True):
        before = d * (k - 1) - p
        pads = [before, n + d * (k - 1) - m - before, *pads]
    turned = w.flip(tuple(range(2, w.ndim)))
    turned = turned.reshape(g.groups, w.shape[0] // g.groups, *w.shape[1:]).transpose(1, 2)
    turned = turned.reshape(g.groups * w.shape[1], w.shape[0] // g.groups, *kernel)
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    return _forward(F.pad(spread, pads), turned, replace(g, stride=ones, padding=zeros), name, s)


def _weight_gradient(
    x: torch.Tensor, dy: torch.Tensor, w_shape: torch.Size, g: Geometry, s: LayerState
) -> torch.Tensor:
    columns = _windows(x, w_shape[2:], g)
    # dy may end before the last windows do
    rows = dy.reshape(dy.shape[0], g.groups, dy.shape[1] // g.groups, -1)
    left = rows.permute(1, 2, 0, 3).flatten(2)
    right = columns.permute(1, 0, 3, 2).flatten(1, 2)
    roles = OPERANDS["wgrad"] if g.transposed else OPERANDS["wgrad"][::-1]
    return product(left, right, "wgrad", s, torch.matmul, roles).reshape(w_shape)


# ---- the layer -----------------------------------------------------------------------------------


def _check_groups(g: Geometry, s: LayerState) -> None:
    if g.groups == 1:
        return
    for name in ("forward", "dgrad"):
        if getattr(s.layer, f"{name}_transform") is not None:
            error = ValueError(
                f"a transform mixes channels, which {g.groups} groups keep apart; leave the module "
                "out of the recipe or the transform out of its layer"
            )
            raise s.fail(f"{name}_transform", error)


def _convolve(x: torch.Tensor, w: torch.Tensor, g: Geometry, s: LayerState) -> torch.Tensor:
    """The forward product through its accumulator."""
    if not g.transposed:
        return _forward(x, w, g, "forward", s)
    spans = zip(
        x.shape[2:], w.shape[2:], g.stride, g.padding, g.dilation, g.output_padding, strict=True
    )
    sizes = tuple((n - 1) * t - 2 * p + d * (k - 1) + o + 1 for n, k, t, p, d, o in spans)
    return _input_gradient(x, w, sizes, g, "forward", s)


def _dgrad(
    dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, g: Geometry, s: LayerState
) -> torch.Tensor:
    if s.layer.dgrad_accumulator is not None:
        if g.transposed:
            return _forward(dy, w, g, "dgrad", s)
        return _input_gradient(dy, w, tuple(x.shape[2:]), g, "dgrad", s)
    # only x's shape counts; its channels are w's, which a transform may have filled up
    like = x.new_empty(
        x.shape[0], w.shape[0] if g.transposed else w.shape[1] * g.groups, *x.shape[2:]
    )
    return torch.ops.aten.convolution_backward(dy, like, w, None, *g.call(), [True, False, False])[
        0
    ]


def _wgrad(
    x: torch.Tensor, dy: torch.Tensor, w: torch.Tensor, g: Geometry, s: LayerState
) -> torch.Tensor:
    if s.layer.wgrad_accumulator is not None:
        return _weight_gradient(*((dy, x) if g.transposed else (x, dy)), w.shape, g, s)
    mask = [False, True, False]
    return torch.ops.aten.convolution_backward(dy, x, w, None, *g.call(), mask)[1]


def _parameter_gradients(
    x: torch.Tensor, dy: torch.Tensor, w: torch.Tensor, g: Geometry, s: LayerState, calls: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """dw, and db from the original dy: in one call where that is dw's operand, which is PyTorch's
    order of summing it.
    """
    a, b = operands(x, dy, (0, 0), "wgrad", s, calls)
    if b is not dy or s.layer.wgrad_accumulator is not None:
        return _wgrad(a, b, w, g, s), dy.sum((0, *range(2, dy.ndim)))
    mask = [False, True, True]
    both = torch.ops.aten.convolution_backward(dy, a, w, [dy.shape[1]], *g.call(), mask)
    return both[1], both[2]


def _spans_groups(name: str, g: Geometry) -> tuple[int | None, int | None]:
    """The axes of a product's operands along which the channels of all groups lie one after
    another, of which a sum takes those of one.
    """
    if g.groups == 1:
        return None, None
    weights = {"forward": 0 if g.transposed else None, "dgrad": None if g.transposed else 0}
    return 1, weights[name]


def _folded(x: torch.Tensor, axis: int | None, groups: int) -> torch.Tensor:
    """Groups on an axis of their own, so that no block has channels of two."""
    return x if axis is None else x.unflatten(axis, (groups, -1))


def _unfolded(x: torch.Tensor, axis: int | None) -> torch.Tensor:
    return x if axis is None else x.flatten(axis, axis + 1)


def _dgrad_operands(
    dy: torch.Tensor, w: torch.Tensor, g: Geometry, s: LayerState, calls: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = _spans_groups("dgrad", g)
    at = (1 + (first is not None), (1 if g.transposed else 0) + (second is not None))
    left, right = _folded(dy, first, g.groups), _folded(w, second, g.groups)
    a, b = operands(left, right, at, "dgrad", s, calls)
    return _unfolded(a, first), _unfolded(b, second)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        g: Geometry,
        s: LayerState,
        calls: torch.Tensor | None,
    ) -> torch.Tensor:
        first, second = _spans_groups("forward", g)
        at = (1 + (first is not None), (0 if g.transposed else 1) + (second is not None))
        left, right = _folded(x, first, g.groups), _folded(w, second, g.groups)
        ctx.g, ctx.s, ctx.has_bias, ctx.at = g, s, bias is not None, at
        ctx.sizes = (left.shape[at[0]], right.shape[at[1]])
        a, b, *kept = forward_operands(left, right, at, s, calls)
        a, b = _unfolded(a, first), _unfolded(b, second)
        ctx.save_for_backward(*kept, calls)
        if s.layer.forward_accumulator is None:
            return torch.ops.aten.convolution(a, b, bias, *g.call())
        y = _convolve(a, b, g, s)
        return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        given_x, given_w, x, w, x_scale, w_scale, calls = ctx.saved_tensors
        g, s, dx, dw, db = ctx.g, ctx.s, None, None, None
        first, second = _spans_groups("forward", g)
        x, w = _unfolded(x, first), _unfolded(w, second)
        if ctx.needs_input_grad[0]:
            a, b = _dgrad_operands(dy, w, g, s, calls)
            dx = _folded(_dgrad(a, x, b, g, s), first, g.groups)
            dx = derivative(dx, given_x, "x", ctx.at[0], ctx.sizes[0], s, calls, x_scale)
            dx = _unfolded(dx, first)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            dw, db = _parameter_gradients(x, dy, w, g, s, calls)
            dw = _folded(dw, second, g.groups)
            dw = derivative(dw, given_w, "w", ctx.at[1], ctx.sizes[1], s, calls, w_scale)
            dw = _unfolded(dw, second)
        return dx, dw, db if ctx.has_bias else None, None, None, None


def convolution(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, g: Geometry, s: LayerState
) -> torch.Tensor:
    """A convolution in the layer's formats. x: (N, C, ...) or (C, ...), as PyTorch has it."""
    _check_groups(g, s)
    calls = s.next_call()
    x, w, bias = autocast(x, w, bias)
    if bias is not None:
        bias = cast_pair(bias, "bias", "", s, calls)
    batched = x if x.ndim == w.ndim else x.unsqueeze(0)
    y: torch.Tensor = _Convolution.apply(batched, w, bias, g, s, calls)
    y = cast_pair(y, "output", "", s, calls, 1)
    return y if x.ndim == w.ndim else y.squeeze(0)
