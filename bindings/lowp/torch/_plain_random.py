"""Philox4x32 in tensor operations: the words of include/lowp/random.hpp, on any device.

Element i of a call has word i % 4 of the block with counter (i // 4, stream) and key seed, low
words first. Words of 32 bits are held in int64, whose products wrap, as the shifts here expect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

__all__ = ["random_bits"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_ROUNDS = {"philox4x32_10": 10, "philox4x32_7": 7}

Word: TypeAlias = int | torch.Tensor


def _halves(word: Word, device: torch.device) -> tuple[Word, Word]:
    if isinstance(word, int):
        return word & _LOW, word >> 32 & _LOW
    there = word.to(device=device, dtype=torch.int64)
    return there & _LOW, there >> 32 & _LOW


def _blocks(
    first: torch.Tensor, seed: Word, stream: Word, rounds: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The four words of each counter `first` (int64)."""
    key0, key1 = _halves(seed, first.device)
    low, high = _halves(stream, first.device)
    c0, c1 = first & _LOW, first >> 32
    c2, c3 = torch.zeros_like(first) + low, torch.zeros_like(first) + high
    for _ in range(rounds):
        a, b = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        # The upper half of a wrapped product, without the sign that the shift draws in.
        c0, c1, c2, c3 = (
            (b >> 32 & _LOW) ^ c1 ^ key0,
            b & _LOW,
            (a >> 32 & _LOW) ^ c3 ^ key1,
            a & _LOW,
        )
        key0, key1 = (key0 + _WEYL[0]) & _LOW, (key1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def random_bits(
    shape: int | Sequence[int],
    *,
    seed: Word = 0,
    stream: Word = 0,
    generator: str = "philox4x32_10",
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """The words of 32 random bits of an array of a shape, int64, element by element in C order.

    seed, stream: 64 bits, as an int below 2**64 or as a 0-dim int64 tensor of the same bits, which
    is never read on the host. ValueError for an unknown generator.
    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    if generator not in _ROUNDS:
        raise ValueError(f"generator must be one of {', '.join(_ROUNDS)}; got {generator!r}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    count = math.prod(sizes)
    first = torch.arange(-(-count // 4), dtype=torch.int64, device=device)
    words = torch.stack(_blocks(first, seed, stream, _ROUNDS[generator]), dim=-1)
    return words.reshape(-1)[:count].reshape(sizes)
