"""A small GPT and a corpus that every machine has: the sources of Python's standard library."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["GPT", "SIZES", "Block", "Size", "batch", "corpus"]


@dataclass(frozen=True)
class Size:
    """Width, layers, heads and context of a model, the sequences of a batch, and its tokens."""

    width: int
    layers: int
    heads: int
    context: int = 128
    batch: int = 16
    vocabulary: int = 256


SIZES = {"tiny": Size(96, 3, 3), "small": Size(192, 4, 6)}


class Block(nn.Module):
    """Attention and a feed-forward net, each after a norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.norm1 = nn.LayerNorm(size.width)
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)
        self.norm2 = nn.LayerNorm(size.width)
        self.up = nn.Linear(size.width, 4 * size.width, bias=False)
        self.down = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, length, width), and so the result."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """A decoder over bytes, or other tokens."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Parameter(torch.zeros(size.context, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.lm_head = nn.Linear(size.width, size.vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the next token. ids: (batch, length), length at most the context."""
        x = self.embed(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.norm(x))

    def loss(self, ids: torch.Tensor) -> torch.Tensor:
        """Mean nats a token; ids: (batch, context + 1)."""
        logits = self(ids[:, :-1]).flatten(0, 1)
        return F.cross_entropy(logits, ids[:, 1:].reshape(-1))


@cache
def corpus(*, whole: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes to train on, and every tenth file's to test on: uint8, of this Python's sources.

    whole: packages and the library's own tests, too, without what is installed beside it.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    beside = {"site-packages", "dist-packages"}
    found = folder.rglob("*.py") if whole else folder.glob("*.py")
    files = sorted(path for path in found if path.is_file() and beside.isdisjoint(path.parts))
    texts = [path.read_bytes() for path in files]
    parts = (
        b"".join(t for i, t in enumerate(texts) if (i % 10 == 0) is held) for held in (False, True)
    )
    train, test = (torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in parts)
    return train, test


def batch(data: torch.Tensor, size: Size, seed: int) -> torch.Tensor:
    """Sequences from random places: int64, (batch, context + 1), a function of the seed."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(data) - size.context - 1, (size.batch,), generator=generator)
    return data[starts[:, None] + torch.arange(size.context + 1)].long()
