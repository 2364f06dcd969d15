"""Small trainings for the tests of lowp.torch.optim."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import lowp
import torch
from lowp.torch import Quantizer

STOCHASTIC = Quantizer("bfloat16", rounding="stochastic_a")
STATE = Quantizer("float16", rounding="stochastic_b", saturation="finite")
SGD = torch.optim.SGD

BASES = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, foreach=False),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
}


def model(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 40, **options), torch.nn.Tanh(), torch.nn.Linear(40, 3, **options)
    )


def backward(net: Any, step: int) -> Any:
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(16, 8, generator=generator)
    net.zero_grad()
    loss = (net(x) - x[:, :3].sin()).square().mean()
    loss.backward()
    return loss.detach()


def train(net: Any, optimizer: Any, steps: range) -> None:
    for step in steps:
        backward(net, step)
        optimizer.step()


def by_hand(x: Any, q: Any, *, seed: int, name: str, number: int, step: int) -> Any:
    """lowp.quantize with the documented random bits."""
    return torch.from_numpy(
        lowp.quantize(
            x.detach().numpy(),
            q.format,
            rounding=q.rounding,
            saturation=q.saturation,
            random_bits=q.random_bits,
            seed=1 << 62 | (crc32(name.encode()) & 0x3FFFFFFF) << 32 | seed,
            stream=number << 32 | step,
        )
    )


def same(a: Any, b: Any) -> bool:
    """Bit for bit, NaN and -0 included; nested as state dicts are."""
    if isinstance(a, torch.Tensor):
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
        plain = torch.equal(a.detach().view(bits), b.detach().view(bits))
        return a.dtype == b.dtype and a.shape == b.shape and plain
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
