"""Names and descriptors: what parses prints back, what is wrong says so, what is made stays."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import P3109_NAMES, REGISTERED, describe, descriptors


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registered_name_parses_prints_back_and_its_repr_evaluates(name: str) -> None:
    f = lowp.format(name)
    assert f == lowp.formats()[name]
    assert f.name == str(f) == name
    assert eval(repr(f), {"lowp": lowp}) == f
    assert lowp.format_sources()[name]


def test_every_registered_format_has_one_name() -> None:
    formats = lowp.formats()
    assert len(set(formats.values())) == len(formats)
    assert list(formats) == list(lowp.format_sources())


def test_a_format_passes_through_format() -> None:
    f = lowp.Format(exponent_bits=4, mantissa_bits=3, nan_codes=1)
    assert lowp.format(f) == f == lowp.format("float8_e4m3fn")


@given(descriptors(max_bits=16))
@settings(max_examples=600)
def test_the_name_of_any_descriptor_parses_back_to_it(f: lowp.Format) -> None:
    assert lowp.format(f.name) == f
    assert lowp.format(f.name).name == f.name
    assert eval(repr(f), {"lowp": lowp}) == f
    assert lowp.Format(**describe(f)) == f


@given(descriptors(max_bits=60))
@settings(max_examples=200)
def test_the_name_of_a_wide_descriptor_parses_back_to_it(f: lowp.Format) -> None:
    assert lowp.format(f.name) == f


@pytest.mark.parametrize(
    "modifier", ["", "_nan3", "_inf", "_noinf", "_nz", "_nonz", "_sub", "_nosub"]
)
@pytest.mark.parametrize("bias", ["", "b11", "b0", "b-3"])
@pytest.mark.parametrize("kind", ["", "fn", "fnuz", "f"])
def test_the_general_grammar_is_read_as_written(kind: str, bias: str, modifier: str) -> None:
    f = lowp.format(f"e4m3{bias}{kind}{modifier}")
    assert (f.exponent_bits, f.mantissa_bits, f.is_signed, f.has_zero) == (4, 3, True, True)
    assert f.bias == (int(bias[1:]) if bias else 8 if kind == "fnuz" else 7)
    nan_codes = {"": 7, "fn": 1, "fnuz": 0, "f": 0}[kind]
    assert f.nan_codes == (3 if modifier == "_nan3" else nan_codes)
    has_inf = {"_inf": True, "_noinf": False}.get(modifier, kind == "")
    assert f.has_inf == has_inf
    assert f.has_neg_zero == {"_nz": True, "_nonz": False}.get(modifier, kind != "fnuz")
    assert f.has_subnormals == (modifier != "_nosub")
    assert lowp.format(f.name) == f


@pytest.mark.parametrize("name", P3109_NAMES)
def test_p3109_names_say_width_precision_signedness_and_domain(name: str) -> None:
    k, rest = name.removeprefix("p3109_k").split("p")
    width, precision = int(k), int(rest[:-2])
    is_signed, extended = rest[-2] == "s", rest[-1] == "e"
    exponent_bits = width - precision + (not is_signed)
    has_values = (1 << (width - is_signed)) - (not is_signed) - extended > 1
    if not has_values:
        with pytest.raises(ValueError, match="no finite value but zero"):
            lowp.format(name)
        return
    f = lowp.format(name)
    assert f.bits == width
    assert f.precision == precision
    assert f.bias == 2 ** (exponent_bits - 1)
    assert (f.is_signed, f.has_inf) == (is_signed, extended)
    assert (f.has_neg_zero, f.has_subnormals, f.has_zero) == (False, True, True)
    assert f.nan_codes == (0 if is_signed else 1)
    assert f.nan_code == (1 << (width - 1) if is_signed else (1 << width) - 1)
    assert lowp.format(f.name) == f


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "float16",
            {
                "exponent_bits": 5,
                "mantissa_bits": 10,
                "bias": 15,
                "has_inf": True,
                "nan_codes": 1023,
            },
        ),
        ("float8_e4m3fn", {"exponent_bits": 4, "mantissa_bits": 3, "bias": 7, "nan_codes": 1}),
        (
            "float8_e4m3b11fnuz",
            {"exponent_bits": 4, "mantissa_bits": 3, "bias": 11, "has_neg_zero": False},
        ),
        ("float4_e2m1fn", {"exponent_bits": 2, "mantissa_bits": 1, "bias": 1}),
        ("q3.4", {"exponent_bits": 0, "mantissa_bits": 7, "bias": -2, "is_twos_complement": True}),
        ("int8", {"exponent_bits": 0, "mantissa_bits": 7, "bias": -6, "is_twos_complement": True}),
        ("uint8", {"exponent_bits": 0, "mantissa_bits": 8, "bias": -7, "is_signed": False}),
        (
            "ue5m3",
            {
                "exponent_bits": 5,
                "mantissa_bits": 3,
                "bias": 15,
                "is_signed": False,
                "nan_codes": 1,
            },
        ),
        (
            "float8_e8m0fnu",
            {
                "exponent_bits": 8,
                "mantissa_bits": 0,
                "bias": 127,
                "is_signed": False,
                "nan_codes": 1,
                "has_subnormals": False,
                "has_zero": False,
            },
        ),
    ],
)
def test_names_mean_the_fields_of_the_standard(name: str, fields: dict[str, int]) -> None:
    assert lowp.format(name) == lowp.Format(**fields)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("half", "float16"), ("bf16", "bfloat16"), ("tf32", "tensorfloat32"), ("fp32", "float32")],
)
def test_aliases_are_understood_but_not_printed(alias: str, name: str) -> None:
    assert lowp.format(alias).name == name


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("float8_e4m3", None),
        ("float8_e4m3fnn", "float8_e4m3fn"),
        ("e4m3fnuzz", "float8_e4m3fnuz"),
        ("bloat16", "bfloat16"),
        ("float_16", "float16"),
        ("flot16", "float16"),
        ("int8 ", "int8"),
        ("FLOAT16", "float16"),
        ("fp4", "float4_e2m1fn"),
        ("FP8", "float8_e5m2"),
        ("float4", "float4_e2m1fn"),
    ],
)
def test_an_unknown_name_gives_the_nearest_names(wrong: str, near: str | None) -> None:
    if near is None:
        lowp.format(wrong)
        return
    with pytest.raises(ValueError, match="unknown format") as raised:
        lowp.format(wrong)
    assert wrong in str(raised.value)
    assert near in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "e",
        "e4",
        "e4m",
        "m3",
        "e4m3fnx",
        "e4m3fn_",
        "e4m3_nonan",
        "e4m3_nan",
        "e12m3",
        "e4m53",
        "e04m3",
        "e4m03",
        "e+4m3",
        "e4m3b",
        "e4m3b--1",
        "e4m3b99999",
        "ue4m3fn",
        "e0m3fn",
        "p3109_k8p3",
        "p3109_k8p9se",
        "p3109_k8p8se",
        "p3109_k8p0se",
        "p3109_k99p3se",
        "q3",
        "q3.",
        "q.3",
        "int0",
        "uint0",
        "int99",
        "float8_e4m3fn\0",
        "flöat16",
        "x" * 100_000,
    ],
)
def test_what_is_no_name_is_refused_with_a_short_message(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown format|lowp::format") as raised:
        lowp.format(name)
    assert len(str(raised.value)) < 500


@given(st.text(max_size=20))
@settings(max_examples=300)
def test_any_text_is_a_format_or_a_value_error(text: str) -> None:
    try:
        f = lowp.format(text)
    except ValueError:
        return
    assert lowp.format(f.name) == f


@pytest.mark.parametrize("no_name", [None, 8, 1.0, b"float16", ("e", 4), object()])
def test_what_is_no_string_is_a_type_error(no_name: object) -> None:
    with pytest.raises(TypeError, match="format must be a Format, a dtype or a name"):
        lowp.format(no_name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"exponent_bits": 12, "mantissa_bits": 3},
            "exponent_bits must be between 0 and 11; got 12",
        ),
        ({"exponent_bits": -1, "mantissa_bits": 3}, "exponent_bits"),
        (
            {"exponent_bits": 4, "mantissa_bits": 53},
            "mantissa_bits must be between 0 and 52; got 53",
        ),
        ({"exponent_bits": 4, "mantissa_bits": -1}, "mantissa_bits"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "bias": 5000}, "bias"),
        ({"exponent_bits": 0, "mantissa_bits": 0}, "at least one bit|no finite value"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "nan_codes": -1}, "nan_codes"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "nan_codes": 128}, "nan_codes"),
        ({"exponent_bits": 1, "mantissa_bits": 0, "nan_codes": 1}, "no finite value"),
        (
            {"exponent_bits": 4, "mantissa_bits": 3, "is_signed": False, "has_neg_zero": True},
            "no -0",
        ),
        ({"exponent_bits": 4, "mantissa_bits": 0, "has_zero": False}, "has_subnormals=false"),
        ({"exponent_bits": 0, "mantissa_bits": 3, "has_subnormals": False}, "fixed point"),
        ({"exponent_bits": 4, "mantissa_bits": 3, "is_twos_complement": True}, "two's complement"),
        ({"exponent_bits": 11, "mantissa_bits": 52}, "does not fit float64"),
        ({"exponent_bits": 11, "mantissa_bits": 3, "bias": 0}, "does not fit float64"),
        ({"exponent_bits": 8, "mantissa_bits": 3, "bias": 1100}, "does not fit float64"),
    ],
)
def test_contradicting_fields_are_refused_by_name(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lowp.Format(**fields)


def test_a_format_whose_special_codes_leave_only_what_decodes_to_zero_is_refused() -> None:
    # Field 0 holds zero alone (codes 0 to 3), the NaNs are codes 3 to 7: no positive value is left.
    with pytest.raises(ValueError, match="no finite value"):
        lowp.Format(exponent_bits=1, mantissa_bits=2, nan_codes=5, has_subnormals=False)


@pytest.mark.parametrize("name", ["ue1m1b1074f_nosub_nozero", "e2m1b1075f_nosub"])
def test_a_format_whose_smallest_normal_numbers_float64_lacks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="does not fit float64"):  # 1.5 * 2^-1074
        lowp.format(name)


@pytest.mark.parametrize("bias", [-1, 0, 1, 2, 3, 5, 60])
def test_twos_complement_of_any_bias_has_a_name_that_parses_back(bias: int) -> None:
    f = lowp.Format(exponent_bits=0, mantissa_bits=1, bias=bias, is_twos_complement=True)
    assert lowp.format(f.name) == f


def test_fields_have_names_and_no_order() -> None:
    with pytest.raises(TypeError):
        lowp.Format(4, 3)  # type: ignore[misc]
    with pytest.raises(TypeError):
        lowp.Format(exponent_bits=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        lowp.Format(exponent_bits=4, mantissa_bits=3, colour=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("field", [*describe(lowp.format("float16")), "max", "name", "something"])
def test_a_format_cannot_be_changed(field: str) -> None:
    f = lowp.format("float16")
    with pytest.raises(AttributeError):
        setattr(f, field, 1)
    with pytest.raises(AttributeError):
        delattr(f, field)
    assert f == lowp.format("float16")


def test_changing_the_dictionary_of_formats_changes_no_format() -> None:
    formats = lowp.formats()
    formats.clear()
    assert lowp.formats()["float16"] == lowp.format("float16")


@given(descriptors())
def test_a_format_is_hashable_picklable_and_copyable(f: lowp.Format) -> None:
    same = lowp.Format(**describe(f))
    assert hash(same) == hash(f)
    assert {f: 1}[same] == 1
    assert copy.copy(f) == copy.deepcopy(f) == f
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(f, protocol)) == f


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_oldest_pickle_protocols_work_or_raise_but_end_no_process(protocol: int) -> None:
    program = f"""
import lowp, pickle
f = lowp.format("float8_e4m3fn")
try:
    assert pickle.loads(pickle.dumps(f, {protocol})) == f
except (TypeError, pickle.PicklingError):
    pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:300]


@given(descriptors(), descriptors())
def test_formats_are_equal_where_all_fields_are(f: lowp.Format, g: lowp.Format) -> None:
    assert (f == g) == (describe(f) == describe(g))
    assert (f != g) == (describe(f) != describe(g))


@pytest.mark.parametrize("other", ["float16", None, 16, object()])
def test_a_format_equals_nothing_but_a_format(other: object) -> None:
    assert lowp.format("float16") != other
    assert not lowp.format("float16") == other  # noqa: SIM201


def test_the_registered_formats_have_distinct_hashes() -> None:
    assert len({hash(f) for f in lowp.formats().values()}) == len(lowp.formats())


# ---- dtypes and constructors -----------------------------------------------------------------


def test_a_dtype_is_the_format_of_its_name() -> None:
    for name in (*(n for n in REGISTERED if hasattr(ml_dtypes, n)), "float16", "float32", "int8"):
        scalar = getattr(ml_dtypes, name, None) or getattr(np, name)
        assert lowp.format(scalar) == lowp.format(np.dtype(scalar)) == lowp.format(name)
    assert lowp.format(np.dtype(">f2")) == lowp.format("float16")
    x = np.float32([0.3, 500])
    for verb in (lowp.quantize, lowp.encode, lowp.exp):
        want = verb(x, "float8_e4m3fn")
        assert np.array_equal(verb(x, ml_dtypes.float8_e4m3fn), want, equal_nan=True)
    assert lowp.decode(np.uint8([1]), ml_dtypes.float4_e2m1fn)[0] == 0.5
    assert lowp.array(x, np.float16).format == lowp.format("float16")
    fp4 = lowp.BlockFormat(ml_dtypes.float4_e2m1fn, np.dtype(ml_dtypes.float8_e8m0fnu))
    assert fp4 == lowp.block_format("mxfp4")


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.complex64, np.dtype("f4,f4")])
def test_a_dtype_that_is_no_format_is_refused_by_name(dtype: Any) -> None:
    with pytest.raises(ValueError, match=f'unknown format "{np.dtype(dtype).name}"'):
        lowp.format(dtype)


@pytest.mark.parametrize("kind", [float, int, bool, np.ndarray, np.float32(1)])
def test_other_types_are_no_formats(kind: Any) -> None:
    with pytest.raises(TypeError, match="must be a Format, a dtype or a name"):
        lowp.format(kind)


def test_what_a_constructor_does_not_take_is_shown() -> None:
    for call, message in (
        (lambda: lowp.Format(4, 5), r"integers, and other fields, all by name; got Format\(4, 5\)"),
        (lambda: lowp.Format(exponent_bits=4), r"got Format\(exponent_bits=4\)"),
        (lambda: lowp.Format(exponent_bits=4.5, mantissa_bits=3), r"Format\(exponent_bits=4\.5, m"),
        (lambda: lowp.Format(exponent_bits=4, mantisa_bits=3), "did you mean 'mantissa_bits'"),
        (lambda: lowp.quantize(1.0), r"takes x and format, .* got quantize\(1\.0\)"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_fields_alone_give_no_infinity_and_no_nan_and_ieee_names_do() -> None:
    fields = lowp.Format(exponent_bits=4, mantissa_bits=5)
    assert (fields.name, fields.max) == ("e4m5f", 504.0)
    ieee = lowp.Format(exponent_bits=4, mantissa_bits=5, has_inf=True, nan_codes=31)
    assert ieee == lowp.format("e4m5")


def test_modules_that_are_loaded_when_used_are_listed() -> None:
    assert {"files", "linalg", "matrices", "plot", "spec", "quantize"} <= set(dir(lowp))


def test_a_block_format_is_no_element_and_its_makers_are_named() -> None:
    with pytest.raises(ValueError, match=r'element: "mxfp4" is a block format; lowp\.block_format'):
        lowp.BlockFormat("mxfp4")


def test_dtypes_of_pytorch_are_formats() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for dtype, name in [
        (torch.bfloat16, "bfloat16"),
        (torch.float, "float32"),
        (torch.float8_e4m3fn, "float8_e4m3fn"),
    ]:
        assert lowp.format(dtype) == lowp.format(name)
