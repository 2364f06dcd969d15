"""The kernel of the plain path: scalar formats rounded on the line of codes, in int64 tensors.

As in include/lowp/detail/kernel.hpp, a float lies at a code and what is cut off:

    kept (code)          rest, of `shift` bits
    EEEE MMM           . 1 0 1 1 0 0 ... 0

Nothing but integer operations touches a value, so neither flush-to-zero nor a compiler's fast
division changes a bit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import lowp

__all__ = [
    "CARRIERS",
    "Carrier",
    "Plan",
    "bits_of",
    "decode_bits",
    "encode_bits",
    "from_words",
    "leading",
    "make_plan",
    "quantize_bits",
    "signed",
    "to_words",
]

# ---- carriers and plans --------------------------------------------------------------------------


@dataclass(frozen=True)
class Carrier:
    """A float dtype: the integers of its size, and its layout."""

    word: torch.dtype
    width: int
    mantissa: int
    bias: int

    @property
    def infinity(self) -> int:
        """The bits of infinity."""
        return (2 * self.bias + 1) << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit, drawn through to the top of an int64."""
        return -(1 << (self.width - 1))


CARRIERS = {
    torch.float64: Carrier(torch.int64, 64, 52, 1023),
    torch.float32: Carrier(torch.int32, 32, 23, 127),
    torch.float16: Carrier(torch.int16, 16, 10, 15),
    torch.bfloat16: Carrier(torch.int16, 16, 7, 127),
}


def signed(word: int) -> int:
    """An unsigned integer of 64 bits as the int64 of the same bits."""
    return word - (1 << 64) if word >= 1 << 63 else word


def to_words(x: Tensor) -> Tensor:
    """The bits of floats in int64, the sign bit drawn through to the top."""
    return x.contiguous().view(CARRIERS[x.dtype].word).to(torch.int64)


def from_words(words: Tensor, dtype: torch.dtype) -> Tensor:
    """Floats of bits."""
    return words.to(CARRIERS[dtype].word).view(dtype)


@dataclass(frozen=True)
class Specials:
    """What overflow and infinities give on either side, as bits or as codes."""

    over: tuple[int, int]
    infinite: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """A format and a projection for a carrier: the constants of include/lowp/detail/plan.hpp."""

    carrier: Carrier
    rounding: str
    random_bits: int
    mantissa_bits: int
    shift: int
    low_field: int
    first: int
    gap_shift: int
    gap_step: int
    zero_is_below: bool
    limits: tuple[int, int]
    values: Specials
    codes: Specials
    zero_keeps_sign: bool
    nan_code: int | None
    code_mask: int
    sign_mask: int
    negate: tuple[int, int]
    inf_code: int
    smallest_code: int
    neg_zero_code: int
    neg_zero_nan: int | None


_INWARD = {
    "toward_zero": (True, True),
    "to_odd": (True, True),
    "toward_positive": (False, True),
    "toward_negative": (True, False),
}


def _beyond(f: lowp.Format, rounding: str, saturation: str, negative: bool, infinite: bool) -> str:
    """What a value beyond the limit becomes. Source: IEEE 754-2019, 7.4; IEEE P3109, Saturate."""
    inward = _INWARD.get(rounding, (False, False))[negative]
    if saturation == "finite" or (not infinite and (saturation == "propagate" or inward)):
        return "limit"
    if f.has_inf and (f.is_signed or not negative):
        return "infinity"
    return "nan" if f.has_nan else "limit"


def bits_of(value: float, dtype: torch.dtype) -> int:
    """Bits of a value that the dtype holds, as `to_words` gives them."""
    kind = {torch.float64: "<dq", torch.float32: "<fi", torch.float16: "<eh"}.get(dtype, "<fi")
    word = int(struct.unpack(kind[0] + kind[2], struct.pack(kind[:2], value))[0])
    return word >> 16 if dtype == torch.bfloat16 else word


def _specials(f: lowp.Format, rounding: str, saturation: str, dtype: torch.dtype) -> Any:
    carrier = CARRIERS[dtype]
    quiet = carrier.infinity | 1 << (carrier.mantissa - 1)
    sign_mask = 1 << (f.bits - 1) if f.is_signed else 0

    def pair(negative: bool, infinite: bool) -> tuple[int, int]:
        what = _beyond(f, rounding, saturation, negative, infinite)
        sign = carrier.sign if negative else 0
        if what == "nan":
            return quiet | sign, f.nan_code or 0
        if what == "infinity":
            return carrier.infinity | sign, (f.inf_code or 0) | (sign_mask if negative else 0)
        value, code = (f.lowest, f.lowest_code) if negative else (f.max, f.max_code)
        return bits_of(value, dtype), code

    of = {(n, i): pair(n, i) for n in (False, True) for i in (False, True)}
    return tuple(
        Specials(
            (signed(of[False, False][at]), signed(of[True, False][at])),
            (signed(of[False, True][at]), signed(of[True, True][at])),
        )
        for at in (0, 1)
    )


def _check_fits(f: lowp.Format, dtype: torch.dtype) -> None:
    """ValueError where the dtype does not hold every value of the format."""
    c = CARRIERS[dtype]
    code_bits = c.width - (0 if f.is_signed else 1) if c.width >= 32 else 64
    fits = (
        f.mantissa_bits <= c.mantissa
        and max(f.emax, f.emin) <= c.bias
        and f.bits <= code_bits
        and f.emin - f.mantissa_bits >= 1 - c.bias - c.mantissa
    )
    if not fits:
        raise ValueError(
            f"{dtype} does not hold every value of {f} ({f.precision} significant bits, exponents "
            f"{f.emin - f.mantissa_bits} to {f.emax}); use a wider dtype"
        )


@lru_cache(maxsize=4096)
def make_plan(
    f: lowp.Format, rounding: str, saturation: str, random_bits: int, dtype: torch.dtype
) -> Plan:
    """The constants. ValueError for unknown words, or where the dtype does not hold the format."""
    for what, got, known in (
        ("rounding", rounding, lowp.ROUNDINGS),
        ("saturation", saturation, lowp.SATURATIONS),
    ):
        if got not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}; got {got!r}")
    if not 1 <= random_bits <= 32:
        raise ValueError(f"random_bits must be between 1 and 32; got {random_bits}")
    _check_fits(f, dtype)
    c = CARRIERS[dtype]
    hidden = 1 << f.mantissa_bits
    sign_mask = 1 << (f.bits - 1) if f.is_signed else 0
    below = f.max_code + 1 if f.is_twos_complement else f.max_code
    values, codes = _specials(f, rounding, saturation, dtype)
    return Plan(
        carrier=c,
        rounding=rounding,
        random_bits=random_bits,
        mantissa_bits=f.mantissa_bits,
        shift=c.mantissa - f.mantissa_bits,
        low_field=f.emin + c.bias,
        first=0 if f.has_zero else hidden,
        gap_shift=0 if f.has_subnormals else f.mantissa_bits,
        gap_step=1 if f.has_subnormals else hidden,
        zero_is_below=not (f.has_zero or f.is_signed),
        limits=(f.max_code, below if f.is_signed else 0 if f.has_zero else -1),
        values=values,
        codes=codes,
        zero_keeps_sign=f.is_signed and f.has_neg_zero,
        nan_code=None if f.nan_code is None else signed(f.nan_code),
        code_mask=signed((1 << f.bits) - 1),
        sign_mask=signed(sign_mask),
        negate=(-1, 1) if f.is_twos_complement else (0, signed(sign_mask)),
        inf_code=f.max_code if f.inf_code is None else f.inf_code,
        smallest_code=(1 if f.has_subnormals else hidden) if f.has_zero else 0,
        neg_zero_code=signed(sign_mask) if f.has_neg_zero else 0,
        neg_zero_nan=signed(sign_mask)
        if f.is_signed and not f.has_neg_zero and not f.is_twos_complement
        else None,
    )


# ---- the line of codes ---------------------------------------------------------------------------


def leading(x: Tensor) -> Tensor:
    """floor(log2 x) of integers from 0 to 2**53, -1023 of 0: the exponent of an exact float64."""
    return (x.to(torch.float64).view(torch.int64) >> 52) - 1023


def _split(p: Plan, magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Exponent field and significand, the hidden bit set in normal numbers."""
    mantissa = p.carrier.mantissa
    field = (magnitude >> mantissa).clamp(min=1)
    significand = magnitude - ((field - 1) << mantissa)
    if p.low_field >= (1 if p.gap_step == 1 else 2):
        return field, significand
    # The format reaches into the carrier's subnormal numbers: there the leading bit counts.
    missing = mantissa - leading(significand)  # of a zero: more than any format's exponents
    return field - missing, significand << missing.clamp(max=62)


def _steps_away(
    p: Plan, rest: Tensor, shift: Tensor, odd: Tensor, negative: Tensor, random: Any
) -> Tensor:
    """Whether rest / 2**shift of a quantum steps to the next code away from zero."""
    inexact = rest != 0
    match p.rounding:
        case "toward_zero":
            return torch.zeros_like(inexact)
        case "away_from_zero":
            return inexact
        case "toward_positive":
            return inexact & ~negative
        case "toward_negative":
            return inexact & negative
        case "to_odd":
            return inexact & ~odd
        case "stochastic_equal":
            return inexact & torch.ne(random >> 31, 0)
        case "stochastic_a" | "stochastic_b" | "stochastic_c":
            return _by_chance(p, rest, shift, random)
    twice, whole = rest << 1, 1 << shift.clamp(max=62)
    if p.rounding == "nearest_ties_to_away":
        return inexact & (twice >= whole)
    if p.rounding == "nearest_ties_to_zero":
        return twice > whole
    return (twice > whole) | ((twice == whole) & odd)


def _by_chance(p: Plan, rest: Tensor, shift: Tensor, random: Tensor) -> Tensor:
    """The sums of lowp::rounding: floor(rest 2**n / 2**shift) never leaves the n bits it has."""
    n = p.random_bits
    r = random >> (32 - n)
    if p.rounding == "stochastic_b":
        n, r = n + 1, 2 * r + 1
    cut = (shift - n).clamp(0, 62)
    whole = (rest << (n - shift).clamp(min=0)) >> cut
    if p.rounding == "stochastic_c":
        twice, one = (rest & ((1 << cut) - 1)) << 1, 1 << cut
        whole = whole + ((twice > one) | ((twice == one) & (whole & 1 != 0)))
    return whole + r >= 1 << n


def _round(p: Plan, magnitude: Tensor, negative: Tensor, random: Any) -> Tensor:
    """The code, without sign and without limit, to which a magnitude rounds."""
    field, significand = _split(p, magnitude)
    up = field - p.low_field
    gap = up < 0
    shift = torch.where(gap, p.shift + p.gap_shift - up, p.shift)
    held = shift.clamp(max=62)  # beyond 53 bits nothing is kept, whatever the shift
    kept = significand >> held
    rest = significand - (kept << held)
    kept = kept + (up.clamp(min=0) << p.mantissa_bits) - p.first
    if p.first:  # without zero nothing lies below the first code
        beneath = kept < 0
        kept, rest = torch.where(beneath, 0, kept), torch.where(beneath, 0, rest)
    away = _steps_away(p, rest, shift, kept & 1 != 0, negative, random)
    if p.gap_step == 1:
        return kept + away
    return kept + torch.where(away, torch.where(gap, p.gap_step, 1), 0)


def _magnitude_of(p: Plan, code: Tensor) -> Tensor:
    """Float bits of a magnitude code."""
    line = code + p.first
    binade = ((line >> p.mantissa_bits) - 1).clamp(min=0)
    significand = line - (binade << p.mantissa_bits)
    field = binade + p.low_field
    if p.low_field > 1 and not p.first:  # the format's subnormals are normal in the carrier
        missing = torch.where(line == 0, field - 1, p.mantissa_bits - leading(significand))
        significand, field = significand << missing.clamp(max=62), field - missing
    wide = significand << p.shift
    normal = wide + ((field - 1) << p.carrier.mantissa)
    if p.low_field - p.mantissa_bits >= 1:
        return normal
    return torch.where(field < 1, wide >> (1 - field).clamp(0, 62), normal)


def _with_sign(p: Plan, value: Tensor, sign: Tensor) -> Tensor:
    signed = value | sign
    return signed if p.zero_keeps_sign else torch.where(value == 0, 0, signed)


def _with_specials(
    p: Plan, of: Specials, magnitude: Tensor, negative: Tensor, over: Tensor, result: Tensor
) -> Tensor:
    result = torch.where(over, torch.where(negative, of.over[1], of.over[0]), result)
    infinite = torch.where(negative, of.infinite[1], of.infinite[0])
    return torch.where(magnitude == p.carrier.infinity, infinite, result)


@dataclass(frozen=True)
class Rounded:
    """Codes without sign, and what decides over their results."""

    bits: Tensor
    magnitude: Tensor
    negative: Tensor
    code: Tensor
    over: Tensor


def _rounded(p: Plan, bits: Tensor, random: Any) -> Rounded:
    magnitude = bits & ~p.carrier.sign
    negative = bits <= 0 if p.zero_is_below else bits < 0
    code = _round(p, magnitude, negative, random)
    over = code > torch.where(negative, p.limits[1], p.limits[0])
    return Rounded(bits, magnitude, negative, code, over)


def quantize_bits(p: Plan, bits: Tensor, random: Tensor | None) -> Tensor:
    """Float bits of values on the grid, from float bits; NaNs stay, bit for bit."""
    r = _rounded(p, bits, random)
    value = _with_sign(p, _magnitude_of(p, r.code), bits & p.carrier.sign)
    value = _with_specials(p, p.values, r.magnitude, r.negative, r.over, value)
    return torch.where(r.magnitude > p.carrier.infinity, bits, value)


def encode_bits(p: Plan, bits: Tensor, random: Tensor | None, nan_code: int) -> Tensor:
    """Codes, right-aligned in int64."""
    r = _rounded(p, bits, random)
    flip, add = p.negate
    negated = torch.where(r.code == 0, p.neg_zero_code, ((r.code ^ flip) + add) & p.code_mask)
    code = torch.where(r.negative, negated, r.code)
    code = _with_specials(p, p.codes, r.magnitude, r.negative, r.over, code)
    return torch.where(r.magnitude > p.carrier.infinity, nan_code, code)


def decode_bits(p: Plan, codes: Tensor) -> Tensor:
    """Float bits of codes in int64, which have no bits above the format's."""
    c = p.carrier
    positive = codes & p.sign_mask == 0
    flip, add = p.negate
    magnitude = torch.where(positive, codes, ((codes ^ flip) + add) & p.code_mask)
    limit = torch.where(positive, p.limits[0], p.limits[1])
    beyond = magnitude > limit
    used = torch.where(beyond | (magnitude < p.smallest_code), 0, magnitude)
    sign = torch.where(positive, 0, c.sign)
    quiet_nan = c.infinity | 1 << (c.mantissa - 1)
    special = torch.where(magnitude == p.inf_code, c.infinity | sign, quiet_nan)
    value = torch.where(beyond, special, _with_sign(p, _magnitude_of(p, used), sign))
    return (
        value if p.neg_zero_nan is None else torch.where(codes == p.neg_zero_nan, quiet_nan, value)
    )
