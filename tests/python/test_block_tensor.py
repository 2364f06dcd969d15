"""BlockTensor, given scales, delayed scaling: every code comes back; refusals say why."""

from __future__ import annotations

import copy
import math
from typing import Any

import lowp
import numpy as np
import pytest
from samples import all_codes, assert_same, assert_same_bits

Array = np.ndarray[Any, Any]

ELEMENTS = ("float8_e4m3fn", "float8_e5m2", "float6_e3m2fn", "float6_e2m3fn", "float4_e2m1fn",
            "q1.6", "int4", "e0m3", "e3m0")  # fmt: skip


def tensor_of(codes: Array, scales: Array, name: str, **more: Any) -> lowp.BlockTensor:
    given: dict[str, Any] = {"outer_scale": [], "shape": codes.shape, "packed": False} | more
    return lowp.BlockTensor(name, codes.reshape(-1), scales, **given)


# ---- every code -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", ["float8_e8m0fnu", "float8_e4m3fn", "ue5m3"])
@pytest.mark.parametrize("element", ELEMENTS)
def test_every_code_under_every_scale_is_their_product(
    element: str, scale: str, dtype: Any
) -> None:
    of_element, of_scale = lowp.format(element), lowp.format(scale)
    codes, scales = all_codes(of_element), all_codes(of_scale)
    f = lowp.block_format(f"{element}/{len(codes)}/{scale}/amax")
    grid = np.broadcast_to(codes, (len(scales), len(codes)))
    tensor = tensor_of(grid, scales, f.name, dtype=dtype)
    values = lowp.decode(codes, element, dtype=dtype)
    totals = lowp.decode(scales, scale, dtype=dtype)[:, None]
    with np.errstate(all="ignore"):
        want = values * totals
    want[np.isnan(totals[:, 0])] = np.nan
    assert_same(tensor.decode(), want)
    packed = tensor_of(np.concatenate([lowp.pack(row, of_element.bits) for row in grid]), scales,
                       f.name, dtype=dtype, packed=True, shape=grid.shape)  # fmt: skip
    assert_same_bits(packed.decode(), tensor.decode())
    assert np.array_equal(packed.element_codes(), grid)
    # Encoded with the same scales, codes come back, where products are neither large nor tiny.
    numbers = np.isfinite(values)
    usable = np.isfinite(want[:, numbers]).all(1) & (totals[:, 0] > 0)
    back = lowp.encode(want[usable][:, numbers], f.replace(shape=int(numbers.sum())),
                       scales=totals[usable].astype(np.float64))  # fmt: skip
    assert np.array_equal(back.scales[:, 0], scales[usable])
    fits = np.abs(want[usable][:, numbers]) >= np.finfo(dtype).tiny
    expected = np.broadcast_to(codes[numbers], fits.shape)
    assert np.array_equal(back.element_codes()[fits], expected[fits])


@pytest.mark.parametrize("name", lowp.block_formats())
def test_encode_inverts_decode_for_all_that_decode_gives(name: str) -> None:
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(64, 96)) * np.exp2(rng.integers(-9, 9, (64, 96)))).astype(np.float32)
    tensor = lowp.encode(x, name)
    f = tensor.format
    if tensor.outer_scale.size:
        f = f.replace(outer_fixed=float(tensor.outer_scale[0]))
    outer = tensor.outer_scale[0] if tensor.outer_scale.size else 1.0
    again = lowp.encode(tensor.decode(), f, scales=tensor.scale_values() * outer)
    assert np.array_equal(again.scales, tensor.scales)
    assert np.array_equal(again.codes, tensor.codes)


# ---- packing ----------------------------------------------------------------------------------


def test_the_low_nibble_is_the_even_element() -> None:
    x = np.float32([0.5, 1, 1.5, 2, 3, 4, 6, -0.5])
    tensor = lowp.encode(x, "mxfp4/8")
    assert tensor.element_codes().tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert tensor.codes.tolist() == [0x21, 0x43, 0x65, 0x97]
    assert tensor.scales.tolist() == [127]


@pytest.mark.parametrize("shape", [(3, 5), (7,), (2, 3, 9), (4, 8), (1, 1)])
@pytest.mark.parametrize("name", ["mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "bfp_m2_k16", "{-1,0,1}/4"])
def test_each_line_of_packed_codes_ends_at_a_whole_byte(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    loose, packed = lowp.encode(x, name, packed=False), lowp.encode(x, name)
    bits = packed.format.element_bits
    lines = loose.element_codes().reshape(-1, shape[-1])
    assert np.array_equal(packed.codes, np.concatenate([lowp.pack(row, bits) for row in lines]))
    assert np.array_equal(packed.element_codes(), loose.element_codes())
    assert packed.nbytes == packed.codes.size + packed.scales.size


def test_wide_elements_and_scales_are_little_endian_integers() -> None:
    x = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    tensor = lowp.encode(x, "float16/8/bfloat16/fixed=1")
    assert (tensor.packed, tensor.scales.dtype) == (False, np.uint16)
    assert np.array_equal(tensor.codes.view("<f2").reshape(4, 8), x.astype(np.float16))
    assert (tensor.scales == 0x3F80).all()
    bytes_of_scales = tensor.scales.astype("<u2").view(np.uint8)
    same = tensor_of(tensor.codes, bytes_of_scales, str(tensor.format), shape=(4, 8))
    assert same == tensor
    with pytest.raises(ValueError, match="up to 8 bits; got 16"):
        lowp.encode(x, "float16/8", packed=True)


# ---- parts, sizes, equality -------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mxfp4/4", "nvfp4/4", "mxfp4/2x4", "fp8_row", "fp8_tensor",
                                  "nvfp4/4/outer=row", "mxfp6_e2m3/4"])  # fmt: skip
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_a_part_of_whole_blocks_is_a_tensor(name: str, axis: int, packed: bool) -> None:
    x = np.random.default_rng(4).normal(size=(6, 8, 10)).astype(np.float32)
    f = lowp.block_format(name)
    if isinstance(f.shape, tuple) and axis != -1:
        return
    tensor, y = lowp.encode(x, f, axis=axis, packed=packed), lowp.quantize(x, f, axis=axis)
    width = [6, 8, 10] if f.shape == "tensor" else [1, 1, 1]
    if isinstance(f.shape, tuple):
        width[-2:] = f.shape
    elif f.shape != "tensor":
        width[axis] = f.shape if isinstance(f.shape, int) else x.shape[axis]
    keys: list[Any] = [np.s_[:], np.s_[: width[0]]]
    keys += [np.s_[:, width[1] :], np.s_[:, :, 0 : width[2]], np.s_[:0], np.s_[-6:, -8:, -10:]]
    for key in keys:
        part = tensor[key]
        assert part.shape == y[key].shape
        assert_same_bits(part.decode(), np.ascontiguousarray(y[key]))
    if max(width) > 1:
        at = width.index(max(width))
        with pytest.raises(ValueError, match=f"axis {at} has blocks of {width[at]}.* got 1:"):
            tensor[(np.s_[:],) * at + (np.s_[1:],)]
    for key in (0, None, ..., (np.s_[:],) * 4, np.array([1])):
        with pytest.raises(TypeError, match="slices"):
            tensor[key]


def test_tensors_are_equal_if_all_of_them_is() -> None:
    x = np.random.default_rng(5).normal(size=(2, 32)).astype(np.float32)
    a = lowp.encode(x, "nvfp4")
    assert a == lowp.encode(x, "nvfp4", axis=1) == copy.deepcopy(a)
    for b in (lowp.encode(x * 2, "nvfp4"), lowp.encode(x, "mxfp4"), lowp.encode(x, "nvfp4", axis=0),
              lowp.encode(x, "nvfp4", packed=False), lowp.encode(x[:1], "nvfp4"), 3):  # fmt: skip
        assert a != b
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)
    assert "(2, 32) in nvfp4" in repr(a)


def test_bits_per_value_count_scales_of_both_levels() -> None:
    x = np.ones((4, 64), np.float32)
    assert lowp.encode(x, "mxfp4").bits_per_value == 4 + 8 / 32
    assert lowp.encode(x, "nvfp4").bits_per_value == 4 + 8 / 16 + 32 / 256
    assert lowp.encode(x, "mxfp6_e2m3").nbytes == 256 * 6 // 8 + 8
    assert math.isnan(lowp.encode(x[:0], "mxfp4").bits_per_value)


# ---- what is refused --------------------------------------------------------------------------

CODES, SCALES = np.zeros(64, np.uint8), np.full((2, 1), 127, np.uint8)
BAD_PARTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"codes": CODES[:-1]}, ValueError, r"shape \(2, 32\) in mxfp4 take 64 bytes; got 63"),
    ({"codes": CODES[:32]}, ValueError, "take 64 bytes; got 32"),
    ({"codes": CODES * 1.5}, TypeError, "codes must be uint8; got float64"),
    ({"codes": CODES.astype(np.int64) + 300}, TypeError, "codes must be uint8; got int64"),
    ({"scales": SCALES[:1]}, ValueError, r"scales must have shape \(2, 1\); got \(1, 1\)"),
    ({"scales": SCALES * 1.5}, TypeError, "scales must be uint8; got float64"),
    ({"scales": [127, 128]}, TypeError, "scales must be uint8; got int64"),
    ({"scales": SCALES.astype(np.uint16)}, TypeError, "scales must be uint8; got uint16"),
    ({"outer_scale": [1.0]}, ValueError, "mxfp4 has 0 outer scales; got 1"),
    ({"format": "nvfp4/32"}, ValueError, "has 1 outer scales; got 0"),
    ({"format": "nvfp4/32", "outer_scale": [1, 2]}, ValueError, "has 1 outer scales; got 2"),
    ({"format": "nvfp4/32/outer=row", "outer_scale": [1, 2, 3]}, ValueError, "has 2 .* got 3"),
    ({"format": "mxfp5"}, ValueError, "unknown block format"),
    ({"shape": (-2, -32)}, ValueError, "no negative length"),
    ({"shape": (2, 33)}, ValueError, "must have shape|take 66"),
    ({"axis": 2}, ValueError, "axis must be between -2 and 1; got 2"),
    ({"axis": True}, TypeError, "axis must be an integer; got True"),
]


@pytest.mark.parametrize(("parts", "error", "text"), BAD_PARTS, ids=lambda v: str(v)[:30])
def test_parts_that_do_not_fit_are_refused(
    parts: dict[str, Any], error: type[Exception], text: str
) -> None:
    good: dict[str, Any] = {"format": "mxfp4", "codes": CODES, "scales": SCALES, "outer_scale": [],
                            "shape": (2, 32), "packed": False}  # fmt: skip
    lowp.BlockTensor(**good).decode()
    with pytest.raises(error, match=text):
        lowp.BlockTensor(**(good | parts))


def test_edited_codes_and_scales_with_bits_too_high_are_refused() -> None:
    x = np.random.default_rng(6).normal(size=(4, 64)).astype(np.float32)
    tensor = lowp.encode(x, "mxfp4", packed=False)
    tensor.codes[77] = 16
    with pytest.raises(ValueError, match="a code has bits above its format's"):
        tensor.decode()
    narrow = lowp.encode(x, "float4_e2m1fn/32/ue3m2/amax")
    narrow.scales[1, 0] |= 0x20
    with pytest.raises(ValueError, match="a scale has bits above its format's"):
        narrow.decode()
    book = lowp.encode(x, "{-1,0,1}/32", packed=False)
    book.codes[5] = 3  # two bits, but no value: NaN
    assert np.flatnonzero(np.isnan(book.decode())).tolist() == [5]
    for outer in (math.nan, math.inf, -1.0):
        level = lowp.encode(x, "nvfp4")
        level.outer_scale[0] = outer
        with pytest.raises(ValueError, match=r"outer scales given must be finite and positive"):
            level.decode()


@pytest.mark.parametrize("verb", [lowp.quantize, lowp.encode])
def test_bad_arguments_are_refused(verb: Any) -> None:
    x = np.ones((2, 32), np.float32)
    bad: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"axis": 2}, ValueError, "axis must be between -2 and 1; got 2"),
        ({"axis": -3}, ValueError, "axis must be between -2 and 1; got -3"),
        ({"axis": True}, TypeError, "axis must be an integer; got True"),
        ({"axis": "0"}, TypeError, "axis must be an integer; got '0'"),
        ({"axis": None}, TypeError, "axis must be an integer; got None"),
        ({"axis": 1.0}, TypeError, "axis must be an integer; got 1.0"),
        ({"saturation": "none"}, ValueError, "must be None or 'finite'; got 'none'"),
        ({"saturation": "propagate"}, ValueError, "must be None or 'finite'"),
        ({"rounding": "up"}, ValueError, "rounding must be one of"),
        ({"random_bits": 33}, ValueError, "random_bits must be between 1 and 32; got 33"),
        ({"generator": "mt"}, ValueError, "generator must be one of"),
        ({"seed": -1}, ValueError, "seed must be between 0"),
        ({"stream": 2**64}, ValueError, "stream must be between 0"),
        ({"threads": -1}, ValueError, "threads must be between 0"),
        ({"rounding": "stochastic_a", "random": [1]}, ValueError, "random must have the shape"),
        ({"scales": np.ones(3)}, ValueError, r"a block, shape \(2, 1\); got shape \(3,\)"),
        ({"scales": 1.0}, ValueError, r"one entry a block, shape \(2, 1\); got shape \(\)"),
        ({"scales": [[1], [-1]]}, ValueError, "must be finite and not negative; got -1"),
        ({"scales": [[1], [math.nan]]}, ValueError, "must be finite and not negative; got nan"),
        ({"scales": [[1], [math.inf]]}, ValueError, "must be finite and not negative; got inf"),
        ({"scales": lambda b: b.max()}, ValueError, "one entry a block"),
        ({"out": np.empty(3)}, ValueError, "out"),
    ]  # fmt: skip
    for how, error, text in bad:
        with pytest.raises(error, match=text):
            verb(x, "mxfp4", **how)
    assert verb(x, "mxfp4", saturation="finite") is not None
    for name, text in (
        ("float4_e2m1fn/32/e11m52/amax", "float32 does not hold every value .* use float64"),
        ("e11m20/32", "float32 does not hold"),
        ("nvfp4/outer_format=float64", "float32 does not hold"),
    ):
        with pytest.raises(ValueError, match=text):
            verb(x, name)
        assert verb(x.astype(np.float64), name) is not None
    for shape, axis in (((32,), -1), ((2, 32), 0), ((2, 3, 4), 1)):
        with pytest.raises(ValueError, match=r"tiles of 16 by 16 .* the last two axes"):
            verb(np.ones(shape), "nvfp4_16x16", axis=axis)
    for name in ("scales", "packed")[: 1 + (verb is lowp.encode)]:
        with pytest.raises(ValueError, match="of block formats"):
            verb(x, "float8_e4m3fn", **{name: [1.0]})


def test_decode_wants_what_it_decodes() -> None:
    tensor = lowp.encode(np.ones(32, np.float32), "mxfp4")
    with pytest.raises(ValueError, match="the tensor is in mxfp4, not in nvfp4"):
        lowp.decode(tensor, "nvfp4")
    with pytest.raises(TypeError, match="only a BlockTensor knows its own"):
        lowp.decode(np.zeros(3, np.uint8), "mxfp4")
    with pytest.raises(TypeError, match="format must be that of the codes"):
        lowp.decode(np.zeros(3, np.uint8))
    with pytest.raises(TypeError, match="dtype"):
        tensor.decode(np.int32)
    with pytest.raises(ValueError, match="out must have shape"):
        tensor.decode(out=np.empty(31, np.float32))
    with pytest.raises(TypeError, match="float16 or bfloat16"):
        lowp.decode(tensor, dtype=np.int8)
    with pytest.raises(ValueError, match="float16 does not hold every element"):
        lowp.quantize(np.ones(3, np.float16), "bfloat16/32")


# ---- given scales -----------------------------------------------------------------------------


def test_given_scales_take_the_rules_place_and_are_rounded() -> None:
    x = np.random.default_rng(7).normal(size=(4, 64)).astype(np.float32)
    for name in ("mxfp4", "nvfp4", "fp4_ue5m3_16", "fp8_row", "mxfp4/2x8", "nvfp4/outer=row"):
        own = lowp.encode(x, name)
        outer = own.outer_scale.reshape(-1, 1) if own.outer_scale.size else np.ones((1, 1))
        whole = own.scale_values() * outer
        assert lowp.encode(x, name, scales=whole) == own
        assert_same_bits(lowp.quantize(x, name, scales=whole), own.decode())
        seen: list[Array] = []

        def rule(blocks: Array, seen: list[Array] = seen) -> Array:
            seen.append(blocks)
            return np.abs(blocks).max(1) / 5

        got = lowp.encode(x, name, scales=rule)
        assert np.array_equal(seen[0], lowp.blocks_of(x, name))
        ideal = (np.abs(seen[0]).max(1) / np.float32(5)).reshape(own.scales.shape)
        ideal = (ideal / outer.astype(np.float32)).astype(np.float64).ravel()
        want = lowp.quantize(ideal, own.format.scale, saturation="finite")
        assert_same(got.scale_values().ravel(), want.astype(np.float64))
        assert_same_bits(lowp.quantize(x, name, scales=rule), got.decode())


def test_given_scales_follow_the_axis_and_bad_blocks_stay_bad() -> None:
    x = np.random.default_rng(8).normal(size=(64, 6)).astype(np.float32)
    x[3, 2] = np.nan
    scales = np.exp2(np.arange(12.0) - 6).reshape(2, 6)
    tensor = lowp.encode(x, "mxfp4", axis=0, scales=scales)
    want = scales.copy()
    want[0, 2] = np.nan
    assert_same(tensor.scale_values(), want)
    assert np.isnan(tensor.decode()[:32, 2]).all()
    with pytest.raises(ValueError, match=r"shape \(2, 6\); got shape \(6,\)"):
        lowp.encode(x, "mxfp4", axis=0, scales=scales[0])


# ---- delayed scaling --------------------------------------------------------------------------


class Model:
    """Transformer Engine's delayed scaling, as its documentation tells it."""

    def __init__(self, top: float, length: int, margin: int, take: str) -> None:
        self.top, self.margin, self.take = top, margin, take
        self.history, self.scale = [0.0] * length, 1.0

    def observe(self, amax: float) -> None:
        self.history = [amax, *self.history[:-1]]
        chosen = amax if self.take == "most_recent" else float(np.max(self.history))
        if 0 < chosen < math.inf:
            quotient = np.float32(np.float64(chosen) / self.top)
            limits = np.finfo(np.float32)
            self.scale = float(np.clip(np.ldexp(quotient, self.margin), limits.tiny, limits.max))


@pytest.mark.parametrize("take", ["max", "most_recent"])
@pytest.mark.parametrize(
    ("length", "margin"), [(1, 0), (3, 0), (16, 2), (1024, -3), (2, 500), (2, -500)]
)
def test_delayed_scaling_is_its_model(length: int, margin: int, take: str) -> None:
    rng = np.random.default_rng(9)
    amaxes = np.exp(rng.normal(size=200) * 4).astype(np.float32)
    amaxes[rng.integers(0, 200, 30)] = rng.choice(np.float32([0, np.inf, np.nan, 1e-45, 3e38]), 30)
    model = Model(448, length, margin, take)
    scaling = lowp.DelayedScaling(448, history=length, margin=margin, take=take)
    assert scaling.scale == 1
    for amax in amaxes.tolist():
        model.observe(amax)
        scaling.observe(amax)
        assert scaling.scale == model.scale
        assert np.array_equal(scaling.history, np.float32(model.history), equal_nan=True)
    other = lowp.DelayedScaling(448, history=length, margin=margin, take=take)
    other.restore(scaling.history, scaling.scale)
    for amax in (3.0, 5.0, 0.0):
        scaling.observe(amax)
        other.observe(amax)
        assert scaling.scale == other.scale


def test_delayed_scales_are_fixed_scales() -> None:
    scaling = lowp.DelayedScaling(448)
    scaling.observe(12.5)
    x = np.random.default_rng(10).normal(size=64).astype(np.float32)
    f = lowp.BlockFormat("float8_e4m3fn", "float32", "tensor", scaling.scale)
    unit = lowp.quantize(x / np.float32(scaling.scale), "float8_e4m3fn", saturation="finite")
    assert_same_bits(lowp.quantize(x, f), unit * np.float32(scaling.scale))
    for wrong, text in (
        ({"max": 0}, "max must be positive and finite; got 0"),
        ({"max": math.nan}, "max must be positive and finite; got nan"),
        ({"max": 448, "history": 0}, "history must be at least 1; got 0"),
        ({"max": 448, "take": "min"}, "take must be one of max most_recent"),
    ):
        with pytest.raises(ValueError, match=text):
            lowp.DelayedScaling(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="history must have 1024 entries; got 1"):
        scaling.restore([1.0], 1.0)
