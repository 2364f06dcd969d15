"""IEEE P3109: the working group's draft value tables, and what its text says of conversions.

The tables (P3109/Public, interim) cover K = 3..8. They lie outside the package; without them the
formats are still checked against the formulas of the report, up to K = 16.
"""

from __future__ import annotations

import math
from fractions import Fraction

import lowp
import numpy as np
import pytest
from samples import P3109_NAMES, SHARED, all_codes

VALUE_TABLES = SHARED / "p3109" / "value_tables.npz"


def formula(name: str, code: int) -> float:
    """Value of a code, by the report's Decode: exact rationals, special codes by their place."""
    k_text, rest = name.removeprefix("p3109_k").split("p")
    k, p, sign, domain = int(k_text), int(rest[:-2]), rest[-2], rest[-1]
    if sign == "s":
        half = 2 ** (k - 1)
        if code == half:
            return math.nan
        if code > half:
            return -formula(name, code - half)
        top = half - 1
    else:
        if code == 2**k - 1:
            return math.nan
        top = 2**k - 2
    if domain == "e" and code == top:
        return math.inf
    bias = 2 ** (k - p - 1) if sign == "s" else 2 ** (k - p)
    exponent, fraction = divmod(code, 2 ** (p - 1))
    unit = Fraction(2) ** (max(exponent, 1) - bias - (p - 1))
    return float((fraction + (2 ** (p - 1) if exponent else 0)) * unit)


def test_the_working_groups_value_tables_equal_decode_for_every_code() -> None:
    if not VALUE_TABLES.is_file():
        pytest.skip("the P3109 value tables are not beside this checkout")
    with np.load(VALUE_TABLES) as tables:
        assert len(tables.files) == 120
        for name in tables.files:
            f = lowp.format(name)
            assert len(tables[name]) == 2**f.bits, name
            got = lowp.decode(all_codes(f), f, dtype=np.float64)
            np.testing.assert_array_equal(got, tables[name], err_msg=name)
            assert not np.signbit(got[got == 0]).any(), name


@pytest.mark.parametrize("name", [n for n in P3109_NAMES if int(n[7:].split("p")[0]) <= 10])
def test_decode_follows_the_formula_of_the_report(name: str) -> None:
    try:
        f = lowp.format(name)
    except ValueError as error:
        assert "no finite value but zero" in str(error)  # noqa: PT017
        return
    want = [formula(name, c) for c in range(2**f.bits)]
    np.testing.assert_array_equal(lowp.decode(all_codes(f), f, dtype=np.float64), want)


@pytest.mark.parametrize("name", [n for n in P3109_NAMES if int(n[7:].split("p")[0]) > 10])
def test_decode_follows_the_formula_for_wide_formats_too(name: str) -> None:
    f = lowp.format(name)
    codes = np.unique(np.linspace(0, 2**f.bits - 1, 301).astype(np.uint16))
    middle = 2 ** (f.bits - 1)
    ends = [0, 1, 2, middle - 2, middle - 1, middle, middle + 1, 2**f.bits - 2, 2**f.bits - 1]
    codes = np.concatenate([codes, np.array(ends, np.uint16)])
    want = [formula(name, int(c)) for c in codes]
    np.testing.assert_array_equal(lowp.decode(codes, f, dtype=np.float64), want)


@pytest.mark.parametrize("name", P3109_NAMES)
def test_encode_inverts_decode_for_every_code(name: str) -> None:
    try:
        f = lowp.format(name)
    except ValueError:
        return
    codes = all_codes(f)
    values = lowp.decode(codes, f, dtype=np.float64)
    assert np.array_equal(lowp.encode(values, f), codes)


# The report's Saturate: SatFinite brings everything into the finite range, infinities too;
# SatPropagate brings finite values into it and keeps infinities; OvfInf lets directed roundings
# keep the largest value and gives infinity (NaN in a finite format) otherwise.
@pytest.mark.parametrize(
    ("saturation", "rounding", "x", "extended", "finite"),
    [
        ("finite", "nearest_ties_to_even", 1e9, "max", "max"),
        ("finite", "nearest_ties_to_even", math.inf, "max", "max"),
        ("propagate", "nearest_ties_to_even", 1e9, "max", "max"),
        ("propagate", "nearest_ties_to_even", math.inf, math.inf, math.nan),
        ("none", "nearest_ties_to_even", 1e9, math.inf, math.nan),
        ("none", "nearest_ties_to_even", math.inf, math.inf, math.nan),
        ("none", "toward_zero", 1e9, "max", "max"),
        ("none", "toward_negative", 1e9, "max", "max"),
        ("none", "toward_positive", 1e9, math.inf, math.nan),
        ("none", "toward_zero", math.inf, math.inf, math.nan),
    ],
)
def test_saturation_follows_the_report(
    saturation: str, rounding: str, x: float, extended: object, finite: object
) -> None:
    for name, want in (("p3109_k8p3se", extended), ("p3109_k8p3sf", finite)):
        f = lowp.format(name)
        expected = f.max if want == "max" else want
        got = lowp.quantize(x, f, saturation=saturation, rounding=rounding)
        np.testing.assert_equal(got, expected)


@pytest.mark.parametrize("saturation", lowp.SATURATIONS)
def test_negative_values_of_an_unsigned_format_become_nan_or_zero(saturation: str) -> None:
    got = lowp.quantize(np.array([-1.0, -1e9, -0.0]), "p3109_k8p3ue", saturation=saturation)
    want = math.nan if saturation == "none" else 0.0
    np.testing.assert_array_equal(got, [want, want, 0.0])
    assert not np.signbit(got[2])


def test_ties_between_powers_of_two_go_to_the_even_code_at_precision_one() -> None:
    f = lowp.format("p3109_k8p1se")
    values = f.values()[f.values() > 0]
    ties = (values[:-1] + values[1:]) / 2
    codes = lowp.encode(ties, f)
    assert (codes % 2 == 0).all()
    assert np.array_equal(
        np.abs(lowp.decode(codes, f, dtype=np.float64) - ties), np.diff(values) / 2
    )
