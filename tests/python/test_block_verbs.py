"""The verbs on blocks of any array: shapes, axes, strides, dtypes, special values."""

from __future__ import annotations

import math
from typing import Any

import blocks_oracle as oracle
import lowp
import ml_dtypes
import numpy as np
import pytest
from samples import assert_same, assert_same_bits

Array = np.ndarray[Any, Any]

PRESETS = lowp.block_formats()
LINES = [name for name, f in PRESETS.items() if not isinstance(f.shape, tuple)]
FLOATS = (np.float32, np.float64)
bfloat16 = np.dtype(ml_dtypes.bfloat16)


def numbers(shape: Any, dtype: Any = np.float32, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=shape) * np.exp2(rng.integers(-9, 9, shape))).astype(dtype)


def assert_verbs_agree(x: Array, f: Any, axis: int = -1, **how: Any) -> Array:
    """quantize is decode of encode, packed or not, bit for bit; returns it."""
    y: Array = lowp.quantize(x, f, axis=axis, **how)
    for packed in (True, False) if lowp.block_format(f).element_bits <= 8 else (False,):
        tensor = lowp.encode(x, f, axis=axis, packed=packed, **how)
        assert_same(tensor.decode(), y, x, note=f"{f} packed={packed}")
        assert (tensor.shape, tensor.dtype, tensor.packed) == (x.shape, x.dtype, packed)
    return y


# ---- special values ---------------------------------------------------------------------------

SPECIAL = {
    "nan": [math.nan, 1, -2, 0, -0.0, 3],
    "+inf": [math.inf, 1, -2, 0, -0.0, 3],
    "-inf": [1, -math.inf, 2, 0, -0.0, 3],
    "nan and inf": [math.nan, math.inf, -math.inf, 0, -0.0, 1],
    "only nan": [math.nan] * 6,
    "only inf": [math.inf] * 6,
    "zero": [0.0] * 6,
    "minus zero": [-0.0] * 6,
    "zeros": [0.0, -0.0, 0, -0.0, 0, 0],
    "subnormal": ["small", "-small", 0, "3small", -0.0, "100small"],
    "largest": ["max", "-max", 0, 1, -0.0, "0.7max"],
    "largest everywhere": ["max"] * 6,
    "tiny": ["tiny", "-tiny", 0, "1.5tiny", -0.0, "0.3tiny"],
    "mixed": ["max", "-tiny", 0, "small", -0.0, -1],
}  # fmt: skip


def special_block(name: str, dtype: Any) -> Array:
    info = np.finfo(dtype)
    units = {"small": info.smallest_subnormal, "max": info.max, "tiny": info.tiny}

    def value(v: Any) -> float:
        if not isinstance(v, str):
            return float(v)
        unit = next(u for u in units if v.endswith(u))
        factor = v.removesuffix(unit)
        return float(units[unit]) * (-1.0 if factor == "-" else float(factor or 1))

    return np.array([value(v) for v in SPECIAL[name]], dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", PRESETS)
def test_special_blocks_are_what_the_edges_say(name: str, kind: str, dtype: Any) -> None:
    f, x = PRESETS[name], special_block(kind, dtype)
    if isinstance(f.shape, tuple):
        x = x.reshape(2, 3)
    y = lowp.quantize(x, f)
    if f.scale.has_nan:
        assert_verbs_agree(x, f)
    if not np.isfinite(x).all():
        assert np.isnan(y).all()
        return
    assert not np.isnan(y).any()
    assert (y[x == 0] == 0).all()
    if isinstance(f.element, lowp.Format) and f.element.has_neg_zero:
        assert np.array_equal(np.signbit(y), np.signbit(x))
    line = f if not isinstance(f.shape, tuple) else f.replace(shape=6)
    want = oracle.quantized_rows(x.reshape(1, -1), line)[1].reshape(x.shape)
    assert_same(y, want, x)
    # Elements saturate: only a scale near the carrier's end can make an infinity.
    if "max" not in SPECIAL[kind]:
        assert np.isfinite(y).all()


def test_only_integers_times_their_scale_leave_the_carrier() -> None:
    """MXINT8's -2 times 2^127, and 127 times a scale that was rounded up, are beyond float32."""
    found = set()
    for name, f in PRESETS.items():
        for dtype in FLOATS:
            blocks = [special_block(kind, dtype) for kind in SPECIAL if "max" in SPECIAL[kind]]
            y = [lowp.quantize(x.reshape(2, 3), f) for x in blocks]
            if not np.isfinite(y).all():
                found.add((name, np.dtype(dtype).name))
    assert found == {("mxint8", "float32"), ("int8_row", "float32")}


def test_a_bad_block_leaves_its_neighbours_alone() -> None:
    x = numbers((4, 96))
    for name in LINES:
        f = PRESETS[name].replace(shape=32)
        clean = lowp.quantize(x, f)
        for bad in (math.nan, math.inf, -math.inf):
            dirty = x.copy()
            dirty[1, 40] = bad
            y = lowp.quantize(dirty, f)
            assert np.isnan(y[1, 32:64]).all()
            y[1, 32:64] = clean[1, 32:64]
            if f.fields["outer"] == "none":
                assert_same_bits(y, clean)


def test_a_nan_alone_and_an_infinity_as_a_number() -> None:
    x = np.float32([1, math.nan, -3, 6, 0, 2, 5, 4])
    y = lowp.quantize(x, "mxfp8_e4m3/8/nan=element")
    assert np.isnan(y[1])
    rest = np.delete(y, 1)
    assert_same_bits(rest, lowp.quantize(np.delete(x, 1), "mxfp8_e4m3/8"))
    x[1] = -math.inf
    f = lowp.block_format("mxfp8_e4m3/8/infinity=number")
    tensor = lowp.encode(x, f)
    assert tensor.scales[0] == 255 - 8  # a number of exponent 128, less E4M3's emax
    assert tensor.element_codes()[1] == 0xFE  # the lowest
    assert lowp.quantize(x, f)[0] == 0
    narrow = lowp.block_format("fp4_ue5m3_16/8/infinity=number")
    assert lowp.encode(x, narrow).scale_values() == narrow.scale.max
    assert lowp.quantize(x, narrow)[1] == -6 * narrow.scale.max


def test_a_nan_that_no_code_can_hold_is_refused_by_encode_and_kept_by_quantize() -> None:
    x = np.float32([1, math.nan, 3, 4])
    f = lowp.block_format("float4_e2m1fn/4/ue4m3f/amax")
    assert not f.scale.has_nan
    assert np.isnan(lowp.quantize(x, f)).all()
    for g in (f, f.replace(nan="element"), lowp.block_format("mxfp4/nan=element")):
        with pytest.raises(ValueError, match=r"NaN.*no|neither"):
            lowp.encode(x, g)
    codes = lowp.encode(x, "mxfp4/nan=element", nan=5).element_codes()
    assert codes[1] == 5
    assert lowp.encode(x, "mxfp4/nan=element", nan=-6.0).element_codes()[1] == 15


def test_the_hint_of_a_lost_nan_names_a_field_that_exists() -> None:
    with pytest.raises(ValueError, match="infinity=number"):
        lowp.encode(np.float32([math.inf, 1]), "float4_e2m1fn/4/ue4m3f/amax")


# ---- shapes, axes, strides --------------------------------------------------------------------

SHAPES = [
    (),
    (0,),
    (1,),
    (31,),
    (32,),
    (33,),
    (100,),
    (0, 3),
    (3, 0),
    (5, 70),
    (3, 40, 7),
    (2, 3, 4, 5),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", PRESETS)
def test_encode_and_decode_give_what_quantize_gives_along_every_axis(name: str, dtype: Any) -> None:
    f = PRESETS[name]
    for shape in SHAPES:
        x = numbers(shape, dtype)
        if isinstance(f.shape, tuple):
            if len(shape) >= 2:
                assert_verbs_agree(x, f)
            continue
        last = assert_verbs_agree(x, f)
        for axis in range(-len(shape), len(shape)):
            y = assert_verbs_agree(x, f, axis)
            moved = lowp.quantize(np.ascontiguousarray(np.moveaxis(x, axis, -1)), f)
            assert_same_bits(y, np.ascontiguousarray(np.moveaxis(moved, -1, axis)))
            if axis in (-1, len(shape) - 1):
                assert_same_bits(y, last)


@pytest.mark.parametrize("rows", [1, 2, 16, 33])
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "fp8_row", "int4_128", "nf4"])
def test_a_short_last_block_is_a_block_of_fewer_elements(name: str, rows: int) -> None:
    f = PRESETS[name]
    width = f.shape if isinstance(f.shape, int) else 50
    x = numbers((rows, 2 * width + 5))
    y = lowp.quantize(x, f.replace(outer="none"))
    for start in range(0, x.shape[1], width) if isinstance(f.shape, int) else ():
        part = lowp.quantize(
            np.ascontiguousarray(x[:, start : start + width]), f.replace(outer="none")
        )
        assert_same_bits(np.ascontiguousarray(y[:, start : start + width]), part)
    padded = np.pad(x, ((0, 0), (0, width - 5)))
    assert_same_bits(
        np.ascontiguousarray(lowp.quantize(padded, f)[:, : x.shape[1]]), lowp.quantize(x, f)
    )


VIEWS = {
    "reversed": lambda a: a[::-1],
    "backwards": lambda a: a[:, ::-1],
    "transposed": lambda a: a.T,
    "strided": lambda a: a[::2, 1::3],
    "fortran": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[0], (5, a.shape[1])),
    "column": lambda a: a[:, 1],
    "scalar": lambda a: a[2, 3].reshape(()),
    "three": lambda a: a.reshape(6, 8, 10).swapaxes(0, 2)[::-2],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, bfloat16, ">f4", ">f8", ">f2"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "float8_e4m3fn/7/float32/amax"])
def test_any_strides_and_dtype_give_what_a_plain_copy_gives(
    name: str, view: str, dtype: Any
) -> None:
    x = VIEWS[view](numbers((6, 80)).astype(dtype))
    carrier = np.float64 if np.dtype(dtype).itemsize == 8 else np.float32
    plain = np.array(np.asarray(x).astype(carrier), order="C")
    want = lowp.quantize(plain, name)
    y = lowp.quantize(x, name)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    assert_same(np.asarray(y).astype(carrier), want.astype(dtype).astype(carrier))
    tensor = lowp.encode(x, name)
    assert np.array_equal(tensor.codes, lowp.encode(plain, name).codes)
    assert tensor.decode().dtype == x.dtype
    assert_same(tensor.decode(carrier), want)


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "fp8_tensor", "nvfp4_16x16", "nf4", "msfp12/7"])
def test_results_can_go_to_the_input_itself_or_to_any_array(name: str) -> None:
    for dtype in (*FLOATS, np.float16, bfloat16):
        x = numbers((40, 70)).astype(dtype)
        want = lowp.quantize(x, name)
        same = x.copy()
        assert lowp.quantize(same, name, out=same) is same
        assert_same_bits(same, want)
        strided = np.zeros((40, 140), dtype)[:, ::2]
        assert lowp.quantize(x, name, out=strided) is strided
        assert np.array_equal(strided, want)
        shared = np.concatenate([x.ravel(), np.zeros(70, dtype)])
        after = shared[70:].reshape(40, 70)  # overlaps the input, one row on
        lowp.quantize(shared[:2800].reshape(40, 70), name, out=after)
        assert np.array_equal(after, want)
        decoded = np.zeros((40, 140), dtype)[:, ::2]
        tensor = lowp.encode(x, name)
        assert tensor.decode(out=decoded) is decoded
        assert np.array_equal(decoded, want)
        assert np.array_equal(lowp.decode(tensor, out=np.empty((40, 70), dtype)), want)


def test_scalars_and_lists_are_blocks_of_their_own() -> None:
    for name in LINES:
        want = float(lowp.quantize(np.array([1.3]), name)[0])
        got = lowp.quantize(1.3, name)
        assert type(got) is float
        assert got == want
        assert type(lowp.quantize(np.float32(1.3), name)) is np.float32
        assert lowp.encode(1.3, name).decode() == want
    assert_same(lowp.quantize([1.3, 2.7], "mxfp4"), lowp.quantize(np.array([1.3, 2.7]), "mxfp4"))
    for wrong in ([1, 2], 1, None, "x", np.arange(4), np.zeros(3, bool), np.zeros(3, complex)):
        for verb in (lowp.quantize, lowp.encode):
            with pytest.raises(TypeError, match="x must"):
                verb(wrong, "mxfp4")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="masked"):
        lowp.quantize(np.ma.masked_array([1.0]), "mxfp4")


# ---- tiles, axes, and one block alone ---------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(32, 48), (33, 50), (16, 16), (7, 5), (128, 300)])
def test_square_tiles_and_whole_tensors_commute_with_transposition(
    shape: tuple[int, int], dtype: Any
) -> None:
    w = numbers(shape, dtype)
    for name in ("nvfp4_16x16", "deepseek_128x128", "mxfp4/4x4", "fp8_tensor", "mxfp8_e4m3/7x7"):
        assert_same_bits(np.ascontiguousarray(lowp.quantize(w, name).T), lowp.quantize(w.T, name))
    for name in ("mxfp4", "nvfp4", "fp8_row", "nf4"):
        along = lowp.quantize(w, name, axis=0)
        assert_same_bits(np.ascontiguousarray(along.T), lowp.quantize(w.T, name))
    columns = lowp.quantize(w, "float8_e4m3fn/column/float32/amax")
    assert_same_bits(columns, lowp.quantize(w, "fp8_row", axis=0))


@pytest.mark.parametrize("rule", ["floor", "amax", "mse", "mean_abs", "std", "four_six"])
@pytest.mark.parametrize("tile", [(4, 8), (16, 16), (3, 5), (64, 1)])
def test_a_tile_is_a_block_of_its_elements(tile: tuple[int, int], rule: str) -> None:
    x = np.round(numbers((40, 33)) * 16) / 16  # sums are exact in any order
    f = lowp.BlockFormat("float4_e2m1fn", "float8_e4m3fn", tile, rule)
    y = assert_verbs_agree(x, f)
    for i in range(0, 40, tile[0]):
        for j in range(0, 33, tile[1]):
            at = np.s_[i : i + tile[0], j : j + tile[1]]
            alone = lowp.quantize(x[at].reshape(-1), f.replace(shape="row"))
            assert_same_bits(np.ascontiguousarray(y[at]).ravel(), alone)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in LINES if n != "nf4"])
def test_a_block_is_scalars_with_its_scale(name: str, dtype: Any) -> None:
    f, x = PRESETS[name], numbers((3, 64), dtype)
    tensor = lowp.encode(x, f)
    scales = tensor.scale_values().astype(dtype)
    if tensor.outer_scale.size:
        scales = scales * tensor.outer_scale.astype(dtype)
    each = np.ones_like(x)
    for i, block in enumerate(lowp.blocks_of(np.arange(x.size).reshape(x.shape) + 1.0, f)):
        places = block[block > 0].astype(int) - 1
        each.reshape(-1)[places] = scales.reshape(-1)[i]
    unit = lowp.quantize(x / each, f.element, saturation="finite")
    assert_same_bits(lowp.quantize(x, f), unit * each)
    assert np.array_equal(
        tensor.element_codes(), lowp.encode(x / each, f.element, saturation="finite")
    )
