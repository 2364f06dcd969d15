"""Operations and conversions give the bits of Berkeley SoftFloat, in its five roundings.

Skipped where the package softfloatpy is missing. NaN is compared by being NaN.
"""

from __future__ import annotations

from typing import Any

import lowp
import numpy as np
import pytest

softfloat = pytest.importorskip("softfloatpy", reason="softfloatpy is not installed")

MODES = {
    "nearest_ties_to_even": softfloat.RoundingMode.NEAR_EVEN,
    "nearest_ties_to_away": softfloat.RoundingMode.NEAR_MAX_MAG,
    "toward_zero": softfloat.RoundingMode.MIN_MAG,
    "toward_negative": softfloat.RoundingMode.MIN,
    "toward_positive": softfloat.RoundingMode.MAX,
}
TYPES = {"float16": "Float16", "float32": "Float32", "float64": "Float64", "bfloat16": "BFloat16"}
CONVERSIONS = {
    "f64_to_f32": ("float64", "float32"),
    "f64_to_f16": ("float64", "float16"),
    "f32_to_f16": ("float32", "float16"),
    "f32_to_bf16": ("float32", "bfloat16"),
}
VERBS = {
    "add": ("add", 2),
    "sub": ("sub", 2),
    "mul": ("mul", 2),
    "div": ("div", 2),
    "remainder": ("rem", 2),
    "sqrt": ("sqrt", 1),
    "fma": ("mul_add", 3),
}
COUNT = 20_000


def operands(name: str, count: int, seed: int) -> np.ndarray:
    """Values of the format: every sign with exponents at the ends, in the middle and anywhere, and
    significands of few ones, few zeros, or any; infinities and NaN among them.
    """
    f, rng = lowp.format(name), np.random.default_rng(seed)
    middle, top = f.bias, 2**f.exponent_bits - 1
    ends = [0, 1, 2, top - 2, top - 1, top]
    near = [middle + i for i in (-f.mantissa_bits - 2, -f.mantissa_bits, -2, -1, 0, 1, 2)]
    near += [middle + f.mantissa_bits, middle + f.mantissa_bits + 2]
    edges = np.array([e for e in (*ends, *near) if 0 <= e <= top])
    exponents = np.where(
        rng.integers(0, 3, count) > 0, rng.choice(edges, count), rng.integers(0, top + 1, count)
    )
    ones = 2**f.mantissa_bits - 1
    few = (1 << rng.integers(0, f.mantissa_bits, (2, count))).sum(0) & ones
    choice = rng.integers(0, 5, count)
    significands = np.select(
        [choice == 0, choice == 1, choice == 2, choice == 3],
        [few, ones - few, np.zeros(count, np.int64), few & -few],
        rng.integers(0, ones + 1, count),
    )
    signs = rng.integers(0, 2, count)
    codes = (signs << (f.bits - 1)) | (exponents << f.mantissa_bits) | significands
    return codes.astype(np.uint64)


def values(codes: np.ndarray, name: str) -> np.ndarray:
    dtype = np.float64 if name == "float64" else np.float32
    return lowp.decode(codes, name, dtype=dtype)


def theirs(codes: np.ndarray, name: str) -> list[Any]:
    kind, size = getattr(softfloat, TYPES[name]), lowp.format(name).bits // 8
    return [kind.from_bytes(int(c).to_bytes(size, "big")) for c in codes]


def check(got: np.ndarray, results: list[Any], to: str, note: str) -> None:
    raw = b"".join(r.to_bytes() for r in results)
    codes = np.frombuffer(raw, f">u{lowp.format(to).bits // 8}").astype(np.uint64)
    want = values(codes, to)
    numbers = lowp.encode(np.where(np.isnan(got), 1, got), to)
    wrong = np.flatnonzero(
        (np.isnan(got) != np.isnan(want)) | (~np.isnan(got) & (numbers != codes))
    )
    assert wrong.size == 0, (note, [(i, got[i], want[i]) for i in wrong[:5]])


@pytest.fixture(autouse=True)
def _nearest_even_afterwards() -> Any:
    yield
    softfloat.set_rounding_mode(softfloat.RoundingMode.NEAR_EVEN)


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_operations_are_those_of_softfloat(name: str, verb: str, rounding: str) -> None:
    word, count = VERBS[verb]
    function = getattr(softfloat, f"f{lowp.format(name).bits}_{word}")
    softfloat.set_rounding_mode(MODES[rounding])
    codes = [operands(name, COUNT, 10 * len(verb) + i) for i in range(count)]
    if name == "float16" and count == 1:
        codes = [np.arange(1 << 16, dtype=np.uint64)]
    if count > 1:  # sums that cancel, quotients near one
        near = codes[0][::7] ^ np.uint64(1)
        codes[1][::7] = near ^ np.uint64(1 << (lowp.format(name).bits - 1))
    got = getattr(lowp, verb)(*(values(c, name) for c in codes), name, rounding=rounding)
    results = list(map(function, *(theirs(c, name) for c in codes)))
    check(got, results, name, f"{verb} {name} {rounding}")


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("function", CONVERSIONS)
def test_conversions_are_those_of_softfloat(function: str, rounding: str) -> None:
    source, to = CONVERSIONS[function]
    softfloat.set_rounding_mode(MODES[rounding])
    near = values(operands(to, COUNT, 2), to).astype(np.float64)  # around values of the target, too
    at = lowp.encode(near, source).astype(np.uint64)
    half = np.uint64(1 << (lowp.format(source).mantissa_bits - lowp.format(to).mantissa_bits - 1))
    codes = np.concatenate([operands(source, COUNT, 1), at, at + half, at + half - np.uint64(1)])
    got = lowp.quantize(values(codes, source), to, rounding=rounding)
    results = list(map(getattr(softfloat, function), theirs(codes, source)))
    check(got, results, to, f"{function} {rounding}")
