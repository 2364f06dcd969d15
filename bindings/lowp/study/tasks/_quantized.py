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
from lowp.study.tasks._plan import names
from lowp.torch import Hadamard, Layer, Recipe

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

    def recipe(self, layer: Layer) -> Recipe:
        """The layer for the chosen modules, others as they are."""
        if self.layer == "all":
            return Recipe(layer, keep=names(self.keep), seed=self.seed)
        patterns = {self.layer: layer}
        return Recipe(patterns=patterns, keep=names(self.keep), seed=self.seed)


def quantized(model: nn.Module, plan: Plan) -> tuple[nn.Module, float]:
    """A copy of the model as the plan says, and bits a weight; the model stays as it is.

    Without a Hadamard transform weights are quantized once, here: to the bits that the layers would
    make of them at each call.
    """
    changed = copy.deepcopy(model)
    chosen = _chosen(changed, plan)
    bits = _bits(changed, chosen, plan)
    for number, module in enumerate(chosen.values()):
        with torch.no_grad():
            module.weight.copy_(_weight(module.weight, plan, number))
    turn = Hadamard(plan.hadamard, plan.hadamard_signs) if plan.hadamard else None
    x = None if plan.activations == "none" else plan.activations
    w = None if plan.weights == "none" or turn is None else plan.weights
    lt.convert(changed, plan.recipe(Layer.of(x, w, forward_transform=turn)))
    return changed, bits


def _chosen(model: nn.Module, plan: Plan) -> dict[str, Any]:
    """The modules that the plan means, by name. ValueError: none has a matrix of weights."""
    report = lt.convert(model, plan.recipe(Layer.of(w="bfloat16")))
    lt.restore(model)
    places = dict(model.named_modules())
    found = {row.name: places[row.name] for row in report.rows if row.state == "converted"}
    found = {n: m for n, m in found.items() if isinstance(m, nn.Linear | nn.Embedding)}
    if not found:
        raise ValueError(
            f"layer {plan.layer!r} without keep {plan.keep!r}: no linear layer is left"
        )
    return found


def _weight(w: torch.Tensor, plan: Plan, number: int) -> torch.Tensor:
    """What becomes of a layer's weights before the model runs."""
    most = max(plan.zero_weight, plan.keep_outliers)
    if most > w.numel():
        raise ValueError(f"a layer of {w.numel()} weights has no {most} largest ones")
    order = w.abs().flatten().topk(most).indices
    w = w.clone()
    if plan.zero_weight:
        w.view(-1)[order[plan.zero_weight - 1]] = 0
    if plan.weights == "none" or plan.hadamard:
        return w
    held = order[: plan.keep_outliers]
    values = w.view(-1)[held]
    w.view(-1)[held] = 0
    w = lt.quantize(w, plan.weights, seed=plan.seed, stream=number << 40)
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
