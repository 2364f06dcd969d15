"""Traces of the Hessian of a loss, a layer at a time, from products with random signs.

For v of independent signs, the mean of v^T H v is the trace of H, whatever else H holds; of a
diagonal H it is the trace each time. Source: Hutchinson, 1990; HAWQ-V2, arXiv 1911.03852.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import lowp
from lowp.torch._scan import Loss, check_own_weights, with_weights

__all__ = ["Trace", "hessian_traces"]

#: Products made of one graph of each batch before it is asked whether they are enough.
_CHUNK = 8
#: Samples that may be enough: fewer agree too often by chance.
_FEWEST = 2 * _CHUNK


def chunks(samples: int) -> int:
    """How often `advance` is called at most."""
    return -(-samples // _CHUNK)


@dataclass(frozen=True)
class Trace:
    """An estimate of the trace of a layer's block of the Hessian, and its standard error."""

    value: float
    error: float
    samples: int


def signs(like: torch.Tensor, seed: int, stream: int) -> torch.Tensor:
    """-1 and 1 in the shape, dtype and device of a tensor, one bit of the stream an element."""
    words = lowp.random_bits(-(-like.numel() // 32), seed=seed, stream=stream).astype("<u4")
    bits = np.unpackbits(words.view(np.uint8), count=like.numel(), bitorder="little")
    found = torch.from_numpy(bits).to(like.device, like.dtype)
    return (1 - 2 * found).reshape(like.shape)


def _products(
    term: torch.Tensor, leaves: list[torch.Tensor], signed: list[list[torch.Tensor]]
) -> np.ndarray[Any, Any]:
    """v^T H v of each layer's block, (samples, layers), of one batch's loss."""
    if not term.requires_grad:
        raise ValueError(
            "sensitivity: the loss has no derivative; do not detach it, use no_grad or item() in it"
        )
    grads = torch.autograd.grad(term, leaves, create_graph=True, materialize_grads=True)
    found = np.zeros((len(signed), len(leaves)))
    for i, vs in enumerate(signed):
        pairs = [(g, v) for g, v in zip(grads, vs, strict=True) if g.requires_grad]
        if not pairs:  # the loss is linear
            continue
        gs, ds = zip(*pairs, strict=True)
        hv = torch.autograd.grad(gs, leaves, ds, retain_graph=True, materialize_grads=True)
        found[i] = [float((h * v).sum(dtype=torch.float64)) for h, v in zip(hv, vs, strict=True)]
    return found


def _are_enough(values: np.ndarray[Any, Any], tolerance: float) -> bool:
    means = np.abs(values.mean(0))
    return len(values) >= _FEWEST and bool((_errors(values) <= tolerance * means).all())


def _errors(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    errors: np.ndarray[Any, Any] = values.std(0, ddof=1) / math.sqrt(len(values))
    return errors


def hessian_traces(
    model: nn.Module,
    modules: Mapping[str, Any],
    loss: Loss,
    *,
    seed: int,
    samples: int,
    tolerance: float,
    advance: Callable[[], None],
) -> dict[str, Trace]:
    """The Trace of the loss in each module's weight.

    Samples are made until there are _FEWEST and each standard error is at most tolerance * |trace|,
    or there are `samples` of them. One product serves all layers: v is of all weights at once, as
    blocks off the diagonal add nothing to the mean. Attention takes PyTorch's mathematical path,
    which alone has second derivatives.
    """
    check_own_weights(modules, "sensitivity")
    numbers = {id(module): number for number, module in enumerate(model.modules())}
    streams = [numbers[id(module)] << 32 for module in modules.values()]
    # tied weights apart, and those that are frozen, too
    places = [(m, "weight", m.weight.detach().requires_grad_()) for m in modules.values()]
    values = np.zeros((0, len(places)))
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), with_weights(places):
        leaves = [module.weight for module in modules.values()]
        while len(values) < samples:
            first = len(values)
            numbered = range(first, min(first + _CHUNK, samples))
            signed = [
                [signs(w, seed, stream + i) for w, stream in zip(leaves, streams, strict=True)]
                for i in numbered
            ]
            terms = loss.each(model, partial(_products, leaves=leaves, signed=signed))
            values = np.concatenate([values, np.mean(terms, axis=0)])
            advance()
            if _are_enough(values, tolerance):
                break
    errors = _errors(values)
    return {
        name: Trace(float(values[:, i].mean()), float(errors[i]), len(values))
        for i, name in enumerate(modules)
    }
