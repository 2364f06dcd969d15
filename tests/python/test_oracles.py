"""Independent libraries give the same bits: ml_dtypes, NumPy's own casts, and gfloat.

Where they differ, the reason is written beside the comparison and the rest is still compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import gfloat
import gfloat.formats
import lowp
import ml_dtypes
import numpy as np
import pytest
from gfloat import RoundMode
from samples import (
    P3109_NAMES,
    all_codes,
    assert_same,
    code_dtype,
    probes,
    random_floats,
    some_codes,
    specials,
)

ML_FLOATS = tuple(
    name
    for name in lowp.formats()
    if hasattr(ml_dtypes, name) and not name.startswith(("int", "uint"))
)
# No NaN and no infinity: ml_dtypes casts NaN to -0 (float4, float6), where lowp refuses.
WITHOUT_NAN = ("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn")


@pytest.fixture(autouse=True)
def _quiet_casts() -> Iterator[None]:
    """NumPy warns of overflow in casts, which the tests make on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def ml_codes(x: np.ndarray, name: str) -> np.ndarray:
    f = lowp.format(name)
    return x.astype(getattr(ml_dtypes, name)).view(code_dtype(f.bits))


def check_codes(x: np.ndarray, name: str, want: np.ndarray) -> None:
    """encode(x) against `want`, NaN codes by being NaN."""
    f = lowp.format(name)
    number = ~np.isnan(x)
    if not f.has_nan:
        x, want, number = x[number], want[number], number[number]
    got = lowp.encode(x, f)
    nan_codes = np.isnan(lowp.decode(want, f)) & np.isnan(lowp.decode(got, f))
    wrong = np.flatnonzero((got != want) & ~nan_codes)[:5]
    assert wrong.size == 0, [(float(x[i]).hex(), hex(got[i]), hex(want[i])) for i in wrong]


# ---- ml_dtypes --------------------------------------------------------------------------------


def test_every_float_of_ml_dtypes_is_registered_under_its_name() -> None:
    theirs = {n for n in dir(ml_dtypes) if n.startswith(("float", "bfloat"))}
    assert theirs == set(ML_FLOATS)


@pytest.mark.parametrize("name", ML_FLOATS)
def test_decode_equals_ml_dtypes_for_every_code(name: str) -> None:
    f = lowp.format(name)
    codes = all_codes(f)
    theirs = codes.view(getattr(ml_dtypes, name)).astype(np.float64)
    assert_same(lowp.decode(codes, f, dtype=np.float64), theirs)
    assert_same(lowp.decode(codes, f, dtype=np.float32), theirs.astype(np.float32))


@pytest.mark.parametrize("name", ["int2", "int4"])
def test_decode_equals_ml_dtypes_for_every_small_integer(name: str) -> None:
    f = lowp.format(name)
    values = np.arange(f.lowest, f.max + 1, dtype=np.float32)
    theirs = values.astype(getattr(ml_dtypes, name)).view(np.uint8) & ((1 << f.bits) - 1)
    assert np.array_equal(lowp.encode(values, f), theirs)
    assert np.array_equal(lowp.decode(theirs.astype(np.uint8), f), values)


def is_e8m0_tie(x: np.ndarray) -> np.ndarray:
    return np.abs(np.frexp(x)[0]) == 0.75


@pytest.mark.parametrize("name", ML_FLOATS)
@pytest.mark.parametrize("source", ["random", "probes", "float16", "bfloat16"])
def test_encode_equals_ml_dtypes(name: str, source: str) -> None:
    f = lowp.format(name)
    if source == "random":
        x = random_floats(1 << 20, np.float32)
    elif source == "probes":
        x = probes(f, np.float32)
    else:  # every value of a 16-bit float
        x = lowp.decode(all_codes(lowp.format(source)), source)
    if name == "float8_e8m0fnu":
        # Ties: ml_dtypes rounds each up; lowp, as P3109, to the even code. Subnormals of float32:
        # ml_dtypes gives 2^-126 for all above 2^-127, the nearest or not. Zero and negative
        # numbers are in the tests below.
        x = x[~is_e8m0_tie(x) & ((x >= 2 * f.min_subnormal) | (x == f.min_subnormal))]
    if name in WITHOUT_NAN:
        x = x[~np.isnan(x)]
    check_codes(np.ascontiguousarray(x), name, ml_codes(x, name))


def test_e8m0_ties_go_to_the_even_code_where_ml_dtypes_goes_up() -> None:
    f = lowp.format("float8_e8m0fnu")
    ties = (1.5 * f.values()[:-1]).astype(np.float32)
    ours, theirs = lowp.encode(ties, f), ml_codes(ties, f.name)
    assert np.array_equal(theirs, np.arange(1, 255))
    assert np.array_equal(ours, theirs & 0xFE)


def test_e8m0_keeps_no_negative_number_and_no_zero() -> None:
    x = np.array([-1.0, -math.inf, 0.0, -0.0], np.float32)
    assert np.array_equal(lowp.encode(x[:2], "float8_e8m0fnu"), [255, 255])
    assert np.array_equal(ml_codes(x[:2], "float8_e8m0fnu"), [255, 255])


def test_formats_without_nan_saturate_as_in_ml_dtypes() -> None:
    for name in WITHOUT_NAN:
        x = np.array([1e9, -1e9, math.inf, -math.inf], np.float32)
        assert np.array_equal(lowp.encode(x, name), ml_codes(x, name))
        with pytest.raises(ValueError, match="NaN"):
            lowp.encode(np.array([math.nan], np.float32), name)


@pytest.mark.parametrize("name", ML_FLOATS)
def test_decode_into_bfloat16_and_float16_arrays_is_exact_or_refused(name: str) -> None:
    f = lowp.format(name)
    codes = all_codes(f)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        try:
            got = lowp.decode(codes, f, dtype=dtype)
        except ValueError:
            wide = lowp.decode(codes, f, dtype=np.float64)
            through = wide.astype(np.float32).astype(dtype).astype(np.float64)
            finite = np.isfinite(wide)
            assert (wide[finite] != through[finite]).any(), f"{name} would fit {dtype}"
            continue
        assert got.dtype == dtype
        assert_same(got.astype(np.float64), lowp.decode(codes, f, dtype=np.float64))


# ---- NumPy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "carrier"),
    [("float16", np.float32), ("float16", np.float64), ("float32", np.float64)],
)
def test_encode_equals_numpys_cast(name: str, carrier: type) -> None:
    """From float64 too: NumPy rounds once, and a detour through float32 would round twice."""
    f = lowp.format(name)
    x = np.concatenate([random_floats(1 << 20, carrier), probes(f, carrier)])
    near = np.random.default_rng(2).uniform(-17, 17, 1 << 18)  # where float16 has its values
    x = np.concatenate([x, np.exp2(near).astype(carrier)])
    want = x.astype(name)
    check_codes(x, name, want.view(code_dtype(f.bits)))
    assert_same(lowp.quantize(x, f), want.astype(carrier), x)


def test_float64_to_float16_does_not_round_twice() -> None:
    # Just above the midpoint of 1 and 1 + 2^-10; float32 would drop the last bit and see a tie.
    x = 1 + 2.0**-11 + 2.0**-40
    assert np.float16(x) == np.float16(1 + 2.0**-10)
    assert lowp.quantize(x, "float16") == 1 + 2.0**-10
    assert lowp.quantize(np.array([x]), "float16")[0] == 1 + 2.0**-10
    assert np.float16(np.float32(x)) == 1.0


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_a_format_that_is_its_carrier_changes_nothing(name: str) -> None:
    x = np.concatenate([random_floats(1 << 16, name), specials(np.dtype(name).type)])
    for rounding in lowp.ROUNDINGS:
        y = lowp.quantize(x, name, rounding=rounding)
        assert y.tobytes() == x.tobytes(), rounding


# ---- gfloat -----------------------------------------------------------------------------------

GFLOAT = {
    "float64": gfloat.formats.format_info_binary64,
    "float32": gfloat.formats.format_info_binary32,
    "float16": gfloat.formats.format_info_binary16,
    "bfloat16": gfloat.formats.format_info_bfloat16,
    "float8_e5m2": gfloat.formats.format_info_ocp_e5m2,
    "float8_e4m3fn": gfloat.formats.format_info_ocp_e4m3,
    "float6_e2m3fn": gfloat.formats.format_info_ocp_e2m3,
    "float6_e3m2fn": gfloat.formats.format_info_ocp_e3m2,
    "float4_e2m1fn": gfloat.formats.format_info_ocp_e2m1,
    "float8_e8m0fnu": gfloat.formats.format_info_ocp_e8m0,
    "q1.6": gfloat.formats.format_info_ocp_int8,
}
GFLOAT |= {
    info.name: info for info in gfloat.formats.sample_formats if info.name.startswith("p3109")
}
GFLOAT_MODES = {
    "nearest_ties_to_even": RoundMode.TiesToEven,
    "nearest_ties_to_away": RoundMode.TiesToAway,
    "toward_zero": RoundMode.TowardZero,
    "toward_positive": RoundMode.TowardPositive,
    "toward_negative": RoundMode.TowardNegative,
    "stochastic_a": RoundMode.StochasticFastest,
    "stochastic_b": RoundMode.StochasticFast,
    "stochastic_c": RoundMode.Stochastic,
}


def gfloat_p3109(name: str) -> gfloat.FormatInfo:
    k, rest = name.removeprefix("p3109_k").split("p")
    sign = gfloat.Signedness.Signed if rest[-2] == "s" else gfloat.Signedness.Unsigned
    domain = gfloat.Domain.Extended if rest[-1] == "e" else gfloat.Domain.Finite
    return gfloat.formats.format_info_p3109(int(k), int(rest[:-2]), sign, domain)


def test_every_predefined_format_of_gfloat_is_compared() -> None:
    assert set(map(id, GFLOAT.values())) == set(map(id, gfloat.formats.sample_formats))


@pytest.mark.parametrize("name", GFLOAT)
def test_decode_equals_gfloat(name: str) -> None:
    codes = some_codes(lowp.format(name), 256)[:: 7 if name in ("float16", "bfloat16") else 1]
    with np.errstate(all="ignore"):
        theirs = [gfloat.decode_float(GFLOAT[name], int(c)).fval for c in codes]
    assert_same(lowp.decode(codes, name, dtype=np.float64), np.array(theirs))


def compared(f: lowp.Format, x: np.ndarray) -> np.ndarray:
    """The inputs on which gfloat follows its own documentation.

    Left out: NaN where the format has none (it raises); negative numbers in unsigned formats (it
    returns negatives); values below the smallest one where there are no subnormals (E8M0 there
    never underflows); subnormal inputs beside float64's smallest, where its frexp scaling
    overflows.
    """
    keep = np.ones(x.shape, bool) if f.has_nan else ~np.isnan(x)
    if not f.is_signed:
        keep &= ~(x < 0)
    if not f.has_subnormals:
        keep &= ~(x < f.min_subnormal)
    return np.ascontiguousarray(x[keep])


def gfloat_round(
    name: str,
    info: gfloat.FormatInfo,
    x: np.ndarray,
    rounding: str,
    saturates: bool,
    random: np.ndarray | None,
    bits: int,
) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gfloat.round_ndarray(
            info, x, GFLOAT_MODES[rounding], sat=saturates, srbits=random, srnumbits=bits
        )


def check_against_gfloat(
    name: str, info: gfloat.FormatInfo, x: np.ndarray, rounding: str, saturation: str
) -> None:
    f = lowp.format(name)
    x = compared(f, x)
    if saturation == "none" and not f.has_nan and not f.has_inf:
        return  # gfloat raises on overflow; lowp keeps the largest value
    random, bits = None, 32
    if rounding.startswith("stochastic"):
        # gfloat adds the cut-off part and the random bits in float64, which rounds where they have
        # more than 53 bits together; 40 significant bits of x leave that sum exact where it counts.
        x = (x.view(np.uint64) & ~np.uint64((1 << 13) - 1)).view(np.float64)
        bits = 6
        random = np.random.default_rng(3).integers(0, 1 << bits, x.size)
    want = gfloat_round(name, info, x, rounding, saturation == "finite", random, bits)
    words = None if random is None else random.astype(np.uint32)
    got = lowp.quantize(
        x, f, rounding=rounding, saturation=saturation, random=words, random_bits=bits
    )
    if f.is_twos_complement:  # gfloat gives -0 no place either, yet leaves the sign of the zero
        want = want + 0.0
    assert_same(got, want, x, f"{name} {rounding} {saturation}")


@pytest.mark.parametrize("rounding", GFLOAT_MODES)
@pytest.mark.parametrize("name", [n for n in GFLOAT if n != "float64"])
def test_quantize_equals_gfloat(name: str, rounding: str) -> None:
    x = probes(lowp.format(name), np.float64)
    if name == "float32" and rounding.startswith("stochastic"):
        x = x[np.isnan(x) | (np.abs(x) < 1e300)]
    for saturation in ("none", "finite"):
        check_against_gfloat(name, GFLOAT[name], x, rounding, saturation)


@pytest.mark.parametrize("name", P3109_NAMES)
def test_quantize_equals_gfloat_for_p3109(name: str) -> None:
    try:
        f = lowp.format(name)
    except ValueError:
        return
    x = probes(f, np.float64)
    x = x[:: 1 + x.size // 4000] if x.size > 4000 else x
    for rounding in GFLOAT_MODES:
        check_against_gfloat(name, gfloat_p3109(name), x, rounding, "none")


@pytest.mark.parametrize("name", GFLOAT)
def test_encode_equals_gfloat(name: str) -> None:
    f = lowp.format(name)
    x = compared(f, probes(f, np.float64))[:: 1 if f.bits < 9 else 53]
    x = x[np.isfinite(x)]
    y = lowp.quantize(x, f, saturation="finite")
    with np.errstate(all="ignore"):
        theirs = [gfloat.encode_float(GFLOAT[name], float(v)) for v in y]
    assert np.array_equal(lowp.encode(y, f), theirs)
