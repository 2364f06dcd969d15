"""Which layers may make two operands of one tensor at once."""

from __future__ import annotations

import lowp
from lowp.torch import _ops
from lowp.torch.recipe import Hadamard, Layer, Quantizer

__all__ = ["has_pairs", "is_its_own_turned"]


def _is_simple(q: Quantizer | None) -> bool:
    """Whether a role is a block format along the axis of its product, and no more."""
    if q is None or (q.axis, q.ragged, q.gradient) != (None, "allow", "straight_through"):
        return False
    return isinstance(_ops.parse(q.format), lowp.BlockFormat)


def has_pairs(layer: Layer) -> bool:
    """Whether every operand comes from its original tensor, along the axis of its product."""
    roles = ("x", "w", "dgrad_dy", "dgrad_w", "wgrad_x", "wgrad_dy")
    turn = layer.wgrad_transform
    return (
        layer.backward_from == "original"
        and layer.forward_transform is None
        and layer.dgrad_transform is None
        and (turn is None or isinstance(turn, Hadamard))
        and all(_is_simple(getattr(layer, role)) for role in roles)
    )


def is_its_own_turned(layer: Layer) -> bool:
    """Whether w's blocks are the same for both products: square tiles whose scales are of largest
    magnitudes, which no order changes, without random bits.
    """
    q = layer.w
    if q is None or q != layer.dgrad_w or q.is_stochastic or not q.has_tiles:
        return False
    block = _ops.parse(q.format)
    fields = block.fields
    by_amax = fields["statistic"] == "amax" and fields["search"] == "none"
    is_square = block.shape[0] == block.shape[1]
    return bool(is_square and by_amax and fields["outer"] in ("none", "tensor"))
