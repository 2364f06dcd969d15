"""What `training` trains: models, what they learn from, and how they are judged.

A `Problem` is a function of the model's name, its sizes and a seed. Batches are functions of the
seed and the step, so that no run depends on what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lowp.study.tasks import _gpt

__all__ = ["SIZES", "Problem", "Sizes", "body_parameters", "number_of", "problem"]

_STEPS = 1_000_003


@dataclass(frozen=True)
class Sizes:
    """How large a model and its batches are, and the learning rate that suits it."""

    width: int
    layers: int
    batch: int
    learning_rate: float
    #: Bytes of a sequence of the GPT; 1 elsewhere.
    context: int = 1

    def changed(self, **given: float) -> Sizes:
        """With what is not zero. ValueError: what is below."""
        for name, value in given.items():
            if value < 0 or value != value:
                raise ValueError(f"{name} must be above 0, or 0 for the model's; got {value}")
        return replace(self, **{k: v for k, v in given.items() if v})  # type: ignore[arg-type]


#: The models by name, with their own sizes.
SIZES = {
    "regression": Sizes(64, 2, 64, 1e-2),
    "digits": Sizes(128, 2, 64, 2e-3),
    "digits_cnn": Sizes(16, 2, 64, 2e-3),
    "gpt": Sizes(96, 3, 16, 2e-3, 128),
    "gpt_small": Sizes(192, 4, 16, 2e-3, 128),
    "gpt_25m": Sizes(512, 8, 64, 1e-3, 256),
}


@dataclass(frozen=True)
class Problem:
    """A model with fresh weights, its loss at a step, and numbers on what it has not seen."""

    model: nn.Module
    loss: Callable[[int], torch.Tensor]
    judge: Callable[[], dict[str, float]]
    #: Of text: the tokens of a step, which the model's own `loss` takes, in the host's memory.
    tokens: Callable[[int], torch.Tensor] | None = None


def problem(name: str, sizes: Sizes, seed: int) -> Problem:
    """The problem of a model's name; the seed is that of its weights and batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "regression":
            return _regression(sizes, seed)
        if name == "digits":
            return _digits(_mlp(64, sizes, 10), sizes, seed)
        if name == "digits_cnn":
            return _digits(_cnn(sizes), sizes, seed)
        return _text(sizes, seed, whole=name == "gpt_25m")


def body_parameters(model: nn.Module) -> int:
    """How many parameters there are but in embeddings, positions and the last linear layer."""
    *_, head = (module for module in model.modules() if isinstance(module, nn.Linear))
    embeddings = (module for module in model.modules() if isinstance(module, nn.Embedding))
    outside = [p for module in (head, *embeddings) for p in module.parameters()]
    outside += [p for name, p in model.named_parameters() if name == "position"]
    return sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in outside)


def number_of(seed: int, step: int) -> int:
    """The seed of a step's random numbers, of which PyTorch uses 32 bits: in a row for seeds below
    4294; beyond, as for later steps, rows would meet others, and numbers are mixed.
    """
    number = seed * _STEPS + step
    if step < _STEPS and number < 2**32:
        return number
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _at(seed: int, step: int) -> torch.Generator:
    """Random numbers of a step."""
    return torch.Generator().manual_seed(number_of(seed, step))


# ---- regression ----------------------------------------------------------------------------------

_OUTPUTS = 16


def _mlp(inputs: int, sizes: Sizes, outputs: int) -> nn.Sequential:
    """`layers` hidden layers of `width`, ReLU after each; images are flattened."""
    widths = [inputs] + [sizes.width] * sizes.layers
    hidden = [
        module
        for i in range(sizes.layers)
        for module in (nn.Linear(widths[i], widths[i + 1]), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], outputs))


@cache
def _teacher(sizes: Sizes) -> tuple[nn.Module, torch.Tensor, torch.Tensor, float]:
    """A network to be learnt, inputs it is judged on, its outputs there, and their variance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**31)
        teacher = _mlp(sizes.width, sizes, _OUTPUTS)
    x = _inputs(sizes.width, 1024, torch.Generator().manual_seed(2**31 + 1))
    with torch.no_grad():
        y = teacher(x)
    return teacher, x, y, float(y.var(0).mean())


def _inputs(width: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Gaussian features whose variances fall as 1 / k: as spread as those of real data."""
    scale = torch.arange(1, width + 1).rsqrt()
    return torch.randn(rows, width, generator=generator) * scale


def _regression(sizes: Sizes, seed: int) -> Problem:
    """A network learns another of its shape: the least loss is 0, that of equal networks."""
    teacher, x, y, variance = _teacher(sizes)
    model = _mlp(sizes.width, sizes, _OUTPUTS)

    def loss(step: int) -> torch.Tensor:
        rows = _inputs(sizes.width, sizes.batch, _at(seed, step))
        with torch.no_grad():
            wanted = teacher(rows)
        return F.mse_loss(model(rows), wanted) / variance

    return Problem(model, loss, lambda: {"loss": float(F.mse_loss(model(x), y)) / variance})


# ---- digits --------------------------------------------------------------------------------------


@cache
def _images() -> tuple[torch.Tensor, torch.Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits come from scikit-learn: pip install scikit-learn") from error
    digits: Any = load_digits()
    return torch.from_numpy(digits.images).float()[:, None] / 16, torch.from_numpy(digits.target)


def _cnn(sizes: Sizes) -> nn.Sequential:
    """Convolutions of 3 by 3, each but the first halving the sides and doubling the channels."""
    if sizes.layers > 4:
        raise ValueError(f"digits_cnn: images of 8 by 8 bear 4 layers; got layers {sizes.layers}")
    channels = [1] + [sizes.width << i for i in range(sizes.layers)]
    layers: list[nn.Module] = []
    for i in range(sizes.layers):
        layers += [nn.Conv2d(*channels[i : i + 2], 3, stride=1 + (i > 0), padding=1), nn.ReLU()]
    side = 8 >> (sizes.layers - 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side * side, 10))


def _digits(model: nn.Module, sizes: Sizes, seed: int) -> Problem:
    """1,797 images of 8 by 8; the last fifth is held out."""
    images, targets = _images()
    held = len(images) // 5
    a_pass = math.ceil((len(images) - held) / sizes.batch)

    @cache
    def rows(number: int) -> tuple[torch.Tensor, ...]:
        order = torch.randperm(len(images) - held, generator=_at(seed, number))
        return tuple(order.split(sizes.batch))

    def loss(step: int) -> torch.Tensor:
        at = rows(step // a_pass)[step % a_pass]
        return F.cross_entropy(model(images[at]), targets[at])

    def judge() -> dict[str, float]:
        y = model(images[-held:])
        right = y.argmax(1) == targets[-held:]
        return {
            "loss": float(F.cross_entropy(y, targets[-held:])),
            "accuracy": float(right.float().mean()),
        }

    return Problem(model, loss, judge)


# ---- text ----------------------------------------------------------------------------------------

_HELD = 16


def _text(sizes: Sizes, seed: int, *, whole: bool) -> Problem:
    """A decoder over the bytes of the standard library; the loss is in nats a byte."""
    heads = max(1, sizes.width // 32)
    if sizes.width % heads:
        raise ValueError(f"gpt: width must be a multiple of 32, or below 64; got {sizes.width}")
    size = _gpt.Size(sizes.width, sizes.layers, heads, sizes.context, sizes.batch)
    train, test = _gpt.corpus(whole=whole)
    model = _gpt.GPT(size)
    held = replace(size, batch=2048 // size.context or 1)

    def tokens(step: int) -> torch.Tensor:
        return _gpt.batch(train, size, number_of(seed, step))

    def loss(step: int) -> torch.Tensor:
        return model.loss(tokens(step))

    def judge() -> dict[str, float]:
        batches = (_gpt.batch(test, held, 10**9 + i) for i in range(_HELD))
        losses = [model.loss(batch.to(model.position.device)) for batch in batches]
        return {"loss": float(torch.stack(losses).mean())}

    return Problem(model, loss, judge, tokens)
