"""Products by hand: every operand put on its grid by lowp.quantize, no module of lowp.torch."""

from __future__ import annotations

from typing import Any

import lowp
import numpy as np
import torch

Tensor = Any

ROLES = ("x", "w", "output", "bias", "dgrad_dy", "dgrad_w", "wgrad_x", "wgrad_dy")
#: Streams that all ranks share where w is a weight.
SHARED = ("w", "bias", "dgrad_w")


class Hand:
    """The formats of one product by role, its number, its calls so far.

    formats: {role: name} or {role: (name, rounding, random_bits)}.
    """

    def __init__(
        self,
        formats: dict[str, Any],
        number: int,
        *,
        rank: int = 0,
        shared: tuple[str, ...] = SHARED,
    ) -> None:
        self.formats, self.number, self.calls = formats, number, -1
        self.rank, self.shared = rank, shared

    def cast(self, x: Tensor, role: str, axis: int, call: int) -> Tensor:
        if role not in self.formats:
            return x
        given = self.formats[role]
        name, *rest = (given,) if isinstance(given, str) else given
        options = dict(zip(("rounding", "random_bits"), rest, strict=False))
        if rest:
            seed = 0 if role in self.shared else self.rank << 32
            stream = (self.number << 40) + (ROLES.index(role) << 32) + call
            options |= {"seed": seed, "stream": stream}
        values = x.detach().contiguous().numpy()
        return torch.from_numpy(np.asarray(lowp.quantize(values, name, axis=axis, **options)))

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """x w^T + bias: x (..., K), w (N, K)."""
        self.calls += 1
        if bias is not None:
            bias = bias + (self.cast(bias, "bias", -1, self.calls) - bias).detach()
        return _Out.apply(_Linear.apply(x, w, bias, self, self.calls), self, self.calls)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        self.calls += 1
        return _Out.apply(_Matmul.apply(a, b, self, self.calls), self, self.calls)


class _Out(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, hand: Hand, call: int) -> Tensor:
        return hand.cast(y, "output", -1, call).clone()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return dy, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor, hand: Hand, call: int) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.hand, ctx.call, ctx.bias = hand, call, bias is not None
        a, b = hand.cast(x, "x", -1, call), hand.cast(w, "w", -1, call)
        return torch.nn.functional.linear(a, b, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x, w), cast, call = ctx.saved_tensors, ctx.hand.cast, ctx.call
        rows, inputs = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        dx = cast(rows, "dgrad_dy", -1, call) @ cast(w, "dgrad_w", 0, call)
        dw = cast(rows, "wgrad_dy", 0, call).t() @ cast(inputs, "wgrad_x", 0, call)
        return dx.reshape(x.shape), dw, rows.sum(0) if ctx.bias else None, None, None


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, hand: Hand, call: int) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.hand, ctx.call = hand, call
        return hand.cast(a, "x", -1, call) @ hand.cast(b, "w", -2, call)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (a, b), cast, call = ctx.saved_tensors, ctx.hand.cast, ctx.call
        da = cast(dy, "dgrad_dy", -1, call) @ cast(b, "dgrad_w", -1, call).mT
        db = cast(a, "wgrad_x", -2, call).mT @ cast(dy, "wgrad_dy", -2, call)
        return da, db, None, None
