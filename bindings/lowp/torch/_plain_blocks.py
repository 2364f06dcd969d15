"""Block formats in tensor operations: include/lowp/detail/block_engine.hpp, all blocks at once.

An array is five axes (`_plain_layout`). Values are divided and multiplied in the carrier, each
operation rounded once, as the kernel does: that needs eager PyTorch, without flush-to-zero.
Divisors are tensors, never Python numbers: those a GPU turns into a rounded reciprocal.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lowp
from lowp import _blocks, _core
from lowp.torch._plain_layout import layout_of
from lowp.torch._plain_line import (
    CARRIERS,
    from_words,
    leading,
    make_plan,
    quantize_bits,
    to_words,
)
from lowp.torch._plain_random import Word, random_bits
from lowp.torch._plain_rules import Rule, logarithm_steps, look_up

__all__ = ["quantize", "with_options"]

_EVEN = "nearest_ties_to_even"
_LOOKS_FOR_ANYTHING = (
    "toward_positive",
    "toward_negative",
    "away_from_zero",
    "to_odd",
    "stochastic_equal",
)


def with_options(
    format: lowp.BlockFormat, rounding: Any, saturation: Any, random_bits: Any
) -> lowp.BlockFormat:
    """The format with the element's rounding and random bits of a call."""
    return _blocks._format(format, rounding, saturation, random_bits)


@lru_cache(maxsize=1024)
def _check(block: lowp.BlockFormat, dtype: torch.dtype) -> None:
    """The kernel's own refusals, of an empty array."""
    empty = np.zeros((0, 0), np.float64 if dtype == torch.float64 else np.float32)
    _core.quantize(empty, block)


def _root(x: Tensor) -> Tensor:
    """Roots rounded to nearest: PyTorch's own on CPUs are an ulp off at times, CUDA's never."""
    return torch.from_numpy(np.sqrt(x.numpy())) if x.device.type == "cpu" else x.sqrt()


# ---- scales --------------------------------------------------------------------------------------


class Engine:
    """One call: the blocks of x, and the scales that follow from them."""

    def __init__(
        self, x: Tensor, block: lowp.BlockFormat, axis: int, source: dict[str, Any]
    ) -> None:
        """x: float32 or float64. source: seed, stream, generator."""
        self.rule = Rule(block, x.dtype)
        self.layout = layout_of(block, tuple(x.shape), axis)
        self.x = self.layout.split(x)
        self.source = source
        self.carrier = CARRIERS[x.dtype]
        self.magnitudes = self.x.view(self.carrier.word) & ~self.carrier.sign
        self.outer, self.outer_inverse = self._outer_scales()

    def const(self, value: float) -> Tensor:
        """A number of the carrier on the device: a divisor that is none of Python's."""
        return torch.full((), value, dtype=self.x.dtype, device=self.x.device)

    def _is_finite(self) -> Tensor:
        return self.magnitudes < self.carrier.infinity

    def _outer_scales(self) -> tuple[Tensor, Tensor]:
        f, one = self.rule.fields, self.const(1)
        if f["outer"] == "none":
            return one, one
        if f["outer_fixed"] > 0:
            fixed = self.const(f["outer_fixed"])
            return fixed, one / fixed
        finite = torch.where(self._is_finite(), self.magnitudes, 0)
        axes = (
            (0, 1, 2, 3, 4) if f["outer"] == "tensor" else (1, 2) if self.layout.upright else (3, 4)
        )
        amax = finite.amax(axes, keepdim=True).view(self.x.dtype)
        limit = self.const(self.rule.outer_limit)
        if self.rule.is_te:  # rounds the inverse, and inverts that
            inverse = torch.clamp(limit / amax, max=torch.finfo(amax.dtype).max)
            inverse = torch.where(amax == 0, one, inverse)
            return one / inverse, inverse
        format = f["outer_format"]
        scale = self._project(amax / limit, format, _EVEN, "finite", None)
        scale = torch.clamp(scale, min=format.min_subnormal)
        scale = torch.where(amax == 0, one, scale)
        return scale, one / scale

    def _project(
        self, x: Tensor, format: lowp.Format, rounding: str, saturation: str, random: Tensor | None
    ) -> Tensor:
        bits = self.rule.fields["random_bits"]
        plan = make_plan(format, rounding, saturation, bits, x.dtype)
        return from_words(quantize_bits(plan, to_words(x), random), x.dtype)

    def statistics(self) -> Tensor:
        """What the scale follows, of each block; NaN where the block is to become NaN."""
        f = self.rule.fields
        maxima = self.magnitudes.amax((2, 4), keepdim=True)
        found = maxima.view(self.x.dtype)
        is_default = f["nan"] == "block" and f["infinity"] == "nan"
        if f["statistic"] in ("mean_abs", "rms"):
            if not is_default:
                raise NotImplementedError("means of blocks with NaN or infinity left out")
            found = self._means(f["statistic"] == "rms")
        elif f["statistic"] == "none":
            found = torch.full_like(found, f["gain"])
        special = maxima >= self.carrier.infinity
        if is_default:
            return torch.where(special, math.nan, found)
        has_nan = maxima > self.carrier.infinity
        has_inf = (self.magnitudes == self.carrier.infinity).any(4, True).any(2, True)
        if f["statistic"] == "amax":
            finite = torch.where(self._is_finite(), self.magnitudes, 0)
            found = finite.amax((2, 4), keepdim=True).view(self.x.dtype)
            found = torch.where(has_inf, math.inf, found)
        wins = has_nan if f["nan"] == "block" else torch.zeros_like(has_nan)
        return torch.where(wins | has_inf if f["infinity"] == "nan" else wins, math.nan, found)

    def _means(self, squares: bool) -> Tensor:
        terms = self.x.double()
        sums = self.layout.sums(terms * terms if squares else terms.abs())
        means = sums / self.layout.sizes(sums.device)
        return (_root(means) if squares else means).to(self.x.dtype)

    def ideals(self) -> Tensor:
        """The ideal scales (block_kernel.hpp, ideal_scale)."""
        rule, t = self.rule, self.statistics()
        f, outer = rule.fields, self.outer_inverse if rule.is_te else self.outer
        power, low, high = f["power_of_two"], *map(self.const, rule.limits)
        if power == "none":
            ideal = self._quotient(t, outer)
        elif rule.is_te and power == "rceil":
            ideal = self._power(self._quotient(t, outer))
        else:
            ideal = (t * outer if rule.is_te else t / outer) * self.const(f["gain"])
            ideal = self._power(ideal)
        ideal = torch.where(ideal < low, low, torch.where(ideal > high, high, ideal))
        if f["zero_scale"] >= 0:
            ideal = torch.where(t == 0, self.const(f["zero_scale"]), ideal)
        if f["exponents"] == "logarithm":
            by_log = self._by_logarithm(t)
            by_log = torch.where(by_log < low, low, torch.where(by_log > high, high, by_log))
            ideal = torch.where(t > 0, by_log, ideal)
        return torch.where(t.isnan(), t, ideal)

    def _quotient(self, t: Tensor, outer: Tensor) -> Tensor:
        """t / M by the outer scale, associated as the arithmetic says."""
        divisor = self.rule.divisor
        if self.rule.is_te:
            return t * (outer * self.const(1.0 / divisor))
        if self.rule.fields["arithmetic"] == "model_optimizer":
            return t / (self.const(divisor) * outer)
        return t / self.const(divisor) / outer

    def _exponents(self, t: Tensor) -> Tensor:
        """floor(log2 t) of positive numbers, from the bits."""
        words = to_words(t)
        field = words >> self.carrier.mantissa
        subnormal = leading(words) + (1 - self.carrier.bias - self.carrier.mantissa)
        return torch.where(field > 0, field - self.carrier.bias, subnormal)

    def _power_of(self, exponent: Tensor) -> Tensor:
        """2**exponent: 0 below the carrier's smallest number, infinity beyond the largest."""
        c = self.carrier
        field = exponent + c.bias
        below = (1 << c.mantissa) >> (1 - field).clamp(0, 62)
        words = torch.where(field < 1, below, field.clamp(1, 2 * c.bias + 1) << c.mantissa)
        return from_words(words, self.x.dtype)

    def _power(self, t: Tensor) -> Tensor:
        """The power of two to which a positive statistic steps."""
        c, words = self.carrier, to_words(t)
        missing = torch.where(words >> c.mantissa == 0, c.mantissa - leading(words), 0)
        # A subnormal number is shifted until its leading bit is that of field 1.
        field = ((words << missing.clamp(max=62)) + self.rule.carry) >> c.mantissa
        field = field - missing - self.rule.emax
        return torch.where(t == 0, 0.0, self._power_of(field - c.bias))

    def _by_logarithm(self, t: Tensor) -> Tensor:
        """As other libraries find exponents: floor(log2 t) - emax, or ceil(log2(t / M))."""
        goes_up = self.rule.fields["power_of_two"] == "rceil"
        of = t / self.const(self.rule.divisor) if goes_up else t
        e = self._exponents(of)
        first, steps = logarithm_steps(self.x.dtype, "ceil" if goes_up else "floor")
        table = torch.tensor(steps, dtype=torch.int64, device=t.device)
        step = to_words(of) >= table[(e - first).clamp(0, len(steps) - 1)]
        power = self._power_of(e + step if goes_up else e + step - self.rule.emax)
        return torch.where(of == 0, 0.0, torch.where(of == math.inf, math.inf, power))

    # ---- rounded scales --------------------------------------------------------------------------

    def scales(self, ideals: Tensor) -> Tensor:
        """The scales of ideal ones."""
        if self.rule.is_on_grid:
            return ideals
        f, random = self.rule.fields, None
        if f["scale_rounding"].startswith("stochastic"):
            random = self._scale_words()
        return self._project(
            ideals, self.rule.format.scale, f["scale_rounding"], f["scale_saturation"], random
        )

    def _scale_words(self) -> Tensor:
        """Scales have a stream of their own: that of the elements with the top bit flipped."""
        stream = self.source["stream"]
        top = 1 << 63 if isinstance(stream, int) else -(1 << 63)
        other = {**self.source, "stream": stream ^ top}
        return random_bits(self.layout.blocks, device=self.x.device, **other)

    def factors(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        """The total scales, and what elements are multiplied or divided by."""
        f, rule, one = self.rule.fields, self.rule, self.const(1)
        gain, largest = self.const(f["post_gain"]), torch.finfo(self.x.dtype).max
        total = (scales * self.outer) * gain
        used = total
        if f["lowest_divisor"] > 0:
            is_lowest = scales == self.const(rule.format.scale.min_subnormal)
            used = torch.where(is_lowest, self.const(f["lowest_divisor"]), total)
        is_zero = used == 0
        if rule.factor_kind == "divisor":
            return total, torch.where(is_zero, math.inf, used)
        inverse = one / used
        if rule.factor_kind == "exact_inverse":
            return total, torch.where(is_zero, 0.0, inverse)
        factor = inverse
        if rule.factor_kind == "inverse_by_levels":
            factor = one / self.outer / (scales * gain)
        factor = torch.where(factor == math.inf, largest, factor)
        if rule.factor_kind == "inverse_by_levels" and f["lowest_divisor"] > 0:
            factor = torch.where(is_lowest, inverse, factor)
        return total, factor

    # ---- elements --------------------------------------------------------------------------------

    def elements(self, scales: Tensor, rounding: str, random: Tensor | None) -> Tensor:
        """project(x / s) * s of every element."""
        f = self.rule.fields
        total, factor = self.factors(scales)
        y = self.x / factor if self.rule.factor_kind == "divisor" else self.x * factor
        if f["rounding"] in _LOOKS_FOR_ANYTHING:
            # A number other than zero stays one, for modes that ask whether anything is left.
            words = to_words(y)
            vanished = (words & ~self.carrier.sign == 0) & (self.magnitudes != 0)
            y = from_words(torch.where(vanished, words | 1, words), y.dtype)
        if f["zero_sign"] != "kept":
            y = torch.where(y == 0, -0.0 if f["zero_sign"] == "negative" else 0.0, y)
        element = self.rule.format.element
        if isinstance(element, lowp.Format):
            y = self._project(y, element, rounding, "finite", random)
        else:
            y = look_up(y, element, rounding, f["random_bits"], random)
        y = y * total
        if f["nan"] == "block":
            return y
        # A NaN that stays alone keeps its payload, which GPUs do not: made quiet, as CPUs do.
        quiet = to_words(self.x) | 1 << (self.carrier.mantissa - 1)
        return torch.where(self.x.isnan(), from_words(quiet, y.dtype), y)

    def best_of_two(self, ideals: Tensor) -> Tensor:
        """The ideal scale or 1.5 times it: which has the smaller error, the first of equals."""
        low, high = (
            self.const(self.rule.fields["min_scale"]),
            self.const(self.rule.fields["max_scale"]),
        )
        other = ideals * self.const(1.5)
        other = torch.where(other < low, low, torch.where(other > high, high, other))
        return torch.where(self._errors(other) < self._errors(ideals), other, ideals)

    def _errors(self, ideals: Tensor) -> Tensor:
        q = self.elements(self.scales(ideals), _EVEN, None)
        q = self.layout.split(self.layout.join(q)).double()  # zeros behind
        x = self.x.double()
        d = torch.where(self._is_finite(), x - q, 0.0)
        squared = self.rule.fields["error_norm"] == "squared"
        return self.layout.sums(d * d if squared else d.abs())

    def quantized(self) -> Tensor:
        """The array, quantized."""
        f = self.rule.fields
        ideals = self.ideals()
        if f["search"] == "four_six":
            ideals = self.best_of_two(ideals)
        scales = self.scales(ideals)
        random = None
        if f["rounding"].startswith("stochastic"):
            words = random_bits(self.layout.shape, device=self.x.device, **self.source)
            random = self.layout.split(words)
        y = self.elements(scales, f["rounding"], random)
        total, _ = self.factors(scales)
        return self.layout.join(torch.where(total.isnan(), math.nan, y))


# ---- the verb ------------------------------------------------------------------------------------


def quantize(
    x: Tensor,
    block: lowp.BlockFormat,
    *,
    axis: int = -1,
    seed: Word = 0,
    stream: Word = 0,
    generator: str = "philox4x32_10",
) -> Tensor:
    """x on the grid of its blocks: `lowp.quantize` in tensor operations, equal to the bit.

    Any shape of blocks, scale, rounding, outer scale and edges. NaNs are NaNs, of any payload.
    16-bit floats go through float32 and are rounded to nearest even. Empty gives empty.

    NotImplementedError for: the searches shrink and all (rule mse), the error norm power_2_4 in any
    search; means (mean_abs, rms) where a NaN or infinity does not make its block NaN; means and
    searches over blocks of more than 4096 rows or 2048-element parts. ValueError as lowp.quantize.
    """
    fields = block.fields
    if fields["search"] not in ("none", "four_six"):
        raise NotImplementedError(f"search {fields['search']}")
    if fields["search"] != "none" and fields["error_norm"] == "power_2_4":
        raise NotImplementedError("a search by the error norm power_2_4")
    wide = x.contiguous() if x.dtype == torch.float64 else x.float().contiguous()
    _check(block, wide.dtype)
    if x.numel() == 0:
        layout_of(block, tuple(x.shape), axis)
        return x.clone(memory_format=torch.contiguous_format)
    source = {"seed": seed, "stream": stream, "generator": generator}
    return Engine(wide, block, axis, source).quantized().to(x.dtype)
