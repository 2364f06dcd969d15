"""The definition of every conversion, one value at a time: find the two neighbours, pick one.

Slow and obvious (include/lowp/spec.hpp); the fast verbs are compared with it and share none of its
code. x is a float64; `random` is R of the stochastic modes, 0 <= R < 2**random_bits.
"""

from __future__ import annotations

from lowp import _core

__all__ = ["decode", "encode", "quantize"]


def quantize(
    x: float,
    format: str | _core.Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    random_bits: int = 32,
    random: int = 0,
) -> float:
    """x on the grid of the format. NaN gives NaN, in formats without one too."""
    return _core._spec_quantize(x, format, rounding, saturation, random_bits, random)


def encode(
    x: float,
    format: str | _core.Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    random_bits: int = 32,
    random: int = 0,
) -> int:
    """Code of x. Raises ValueError for NaN where the format has none."""
    return _core._spec_encode(x, format, rounding, saturation, random_bits, random)


def decode(code: int, format: str | _core.Format) -> float:
    """Value of a code. Raises ValueError for bits above the format's."""
    return _core._spec_decode(code, format)
