"""Derived limits against the decoded codes, and finfo against NumPy's and ml_dtypes' own."""

from __future__ import annotations

import math

import lowp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from samples import P3109_NAMES, UP_TO_16_BITS, all_codes, descriptors

ML_DTYPES = tuple(
    name
    for name in lowp.formats()
    if hasattr(ml_dtypes, name) and not name.startswith(("int", "uint"))
)


def decoded(f: lowp.Format) -> np.ndarray:
    return lowp.decode(all_codes(f), f, dtype=np.float64)


def check_limits(f: lowp.Format) -> None:
    values = decoded(f)
    finite = np.unique(values[np.isfinite(values)])  # sorted; +0 and -0 are one
    positive = finite[finite > 0]
    assert f.values().dtype == np.float64
    assert np.array_equal(f.values(), finite)
    assert np.all(np.diff(f.values()) > 0)
    assert not np.signbit(f.values()[f.values() == 0]).any()
    assert f.finite_values == len(finite)
    assert f.max == finite[-1] == values[f.max_code]
    assert f.lowest == finite[0] == values[f.lowest_code]
    assert f.min_subnormal == positive[0]
    assert f.has_nan == bool(np.isnan(values).any())
    assert f.bits == round(math.log2(len(values)))
    if f.has_nan:
        assert math.isnan(values[f.nan_code])
    else:
        assert f.nan_code is None
    if f.has_inf:
        assert values[f.inf_code] == math.inf
        assert np.isposinf(values).sum() == 1
        assert np.isneginf(values).sum() == int(f.is_signed)
    else:
        assert f.inf_code is None
        assert not np.isinf(values).any()
    if f.has_zero:
        assert (values[f.zero_code], np.signbit(values[f.zero_code])) == (0, False)
    else:
        assert f.zero_code is None
    assert f.emax == math.floor(math.log2(f.max)) if f.max < 2**1000 else f.emax > 999


def check_precision(f: lowp.Format) -> None:
    """min_normal starts the codes with a hidden bit; epsilon is their relative distance."""
    if f.exponent_bits == 0:
        assert f.precision == f.mantissa_bits
        assert f.min_normal == f.min_subnormal == f.epsilon
        return
    assert f.precision == f.mantissa_bits + 1
    assert f.epsilon == 2.0**-f.mantissa_bits
    assert f.min_normal == math.ldexp(1.0, f.emin)
    first_normal = (1 << f.mantissa_bits) if f.has_zero else 0
    if first_normal <= f.max_code:
        assert decoded(f)[first_normal] == f.min_normal
    if first_normal + 1 <= f.max_code and f.mantissa_bits > 0:
        assert decoded(f)[first_normal + 1] == f.min_normal * (1 + f.epsilon)


@pytest.mark.parametrize("name", [*UP_TO_16_BITS, *P3109_NAMES[::7]])
def test_the_limits_of_a_named_format_are_those_of_its_decoded_codes(name: str) -> None:
    try:
        f = lowp.format(name)
    except ValueError:
        pytest.skip(f"{name} has no finite value but zero")
    check_limits(f)
    check_precision(f)


@given(descriptors())
@settings(max_examples=400)
def test_the_limits_of_any_format_are_those_of_its_decoded_codes(f: lowp.Format) -> None:
    check_limits(f)
    check_precision(f)


@given(descriptors(max_bits=8))
@settings(max_examples=300)
def test_decode_equals_the_definition_for_every_code(f: lowp.Format) -> None:
    want = [lowp.spec.decode(int(c), f) for c in all_codes(f)]
    got = decoded(f)
    np.testing.assert_array_equal(got, want)
    assert np.array_equal(np.signbit(got) | np.isnan(got), np.signbit(want) | np.isnan(want))


def test_values_refuses_a_format_too_wide_to_list() -> None:
    with pytest.raises(ValueError, match="formats of up to 24 bits are listed; got one of 32"):
        lowp.format("float32").values()
    assert len(lowp.format("tensorfloat32").values()) == lowp.format("tensorfloat32").finite_values


# ---- finfo ------------------------------------------------------------------------------------

SHARED_FIELDS = (
    "bits", "max", "min", "eps", "epsneg", "tiny", "smallest_normal", "smallest_subnormal",
    "nmant", "nexp", "maxexp", "minexp", "precision",
)  # fmt: skip


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
@pytest.mark.parametrize("field", [*SHARED_FIELDS, "resolution"])
def test_finfo_agrees_with_numpy(name: str, field: str) -> None:
    ours = getattr(lowp.finfo(name), field)
    theirs = getattr(np.finfo(name), field)
    if field == "resolution":  # a decimal, which NumPy rounds to the dtype
        assert np.dtype(name).type(ours) == theirs
    else:
        assert ours == float(theirs)
        assert isinstance(ours, (int, float))
        assert not isinstance(ours, np.generic)


# Not compared: precision, where ml_dtypes says 1 for float8 whatever eps is (NumPy's rule,
# floor(-log10(eps)), gives 0); epsneg, which the test after this one takes from the values.
@pytest.mark.parametrize("name", ML_DTYPES)
@pytest.mark.parametrize("field", [f for f in SHARED_FIELDS if f not in ("epsneg", "precision")])
def test_finfo_agrees_with_ml_dtypes(name: str, field: str) -> None:
    theirs = getattr(ml_dtypes.finfo(getattr(ml_dtypes, name)), field)
    assert getattr(lowp.finfo(name), field) == float(theirs)


@pytest.mark.parametrize(
    "name", [n for n in UP_TO_16_BITS if "float" in n and n != "float8_e8m0fnu"]
)
def test_eps_and_epsneg_are_the_distances_from_one_to_its_neighbours(name: str) -> None:
    values = lowp.format(name).values()
    one = int(np.searchsorted(values, 1.0))
    info = lowp.finfo(name)
    assert values[one] == 1.0
    assert info.eps == values[one + 1] - 1.0
    if name not in ("float6_e2m3fn", "float4_e2m1fn"):  # one is the smallest normal number there
        assert info.epsneg == 1.0 - values[one - 1]


def test_finfo_takes_a_format_and_keeps_it() -> None:
    f = lowp.format("float8_e4m3fn")
    assert lowp.finfo(f) == lowp.finfo("float8_e4m3fn")
    assert lowp.finfo(f).format == f
    with pytest.raises(AttributeError):
        lowp.finfo(f).max = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="nearest"):
        lowp.finfo("float17")
