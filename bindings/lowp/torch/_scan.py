"""One layer of a model at a time in another format, and the model as it was afterwards."""

from __future__ import annotations

import contextlib
import glob
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import lowp
from lowp._targets import bits_per_value
from lowp.torch._convert import Report, _fits, convert, layers, restore
from lowp.torch._convolution import Geometry, _folded, _spans_groups
from lowp.torch._modules import Conv, Converted, ConvTranspose, TransposedLinear, kind_of
from lowp.torch._ops import parse
from lowp.torch._state import OWN_FORMAT, LayerState, _tile_order, cast
from lowp.torch.recipe import Layer, Quantizer, Recipe

__all__ = ["Loss", "Scan", "forward_weight", "quiet", "reporting", "scanning", "with_weights"]

#: Kinds of modules that have one weight each, of which a format can be chosen.
KINDS = ("linear", "conv", "embedding")


# ---- the loss ------------------------------------------------------------------------------------


class Loss:
    """A loss of a model: a function of the model, or the mean over batches of one of both."""

    def __init__(self, loss: Any, who: str) -> None:
        self._batches: Any = [None]
        if callable(loss):
            self._function: Callable[[nn.Module, Any], Any] = lambda model, _: loss(model)
        elif isinstance(loss, tuple) and len(loss) == 2 and callable(loss[1]):
            self._batches, self._function = loss
            if not isinstance(self._batches, list | tuple):  # others may draw anew in each pass
                with _same_draws():
                    self._batches = list(self._batches)
        else:
            raise TypeError(
                f"{who}: loss must be a function of the model or (batches, function of model and "
                f"batch); got {loss!r:.60}"
            )
        self._who = who

    def each(self, model: nn.Module, use: Callable[[torch.Tensor], Any]) -> list[Any]:
        """What `use` makes of the loss of each batch, a tensor without axes.

        Random numbers drawn, modes and buffers are the same before each pass over the batches.
        """
        with _same_draws(), _same_state(model):
            found = [use(self._scalar(self._function(model, b))) for b in self._batches]
        if not found:
            raise ValueError(f"{self._who}: there are no batches; give one at least")
        return found

    def _scalar(self, value: Any) -> torch.Tensor:
        found = value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
        if found.numel() != 1:
            raise ValueError(
                f"{self._who}: the loss must be one number; got shape {tuple(found.shape)}"
            )
        return found.reshape(())

    @torch.no_grad()
    def value(self, model: nn.Module) -> float:
        """The mean over the batches."""
        found = self.each(model, float)
        return sum(found) / len(found)

    def base(self, model: nn.Module) -> float:
        """That of the model as it is. ValueError: it is not finite."""
        found = self.value(model)
        if not math.isfinite(found):
            raise ValueError(f"{self._who}: the model's own loss must be finite; got {found}")
        return found


@contextlib.contextmanager
def _same_draws() -> Iterator[None]:
    """Random numbers of PyTorch, NumPy and Python go on afterwards as if none had been drawn."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if cuda else ()
    own, others = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(others)


@contextlib.contextmanager
def _same_state(model: nn.Module) -> Iterator[None]:
    """Modes and buffers are as they were afterwards: the model has copies of buffers meanwhile."""
    own = [(m, m.training, dict(m._buffers)) for m in model.modules()]
    copies: dict[int, torch.Tensor] = {}  # of a buffer that modules share, one
    try:
        for module, _, buffers in own:
            for name, b in buffers.items():
                if b is not None:
                    module._buffers[name] = copies.setdefault(id(b), b.clone())
        yield
    finally:
        for module, training, buffers in own:
            module.training = training
            module._buffers.clear()
            module._buffers.update(buffers)


# ---- the model as it was -------------------------------------------------------------------------


@contextlib.contextmanager
def quiet(model: nn.Module, who: str) -> Iterator[None]:
    """The model in evaluation mode, on PyTorch's paths that modules in formats take, too."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{who}: model must be a torch.nn.Module; got {type(model).__name__}")
    if any(isinstance(module, Converted) for module in model.modules()):
        raise ValueError(f"{who}: the model is converted; call lowp.torch.restore(model) first")
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    # their forward writes into the weight
    renormed = [m for m, _ in modes if isinstance(m, nn.Embedding) and m.max_norm is not None]
    copies = [(m, "weight", m.weight.detach().clone()) for m in renormed]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:  # not eval(), which models may have made to do more
            module.training = False
        with with_weights(copies):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def with_weights(places: Sequence[tuple[nn.Module, str, torch.Tensor]]) -> Iterator[None]:
    """Modules with other tensors as parameters of these names; their own are not touched."""
    own = [(module, name, module._parameters[name]) for module, name, _ in places]
    try:
        for module, name, tensor in places:
            module._parameters[name] = nn.Parameter(tensor, tensor.requires_grad)
        yield
    finally:
        for module, name, parameter in own:
            module._parameters[name] = parameter


@contextlib.contextmanager
def reporting(what: str, total: int, progress: bool | None) -> Iterator[Callable[[], None]]:
    """What is called after each of `total` steps: a bar on standard error.

    progress: None shows it where that is a terminal.
    """
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


# ---- weights -------------------------------------------------------------------------------------


def check_own_weights(modules: Mapping[str, Any], who: str) -> None:
    """ValueError where a weight is no parameter of its module."""
    for name, module in modules.items():
        if "weight" not in module._parameters:
            raise ValueError(
                f"{who}: the weight of {name or 'the model'} is computed from others "
                "(parametrized); call torch.nn.utils.parametrize.remove_parametrizations first"
            )


def sibling_of(module: Any) -> Any:
    """What a module of KINDS becomes, or has become."""
    return module._sibling if isinstance(module, Converted) else kind_of(module)[1]  # type: ignore[index]


def forward_weight(module: Any, w: torch.Tensor | None = None) -> tuple[torch.Tensor, int]:
    """The weight as the forward product has it quantized, and the axis of its blocks.

    w: a tensor of the weight's shape instead of it; the result is a view of it.
    """
    sibling = sibling_of(module)
    w = module.weight.detach() if w is None else w
    if sibling is TransposedLinear:
        return w.t(), -1
    if sibling not in (Conv, ConvTranspose):
        return w, -1
    g = Geometry((), (), (), (), module.groups, transposed=sibling is ConvTranspose)
    second = _spans_groups("forward", g)[1]
    return _folded(w, second, g.groups), (0 if g.transposed else 1) + (second is not None)


def weight_bits(module: Any, layer: Layer) -> float:
    """Bits a value of the weight takes in its format, scales counted for its shape."""
    q = layer.w
    if q is None:
        return float(module.weight.element_size() * 8)
    w, axis = forward_weight(module)
    axis = axis if q.axis is None else q.axis
    if w.ndim > 1 and q.has_tiles:
        w, axis = w.permute(_tile_order(w.ndim, axis)), -1
    return bits_per_value(parse(q.format), tuple(w.shape), axis)


def input_bits(module: Any, layer: Layer) -> float:
    """Bits a value of x takes, with the scales of whole blocks, those of rows and tensors not."""
    if layer.x is None:
        return float(module.weight.element_size() * 8)
    target = parse(layer.x.format)
    if isinstance(target, lowp.Format):
        return float(target.bits)
    shape = target.shape
    if isinstance(shape, str):
        return float(target.element_bits)
    return target.element_bits + target.scale.bits / int(np.prod(shape))


#: A layer that is converted and does what it did, in any dtype.
_AS_IT_IS = Layer(backward_from="forward")

# ---- the scan ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """A model converted so that every layer measured computes as it did, one by one otherwise."""

    model: nn.Module
    plans: Mapping[str, Layer]
    modules: Mapping[str, Any]
    kinds: Mapping[str, str]
    patterns: Mapping[str, str]
    left_out: tuple[str, ...]
    states: Mapping[str, Mapping[str, LayerState]]

    @contextlib.contextmanager
    def in_format(self, name: str, label: str) -> Iterator[Any]:
        """The module, of the model's only one, computing in a format."""
        module = self.modules[name]
        own = module.lowp
        try:
            module.lowp = self.states[label].get(name, own)
            yield module
        finally:
            module.lowp = own

    @torch.no_grad()
    def quantized(self, name: str, label: str) -> torch.Tensor:
        """The weight as the forward product gets it in a format, in its own order of axes."""
        module = self.modules[name]
        state = self.states[label].get(name, module.lowp)
        return quantized_weight(module, state)


@torch.no_grad()
def quantized_weight(module: Any, s: LayerState, w: torch.Tensor | None = None) -> torch.Tensor:
    """A new tensor: the weight, or w in its place, as a converted module's product gets it."""
    w = module.weight.detach() if w is None else w
    result = w.clone()
    x, axis = forward_weight(module, w)
    forward_weight(module, result)[0].copy_(cast(x, "w", axis, s, s.next_call()))
    return result


def _exact(name: str, names: Iterable[str]) -> str:
    """A pattern of Recipe that fits this name alone: itself, where no other is below it."""
    special = name != glob.escape(name) or ":" in name
    if not special and [n for n in names if _fits(n, name)] == [name]:
        return name
    at = next((i for i, c in enumerate(name) if c.isalnum() or c == "_"), None)
    if at is None:
        return glob.escape(name)
    return f"{glob.escape(name[:at])}[{name[at]}]{glob.escape(name[at + 1 :])}"


def _found(
    model: nn.Module, only: Sequence[str] | None, who: str
) -> tuple[dict[str, Any], Report, tuple[str, ...]]:
    """Modules that can be measured by name, all there are, those with products left out."""
    some = Layer(w=Quantizer("float8_e5m2"))
    types = dict.fromkeys(("embedding", "recurrent"), some)
    try:
        report = convert(model, Recipe(some, types))
    finally:
        restore(model)
    named = dict(model.named_modules())
    found: dict[str, Any] = {}
    for row in report.rows:
        weight: Any = getattr(named.get(row.name), "weight", None)
        fits = row.state == "converted" and row.kind in KINDS and isinstance(weight, torch.Tensor)
        if fits and weight.dtype in OWN_FORMAT and weight.numel() and not weight.is_meta:
            found[row.name] = named[row.name]
    for pattern in only or ():
        if not any(_fits(name, pattern) for name in found):
            near = ", ".join(list(found)[:8])
            raise ValueError(f"{who}: layers: {pattern!r} matches no layer; there are {near}")
    if only is not None:
        found = {n: m for n, m in found.items() if any(_fits(n, pattern) for pattern in only)}
    if not found:
        raise ValueError(f"{who}: the model has no linear layer, convolution or embedding")
    products = (*KINDS, "recurrent")
    left = (r.name for r in report.rows if r.kind in products and r.name not in found)
    return found, report, tuple(left)


@contextlib.contextmanager
def scanning(
    model: nn.Module,
    plans: Mapping[str, Layer],
    *,
    only: Sequence[str] | None = None,
    seed: int = 0,
    who: str = "sensitivity",
) -> Iterator[Scan]:
    """A Scan of the model for the length of a with block; then it is as it was.

    plans: what layers may be in, by label. only: patterns of their names. seed: of random bits.
    """
    if isinstance(only, str):
        raise TypeError(f"{who}: layers must be a list of patterns; got {only!r}")
    with quiet(model, who):
        modules, report, left_out = _found(model, only, who)
        kinds = {row.name: row.kind for row in report.rows}
        names = [row.name for row in report.rows]
        patterns = {name: _exact(name, names) for name in modules}
        try:
            states = {}
            for label, plan in plans.items():
                convert(model, Recipe(patterns=dict.fromkeys(patterns.values(), plan), seed=seed))
                states[label] = layers(model)
                restore(model)
            convert(model, Recipe(patterns=dict.fromkeys(patterns.values(), _AS_IT_IS)))
            yield Scan(model, dict(plans), modules, kinds, patterns, left_out, states)
        finally:
            restore(model)
