"""What a block format says, as constants of a call: include/lowp/detail/block_elements.hpp.

And what elements of a codebook round to, and exponents by a rounded logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lowp
from lowp.torch._plain_line import CARRIERS, bits_of

__all__ = ["Rule", "logarithm_steps", "look_up"]


def _ilogb(x: float) -> int:
    return math.frexp(x)[1] - 1


@dataclass(frozen=True)
class Rule:
    """What a block format says, by the kernel's names (block_elements.hpp, make_scale_plan)."""

    format: lowp.BlockFormat
    dtype: torch.dtype

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Words and numbers of the format."""
        return self.format.fields

    def cast(self, value: float) -> float:
        """A number rounded to the carrier."""
        with np.errstate(over="ignore"):
            return float(np.float32(value)) if self.dtype == torch.float32 else value

    @property
    def is_te(self) -> bool:
        """Whether quotients associate as in Transformer Engine."""
        return bool(self.fields["arithmetic"] == "transformer_engine")

    @cached_property
    def is_on_grid(self) -> bool:
        """Whether ideal scales are scales already."""
        f, scale = self.fields, self.format.scale
        return bool(
            f["power_of_two"] != "none"
            and scale.mantissa_bits == 0
            and scale.zero_code is None
            and f["search"] == "none"
            and f["scale_saturation"] == "finite"
        )

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Of the ideal scale."""
        low, high = self.cast(self.fields["min_scale"]), self.cast(self.fields["max_scale"])
        if self.is_on_grid:
            low = max(low, self.format.scale.min_subnormal)
            high = min(high, self.format.scale.max)
        return low, high

    @cached_property
    def divisor(self) -> float:
        """M / gain; 1 for a fixed scale."""
        if self.fields["statistic"] == "none":
            return 1.0
        return self.cast(self.format.element_max / self.fields["gain"])

    @cached_property
    def carry(self) -> int:
        """What is added to float bits so that the exponent steps up where the rule says."""
        mantissa = CARRIERS[self.dtype].mantissa
        all_bits = (1 << mantissa) - 1
        match self.fields["power_of_two"]:
            case "ceil":
                return all_bits
            case "even":
                bits = self._top_binade_bits()
                return 1 << (mantissa - 1 - bits) if bits < mantissa else 0
            case "rceil":
                significand = bits_of(self.cast(self.format.element_max), self.dtype)
                return all_bits if self.is_te else all_bits - (significand & all_bits)
        return 0

    def _top_binade_bits(self) -> int:
        element = self.format.element
        if not isinstance(element, lowp.Format):
            return 0
        if element.exponent_bits > 0:
            return element.mantissa_bits
        return element.emax - (element.emin - element.mantissa_bits)

    @cached_property
    def emax(self) -> int:
        """Exponent of the element's largest value, as the rule subtracts it."""
        te_rceil = self.is_te and self.fields["power_of_two"] == "rceil"
        return 0 if te_rceil else _ilogb(self.format.element_max)

    @cached_property
    def factor_kind(self) -> str:
        """What elements are scaled by (block_kernel.hpp, totals_kind)."""
        f, scale = self.fields, self.format.scale
        if self.is_te:
            return "bounded_inverse"
        if f["arithmetic"] == "torchao":
            return "inverse_by_levels"
        is_power = (
            scale.mantissa_bits == 0
            and f["outer"] == "none"
            and f["post_gain"] == 1
            and scale.emin >= -CARRIERS[self.dtype].bias
        )
        return "exact_inverse" if is_power else "divisor"

    @cached_property
    def outer_limit(self) -> float:
        """Element times block scale, at most: what the outer scale maps amax to."""
        f, scale = self.fields, self.format.scale
        most = f["outer_scale_max"]
        if not most > 0:
            most = scale.max if scale.max <= f["outer_format"].max / 2.0**32 else 1.0
        return self.cast(self.format.element_max * most)


@lru_cache(maxsize=4)
def logarithm_steps(dtype: torch.dtype, direction: str) -> tuple[int, tuple[int, ...]]:
    """The first exponent, and for each e from there on the bits of the first float from 2**e to
    2**(e + 1) whose rounded logarithm gives e + 1: as the C library has it, whatever the device.
    """
    c = CARRIERS[dtype]
    cast = np.float32 if dtype == torch.float32 else np.float64
    whole = np.uint32 if dtype == torch.float32 else np.uint64

    def steps(word: int, e: int) -> bool:
        log = float(cast(math.log2(float(np.array(word, whole).view(cast)))))
        return log >= e + 1 if direction == "floor" else log > e

    first, found = 1 - c.bias - c.mantissa, []
    for e in range(first, c.bias + 1):
        low = (e + c.bias) << c.mantissa if e > -c.bias else 1 << (e - first)
        high = (e + 1 + c.bias) << c.mantissa if e + 1 > -c.bias else 1 << (e + 1 - first)
        while low < high:  # the first word that steps, or the end
            middle = (low + high) // 2
            low, high = (low, middle) if steps(middle, e) else (middle + 1, high)
        found.append(low)
    return first, tuple(found)


# ---- codebooks -----------------------------------------------------------------------------------


def look_up(
    x: Tensor, values: Any, rounding: str, random_bits: int, random: Tensor | None
) -> Tensor:
    """x as the values of a sorted list (codebook.hpp, nearest); NaN stays."""
    book = torch.tensor(values, dtype=torch.float64, device=x.device)
    wide = x.double()
    lower = (torch.searchsorted(book, wide, right=True) - 1).clamp(0, len(values) - 2)
    low, high = book[lower], book[lower + 1]
    up = _steps_up(wide, low, high, lower % 2 == 0, rounding, random_bits, random)
    found = torch.where(up & (wide != low), high, low)
    found = torch.where(wide > book[0], found, book[0])
    found = torch.where(wide < book[-1], found, book[-1])
    return torch.where(x.isnan(), x, found.to(x.dtype))


def _steps_up(
    x: Tensor, low: Tensor, high: Tensor, even: Tensor, rounding: str, n: int, random: Any
) -> Tensor:
    away = low + high > 0  # away from zero is up
    match rounding:
        case "toward_zero":
            return ~away
        case "away_from_zero":
            return away
        case "toward_positive":
            return torch.ones_like(away)
        case "toward_negative":
            return torch.zeros_like(away)
        case "to_odd":
            return even
        case "stochastic_equal":
            return away ^ torch.eq(random >> 31, 0)
        case "stochastic_a" | "stochastic_b" | "stochastic_c":
            cut = torch.where(away, x - low, high - x) / (high - low)
            return _chance(cut, rounding, n, random) == away
    a, b = low * 0.5, high * 0.5
    middle = a + b
    part = middle - a
    rest = (a - (middle - part)) + (b - part)  # what the sum lost: Knuth's TwoSum
    tie = (x == middle) & (rest == 0)
    above = (x > middle) | ((x == middle) & (rest < 0))
    wins = {"nearest_ties_to_even": ~even, "nearest_ties_to_away": away}.get(rounding, ~away)
    return above | (tie & wins)


def _chance(cut: Tensor, rounding: str, n: int, random: Tensor) -> Tensor:
    count, r = float(1 << n), (random >> (32 - n)).double()
    scaled = cut * count
    whole = scaled.floor()
    if rounding == "stochastic_a":
        return whole + r >= count
    if rounding == "stochastic_b":
        return (scaled * 2.0).floor() + r * 2.0 + 1.0 >= 2.0 * count
    rest = scaled - whole
    up = (rest > 0.5) | ((rest == 0.5) & (whole.to(torch.int64) % 2 != 0))
    return whole + up + r >= count
