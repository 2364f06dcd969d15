"""A trained model with the weights and activations of its linear layers in formats."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import lowp.torch as lt
from lowp import _targets
from lowp.study.tasks._plan import names, saturating
from lowp.torch import Hadamard, Layer, Recipe
from lowp.torch._scan import _exact

__all__ = ["Plan", "quantized"]


@dataclass(frozen=True)
class Plan:
    """The arguments of `evaluation` that are of the model, under the same names."""

    weights: str
    activations: str
    layer: str
    keep: str
    hadamard: int
    hadamard_signs: str
    zero_weight: int
    keep_outliers: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be. ValueError."""
        for name in ("zero_weight", "keep_outliers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        if self.keep_outliers and self.hadamard:
            raise ValueError(
                "keep_outliers holds weights out as they are, which hadamard mixes: set one to 0"
            )

    def recipe(self, layer: Layer, *keep: str) -> Recipe:
        """The layer for the chosen modules, others, and those of keep, as they are."""
        every = (*names(self.keep), *keep)
        if self.layer == "all":
            return Recipe(layer, keep=every, seed=self.seed)
        return Recipe(patterns={self.layer: layer}, keep=every, seed=self.seed)


def quantized(model: nn.Module, plan: Plan) -> tuple[nn.Module, float]:
    """A copy of the model as the plan says, and bits a weight; the model stays as it is.

    Without a Hadamard transform weights are quantized once, here: to the bits that the layers would
    make of them at each call.
    """
    changed = copy.deepcopy(model)
    sources, others = _chosen(changed, plan)
    chosen = {name: changed.get_submodule(name) for name in sources}
    bits = _bits(changed, chosen, plan)
    # Each its own: modules may share what they are made of, and draw different bits.
    made = {
        name: nn.Parameter(_weight(m.weight.detach(), plan, sources[name]), m.weight.requires_grad)
        for name, m in chosen.items()
    }
    for name, weight in made.items():
        chosen[name].weight = weight
    turn = Hadamard(plan.hadamard, plan.hadamard_signs) if plan.hadamard else None
    w = None if turn is None else saturating(plan.weights)
    layer = Layer.of(saturating(plan.activations), w, forward_transform=turn)
    lt.convert(changed, plan.recipe(layer, *others))
    return changed, bits


def _chosen(model: nn.Module, plan: Plan) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Seed and stream of the weights of each linear layer and embedding that the plan means, by
    name, and patterns of what else it would convert, such as norms. ValueError: there are none.
    """
    with lt.converted(model, plan.recipe(Layer.of(w="bfloat16"))):
        states = lt.layers(model)
    places = dict(model.named_modules())
    kinds = nn.Linear | nn.Embedding
    sources = {n: s.source("w") for n, s in states.items() if isinstance(places.get(n), kinds)}
    if not sources:
        raise ValueError(
            f"layer {plan.layer!r} without keep {plan.keep!r}: no linear layer is left"
        )
    tables = [name for name in sources if isinstance(places[name], nn.Embedding)]
    if plan.hadamard and tables:
        raise ValueError(
            f"hadamard goes before products, and an embedding has no product: "
            f"name in keep {', '.join(tables)}"
        )
    return sources, [_exact(name, places) for name in states if name not in sources]


def _weight(w: torch.Tensor, plan: Plan, source: tuple[int, int]) -> torch.Tensor:
    """What becomes of a layer's weights before the model runs. source: of random bits."""
    most = max(plan.zero_weight, plan.keep_outliers)
    if most > w.numel():
        raise ValueError(f"a layer of {w.numel()} weights has no {most} largest ones")
    order = w.abs().flatten().topk(most).indices
    w = w.clone()
    if plan.zero_weight:
        w.view(-1)[order[plan.zero_weight - 1]] = 0
    quantizer = saturating(plan.weights)
    if quantizer is None or plan.hadamard:
        return w
    held = order[: plan.keep_outliers]
    values = w.view(-1)[held]
    w.view(-1)[held] = 0
    seed, stream = source
    w = lt.quantize(w, quantizer, seed=seed, stream=stream)
    w.view(-1)[held] = values
    return w


def _bits(model: nn.Module, chosen: dict[str, Any], plan: Plan) -> float:
    """Bits a weight: of the chosen modules and all other linear layers."""
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    total, count = 0.0, 0
    for name, module in {**linear, **chosen}.items():
        shape, bits = tuple(module.weight.shape), 32.0
        size = math.prod(shape)
        if name in chosen and plan.weights != "none":
            bits = _targets.bits_per_value(_targets.resolve(plan.weights), shape)
            bits += 64 * plan.keep_outliers / size
        total, count = total + bits * size, count + size
    return total / count
