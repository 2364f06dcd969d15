"""The recipe that plain words and numbers of a study make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lowp
import lowp.torch as lt
from lowp import _targets
from lowp.torch import Delayed, Hadamard, Layer, Quantizer, Recipe, recipes
from lowp.torch._modules import kind_of
from lowp.torch.recipe import PRODUCTS

__all__ = [
    "SLOTS",
    "base",
    "names",
    "saturating",
    "weight_bits",
    "with_accumulator",
    "with_formats",
    "with_hadamard",
    "with_modes",
]

#: The operands of the three products, by the parameter that stands for all of its kind.
SLOTS = {
    "x": ("x", "wgrad_x"),
    "w": ("w", "dgrad_w"),
    "dy": ("dgrad_dy", "wgrad_dy"),
}

_HISTORY = 16


def names(text: str) -> tuple[str, ...]:
    """The names of a text, between commas; none of "none"."""
    return () if text == "none" else tuple(name.strip() for name in text.split(","))


def base(recipe: str, mask: str, keep: str, seed: int) -> Recipe:
    """The recipe of a name or file, or the one that masks bits away. ValueError: both, or a mask
    that is no e{E}m{M}: other names say more than how many bits there are.
    """
    if mask != "none":
        if recipe != "float32":
            raise ValueError(f"mask makes its own recipe: leave recipe out; got {recipe!r}")
        if not re.fullmatch(r"e\d+m\d+", mask):
            raise ValueError(f"mask must be written e{{E}}m{{M}}, as 'e4m3'; got {mask!r}")
        format = lowp.format(mask)
        found = recipes.fp8_and_back(format.exponent_bits, format.mantissa_bits)
    elif recipe == "float32":
        found = Recipe(name="float32")
    elif Path(recipe).suffix in (".toml", ".json"):
        text = Path(recipe).read_text(encoding="utf-8")
        found = (Recipe.from_toml if recipe.endswith(".toml") else Recipe.from_json)(text)
    else:
        found = recipes.get(recipe)
    return found.replace(seed=seed, keep=(*found.keep, *names(keep)))


def saturating(format: str) -> Quantizer | None:
    """The quantizer of a name, None of "none"; scalar formats saturate, as those in blocks do."""
    return None if format == "none" else Quantizer(format, saturation="finite")


def with_formats(layer: Layer, formats: Mapping[str, str]) -> Layer:
    """The layer with other formats, which saturate. formats: by "x", "w", "dy", which are two slots
    each, or by the slot, which wins; "none" leaves it.
    """
    wide = {slot: formats[name] for name, slots in SLOTS.items() for slot in slots}
    single = {slot: formats[f"forward_{slot}" if slot in SLOTS else slot] for slot in wide}
    chosen = wide | {slot: name for slot, name in single.items() if name != "none"}
    roles: dict[str, Any] = {s: saturating(name) for s, name in chosen.items() if name != "none"}
    return replace(layer, **roles)


def with_hadamard(layer: Layer, size: int, products: str, signs: str) -> Layer:
    """The layer with Hadamard runs of `size` before the products that a word means; 0: as it is."""
    if not size:
        return layer
    where = {
        "all": PRODUCTS,
        "forward": ("forward",),
        "backward": ("dgrad", "wgrad"),
        "wgrad": ("wgrad",),
    }[products]
    roles: dict[str, Any] = {f"{product}_transform": Hadamard(size, signs) for product in where}
    return replace(layer, **roles)


def with_accumulator(layer: Layer, name: str) -> Layer:
    """The layer with one accumulator of all three products; "none": as it is."""
    if name == "none":
        return layer
    roles: dict[str, Any] = {f"{product}_accumulator": name for product in PRODUCTS}
    return replace(layer, **roles)


def with_modes(
    layer: Layer, *, rounding: str, gradient_rounding: str, estimator: str, scaling: str
) -> Layer:
    """The layer's operands with other roundings, derivatives and scales, or as they are."""

    def changed(q: Quantizer, mode: str, gradient: str) -> Quantizer:
        q = _scaled(q, scaling)
        q = q if mode == "default" else replace(q, rounding=mode)
        return q if gradient == "none" else replace(q, gradient=gradient)

    layer = _each(layer, (*SLOTS["x"], *SLOTS["w"]), lambda q: changed(q, rounding, estimator))
    return _each(layer, SLOTS["dy"], lambda q: changed(q, gradient_rounding, "none"))


def _each(layer: Layer, slots: tuple[str, ...], change: Callable[[Quantizer], Quantizer]) -> Layer:
    """The layer with every quantizer of the slots changed that does anything."""
    found = {slot: getattr(layer, slot) for slot in slots}
    roles: dict[str, Any] = {
        slot: change(q) for slot, q in found.items() if q is not None and q.format != "float32"
    }
    return replace(layer, **roles)


def _scaled(q: Quantizer, scaling: str) -> Quantizer:
    """With a float32 scale of the whole tensor: of this call, or from past ones."""
    if scaling == "none":
        return q
    if scaling == "delayed":
        return replace(q, scaling=Delayed(_HISTORY))
    if lowp.is_block_format(q.format):
        return replace(q, format=lowp.block_format(q.format).replace(outer="tensor").name)
    # Elements of block formats saturate: the scalar's own word would be refused.
    name = f"{q.format}/tensor/float32/amax"
    return replace(q, format=name, scaling=None, saturation=None)


def weight_bits(model: nn.Module) -> float:
    """Bits a weight of a converted model, scales counted.

    Weights are those of linear layers and convolutions, and of what else is in a format, each as
    the forward product has it; what is in none has the bits of its dtype.
    """
    states = lt.layers(model)
    total, count = 0.0, 0
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        q = states[name].layer.w if name in states else None
        if not isinstance(weight, torch.Tensor) or (q is None and not has_products(module)):
            continue
        # blocks lie along the input channels
        shape = (*weight.shape[2:], *weight.shape[:2])
        bits = 8.0 * weight.element_size()
        if q is not None:
            stored = q.format if q.scaling is None else f"{q.format}/tensor/float32/amax"
            bits = _targets.bits_per_value(_targets.resolve(stored), shape)
        total, count = total + bits * weight.numel(), count + weight.numel()
    return total / count


def has_products(module: nn.Module) -> bool:
    """Whether it is a linear layer or a convolution."""
    found = kind_of(module)
    return found is not None and found[0] in ("linear", "conv")
