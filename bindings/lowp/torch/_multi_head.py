"""F.multi_head_attention_forward with its five products in the formats of their states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from lowp.torch import _products
from lowp.torch._attention import Scale, product, scaled_dot_product_attention, scores_of
from lowp.torch._intercept import untouched
from lowp.torch._state import LayerState

__all__ = ["States", "multi_head_attention"]

#: The states of a module's products by their names; a product without one is PyTorch's.
States = Mapping[str, Any]


def _linear(x: torch.Tensor, w: Any, bias: Any, s: LayerState | None) -> torch.Tensor:
    return F.linear(x, w, bias) if s is None else _products.linear(x, w, bias, s)


def _in_projections(
    tensors: tuple[torch.Tensor, ...],
    weight: Any,
    apart: tuple[Any, ...],
    bias: Any,
    states: States,
) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values; batches that are one tensor share one product, as in PyTorch."""
    query, key, value = tensors
    names = ("in_proj", "in_proj_k", "in_proj_v")
    if weight is not None and query is key and key is value:
        return _linear(query, weight, bias, states.get(names[0])).chunk(3, -1)
    if weight is not None and key is value:
        sizes = [query.shape[-1], 2 * query.shape[-1]]
        first, rest = weight.split(sizes)
        b_first, b_rest = (None, None) if bias is None else bias.split(sizes)
        q = _linear(query, first, b_first, states.get(names[0]))
        return q, *_linear(key, rest, b_rest, states.get(names[1])).chunk(2, -1)
    weights = apart if weight is None else weight.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    each = zip(tensors, weights, biases, names, strict=True)
    return tuple(_linear(x, w, b, states.get(name)) for x, w, b, name in each)


def _merged(mask: Any, padding: Any, lines: tuple[int, int], heads: int, keys: int) -> Any:
    """Both float masks as one that broadcasts to (batch, heads, queries, keys)."""
    tgt_len, batch = lines
    if mask is not None:
        if mask.ndim not in (2, 3):
            raise RuntimeError(f"attn_mask must have 2 or 3 axes; got {mask.ndim}")
        size = (tgt_len, keys) if mask.ndim == 2 else (batch * heads, tgt_len, keys)
        if tuple(mask.shape) != size:
            raise RuntimeError(f"attn_mask must have shape {size}; got {tuple(mask.shape)}")
        mask = mask if mask.ndim == 2 else mask.reshape(batch, heads, tgt_len, keys)
    if padding is None:
        return mask
    if tuple(padding.shape) != (batch, keys):
        shape = tuple(padding.shape)
        raise RuntimeError(f"key_padding_mask must have shape {(batch, keys)}; got {shape}")
    padding = padding.reshape(batch, 1, 1, keys)
    return padding if mask is None else mask + padding


def _with_weights(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, p: float, states: States
) -> tuple[torch.Tensor, torch.Tensor]:
    """Result and probabilities. As in PyTorch, a row that may see no key is NaN on this path."""
    scale = math.sqrt(1 / q.shape[-1])
    scores = scores_of(q, k, Scale(scale, scale, 1.0), states.get("qk"), False)
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    if p > 0:
        weights = F.dropout(weights, p)
    return product(weights, v, states.get("pv"), False), weights


def _without_weights(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Any,
    p: float,
    causal: bool,
    states: States,
) -> torch.Tensor:
    qk, pv = states.get("qk"), states.get("pv")
    if qk is None and pv is None:
        # PyTorch's own, also for what would catch it around this module
        return untouched(F.scaled_dot_product_attention, (q, k, v, mask, p, causal), {})
    return scaled_dot_product_attention(q, k, v, mask, p, causal, qk=qk, pv=pv)


def _extra_keys(
    k: torch.Tensor, v: torch.Tensor, bias_k: Any, bias_v: Any, add_zero_attn: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (S, N, E) with those learnt and those of zeros after them."""
    if bias_k is not None:
        batch = k.shape[1]
        k, v = (
            torch.cat([k, bias_k.repeat(1, batch, 1)]),
            torch.cat([v, bias_v.repeat(1, batch, 1)]),
        )
    if add_zero_attn:
        k, v = F.pad(k, (0, 0, 0, 0, 0, 1)), F.pad(v, (0, 0, 0, 0, 0, 1))
    return k, v


def _canonical(mask: Any, padding: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    """Masks of nn.MultiheadAttention, where True hides a key, as floats to add."""
    names = ("attn_mask", "key_padding_mask")
    found = []
    for name, m in zip(names, (mask, padding), strict=True):
        if m is not None and m.dtype == torch.bool:
            m = torch.zeros_like(m, dtype=dtype).masked_fill(m, -math.inf)
        elif m is not None and not m.is_floating_point():
            raise ValueError(f"{name} must be bool or float; got {m.dtype}")
        found.append(m)
    return found[0], found[1]


def multi_head_attention(
    states: States,
    out_state: LayerState | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: torch.Tensor,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """F.multi_head_attention_forward with its products in the formats of their states."""
    if static_k is not None or static_v is not None:
        raise ValueError(
            "static_k and static_v have no products; keep this module out of the recipe"
        )
    batched = query.ndim == 3
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    if query.shape[-1] != embed_dim:
        raise ValueError(f"query must have {embed_dim} features; got {query.shape[-1]}")
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal is a hint about attn_mask: give the mask, too")
    only_causal = is_causal and key_padding_mask is None and not need_weights
    attn_mask, key_padding_mask = _canonical(
        None if only_causal else attn_mask, key_padding_mask, query.dtype
    )
    apart = (q_proj_weight, k_proj_weight, v_proj_weight)
    weight = None if use_separate_proj_weight else in_proj_weight
    q, k, v = _in_projections((query, key, value), weight, apart, in_proj_bias, states)
    added = -k.shape[0]
    k, v = _extra_keys(k, v, bias_k, bias_v, add_zero_attn)
    added += k.shape[0]
    attn_mask = None if attn_mask is None else F.pad(attn_mask, (0, added))
    key_padding_mask = None if key_padding_mask is None else F.pad(key_padding_mask, (0, added))
    lines = (q.shape[0], q.shape[1])
    mask = _merged(attn_mask, key_padding_mask, lines, num_heads, k.shape[0])
    q, k, v = (x.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3) for x in (q, k, v))
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        y, weights = _with_weights(q, k, v, mask, p, states)
    else:
        y = _without_weights(q, k, v, mask, p, only_causal, states)
    y = y.permute(2, 0, 1, 3).reshape(lines[0] * lines[1], embed_dim)
    y = _linear(y, out_proj_weight, out_proj_bias, out_state).unflatten(0, lines)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if batched:
        return y, weights
    return y.squeeze(1), None if weights is None else weights.squeeze(0)
