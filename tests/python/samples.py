"""Inputs, comparisons and strategies that the tests share.

`probes` is where conversions go wrong: every value of a format, every midpoint, their neighbours
in the carrier, the limits and the special values. `descriptors` draws valid formats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import lowp
import numpy as np
from hypothesis import strategies as st

TABLES = Path(__file__).resolve().parents[1] / "tables"
Run = Callable[..., Any]  # what the fixture `run` gives
SHARED = Path(__file__).resolve().parents[3] / "shared"

STOCHASTIC = tuple(r for r in lowp.ROUNDINGS if r.startswith("stochastic"))
DETERMINISTIC = tuple(r for r in lowp.ROUNDINGS if not r.startswith("stochastic"))
NEAREST = tuple(r for r in lowp.ROUNDINGS if r.startswith("nearest"))
# These treat x and -x alike.
SYMMETRIC = (*NEAREST, "toward_zero", "away_from_zero", "to_odd", *STOCHASTIC)

REGISTERED = tuple(lowp.formats())
SMALL = tuple(name for name, f in lowp.formats().items() if f.bits <= 8)
UP_TO_16_BITS = tuple(name for name, f in lowp.formats().items() if f.bits <= 16)
P3109_NAMES = tuple(
    f"p3109_k{k}p{p}{sign}{domain}"
    for k in range(3, 17)
    for p in range(1, k + 1)
    for sign in "su"
    for domain in "ef"
    if 1 <= k - p + (sign == "u") <= 11  # exponent bits; a descriptor has at most 11
)

Array = np.ndarray[Any, Any]


def code_dtype(bits: int) -> type[np.unsignedinteger[Any]]:
    for dtype in (np.uint8, np.uint16, np.uint32):
        if bits <= np.iinfo(dtype).bits:
            return dtype
    return np.uint64


def all_codes(f: lowp.Format) -> Array:
    return np.arange(1 << f.bits, dtype=np.uint64).astype(code_dtype(f.bits))


def some_codes(f: lowp.Format, count: int = 4096) -> Array:
    """All codes of a small format, else evenly strided ones and those next to the special ones."""
    if f.bits <= 16:
        return all_codes(f)
    magnitudes = (1 << f.bits) // (2 if f.is_signed else 1)
    step = magnitudes // count
    picked = {i * step + i % step for i in range(count)} | set(range(64))
    picked |= {f.max_code - i for i in range(64)}
    picked |= {(1 << f.mantissa_bits) + i for i in range(-8, 8)}
    codes = np.array(sorted(c for c in picked if 0 <= c < magnitudes), np.uint64)
    if f.is_signed:
        codes = np.concatenate([codes, codes + np.uint64(magnitudes)])
    return codes.astype(code_dtype(f.bits))


def magnitudes(f: lowp.Format) -> Array:
    """Finite magnitudes, sorted, float64; a sample where there are many."""
    values = lowp.decode(some_codes(f), f, dtype=np.float64)
    return np.unique(np.abs(values[np.isfinite(values)]))


def neighbours(x: Array, dtype: Any) -> Array:
    """x and the carrier's values next to it."""
    y = x.astype(dtype)
    return np.concatenate([y, np.nextafter(y, dtype(np.inf)), np.nextafter(y, dtype(-np.inf))])


def specials(dtype: Any) -> Array:
    info = np.finfo(dtype)
    one = [0.0, 1.0, float(info.max), float(info.tiny), float(info.smallest_subnormal), math.inf]
    return np.array([*one, *(-v for v in one), math.nan], dtype)


def probes(f: lowp.Format, dtype: Any = np.float64) -> Array:
    """Values, midpoints and quarter points of `f`, what is just beside each, and the specials."""
    m = magnitudes(f)
    with np.errstate(over="ignore", under="ignore"):
        gaps = np.diff(m)
        between = [m[:-1] + gaps * q for q in (0.25, 0.5, 0.75)]
        # Beyond the limits the grid goes on: half a step, a step, twice the largest.
        last = gaps[-1] if len(gaps) else f.epsilon
        beyond = f.max + last * np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
        tiny = f.min_subnormal * np.array([0.5, 0.25, 0.125, 0.75])
        ends = np.array([2 * f.max, 4 * f.max, f.max * 1.5])
        points = np.concatenate([m, *between, beyond, tiny, ends])
        near = neighbours(points, dtype)
    x = np.concatenate([near, -near, specials(dtype)])
    return np.ascontiguousarray(x, dtype=dtype)


def random_floats(count: int, dtype: Any, seed: int = 1) -> Array:
    """Random bit patterns: every exponent, infinities and NaNs included."""
    word = np.uint32 if dtype == np.float32 else np.uint64
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(word).max, count, dtype=word, endpoint=True).view(dtype)


def assert_same(got: Array, want: Array, x: Array | None = None, note: str = "") -> None:
    """Equal values with equal signs of zero; any NaN equals any NaN."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    both_nan = np.isnan(got) & np.isnan(want)
    wrong = ~((got == want) & (np.signbit(got) == np.signbit(want)) | both_nan)
    if wrong.any():
        first = np.flatnonzero(wrong)[:5]
        inputs = [float(x.ravel()[i]).hex() for i in first] if x is not None else list(first)
        rows = [
            (i, g, w)
            for i, g, w in zip(inputs, got.ravel()[first], want.ravel()[first], strict=True)
        ]
        raise AssertionError(
            f"{note}: {wrong.sum()} of {wrong.size} differ; (x, got, want): {rows}"
        )


def assert_same_bits(got: Array, want: Array) -> None:
    got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert got.tobytes() == want.tobytes()


def fits_float32(f: lowp.Format) -> bool:
    try:
        lowp.quantize(np.float32(0), f)
    except ValueError:
        return False
    return True


def carriers(f: lowp.Format) -> tuple[Any, ...]:
    return (np.float32, np.float64) if fits_float32(f) else (np.float64,)


def exact(x: float) -> Fraction:
    return Fraction(float(x))


def _biases(exponent_bits: int, mantissa_bits: int) -> st.SearchStrategy[int]:
    """Biases whose values float64 holds; often IEEE's, those near it, and those with which the
    smallest normal number or the smallest of all meets the carrier's own."""
    low, high = max((1 << exponent_bits) - 1 - 1023, -1000), 1074 - mantissa_bits
    usual = (1 << (exponent_bits - 1)) - 1 if exponent_bits else 0
    usual = min(max(usual, low), high)
    near = st.integers(max(low, usual - 9), min(high, usual + 9))
    edges = [
        edge - below + shift
        for edge in (127, 1023, 149, 1074)
        for below in (0, mantissa_bits)
        for shift in (-1, 0, 1, 2)
    ]
    at_edges = st.sampled_from([min(max(bias, low), high) for bias in edges])
    return st.one_of(st.just(usual), near, at_edges, st.integers(low, high))


@st.composite
def descriptors(draw: st.DrawFn, max_bits: int = 12) -> lowp.Format:
    """Valid formats of every family; about as many odd ones as ordinary ones."""
    kind = draw(st.sampled_from(("float", "float", "float", "unsigned", "fixed", "two", "scale")))
    if kind == "two":
        width = draw(st.integers(1, min(max_bits - 1, 52)))
        return lowp.Format(
            exponent_bits=0,
            mantissa_bits=width,
            bias=draw(st.integers(-20, 40)),
            has_neg_zero=False,
            is_twos_complement=True,
        )
    exponent_bits = 0 if kind == "fixed" else draw(st.integers(1, min(11, max_bits - 1)))
    is_signed = kind == "float" or (kind == "fixed" and draw(st.booleans()))
    room = max_bits - exponent_bits - int(is_signed)
    mantissa_bits = draw(st.integers(1 if exponent_bits == 0 else 0, max(room, 1)))
    mantissa_bits = min(mantissa_bits, 52)
    bias = draw(_biases(exponent_bits, mantissa_bits))
    magnitude_codes = 1 << (exponent_bits + mantissa_bits)
    has_zero = exponent_bits == 0 or kind != "scale"
    has_subnormals = has_zero and (exponent_bits == 0 or draw(st.integers(0, 3)) > 0)
    # Codes that must stay: zero, what decodes to zero without subnormals, one positive value.
    kept = 1 if not has_zero else 2 if has_subnormals else (1 << mantissa_bits) + 1
    has_inf = draw(st.booleans()) and magnitude_codes > kept
    most_nans = magnitude_codes - kept - int(has_inf)
    all_ones = (1 << mantissa_bits) - 1
    nan_codes = draw(st.sampled_from((0, 1, all_ones, 2, 3, most_nans)))
    nan_codes = max(0, min(nan_codes, most_nans))
    return lowp.Format(
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        bias=bias,
        is_signed=is_signed,
        has_inf=has_inf,
        nan_codes=nan_codes,
        has_neg_zero=is_signed and (not has_zero or draw(st.booleans())),
        has_subnormals=has_subnormals,
        has_zero=has_zero,
    )


FIELDS = (
    "exponent_bits",
    "mantissa_bits",
    "bias",
    "is_signed",
    "has_inf",
    "nan_codes",
    "has_neg_zero",
    "has_subnormals",
    "has_zero",
    "is_twos_complement",
)


def describe(f: lowp.Format) -> dict[str, Any]:
    """The fields of a descriptor: Format(**describe(f)) == f."""
    return {name: getattr(f, name) for name in FIELDS}
