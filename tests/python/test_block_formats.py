"""Block formats as data: names, fields, presets, other libraries, and what is refused."""

from __future__ import annotations

import pickle
import re
from typing import Any

import lowp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

PRESETS = lowp.block_formats()

# Element, scale, shape, rule and second level of each: the table of blocks.md.
CONTENT = {
    "mxfp8_e4m3": ("float8_e4m3fn", "float8_e8m0fnu", 32, "floor", "none"),
    "mxfp8_e5m2": ("float8_e5m2", "float8_e8m0fnu", 32, "floor", "none"),
    "mxfp6_e3m2": ("float6_e3m2fn", "float8_e8m0fnu", 32, "floor", "none"),
    "mxfp6_e2m3": ("float6_e2m3fn", "float8_e8m0fnu", 32, "floor", "none"),
    "mxfp4": ("float4_e2m1fn", "float8_e8m0fnu", 32, "floor", "none"),
    "mxint8": ("q1.6", "float8_e8m0fnu", 32, "floor", "none"),
    "nvfp4": ("float4_e2m1fn", "float8_e4m3fn", 16, "amax", "tensor"),
    "nvfp4_16x16": ("float4_e2m1fn", "float8_e4m3fn", (16, 16), "amax", "tensor"),
    "nvfp4_four_six": ("float4_e2m1fn", "float8_e4m3fn", 16, "four_six", "tensor"),
    "fp4_ue5m3_16": ("float4_e2m1fn", "ue5m3", 16, "amax", "none"),
    "fp4_ue5m3_32": ("float4_e2m1fn", "ue5m3", 32, "amax", "none"),
    "deepseek_1x128": ("float8_e4m3fn", "float32", 128, "amax", "none"),
    "deepseek_128x128": ("float8_e4m3fn", "float32", (128, 128), "amax", "none"),
    "fp8_tensor": ("float8_e4m3fn", "float32", "tensor", "amax", "none"),
    "fp8_row": ("float8_e4m3fn", "float32", "row", "amax", "none"),
    "int8_row": ("int8", "float32", "row", "amax", "none"),
    "int4_128": ("int4", "bfloat16", 128, "amax", "none"),
    "nf4": (None, "float32", 64, "amax", "none"),
    "msfp12": ("e0m3", "float8_e8m0fnu", 16, "floor", "none"),
    "msfp16": ("e0m7", "float8_e8m0fnu", 16, "floor", "none"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_a_preset_is_what_its_source_says(name: str) -> None:
    element, scale, shape, rule, outer = CONTENT[name]
    f = lowp.block_format(name)
    if element is None:
        assert isinstance(f.element, np.ndarray)
        assert (len(f.element), f.element[0], f.element[7], f.element[-1]) == (16, -1, 0, 1)
    else:
        assert f.element == lowp.format(element)
    assert f.scale == lowp.format(scale)
    assert (f.shape, f.rule, f.fields["outer"]) == (shape, rule, outer)
    assert f.fields["rounding"] == f.fields["scale_rounding"] == "nearest_ties_to_even"
    assert (f.fields["nan"], f.fields["infinity"]) == ("block", "nan")
    assert lowp.block_format_sources()[name]


def test_every_preset_is_listed_once_and_has_a_source() -> None:
    assert list(PRESETS) == list(CONTENT) == list(lowp.block_format_sources())
    assert len(set(PRESETS.values())) == len(PRESETS)


def test_the_floor_of_deepseek_is_its_least_amax_over_m() -> None:
    f = lowp.block_format("deepseek_1x128")
    assert f.fields["min_scale"] == float(np.float32(1e-4) / np.float32(448))
    tiny = lowp.encode(np.full(128, 1e-9, np.float32), f)
    assert tiny.scale_values() == np.float32(1e-4) / np.float32(448)


@pytest.mark.parametrize("bits", [1, 3, 7, 12])
@pytest.mark.parametrize("k", [1, 16, 100])
def test_bfp_is_a_shared_exponent_of_sign_and_magnitude(bits: int, k: int) -> None:
    f = lowp.block_format(f"bfp_m{bits}_k{k}")
    assert (f.element, f.shape, f.rule) == (lowp.format(f"e0m{bits}"), k, "floor")
    assert f.element_bits == bits + 1
    assert lowp.block_format("bfp_m3_k16") == lowp.block_format("msfp12")


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTENT)
def test_a_name_leads_back_to_its_format(name: str) -> None:
    f = PRESETS[name]
    assert lowp.block_format(f.name) == f == lowp.block_format(f)
    assert f.name == str(f) == name
    assert repr(f) == f'lowp.block_format("{name}")'
    for compat in lowp.COMPATS:
        if compat == "microxcaling" and f.scale.name != "float8_e8m0fnu":
            with pytest.raises(ValueError, match="microxcaling has power-of-two scales"):
                lowp.block_format(name, compat=compat)
            continue
        g = lowp.block_format(name, compat=compat)
        assert lowp.block_format(g.name) == g == lowp.block_format(f"{name}/compat={compat}")
        assert g == f.replace(compat=compat)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("float4_e2m1fn", "mxfp4"),
        ("e2m1fn/32", "mxfp4"),
        ("mxfp4/16/float8_e4m3fn/amax/outer=tensor", "nvfp4"),
        ("nvfp4/16x16", "nvfp4_16x16"),
        ("nvfp4/1x16", "nvfp4"),
        ("mxfp4/rceil/floor", "mxfp4"),
        ("float8_e4m3fn/float32/amax/tensor", "fp8_tensor"),
        ("mxfp4/rounding=stochastic_a/rounding=nearest_ties_to_even", "mxfp4"),
        ("mxfp4/compat=ocp", "mxfp4"),
    ],
)
def test_parts_of_a_name_change_what_stands_before_them(text: str, same: str) -> None:
    assert lowp.block_format(text) == lowp.block_format(same)
    assert lowp.block_format(text).name == same


ANY_FIELD = {
    "rounding": "to_odd", "scale_rounding": "toward_positive", "random_bits": 7,
    "statistic": "mean_abs", "power_of_two": "ceil", "search": "shrink", "error_norm": "absolute",
    "gain": 1.25, "post_gain": 0.75, "outer": "tensor", "outer_fixed": 0.1, "outer_scale_max": 64.0,
    "outer_format": "float16", "nan": "element", "infinity": "number", "arithmetic": "torchao",
    "exponents": "logarithm", "zero_sign": "positive", "scale_saturation": "none",
    "zero_scale": 0.5, "min_scale": 1e-3, "max_scale": 1e3, "lowest_divisor": 1.5,
}  # fmt: skip


def plain(value: Any) -> Any:
    return value.name if isinstance(value, lowp.Format) else value


@pytest.mark.parametrize("field", ANY_FIELD)
def test_every_field_can_be_set_read_named_and_replaced(field: str) -> None:
    # A logarithm is of the power-of-two rules only.
    rule = "floor" if field == "exponents" else "amax"
    value, base = ANY_FIELD[field], lowp.block_format(f"fp4_ue5m3_16/{rule}")
    f = base.replace(**{field: value})
    assert plain(f.fields[field]) == value
    assert f == lowp.BlockFormat("float4_e2m1fn", "ue5m3", 16, rule, **{field: value})
    assert f == lowp.block_format(f"fp4_ue5m3_16/{rule}/{field}={value}")
    assert f == lowp.block_format(f.name)
    assert f != base
    assert hash(f) == hash(lowp.block_format(f.name))
    assert f.replace(**{field: plain(base.fields[field])}) == base
    assert {k: v for k, v in f.fields.items() if k != field} == {
        k: v for k, v in base.fields.items() if k != field
    }


def test_the_fields_are_these() -> None:
    assert set(lowp.block_format("mxfp4").fields) == set(ANY_FIELD)


@pytest.mark.parametrize("rule", lowp.SCALE_RULES)
def test_a_rule_is_known_by_its_name(rule: str) -> None:
    f = lowp.block_format(f"mxfp4/{rule}")
    assert f.rule == rule
    assert f == lowp.BlockFormat(rule=rule) == lowp.block_format("mxfp4").replace(rule=rule)


def test_what_no_name_stands_for_is_custom_or_fixed() -> None:
    assert lowp.BlockFormat(rule="amax", gain=1.1).rule == "custom"
    assert lowp.BlockFormat(rule=0.1).rule == "fixed"
    assert lowp.BlockFormat(rule=0.1) == lowp.block_format("mxfp4/fixed=0.1")


def test_element_and_shape_are_replaced_like_fields() -> None:
    f = lowp.block_format("mxfp4")
    assert f.replace(element="float8_e4m3fn") == PRESETS["mxfp8_e4m3"]
    assert f.replace(element=lowp.format("float8_e4m3fn")) == PRESETS["mxfp8_e4m3"]
    assert f.replace(scale="ue5m3", rule="amax", shape=16) == PRESETS["fp4_ue5m3_16"]
    for shape in (1, 7, (2, 3), (1, 5), "row", "column", "tensor"):
        want = 5 if shape == (1, 5) else shape
        assert f.replace(shape=shape).shape == want
    assert f.replace(shape=[4, 4]).shape == (4, 4)
    assert f.replace() == f
    assert f.replace(rule="mean_abs", gain=3.0).fields["gain"] == 3.0  # the rule is set first
    assert f.replace(gain=3.0, rule="mean_abs").fields["gain"] == 3.0


def test_a_codebook_is_a_list_of_values() -> None:
    f = lowp.BlockFormat([-1, -0.25, 0, 0.25, 1], "float32", 4, "amax")
    assert np.array_equal(f.element, [-1, -0.25, 0, 0.25, 1])
    assert (f.element_bits, f.element_max) == (3, 1.0)
    assert f.name == "{-1,-0.25,0,0.25,1}/4/float32/amax"
    assert lowp.block_format(f.name) == f
    assert f.replace(element=[-2.0, 0.0, 1.0]).element_max == 2.0
    assert f.replace(element="int4").element == lowp.format("int4")
    whole = lowp.BlockFormat(np.arange(-128, 128) / 7 // 2**-12 * 2**-12, "float32", 4, "amax")
    assert lowp.block_format(whole.name) == whole


@pytest.mark.parametrize("name", [*CONTENT, "mxfp4/compat=torchao", "{-1,0,1}/8/float16/amax"])
def test_formats_pickle_and_are_keys(name: str) -> None:
    f = lowp.block_format(name)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(f, protocol)) == f
    assert {f: 1}[lowp.block_format(name)] == 1
    assert f != name
    assert f != lowp.format("float4_e2m1fn")


def test_what_is_a_block_format_is_said() -> None:
    for block in (*CONTENT, "mxfp4/16", "bfp_m3_k16", "{-1,1}", "float4_e2m1fn/32", "a/b"):
        assert lowp.is_block_format(block)
    for other in ("float8_e4m3fn", "", "foo", None, 3, lowp.format("int8"), np.zeros(3)):
        assert not lowp.is_block_format(other)


# ---- other libraries' behaviour ---------------------------------------------------------------


def test_the_own_behaviour_is_that_of_no_other_library() -> None:
    for f in PRESETS.values():
        for compat in ("torchao", "te", "model_optimizer"):
            g = f.replace(compat=compat)
            assert g.fields["arithmetic"] != f.fields["arithmetic"] == "division"
            if f.scale.mantissa_bits == 0:
                assert g.replace(compat="ocp", rounding="nearest_ties_to_even") == f


def test_a_rule_that_a_library_has_not_is_replaced_by_its_own() -> None:
    for compat, rule in (
        ("microxcaling", "floor"), ("te", "rceil"), ("model_optimizer", "rceil"), ("ocp", "floor"),
    ):  # fmt: skip
        assert lowp.block_format("mxfp4/even", compat=compat).rule == rule
    for rule in ("floor", "ceil", "even", "rceil"):
        assert lowp.block_format(f"mxfp4/{rule}", compat="torchao").rule == rule


# ---- what is refused --------------------------------------------------------------------------

BAD_NAMES = {
    "mxfp5": "unknown block format \"mxfp5\"; known: mxfp8_e4m3 .* start with an element",
    "": "unknown block format \"\"",
    "mxfp4/foo": "\"foo\" is no part .* a shape .* a rule .*floor.* scale format",
    "mxfp4/": "\"\" is no part",
    "mxfp4/foo=1": "unknown key \"foo\".*known: .*rounding .*lowest_divisor",
    "mxfp4/rounding=up": "rounding must be one of nearest_ties_to_even .*; got \"up\"",
    "mxfp4/gain=big": "gain must be a number; got \"big\"",
    "mxfp4/gain=-1": "gain must be positive and finite; got -1",
    "mxfp4/gain=nan": "gain must be positive and finite; got nan",
    "mxfp4/post_gain=0": "post_gain must be positive",
    "mxfp4/fixed=0": "gain must be positive",
    "mxfp4/0": "at least one element; got \"0\"",
    "mxfp4/0x4": "at least one element; got \"0x4\"",
    "mxfp4/random_bits=33": "random_bits must be between 1 and 32",
    "mxfp4/compat=jax": "compat must be one of ocp .*; got \"jax\"",
    "mxfp4/int8": "scale must be a floating-point format",
    "mxfp4/min_scale=2/max_scale=1": "min_scale must be .* below max_scale",
    "mxfp4/outer_fixed=-1": "outer.fixed must be positive, or 0",
    "nvfp4/outer_scale_max=449": "outer.scale_max must be between 0 and",
    "nvfp4_16x16/outer=row": "an outer scale a row needs .* got 16",
    "mxfp4/statistic=none": "a fixed scale has no statistic",
    "{1,0}/4": "values must ascend",
    "{0}/4": "2 to 256 values; got 1",
    "{0,0.1}/4": "no float32 number",
    "{0,a}/4": "must be a number; got \"a\"",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_with_the_part_and_what_is_known(name: str) -> None:
    with pytest.raises(ValueError, match=BAD_NAMES[name]):
        lowp.block_format(name)


def test_a_format_of_the_wrong_type_is_refused() -> None:
    for wrong in (3, None, b"mxfp4", ["mxfp4"], lowp.format("int8")):
        with pytest.raises(
            TypeError, match="format must be a block format's name or a BlockFormat"
        ):
            lowp.block_format(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"compat must be one of .*; got jax"):
        lowp.block_format("mxfp4", compat="jax")


BAD_FIELDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"shape": 0}, ValueError, "at least one element along each axis; got shape 0"),
    ({"shape": -4}, ValueError, "at least one element"),
    ({"shape": (0, 4)}, ValueError, r"at least one element .* \(0, 4\)"),
    ({"shape": (1, 2, 3)}, ValueError, r"one or two numbers; got \(1, 2, 3\)"),
    ({"shape": True}, TypeError, "shape must be k, .*; got True"),
    ({"shape": 1.5}, TypeError, "shape must be k, .*; got 1.5"),
    ({"shape": "rows"}, ValueError, "shape must be k, .*; got 'rows'"),
    ({"shape": 10**30}, (ValueError, OverflowError), "shape|large"),
    ({"rule": "best"}, ValueError, 'unknown scale rule "best"; known: floor'),
    ({"rule": [1]}, TypeError, "rule must be a name or a fixed scale"),
    ({"rule": abs}, TypeError, "own rule pass scales="),
    ({"rule": -1.0}, ValueError, "must be positive and finite; got -1"),
    ({"rule": True}, TypeError, "rule must be a name or a fixed scale"),
    ({"element": None}, TypeError, "element must be a format, its name or a list"),
    ({"element": "nvfp4"}, ValueError, "element"),
    ({"element": []}, ValueError, "2 to 256 values; got 0"),
    ({"element": list(range(257))}, ValueError, "2 to 256 values; got 257"),
    ({"element": [[0.0, 1.0]]}, TypeError, "element must be"),
    ({"element": [0.0, float("nan")]}, ValueError, "finite float32"),
    ({"scale": "foo"}, ValueError, "foo"),
    ({"scale": 3}, TypeError, "format"),
    ({"rounding": None}, TypeError, "must be a string or a number"),
    ({"rounding": "up"}, ValueError, 'rounding must be one of .*; got "up"'),
    ({"random_bits": 2.5}, ValueError, "random_bits must be between 1 and 32"),
    ({"random_bits": 0}, ValueError, "random_bits must be between 1 and 32; got 0"),
    ({"colour": "red"}, TypeError, 'no field "colour"'),
    ({"outer": "tile"}, ValueError, 'outer must be one of none row tensor; got "tile"'),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "error", "text"), BAD_FIELDS, ids=lambda v: str(v)[:40])
def test_a_bad_field_is_refused_with_its_name(
    fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.compile(text, re.S)):
        lowp.BlockFormat(**fields)
    with pytest.raises(error, match=re.compile(text, re.S)):
        lowp.block_format("mxfp4").replace(**fields)


# ---- any format -------------------------------------------------------------------------------


@st.composite
def named_parts(draw: st.DrawFn) -> str:
    """Names as a user writes them: any order of parts."""
    head = draw(
        st.sampled_from([*CONTENT, "float6_e3m2fn", "e3m0", "int5", "bfp_m4_k8", "{-1,0,1}"])
    )
    parts = draw(
        st.lists(
            st.sampled_from(
                ["8", "3x5", "row", "tensor", "ue5m3", "float8_e8m0fnu", "bfloat16", "mse", "even",
                 "fixed=0.37", "gain=1.7", "rounding=to_odd", "compat=te", "compat=torchao",
                 "min_scale=1e-9", "zero_scale=1", "outer=tensor", "outer_format=bfloat16"]
            ),
            max_size=5,
        )
    )  # fmt: skip
    return "/".join([head, *parts])


@given(named_parts())
def test_any_name_is_refused_or_leads_to_a_format_whose_name_leads_back(name: str) -> None:
    try:
        f = lowp.block_format(name)
    except ValueError:
        return
    assert lowp.block_format(f.name) == f
    assert pickle.loads(pickle.dumps(f)) == f
    assert f.replace() == f
