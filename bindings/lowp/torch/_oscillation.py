"""How often quantized weights turn back: the measure of oscillation-free quantization."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

import lowp
from lowp.torch._convert import layers
from lowp.torch._ops import parse
from lowp.torch._products import transformed
from lowp.torch._state import LayerState, _tile_order
from lowp.torch.recipe import Hadamard, Quantizer

__all__ = ["Oscillations", "oscillations"]


class _Turns:
    """Counts, element by element, moves against the last move."""

    def __init__(self, first: torch.Tensor) -> None:
        self.last = first
        self.way = torch.zeros_like(first, dtype=torch.int8)
        self.counts = torch.zeros_like(first, dtype=torch.int64)

    def add(self, now: torch.Tensor) -> int:
        """One more moment; how many elements turned."""
        if now.shape != self.last.shape:
            raise ValueError(
                f"oscillations: all moments must have one shape; got {tuple(now.shape)} "
                f"after {tuple(self.last.shape)}"
            )
        way = (now > self.last).to(torch.int8) - (now < self.last).to(torch.int8)
        turned = way * self.way < 0
        self.counts += turned
        self.way = torch.where(way == 0, self.way, way)
        self.last = now
        return int(turned.sum())


def oscillations(moments: Iterable[torch.Tensor]) -> torch.Tensor:
    """How often each element moved against its last move. int64, the tensors' shape.

    moments: tensors of one shape in the order of time, best levels or codes, which a moving scale
    does not change. A move is any change, whatever its length; one to or from NaN is none.
    ValueError: no tensor at all, other shapes.
    Source: Oscillation-free Quantization, arXiv 2302.02210, after arXiv 2203.11086.
    """
    turns: _Turns | None = None
    for moment in moments:
        if turns is None:
            turns = _Turns(moment.detach().clone())
        else:
            turns.add(moment.detach().clone())
    if turns is None:
        raise ValueError("oscillations: there must be at least one tensor; got none")
    return turns.counts


def _refuse(name: str, s: LayerState, q: Quantizer) -> None:
    transform = s.layer.forward_transform
    if q.is_stochastic or q.scaling is not None:
        raise ValueError(f"{name}: w must be neither stochastic nor delayed to be counted; got {q}")
    steady = isinstance(transform, Hadamard) and transform.signs != "fresh"
    if transform is not None and not steady:
        raise ValueError(f"{name}: w is transformed anew at each call by {transform}; leave it out")


def _levels(module: Any, s: LayerState, q: Quantizer) -> torch.Tensor:
    """A module's weights in units of their scales: values of the format's elements."""
    w = module.weight.detach()
    # a convolution sums over channels
    axis = -1 if w.ndim < 3 else int(not getattr(module, "transposed", False))
    _, w = transformed(w, w, (axis, axis), "forward", s, None)
    found = parse(q.format)
    if isinstance(found, lowp.Format):
        modes = {"rounding": q.rounding, "saturation": q.saturation}
        return torch.ops.lowp.quantize(w.float().cpu(), q.format, **modes)  # type: ignore[no-any-return]
    at = (axis if q.axis is None else q.axis) % w.ndim
    # tiles take the last two axes
    order = _tile_order(w.ndim, at) if q.has_tiles else list(range(w.ndim))
    x = w.permute(order).float().cpu().contiguous().numpy()
    codes = lowp.encode(x, found, axis=order.index(at)).element_codes()
    element = found.element
    values = lowp.decode(codes, element) if isinstance(element, lowp.Format) else element[codes]
    back = sorted(range(w.ndim), key=order.__getitem__)
    return torch.from_numpy(np.asarray(values, np.float32)).permute(back)


class Oscillations:
    """Counts how often weights of a converted model turn back from step to step.

    Call step() after each step of the optimizer. A weight moves when its element (its value in
    units of its block's scale) is another than before, and turns when it moves against its last
    move.
    Counts modules with one weight and a format for it; others are left out. A Hadamard transform of
    the forward product comes first, and may fill w up. ValueError: there is no such module, or its
    format is stochastic, delayed or behind a transform that changes.

    counts: turns of each weight by the module's name, int64. steps: calls so far.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        self._watched = {
            name: (modules[name], s, s.layer.w)
            for name, s in layers(model).items()
            if s.layer.w is not None and getattr(modules.get(name), "weight", None) is not None
        }
        if not self._watched:
            raise ValueError(
                "Oscillations: no converted module has a weight in a format of its own; call "
                "convert(model, recipe) first"
            )
        for name, (_, s, q) in self._watched.items():
            _refuse(name, s, q)
        self._turns = {
            name: _Turns(_levels(module, s, q)) for name, (module, s, q) in self._watched.items()
        }
        self.steps = 0

    def step(self) -> float:
        """One more moment; the share of all weights that turned at it, 0 to 1."""
        self.steps += 1
        turned = sum(
            self._turns[name].add(_levels(module, s, q))
            for name, (module, s, q) in self._watched.items()
        )
        return turned / sum(turns.counts.numel() for turns in self._turns.values())

    @property
    def counts(self) -> dict[str, torch.Tensor]:
        """Turns of each weight so far, by the module's name."""
        return {name: turns.counts for name, turns in self._turns.items()}
