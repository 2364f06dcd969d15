"""Super weights: the few whose loss a model does not survive, found one by one and held out.

Source: The Super Weight in Large Language Models, arXiv 2411.07191.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lowp.torch._convert import convert, restore
from lowp.torch._convert import layers as layers_of
from lowp.torch._given import choose, whole
from lowp.torch._modules import TransposedLinear, kind_of
from lowp.torch._scan import (
    KINDS,
    Loss,
    check_own_weights,
    forward_weight,
    quantized_weight,
    quiet,
    reporting,
    scanning,
    sibling_of,
    with_weights,
)
from lowp.torch._state import LayerState
from lowp.torch.recipe import Recipe

__all__ = ["HeldOut", "hold_one_out", "quantized_weights"]


@dataclass(frozen=True)
class HeldOut:
    """One weight: where it is, and what the loss gains when it is zero.

    change: NaN where it was not measured, or the loss without the weight is NaN.
    """

    layer: str
    index: tuple[int, ...]
    value: float
    change: float = float("nan")


def _largest(modules: dict[str, Any], count: int) -> list[HeldOut]:
    """The weights of largest magnitude of all layers."""
    found: list[HeldOut] = []
    own = {
        id(m.weight): name for name, m in reversed(modules.items())
    }  # one of those that share it
    for name, module in modules.items():
        if own[id(module.weight)] != name:
            continue
        w = module.weight.detach()
        flat = w.abs().flatten().nan_to_num(torch.inf)
        for at in flat.topk(min(count, flat.numel())).indices.tolist():
            index = tuple(int(i) for i in torch.unravel_index(torch.tensor(at), w.shape))
            found.append(HeldOut(name, index, float(w[index])))
    return sorted(found, key=lambda one: -abs(one.value))[:count]


def _spikes(model: nn.Module, modules: dict[str, Any], loss: Loss, count: int) -> list[HeldOut]:
    """Of each linear layer the weight that takes its largest input to its largest output."""
    peaks: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def hook_of(name: str) -> Any:
        def observe(module: Any, args: tuple[Any, ...], kwargs: Any, y: torch.Tensor) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            now = [t.detach().abs().reshape(-1, t.shape[-1]).amax(0) for t in (x, y)]
            before = peaks.get(name)
            if before is not None:
                now = [torch.maximum(a, b) for a, b in zip(before, now, strict=True)]
            peaks[name] = (now[0], now[1])

        return observe

    hooks = []
    try:
        for name, module in modules.items():
            if module.weight.ndim == 2 and not isinstance(module, nn.Embedding):
                hook = module.register_forward_hook(hook_of(name), with_kwargs=True, prepend=True)
                hooks.append(hook)
        loss.value(model)
    finally:
        for hook in hooks:
            hook.remove()
    if not peaks:
        raise ValueError(
            "hold_one_out: 'spikes' are of linear layers, of which none ran here; use 'magnitude'"
        )
    found: list[tuple[float, HeldOut]] = []
    for name, (x, y) in peaks.items():
        place = (int(y.argmax()), int(x.argmax()))
        value = float(forward_weight(modules[name])[0][place])
        # in the weight's own order of axes, which of Hugging Face's Conv1D is the other
        is_turned = sibling_of(modules[name]) is TransposedLinear
        found.append((float(y.max()), HeldOut(name, place[::-1] if is_turned else place, value)))
    found.sort(key=lambda pair: -pair[0])
    # of modules that share a weight, the one of the larger output
    first: dict[Any, HeldOut] = {}
    for _, one in found:
        first.setdefault((id(modules[one.layer].weight), one.index), one)
    return list(first.values())[:count]


def _given(modules: dict[str, Any], candidates: Iterable[Any], who: str) -> list[HeldOut]:
    """HeldOut of those or of pairs of layer and index; ValueError names what there is not."""
    found = []
    for one in candidates:
        layer, index = (one.layer, one.index) if isinstance(one, HeldOut) else one
        index = tuple(index)
        if layer not in modules:
            near = ", ".join(list(modules)[:8])
            raise ValueError(f"{who}: there is no layer {layer!r}; there are {near}")
        w = modules[layer].weight.detach()
        inside = (0 <= i < n for i, n in zip(index, w.shape, strict=False))
        if len(index) != w.ndim or not all(inside):
            raise ValueError(f"{who}: {layer} has weights {tuple(w.shape)}; got index {index}")
        found.append(HeldOut(layer, index, float(w[index])))
    return found


def _change(model: nn.Module, module: Any, one: HeldOut, loss: Loss) -> float:
    """The loss without this weight, wherever its parameter is used."""
    own = module._parameters["weight"]
    without = own.detach().clone()
    without[one.index] = 0
    places = [
        (other, name, without)
        for other in model.modules()
        for name, parameter in other._parameters.items()
        if parameter is own
    ]
    with with_weights(places):
        return loss.value(model)


def hold_one_out(
    model: nn.Module,
    loss: Any,
    *,
    count: int = 16,
    candidates: Any = "magnitude",
    layers: Sequence[str] | None = None,
    progress: bool | None = None,
) -> tuple[HeldOut, ...]:
    """What the loss gains when one weight is zero, for each candidate alone; the largest first.

    A loss that is NaN without the weight comes before all others.

    model, loss, layers, progress: as in sensitivity; the model is as it was afterwards. candidates:
    "magnitude", the `count` largest weights; "spikes", of each linear layer the weight between its
    largest input and its largest output, the `count` with the largest outputs (one forward pass
    finds them, as in the paper); or HeldOut or pairs (layer, index). A weight that modules share
    is one candidate. ValueError: as in sensitivity; no such weight; "spikes" where no linear layer
    runs.
    """
    whole("hold_one_out: count", count, 1, 1 << 20)
    who = "hold_one_out"
    if isinstance(candidates, str):
        choose(f"{who}: candidates", candidates, ("magnitude", "spikes"))
    measured = Loss(loss, who)
    with scanning(model, {}, only=layers, who=who) as scan:
        modules = dict(scan.modules)
        check_own_weights(modules, who)
        if not isinstance(candidates, str):
            found = _given(modules, candidates, who)
        elif candidates == "magnitude":
            found = _largest(modules, count)
        else:
            found = _spikes(model, modules, measured, count)
        base = measured.base(model)
        rows = []
        with reporting(who, len(found), progress) as advance:
            for one in found:
                change = _change(model, modules[one.layer], one, measured) - base
                rows.append(replace(one, change=change))
                advance()
    return tuple(sorted(rows, key=lambda row: (not math.isnan(row.change), -row.change)))


@contextlib.contextmanager
def quantized_weights(
    model: nn.Module, recipe: Recipe | str, *, held_out: Iterable[Any] = ()
) -> Iterator[None]:
    """A model whose weights are in the recipe's formats for the length of a with block, but some.

    Weights of linear layers, convolutions and embeddings only; activations are as they were.
    held_out: what hold_one_out gives, or pairs (layer, index): these are zero while the others are
    quantized, so that no scale is made for them, and have their own values afterwards. The model's
    own parameters are not touched. ValueError: a converted model, a transform of weights, no such
    weight.
    """
    who = "quantized_weights"
    with quiet(model, who):
        try:
            convert(model, recipe)
            states = layers_of(model)
        finally:
            restore(model)
    modules = {name: m for name, m in model.named_modules() if _has_format(states.get(name), m)}
    check_own_weights(modules, who)
    held = _given(modules, held_out, who)
    places = []
    for name, module in modules.items():
        own = [one for one in held if one.layer == name]
        w = module.weight.detach().clone()
        for one in own:
            w[one.index] = 0
        w = quantized_weight(module, states[name], w)
        for one in own:
            w[one.index] = one.value
        places.append((module, "weight", w.requires_grad_(module.weight.requires_grad)))
    with with_weights(places):
        yield


def _has_format(state: LayerState | None, module: nn.Module) -> bool:
    """Whether the state puts a weight in a format."""
    found = kind_of(module)
    if state is None or state.layer.w is None or found is None or found[0] not in KINDS:
        return False
    if state.layer.forward_transform is not None:
        raise ValueError(
            f"quantized_weights: {state.name} quantizes its weight after a transform; use convert"
        )
    return True
