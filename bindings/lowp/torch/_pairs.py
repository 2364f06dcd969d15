"""Both operands that a layer makes of one matrix, by one operator that reads it once.

x goes to the forward product along its rows and to the weight gradient's along its columns; w and
dy are in two products, too. Where nothing has to be seen in between, the operands for the backward
pass are made with those of the forward pass, and the original tensors need not be kept. The bits
are those of single casts.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from lowp import _device_both
from lowp.torch import _ops, _products, _state
from lowp.torch._quantize import without_dispatcher
from lowp.torch._state import LayerState, cast
from lowp.torch.recipe import Hadamard

__all__ = ["linear", "pays"]


# ---- the operator --------------------------------------------------------------------------------

_ops.LIBRARY.define(
    "quantize_both(Tensor x, str rows, str columns, Tensor? calls=None, "
    "Tensor? hadamard_calls=None, *, int hadamard=0, SymInt rows_seed=0, SymInt rows_stream=0, "
    "SymInt columns_seed=0, SymInt columns_stream=0, SymInt? hadamard_seed=None, "
    "SymInt hadamard_stream=0) -> (Tensor, Tensor)"
)


def _along(x: torch.Tensor, format: str, axis: int, calls: Any, **source: Any) -> torch.Tensor:
    """x along an axis; tiles with the axis that is summed over last."""
    if axis == 0 and isinstance(_ops.parse(format).shape, tuple):
        return without_dispatcher(x.t(), format, -1, calls, **source).t()
    return without_dispatcher(x, format, axis, calls, **source)


def _quantize_both(
    x: torch.Tensor,
    rows: str,
    columns: str,
    calls: torch.Tensor | None = None,
    hadamard_calls: torch.Tensor | None = None,
    *,
    hadamard: int = 0,
    rows_seed: int = 0,
    rows_stream: int = 0,
    columns_seed: int = 0,
    columns_stream: int = 0,
    hadamard_seed: int | None = None,
    hadamard_stream: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, a matrix, in the block format `rows` along axis -1, and in `columns` along axis 0, there
    after Hadamard runs of `hadamard` values along axis 0; 0: without.
    """
    if _ops.has_kernels(x):
        signs = None if hadamard_seed is None else (hadamard_seed, hadamard_stream)
        with contextlib.suppress(NotImplementedError):
            return _device_both.quantize_both(
                x,
                rows,
                columns,
                hadamard=hadamard,
                row_source=(rows_seed, rows_stream),
                column_source=(columns_seed, columns_stream),
                signs=signs,
                stream_offset=_ops.counter(calls, x),
                signs_offset=_ops.counter(hadamard_calls, x),
            )
    a = _along(x, rows, -1, calls, seed=rows_seed, stream=rows_stream)
    if hadamard:
        source: dict[str, Any] = {"seed": hadamard_seed, "stream": hadamard_stream}
        x = torch.ops.lowp.hadamard(x, hadamard, 0, hadamard_calls, **source)
    b = _along(x, columns, 0, calls, seed=columns_seed, stream=columns_stream)
    return a, b


def _fake(
    x: torch.Tensor, *_: Any, hadamard: int = 0, **__: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in the memory order of x, but in C order after a transform."""
    of_columns = torch.contiguous_format if hadamard else torch.preserve_format
    return torch.empty_like(x), torch.empty_like(x, memory_format=of_columns)


def _setup(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.rest = keyword_only_inputs
    ctx.save_for_backward(inputs[4])


def _backward(ctx: Any, da: Any, db: Any) -> tuple[torch.Tensor | None, ...]:
    """Straight through, out of the transform."""
    if db is not None and ctx.rest["hadamard"]:
        (calls,) = ctx.saved_tensors
        signs = {"seed": ctx.rest["hadamard_seed"], "stream": ctx.rest["hadamard_stream"]}
        size = ctx.rest["hadamard"]
        db = torch.ops.lowp.hadamard(db, size, 0, calls, inverse=True, **signs)
    dx = db if da is None else da if db is None else da + db
    return dx, None, None, None, None


_ops.LIBRARY.impl("quantize_both", _quantize_both, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::quantize_both", _fake)
torch.library.register_autograd("lowp::quantize_both", _backward, setup_context=_setup)


# ---- the layer -----------------------------------------------------------------------------------


def fits(x: torch.Tensor, s: LayerState) -> bool:
    """Whether nobody looks on, and nothing has to be filled up."""
    seen = not torch.compiler.is_compiling() and bool(s.observers)
    turn = s.layer.wgrad_transform
    size = turn.size if isinstance(turn, Hadamard) else 1
    has_whole_runs = x.numel() > 0 and x.shape[:-1].numel() % size == 0
    return s.has_pairs and not seen and has_whole_runs


def pays(x: torch.Tensor, s: LayerState) -> bool:
    """Whether a layer makes its operands so: on a device, whose time goes with the bytes moved."""
    return x.is_cuda and fits(x, s)


def _both(
    x: torch.Tensor, roles: tuple[str, str], s: LayerState, calls: Any, turn: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """x in the formats of two roles: along its rows, and along its columns after the transform."""
    rows, columns = (getattr(s.layer, role) for role in roles)
    rows_seed, rows_stream = _state.random_source(rows, roles[0], s)
    columns_seed, columns_stream = _state.random_source(columns, roles[1], s)
    named: dict[str, Any] = {"rows_seed": rows_seed, "rows_stream": rows_stream}
    named |= {"columns_seed": columns_seed, "columns_stream": columns_stream}
    if turn is not None:
        source = _state.hadamard_source(s, "wgrad", turn, calls)
        named |= {"hadamard": turn.size}
        named |= {f"hadamard_{key}": value for key, value in source.items()}
    try:
        a, b = torch.ops.lowp.quantize_both(x, rows.format, columns.format, calls, **named)
    except (TypeError, ValueError) as error:
        raise s.fail(" and ".join(roles), error) from error
    return a, b


class _Linear(torch.autograd.Function):
    """y = a b^T + bias of matrices on their grids; their derivatives from other operands, made of
    the same originals: x_columns for db, w_columns for da.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: torch.Tensor,
        b: torch.Tensor,
        x_columns: torch.Tensor | None,
        w_columns: torch.Tensor | None,
        bias: torch.Tensor | None,
        s: LayerState,
        calls: torch.Tensor | None,
        takes_b: bool,
    ) -> torch.Tensor:
        ctx.s, ctx.has_bias = s, bias is not None
        ctx.save_for_backward(x_columns, b if takes_b else w_columns, calls)
        return _products.linear_product(a, b, bias, s)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        x_columns, w_columns, calls = ctx.saved_tensors
        s, da, db = ctx.s, None, None
        turn = s.layer.wgrad_transform
        dy_rows = dy_columns = None
        if x_columns is not None and w_columns is not None:
            dy_rows, dy_columns = _both(dy, ("dgrad_dy", "wgrad_dy"), s, calls, turn)
        elif w_columns is not None:
            dy_rows = cast(dy, "dgrad_dy", -1, s, calls)
        elif x_columns is not None:
            turned = dy if turn is None else _turned(dy, turn, s, calls)
            dy_columns = cast(turned, "wgrad_dy", 0, s, calls)
        if dy_rows is not None:
            da = _products.product(dy_rows, w_columns, "dgrad", s, torch.mm)
        if dy_columns is not None:
            roles = ("wgrad_dy", "wgrad_x")
            db = _products.product(dy_columns.t(), x_columns, "wgrad", s, torch.mm, roles)
        dbias = dy.sum(0) if ctx.has_bias and ctx.needs_input_grad[4] else None
        return da, db, None, None, dbias, None, None, None


def _turned(x: torch.Tensor, turn: Any, s: LayerState, calls: Any) -> torch.Tensor:
    source = _state.hadamard_source(s, "wgrad", turn, calls)
    y: torch.Tensor = torch.ops.lowp.hadamard(x, turn.size, 0, **source)
    return y


def linear(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, s: LayerState, calls: Any
) -> torch.Tensor:
    """x w^T + bias of a layer that has_pairs. x: (..., K), w: (N, K), bias: (N,) or None."""
    rows = x.reshape(-1, x.shape[-1])
    needs_x, needs_w = (torch.is_grad_enabled() and t.requires_grad for t in (x, w))
    x_columns = w_columns = None
    if needs_w:
        a, x_columns = _both(rows, ("x", "wgrad_x"), s, calls, s.layer.wgrad_transform)
    else:
        a = cast(rows, "x", -1, s, calls)
    takes_b = (
        needs_x and s.w_is_its_own_turned
    )  # as one argument: compilers refuse one tensor twice
    if needs_x and not takes_b:
        b, w_columns = _both(w, ("w", "dgrad_w"), s, calls, None)
    else:
        b = cast(w, "w", -1, s, calls)
    y: torch.Tensor = _Linear.apply(a, b, x_columns, w_columns, bias, s, calls, takes_b)
    return y.reshape(*x.shape[:-1], w.shape[0])
