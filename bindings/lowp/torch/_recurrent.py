"""nn.LSTM, GRU and RNN, and their cells: two products a step, each in the formats of its state.

PyTorch's forward looks after shapes, packed sequences and hidden states; only the call of its
kernel is caught and made of products. All that is elementwise stays in the tensors' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from lowp.torch import _products
from lowp.torch._intercept import Catching, Handler
from lowp.torch._modules import KIND_OF
from lowp.torch._state import LayerState

__all__ = ["Recurrent", "RecurrentCell"]

#: The hidden tensors of one layer: h, and c of an LSTM.
Hidden = tuple[torch.Tensor, ...]


class _Weights(NamedTuple):
    """One layer in one direction: its tensors, and the states of its products."""

    ih: torch.Tensor | None
    hh: torch.Tensor | None
    b_ih: torch.Tensor | None
    b_hh: torch.Tensor | None
    hr: torch.Tensor | None
    states: tuple[LayerState | None, ...]

    def product(self, which: int, x: torch.Tensor) -> torch.Tensor:
        """x by the weights of the input (0), of the hidden state (1) or of the projection (2)."""
        w = (self.ih, self.hh, self.hr)[which]
        bias = (self.b_ih, self.b_hh, None)[which]
        s = self.states[which]
        assert w is not None
        return F.linear(x, w, bias) if s is None else _products.linear(x, w, bias, s)


# ---- one step ------------------------------------------------------------------------------------


def _simple(act: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Hidden]:
    def step(x: torch.Tensor, hidden: Hidden, w: _Weights) -> Hidden:
        return (act(w.product(1, hidden[0]) + x),)

    return step


def _gru(x: torch.Tensor, hidden: Hidden, w: _Weights) -> Hidden:
    (h,) = hidden
    of_h, size = w.product(1, h), h.shape[-1]
    # both gates of one sum, as PyTorch has them: vector code takes them in the same pieces
    reset, update = (of_h + x)[..., : 2 * size].chunk(2, -1)
    new = torch.tanh(x[..., 2 * size :] + of_h[..., 2 * size :] * torch.sigmoid(reset))
    return ((h - new) * torch.sigmoid(update) + new,)


def _lstm(x: torch.Tensor, hidden: Hidden, w: _Weights) -> Hidden:
    h, c = hidden
    enter, forget, cell, leave = (w.product(1, h) + x).chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(cell)
    h = torch.sigmoid(leave) * torch.tanh(c)
    return (h if w.hr is None else w.product(2, h)), c


#: By the name of PyTorch's kernel: what x W_ih^T + b_ih of one step makes of the hidden tensors.
_STEPS: dict[str, Callable[[torch.Tensor, Hidden, _Weights], Hidden]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _simple(torch.tanh),
    "rnn_relu": _simple(torch.relu),
}


# ---- a sequence ----------------------------------------------------------------------------------


def _forwards(
    steps: list[torch.Tensor], hidden: Hidden, step: Callable[..., Hidden], w: _Weights
) -> tuple[torch.Tensor, Hidden]:
    """First to last. Sequences come longest first: those that end leave from the end."""
    outputs, ended = [], []
    for x in steps:
        if len(x) < len(hidden[0]):
            ended.append(tuple(t[len(x) :] for t in hidden))
            hidden = tuple(t[: len(x)] for t in hidden)
        hidden = step(x, hidden, w)
        outputs.append(hidden[0])
    parts = [hidden, *reversed(ended)]
    whole = hidden if not ended else tuple(torch.cat(p) for p in zip(*parts, strict=True))
    return torch.cat(outputs), whole


def _backwards(
    steps: list[torch.Tensor], hidden: Hidden, step: Callable[..., Hidden], w: _Weights
) -> tuple[torch.Tensor, Hidden]:
    """Last to first: a sequence joins, with its hidden tensors, where it is long enough."""
    first, outputs = hidden, []
    hidden = tuple(t[: len(steps[-1])] for t in first)
    for x in reversed(steps):
        have = len(hidden[0])
        if have < len(x):
            hidden = tuple(
                torch.cat([t, f[have : len(x)]]) for t, f in zip(hidden, first, strict=True)
            )
        hidden = step(x, hidden, w)
        outputs.append(hidden[0])
    return torch.cat(outputs[::-1]), hidden


def _layers(
    step: Callable[..., Hidden],
    x: torch.Tensor,
    sizes: list[int],
    hidden: Hidden,
    weights: list[_Weights],
    directions: int,
    dropout: float,
) -> tuple[torch.Tensor, Hidden]:
    """All layers. x: (sum of sizes, features), sizes: how many sequences each step has."""
    lasts: list[Hidden] = []
    for place in range(0, len(weights), directions):
        outputs = []
        for way, run in zip(range(directions), (_forwards, _backwards), strict=False):
            w = weights[place + way]
            steps = list(w.product(0, x).split(sizes))
            y, last = run(steps, tuple(t[place + way] for t in hidden), step, w)
            outputs.append(y)
            lasts.append(last)
        x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if dropout and place + directions < len(weights):
            x = torch.dropout(x, dropout, True)
    return x, tuple(torch.stack(parts) for parts in zip(*lasts, strict=True))


# ---- PyTorch's kernels, caught -------------------------------------------------------------------


def _grouped(module: Any, flat: list[torch.Tensor]) -> list[_Weights]:
    """The flat weights of the kernel by layer and direction."""
    found, taken = [], 0
    for names in module._all_weights:
        tensors = dict(zip(names, flat[taken : taken + len(names)], strict=True))
        taken += len(names)
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        each = [next((name for name in names if name.startswith(kind)), "") for kind in kinds]
        ih, hh, b_ih, b_hh, hr = (tensors.get(name) for name in each)
        states = tuple(_state(module, each[i]) for i in (0, 1, 4))
        found.append(_Weights(ih, hh, b_ih, b_hh, hr, states))
    return found


def _state(module: Any, name: str) -> LayerState | None:
    found: LayerState | None = module.lowp._modules.get(name)
    return found


def _sequence(module: Any, func: Any, args: tuple[Any, ...]) -> Any:
    """The kernel's results; args: (x, hx, weights, ...), packed: (x, sizes, hx, weights, ...)."""
    packed = isinstance(args[3], list)
    if packed:
        x, lengths, hidden, flat, _, _, dropout, train, bidirectional = args
        batch_first, sizes, rows = False, lengths.tolist(), x
    else:
        x, hidden, flat, _, _, dropout, train, bidirectional, batch_first = args
        x = x.transpose(0, 1) if batch_first else x
        sizes, rows = [x.shape[1]] * x.shape[0], x.flatten(0, 1)
    hidden = tuple(hidden) if isinstance(hidden, (tuple, list)) else (hidden,)
    if not sizes:
        raise ValueError(f"{type(module).__name__}: the sequence must have at least one step")
    directions = 2 if bidirectional else 1
    step, weights = _STEPS[func.__name__], _grouped(module, flat)
    p = dropout if train else 0.0
    y, last = _layers(step, rows, sizes, hidden, weights, directions, p)
    if not packed:
        y = y.unflatten(0, x.shape[:2])
        y = y.transpose(0, 1) if batch_first else y
    return y, *last


def _cell(module: Any, func: Any, args: tuple[Any, ...]) -> Any:
    """The kernel's results; args: (x, hidden, weights of input and of hidden, their biases)."""
    x, hidden, ih, hh, b_ih, b_hh = args
    states = (_state(module, "weight_ih"), _state(module, "weight_hh"), None)
    w = _Weights(ih, hh, b_ih, b_hh, None, states)
    hidden = tuple(hidden) if isinstance(hidden, (tuple, list)) else (hidden,)
    last = _STEPS[func.__name__.removesuffix("_cell")](w.product(0, x), hidden, w)
    return last if len(last) > 1 else last[0]


class Recurrent(Catching):
    """nn.LSTM, GRU and RNN with all that they take.

    The input's product is one of all steps, the hidden state's one a step: weights are quantized,
    random bits drawn and scales observed at each, and its weight gradients added in the carrier.
    """

    _handle: Any = staticmethod(_sequence)

    def handlers(self) -> Mapping[str, Handler]:
        """PyTorch's kernels as products."""

        def handle(func: Any, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
            return self._handle(self, func, args)

        return {name + end: handle for name in _STEPS for end in ("", "_cell")}

    @classmethod
    def parts(cls, module: nn.Module) -> dict[str, str]:
        """A product for every matrix of weights, under its name."""
        names = (name for name, _ in module.named_parameters(recurse=False))
        return {name: "recurrent" for name in names if name.startswith("weight")}


class RecurrentCell(Recurrent):
    """nn.LSTMCell, GRUCell and RNNCell."""

    _handle = staticmethod(_cell)


KIND_OF[:0] = [
    *((kind, "recurrent", Recurrent) for kind in (nn.RNN, nn.LSTM, nn.GRU)),
    *((kind, "recurrent", RecurrentCell) for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)),
]
