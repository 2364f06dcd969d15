"""Fixed point whose word and fraction a training changes, layer by layer, by what they lose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

import lowp
from lowp.torch._convert import layers
from lowp.torch._state import LayerState
from lowp.torch.recipe import Layer, Quantizer

__all__ = ["AdaptiveFixedPoint", "fixed_point_layer", "information_loss"]

#: Bits that a float32 tensor holds exactly.
_WIDEST = 24


def _quantizer(word: int, fraction: int) -> Quantizer:
    name = f"q{word - 1 - fraction}.{fraction}"
    return Quantizer(name, rounding="stochastic_a", saturation="finite")


def fixed_point_layer(word: int, fraction: int) -> Layer:
    """x and w in fixed point of `word` bits, `fraction` behind the point; see recipes.adapt."""
    if not 2 <= word <= _WIDEST or not 0 <= fraction < word:
        raise ValueError(
            f"fixed point: word must be from 2 to {_WIDEST}, what float32 holds, and fraction "
            f"from 0 to word - 1; got <{word}, {fraction}>"
        )
    q = _quantizer(word, fraction)
    return Layer(x=q, w=q, backward_from="forward")


def information_loss(x: torch.Tensor, y: torch.Tensor, bins: int) -> float:
    """The Kullback-Leibler divergence of y's histogram from x's, in bits.

    x, y: of any one shape; bins of one width from x's least to its largest value, where y beyond
    counts too. Infinite where a bin of x's has no y; 0 where x is empty or one value.
    ValueError: x or y with NaN or infinity.
    """
    if not (bool(torch.isfinite(x).all()) and bool(torch.isfinite(y).all())):
        raise ValueError("information_loss: x and y must be finite; the weights have diverged")
    if x.numel() == 0 or x.min() == x.max():
        return 0.0
    low, high = float(x.min()), float(x.max())
    p, q = (torch.histc(t.double().clamp(low, high), bins, low, high) for t in (x, y))
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    return float((p[there] * (p[there] / q[there]).log2()).sum())


@dataclass
class _Watched:
    """A layer, its weight, and what its gradients were since the last switch."""

    state: LayerState
    weight: torch.Tensor
    format: tuple[int, int]
    norms: float = 0.0
    total: torch.Tensor | None = field(default=None, repr=False)

    def observe(self) -> None:
        """Adds the gradient of this step."""
        gradient = self.weight.grad
        if gradient is not None:
            self.norms += float(gradient.norm())
            self.total = gradient.clone() if self.total is None else self.total + gradient

    def diversity(self) -> float:
        """Sum of the gradients' norms over the norm of their sum: at least 1; of none 1."""
        if self.total is None or self.norms == 0:
            return 1.0
        norm = float(self.total.norm())
        return self.norms / norm if norm > 0 else math.inf


def _word_of(q: Quantizer | None) -> tuple[int, int] | None:
    """<word, fraction> of a fixed-point format, or None."""
    if q is None or lowp.is_block_format(q.format) or not q.format.startswith("q"):
        return None
    whole, fraction = map(int, q.format[1:].split("."))
    return 1 + whole + fraction, fraction


class AdaptiveFixedPoint:
    """Changes <word, fraction> of a model's layers while it trains, as AdaPT does.

    model: converted by recipes.adapt(). Call step() after each step of the optimizer, while
    gradients are there. At every `every`-th call each layer gets

    - the smallest fraction F that loses no more than `loss` bits of information from its weights'
      histogram of `resolution` bins (rounded to nearest), with I whole bits that hold the largest;
    - F + s, as future steps need: with l = ln(sum |g| / |sum g|) - 1 over the gradients g since the
      last switch, s = 1 where l <= 0, else ceil(1 / l^2), but no more than takes F to
      ceil(32 l^2);
    - the word 1 + max(I, buffer - 1) + F, with at least `buffer` bits before the fraction: room for
      what activations, which share the format, need beyond the weights.

    F is cut where the word exceeds `widest`. formats: <word, fraction> now, by the module's name;
    history: (step, name, word, fraction) of each change. Resumes from state_dict(). Look-back,
    resolution and strategy, which AdaPT moves, stay as given.

    ValueError: no layer of the model is in fixed point; weights that are not finite at a switch.
    Source: AdaPT, arXiv 2107.13490: PushDown and PushUp, strategy "min".
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 50,
        resolution: int = 100,
        loss: float = 0.01,
        buffer: int = 8,
        widest: int = _WIDEST,
    ) -> None:
        if every < 1 or resolution < 2 or loss < 0:
            raise ValueError(
                f"AdaptiveFixedPoint: every must be at least 1, resolution 2, loss 0; "
                f"got {every}, {resolution}, {loss}"
            )
        if not 1 <= buffer <= widest <= _WIDEST:
            raise ValueError(
                f"AdaptiveFixedPoint: 1 <= buffer <= widest <= {_WIDEST} must hold; "
                f"got {buffer} and {widest}"
            )
        self.every, self.resolution, self.loss = every, resolution, loss
        self.buffer, self.widest = buffer, widest
        self.steps = 0
        self.history: list[tuple[int, str, int, int]] = []
        self._watched = dict(self._find(model))
        if not self._watched:
            raise ValueError(
                "AdaptiveFixedPoint: no layer of the model is in fixed point; call "
                "convert(model, recipes.adapt()) first"
            )

    @staticmethod
    def _find(model: nn.Module) -> Any:
        modules = dict(model.named_modules())
        for name, s in layers(model).items():
            format, weight = _word_of(s.layer.w), getattr(modules.get(name), "weight", None)
            if format is not None and weight is not None:
                yield name, _Watched(s, weight, format)

    @property
    def formats(self) -> dict[str, tuple[int, int]]:
        """<word, fraction> of each layer."""
        return {name: watched.format for name, watched in self._watched.items()}

    def step(self) -> bool:
        """One more step of the training; whether a layer's format changed."""
        self.steps += 1
        for watched in self._watched.values():
            watched.observe()
        if self.steps % self.every:
            return False
        before = len(self.history)
        for name, watched in self._watched.items():
            self._put(name, watched, *self._choose(watched))
            watched.norms, watched.total = 0.0, None
        return len(self.history) > before

    def _choose(self, watched: _Watched) -> tuple[int, int]:
        w = watched.weight.detach().float().cpu()
        amax = float(w.abs().max()) if w.numel() else 0.0
        fraction, whole = 0, 0
        for fraction in range(self.widest):
            whole = next(i for i in range(129) if 2.0**i - 2.0**-fraction >= amax)
            if 1 + whole + fraction >= self.widest or self._lost(w, whole, fraction) <= self.loss:
                break
        whole = min(max(whole, self.buffer - 1), self.widest - 1)
        fraction = min(
            fraction + self._more(fraction, watched.diversity()), self.widest - 1 - whole
        )
        return 1 + whole + fraction, fraction

    def _lost(self, w: torch.Tensor, whole: int, fraction: int) -> float:
        name = f"q{whole}.{fraction}"
        y = torch.ops.lowp.quantize(w, name, saturation="finite")
        return information_loss(w, y, self.resolution)

    @staticmethod
    def _more(fraction: int, diversity: float) -> int:
        """Fraction bits that the next steps need beyond those of the weights."""
        if math.isinf(diversity):
            return 1
        excess = math.log(diversity) - 1
        if excess <= 0:
            return 1
        square = excess * excess
        most = min(math.ceil(32 * square), 32) - fraction
        return min(max(math.ceil(1 / square), 1), max(most, 0))

    def _put(self, name: str, watched: _Watched, word: int, fraction: int) -> None:
        if (word, fraction) == watched.format:
            return
        q = _quantizer(word, fraction)
        watched.state.use(replace(watched.state.layer, x=q, w=q))
        watched.format = (word, fraction)
        self.history.append((self.steps, name, word, fraction))

    def state_dict(self) -> dict[str, Any]:
        """Steps, formats and gradients since the last switch, for a checkpoint."""
        return {
            "steps": self.steps,
            "layers": {
                name: {"format": list(w.format), "norms": w.norms, "total": w.total}
                for name, w in self._watched.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state_dict; ValueError where its layers are other ones."""
        if state["layers"].keys() != self._watched.keys():
            raise ValueError(
                f"AdaptiveFixedPoint: the state has layers {', '.join(state['layers'])}; "
                f"the model has {', '.join(self._watched)}"
            )
        self.steps = int(state["steps"])
        for name, saved in state["layers"].items():
            watched = self._watched[name]
            self._put(name, watched, *saved["format"])
            watched.norms, watched.total = float(saved["norms"]), saved["total"]
