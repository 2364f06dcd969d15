"""Block scaling as its definition says, in exact arithmetic: what lowp's kernels are compared with.

Rationals, rounded to the carrier only where the definition rounds. Of lowp it takes the definition
of a scalar projection, `lowp.spec`, and a format's fields; nothing that works on arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import lowp
import numpy as np

Array = np.ndarray[Any, Any]

LOOKS_FOR_ANYTHING = ("toward_positive", "toward_negative", "away_from_zero", "to_odd")
CARRIERS = {np.dtype(np.float32): (24, -126, 127), np.dtype(np.float64): (53, -1022, 1023)}


def floor_log2(x: Fraction) -> int:
    """The exponent e of 2^e <= x < 2^(e+1)."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def ceil_log2(x: Fraction) -> int:
    e = floor_log2(x)
    return e if Fraction(2) ** e == x else e + 1


def rounded(x: Fraction, dtype: Any) -> float:
    """x as the nearest number of a carrier, ties to even: what one operation gives."""
    precision, emin, emax = CARRIERS[np.dtype(dtype)]
    if x == 0:
        return 0.0
    quantum = Fraction(2) ** (max(floor_log2(abs(x)), emin) - precision + 1)
    value = round(x / quantum) * quantum
    if abs(value) >= Fraction(2) ** (emax + 1):
        return math.inf if x > 0 else -math.inf
    return float(value)


def divided(a: float, b: float, dtype: Any) -> float:
    return rounded(Fraction(a) / Fraction(b), dtype)


def multiplied(a: float, b: float, dtype: Any) -> float:
    if math.isinf(a) or math.isinf(b):
        return a * b
    return rounded(Fraction(a) * Fraction(b), dtype)


@dataclass(frozen=True)
class Rule:
    """The fields of a block format that an oracle asks again and again."""

    format: lowp.BlockFormat
    fields: dict[str, Any]
    element: Any
    max: float
    emax: int
    top_bits: int  # of an element's mantissa in the binade of the largest value


def rule_of(f: lowp.BlockFormat) -> Rule:
    element = f.element
    top_bits = 0
    if isinstance(element, lowp.Format):
        top_bits = element.mantissa_bits
        if element.exponent_bits == 0:  # integers: bits below the leading one of the largest
            top_bits = floor_log2(Fraction(element.max) / Fraction(element.min_subnormal))
    return Rule(f, f.fields, element, f.element_max, floor_log2(Fraction(f.element_max)), top_bits)


def power_of_two(t: Fraction, kind: str, r: Rule) -> Fraction:
    """The table of lowp::power_of_two for a positive statistic."""
    if kind == "floor":
        e = floor_log2(t) - r.emax
    elif kind == "ceil":
        e = ceil_log2(t) - r.emax
    elif kind == "even":
        quantum = Fraction(2) ** (floor_log2(t) - r.top_bits)
        e = floor_log2(math.floor(t / quantum + Fraction(1, 2)) * quantum) - r.emax
    else:
        e = ceil_log2(t / Fraction(r.max))
    return Fraction(2) ** e


def statistic(block: list[float], r: Rule, dtype: Any) -> float:
    kind = r.fields["statistic"]
    magnitudes = [abs(Fraction(x)) for x in block]
    if kind == "amax":
        return float(max(magnitudes))
    if kind == "mean_abs":
        mean = rounded(sum(magnitudes) / len(block), np.float64)
        return rounded(Fraction(mean), dtype)
    if kind == "rms":
        mean = rounded(sum(m * m for m in magnitudes) / len(block), np.float64)
        return rounded(Fraction(math.sqrt(mean)), dtype)
    return float(r.fields["gain"])


def ideal_scale(block: list[float], r: Rule, outer: float, dtype: Any) -> float:
    """The scale that a rule wants; in arithmetic `division`. block: finite numbers."""
    t = statistic(block, r, dtype)
    kind, gain = r.fields["power_of_two"], r.fields["gain"]
    if kind == "none":
        fixed = r.fields["statistic"] == "none"
        divisor = 1.0 if fixed else rounded(Fraction(r.max / gain), dtype)
        ideal = divided(divided(t, divisor, dtype), outer, dtype)
    else:
        t = multiplied(divided(t, outer, dtype), gain, dtype)
        ideal = 0.0 if t == 0 else rounded(power_of_two(Fraction(t), kind, r), dtype)
    ideal = max(ideal, rounded(Fraction(r.fields["min_scale"]), dtype))
    if math.isfinite(r.fields["max_scale"]):
        ideal = min(ideal, rounded(Fraction(r.fields["max_scale"]), dtype))
    if r.fields["zero_scale"] >= 0 and t == 0:
        return rounded(Fraction(r.fields["zero_scale"]), dtype)
    return ideal


@lru_cache(maxsize=1 << 16)
def _projected(magnitude: float, sign: float, element: lowp.Format, rounding: str) -> float:
    x = math.copysign(magnitude, sign)
    return lowp.spec.quantize(x, element, rounding=rounding, saturation="finite")


def _of_codebook(x: float, values: list[float], rounding: str) -> float:
    """The neighbour that a deterministic mode takes; even and odd are those of the index."""
    if x <= values[0] or x >= values[-1]:
        return values[0] if x <= values[0] else values[-1]
    lower = max(i for i, v in enumerate(values) if v <= x)
    low, high = values[lower], values[lower + 1]
    below, above = Fraction(x) - Fraction(low), Fraction(high) - Fraction(x)
    away_is_up = Fraction(low) + Fraction(high) > 0
    nearest = below > above
    tie = below == above
    goes_up = {
        "nearest_ties_to_even": nearest or (tie and lower % 2 == 1),
        "nearest_ties_to_away": nearest or (tie and away_is_up),
        "nearest_ties_to_zero": nearest or (tie and not away_is_up),
        "toward_zero": not away_is_up,
        "away_from_zero": away_is_up,
        "toward_positive": True,
        "toward_negative": False,
        "to_odd": lower % 2 == 0,
    }[rounding]
    return high if below > 0 and goes_up else low


def project(x: float, r: Rule) -> float:
    if isinstance(r.element, lowp.Format):
        # Sign and magnitude apart: 0 and -0 are one key of the cache.
        return _projected(abs(x), math.copysign(1, x), r.element, r.fields["rounding"])
    return _of_codebook(x, [float(v) for v in r.element], r.fields["rounding"])


def scale_of(ideal: float, r: Rule) -> float:
    """The ideal scale on the grid of the scale format."""
    how = {"rounding": r.fields["scale_rounding"], "saturation": r.fields["scale_saturation"]}
    return lowp.spec.quantize(ideal, r.format.scale, **how)


def quotient(x: float, total: float, r: Rule, dtype: Any) -> float:
    y = 0.0 if x == 0 or total == 0 else abs(divided(x, total, dtype))
    if y == 0 and x != 0 and r.fields["rounding"] in LOOKS_FOR_ANYTHING:
        y = float(np.finfo(dtype).smallest_subnormal)
    return math.copysign(y, x)


def elements(block: list[float], scale: float, outer: float, r: Rule, dtype: Any) -> list[float]:
    """project(x / s) * s with the block's total scale s."""
    total = multiplied(
        multiplied(scale, outer, dtype), rounded(Fraction(r.fields["post_gain"]), dtype), dtype
    )
    units = [project(quotient(x, total, r, dtype), r) for x in block]
    products = [multiplied(abs(u), total, dtype) if u else 0.0 for u in units]
    return [math.copysign(p, u) for p, u in zip(products, units, strict=True)]


def error_of(block: list[float], results: list[float], norm: str) -> Any:
    if any(math.isinf(q) for q in results):
        return math.inf
    differences = [abs(Fraction(x) - Fraction(q)) for x, q in zip(block, results, strict=True)]
    if norm == "power_2_4":
        return math.fsum(float(d) ** 2.4 for d in differences)
    return sum(differences if norm == "absolute" else [d * d for d in differences])


def candidates(ideal: float, r: Rule, dtype: Any) -> list[float]:
    """Ideal scales in the order in which a search tries them."""
    search, scale = r.fields["search"], r.format.scale
    if search == "none":
        return [ideal]
    if search == "four_six":
        return [ideal, multiplied(ideal, 1.5, dtype)]
    if search == "all" and scale.bits <= 8:
        return [ideal, *(float(v) for v in scale.values() if v > 0)]
    factors = [rounded(Fraction(1 - 0.008 * i), dtype) for i in range(1, 100)]
    return [ideal, *(multiplied(ideal, factor, dtype) for factor in factors)]


def quantized(
    block: list[float], f: lowp.BlockFormat | Rule, dtype: Any, outer: float = 1.0
) -> tuple[float, list[float]]:
    """Scale and values of a block."""
    r = f if isinstance(f, Rule) else rule_of(f)
    bad = any(math.isnan(x) for x in block) and r.fields["nan"] == "block"
    if bad or (any(math.isinf(x) for x in block) and r.fields["infinity"] == "nan"):
        return math.nan, [math.nan] * len(block)
    nearest = rule_of(r.format.replace(rounding="nearest_ties_to_even"))
    best, least = 0.0, math.inf
    ideal = ideal_scale(block, r, outer, dtype)
    tried = candidates(ideal, r, dtype)
    for i, wanted in enumerate(tried):
        scale = scale_of(wanted, r)
        if len(tried) == 1:
            best = scale
            break
        error = error_of(
            block, elements(block, scale, outer, nearest, dtype), r.fields["error_norm"]
        )
        if i == 0 or error < least:
            best, least = scale, error
    return best, elements(block, best, outer, r, dtype)


def outer_scale(x: Array, f: lowp.BlockFormat, dtype: Any) -> float:
    """The second level of a tensor: amax / (element max * scale max), NaN and infinity left out."""
    fields = f.fields
    if fields["outer"] == "none":
        return 1.0
    if fields["outer_fixed"] > 0:
        return rounded(Fraction(fields["outer_fixed"]), dtype)
    finite = np.abs(x[np.isfinite(x)])
    amax = float(finite.max()) if finite.size else 0.0
    if amax == 0:
        return 1.0
    limit = f.element_max * (fields["outer_scale_max"] or f.scale.max)
    wanted = divided(amax, rounded(Fraction(limit), dtype), dtype)
    outer: lowp.Format = fields["outer_format"]
    got = lowp.spec.quantize(wanted, outer, saturation="finite")
    return max(got, outer.min_subnormal if outer.has_subnormals else outer.min_normal)


def quantized_rows(x: Array, f: lowp.BlockFormat) -> tuple[Array, Array]:
    """Scales and values of an array in blocks along its last axis, or in one block."""
    lines = x.reshape(1, -1) if f.shape == "tensor" else x.reshape(-1, x.shape[-1])
    width = f.shape if isinstance(f.shape, int) else lines.shape[-1]
    outer, r = outer_scale(x, f, x.dtype), rule_of(f)
    scales, values = [], []
    for line in lines:
        for start in range(0, len(line), width):
            scale, block = quantized(
                [float(v) for v in line[start : start + width]], r, x.dtype, outer
            )
            scales.append(scale)
            values.extend(block)
    return np.array(scales), np.array(values, x.dtype).reshape(x.shape)
