"""Attention: Q K^T and P V as two products, each in the formats of its own state."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from lowp.torch import _products
from lowp.torch._products import autocast
from lowp.torch._state import LayerState

__all__ = ["AttentionState", "Scale", "product", "scaled_dot_product_attention", "scores_of"]


class AttentionState(LayerState):
    """The state of a product of two activations: no operand is a weight that ranks share."""

    def role_source(self, role: str) -> tuple[int, int]:
        """Seed and stream of a role in any layer: the rank is in all of them."""
        _, stream = super().role_source(role)
        return self.seed | self.rank << 32, stream


# ---- the two products ----------------------------------------------------------------------------


class Scale(NamedTuple):
    """The factor of the scores, and how PyTorch shares it out where nothing is rounded."""

    whole: float
    query: float
    key: float


def _even(scale: float) -> Scale:
    root = math.sqrt(abs(scale))
    return Scale(scale, math.copysign(root, scale), root)


def _keeps(s: LayerState | None, dtype: torch.dtype) -> bool:
    """Whether the forward product has the operands that it is given, to the bit."""
    if s is None:
        return True
    own = str(dtype).removeprefix("torch.")
    roles = [q for q in (s.layer.x, s.layer.w) if q is not None]
    rounded = any(q.format != own or q.scaling is not None for q in roles)
    return not rounded and s.layer.forward_accumulator is None and s.layer.forward_transform is None


def _group(heads: int, shared: int) -> int:
    """How many query heads each of the shared ones serves."""
    if shared == 0 or heads % shared:
        raise ValueError(
            "scaled_dot_product_attention: enable_gqa needs a number of query heads that is a "
            f"multiple of the key's and of the value's; got {heads} and {shared}"
        )
    return heads // shared


def product(a: torch.Tensor, b: torch.Tensor, s: LayerState | None, grouped: bool) -> torch.Tensor:
    """a b; grouped: each of b's heads serves a run of a's, and is quantized once."""
    if grouped and a.shape[-3] != b.shape[-3]:
        a = a.unflatten(-3, (-1, _group(a.shape[-3], b.shape[-3])))
        return product(a, b.unsqueeze(-3), s, False).flatten(-4, -3)
    return torch.matmul(a, b) if s is None else _products.matmul(a, b, s)


def _repeated(x: torch.Tensor, q: torch.Tensor, grouped: bool) -> torch.Tensor:
    """x with as many heads as q has: what PyTorch multiplies."""
    if not grouped or x.shape[-3] == q.shape[-3]:
        return x
    return x.repeat_interleave(_group(q.shape[-3], x.shape[-3]), -3)


def scores_of(
    q: torch.Tensor, k: torch.Tensor, scale: Scale, s: LayerState | None, grouped: bool
) -> torch.Tensor:
    """q k^T times the scale. Operands are quantized as they are and the scores scaled, as hardware
    does; where nothing is rounded, they are scaled before, as PyTorch does, for the same bits.
    """
    if _keeps(s, q.dtype):
        k = _repeated(k, q, grouped)
        return product(q * scale.query, k.mT * scale.key, s, False)
    return product(q, k.mT, s, grouped) * scale.whole


def _context(p: torch.Tensor, v: torch.Tensor, s: LayerState | None, grouped: bool) -> torch.Tensor:
    if _keeps(s, p.dtype):
        return product(p, _repeated(v, p, grouped), s, False)
    return product(p, v, s, grouped)


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    """As the math path of this PyTorch has it: since 2.5 a row without a key is zeros, not NaN."""
    safe = getattr(torch.ops.aten, "_safe_softmax", None)
    return torch.softmax(scores, -1) if safe is None else safe(scores, -1)


def _check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, is_causal: bool) -> None:
    what = "scaled_dot_product_attention"
    if q.is_nested or k.is_nested or v.is_nested:
        raise ValueError(f"{what}: nested tensors have no products here; pad them and pass a mask")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"{what}: query, key and value must have one dtype; got {q.dtype}, {k.dtype}, {v.dtype}"
        )
    if mask is not None and is_causal:
        raise ValueError(f"{what}: give attn_mask or is_causal=True, not both")
    if mask is not None and mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(f"{what}: attn_mask must be bool or float; got {mask.dtype}")


def _additive(
    mask: torch.Tensor | None, is_causal: bool, q: torch.Tensor, k: torch.Tensor
) -> torch.Tensor | None:
    """The mask as what is added to the scores: minus infinity where a key must not be seen."""
    if is_causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -math.inf)


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
    qk: LayerState | None,
    pv: LayerState | None,
) -> torch.Tensor:
    """softmax(query key^T scale + mask) value, both products in the formats of their states.

    query: (..., H, L, E), key: (..., H, S, E), value: (..., H, S, V), attn_mask: bool (True takes
    part) or float (added), broadcasting to (..., H, L, S); result: (..., H, L, V) in query's dtype.
    qk, pv: of Q K^T (x is query, w is key) and of P V (x is P, w is value); None is
    PyTorch's product. float16 and bfloat16 are computed in float32, as PyTorch does.

    A row that may see no key is zeros; NaN in the operands reaches its rows, as PyTorch documents.
    With formats that keep the operands, the bits are those of SDPBackend.MATH, not of its fused
    kernels, which add in another order. ValueError: nested tensors, integer masks, a mask beside
    is_causal, several dtypes, numbers of heads that do not divide.
    """
    _check(query, key, value, attn_mask, is_causal)
    query, key, value = autocast(query, key, value)
    dtype = query.dtype
    if dtype in (torch.float16, torch.bfloat16):
        query, key, value = query.float(), key.float(), value.float()
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    with torch.autocast(query.device.type, enabled=False):
        p = scores_of(query, key, _even(scale), qk, enable_gqa)
        mask = _additive(attn_mask, is_causal, query, key)
        p = _softmax(p if mask is None else p + mask)
        if dropout_p > 0:
            p = torch.dropout(p, dropout_p, True)
        return _context(p, value, pv, enable_gqa).to(dtype)
