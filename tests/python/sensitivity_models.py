"""Models, losses and tables of the tests of sensitivity and of bits given out by it."""

from __future__ import annotations

import random
from typing import Any

import lowp.torch as lt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FORMATS = ["mxfp4", "mxfp6_e2m3", "mxfp8_e4m3"]


def data(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small() -> Any:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def small_loss(model: Any) -> Any:
    return F.mse_loss(model(data(12, 6)), data(12, 3, seed=1))


def table(cells: Any, parameters: Any = None, bits: Any = (2.0, 4.0, 8.0)) -> lt.SensitivityTable:
    """By hand: scores of each layer, its number of parameters, bits of each format."""
    rows = [
        lt.SensitivityRow(f"l{i}", "linear", f"f{j}", count, bits[j], score)
        for i, (scores, count) in enumerate(
            zip(cells, parameters or [16] * len(cells), strict=True)
        )
        for j, score in enumerate(scores)
    ]
    return lt.SensitivityTable(tuple(rows), "loss")


class Everything(nn.Module):
    """Every kind of layer that is measured; one name is a part of others."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.conv = nn.Conv1d(12, 8, 3, padding=1)
        self.grouped = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose1d(8, 6, 2, stride=2)
        self.up_grouped = nn.ConvTranspose1d(6, 4, 1, groups=2)
        self.norm = nn.LayerNorm(4)
        self.drop = nn.Dropout(0.5)
        self.blocks = nn.ModuleDict({"head": nn.Linear(4, 4), "conv": nn.LayerNorm(4)})
        self.head = nn.Linear(4, 5)

    def forward(self, tokens: Any) -> Any:
        x = self.conv(self.embed(tokens).transpose(1, 2)).relu()
        x = self.up_grouped(self.up(self.grouped(x))).transpose(1, 2)
        x = self.blocks["conv"](self.blocks["head"](self.drop(self.norm(x))))
        return self.head(x)


MEASURED = ["embed", "conv", "grouped", "up", "up_grouped", "blocks.head", "head"]


def everything() -> Any:
    torch.manual_seed(1)
    return Everything()


def every_loss(model: Any) -> Any:
    tokens = torch.arange(40).reshape(4, 10) % 20
    return F.cross_entropy(model(tokens).transpose(1, 2), torch.arange(80).reshape(4, 20) % 5)


def portrait(model: Any) -> Any:
    """Everything that measuring might leave changed."""
    modules = dict(model.named_modules())
    return {
        "classes": [(name, type(m)) for name, m in modules.items()],
        "modes": [m.training for m in modules.values()],
        "children": [list(m._modules) for m in modules.values()],
        "attributes": [sorted(vars(m)) for m in modules.values()],
        "hooks": [len(m._forward_hooks) for m in modules.values()],
        "parameters": [
            (name, id(p), p._version, p.requires_grad, p.detach().numpy().tobytes(), id(p.grad))
            for name, p in model.named_parameters(remove_duplicate=False)
        ],
        "buffers": [
            (name, id(b), b._version, b.numpy().tobytes())
            for name, b in model.named_buffers(remove_duplicate=False)
        ],
        "grads": [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None],
        "random": (torch.get_rng_state().numpy().tobytes(), random.getstate()),
        "numpy": np.random.get_state()[1].tobytes(),
        "fast": torch.backends.mha.get_fastpath_enabled(),
        "grad mode": torch.is_grad_enabled(),
    }
