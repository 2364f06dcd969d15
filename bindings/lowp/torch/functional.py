"""The converted layers as functions, for models written by hand.

Each takes a LayerState, or a Layer that neither draws random bits nor delays scales.
"""

from __future__ import annotations

from typing import Any

import torch

from lowp.torch import _attention, _convolution, _products
from lowp.torch._convolution import Geometry
from lowp.torch._state import LayerState
from lowp.torch.recipe import QUANTIZED, Layer

__all__ = ["conv", "linear", "matmul", "scaled_dot_product_attention"]


def _state(layer: Layer | LayerState) -> LayerState:
    if isinstance(layer, LayerState):
        return layer
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a Layer or a LayerState; got {layer!r:.60}")
    quantizers = [getattr(layer, role) for role in QUANTIZED]
    if layer.draws or any(q is not None and q.scaling is not None for q in quantizers):
        raise ValueError(
            "this layer remembers its calls or scales from call to call: make it once, as "
            "LayerState(layer, number=...), and pass that"
        )
    return LayerState(layer)


def linear(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None, *, layer: Layer | LayerState
) -> torch.Tensor:
    """x w^T + bias in the layer's formats. x: (..., K); w: (N, K); bias: (N,)."""
    return _products.linear(x, w, bias, _state(layer))


def matmul(a: torch.Tensor, b: torch.Tensor, *, layer: Layer | LayerState) -> torch.Tensor:
    """a b of batches of matrices; a is the layer's x, b its w. a: (..., M, K); b: (..., K, N)."""
    return _products.matmul(a, b, _state(layer))


def conv(
    x: torch.Tensor,
    w: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    layer: Layer | LayerState,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """The convolution of torch.nn.functional.conv1d to conv3d, by the number of w's axes."""
    dims = w.ndim - 2
    each = [(v,) * dims if isinstance(v, int) else tuple(v) for v in (stride, padding, dilation)]
    g = Geometry(each[0], each[1], each[2], (0,) * dims, groups)
    return _convolution.convolution(x, w, bias, g, _state(layer))


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    qk: Layer | LayerState,
    pv: Layer | LayerState,
) -> torch.Tensor:
    """torch.nn.functional's, Q K^T in the formats of qk (x is query) and P V in those of pv.

    Masks, shapes, rows without keys and NaN are as PyTorch's; scores are scaled after their product
    where an operand is rounded. float16 and bfloat16 are computed in float32.
    """
    given = (query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    return _attention.scaled_dot_product_attention(*given, qk=_state(qk), pv=_state(pv))
