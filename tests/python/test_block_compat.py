"""Other libraries' own results, bit for bit: tests/data/blocks/README.md says how they were made.

Where lowp differs on purpose, a test computes which entries that must be, and nothing else may.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest

Array = np.ndarray[Any, Any]

DATA = Path(__file__).resolve().parents[1] / "data" / "blocks"
INPUTS = ("normal", "scales", "laplace", "student", "edges", "powers", "maxima")
DESIGNED = INPUTS[4:]  # lists of blocks: each row is a tensor of its own
E8M0_NAN = 255
FLOAT_MAX = np.float32(np.finfo(np.float32).max)


def load(name: str) -> dict[str, Array]:
    with np.load(DATA / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


X = load("inputs")
TORCHAO, MODELOPT, MICROXCALING = load("torchao"), load("modelopt"), load("microxcaling")
TE, TE_MXFP8 = load("transformer_engine"), load("te_mxfp8_formulas")


def nibbles(packed: Array) -> Array:
    """E2M1 codes of packed bytes, the low nibble first."""
    return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)


def same(a: Array, b: Array) -> Array:
    """Equal values with equal signs of zero; any NaN equals any NaN."""
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def rows_of(name: str, *words: str) -> Array:
    """The rows of `edges` of these names, as a mask; none of the other inputs."""
    if name != "edges":
        return np.zeros(len(X[name]), bool)
    return np.isin(X["edges_names"], words)


def assert_differ_only(got: Array, want: Array, where: Array, note: str) -> None:
    """got and want differ exactly in the rows or entries of `where`."""
    where = where.reshape(where.shape + (1,) * (got.ndim - where.ndim))
    differ = ~same(got, want)
    wrong = differ != (where & differ if where.shape != got.shape else where)
    assert not wrong.any(), (note, np.argwhere(wrong)[:5].tolist(), int(wrong.sum()))
    if where.shape != got.shape:
        rows = differ.reshape(len(differ), -1).any(1)
        assert np.array_equal(rows, where.reshape(-1)), (note, np.flatnonzero(rows).tolist())


class Result:
    """What lowp makes of an input; row by row where each row is a tensor of its own."""

    def __init__(self, x: Array, f: lowp.BlockFormat, by_row: bool = False) -> None:
        parts = [x[i : i + 1] for i in range(len(x))] if by_row else [x]
        tensors = [lowp.encode(part, f, nan=nan_code(f)) for part in parts]
        self.scale = np.concatenate([t.scales for t in tensors])
        self.code = np.concatenate([t.element_codes() for t in tensors])
        self.value = np.concatenate([t.decode() for t in tensors])
        self.outer = np.concatenate([t.outer_scale for t in tensors]).astype(np.float32)
        self.quantized = np.concatenate([lowp.quantize(part, f) for part in parts])
        self.width = x.shape[1] // self.scale.shape[1]

    def each(self, block: Array) -> Array:
        """One entry a block as one an element."""
        return np.repeat(block, self.width, 1)


def nan_code(f: lowp.BlockFormat) -> int | None:
    assert isinstance(f.element, lowp.Format)
    return 0 if f.fields["nan"] == "element" and not f.element.has_nan else None


def assert_verbs_agree(r: Result, is_nan: Array | None = None) -> None:
    """quantize is decode of encode, but for a lone NaN whose element has no code for it."""
    agree = same(r.quantized, r.value)
    assert (agree if is_nan is None else agree | is_nan).all()


# ---- torchao ----------------------------------------------------------------------------------

MX = {
    "e4m3": "mxfp8_e4m3", "e5m2": "mxfp8_e5m2", "e2m3": "mxfp6_e2m3", "e3m2": "mxfp6_e3m2",
    "e2m1": "mxfp4",
}  # fmt: skip


@pytest.mark.parametrize("mode", range(4), ids=TORCHAO["modes"])
@pytest.mark.parametrize("short", MX)
@pytest.mark.parametrize("name", INPUTS)
def test_torchao_mx_codes_scales_and_values(name: str, short: str, mode: int) -> None:
    f = lowp.block_format(f"{MX[short]}/{TORCHAO['modes'][mode]}", compat="torchao")
    r = Result(X[name], f)
    assert np.array_equal(r.scale, TORCHAO[f"{name}/{short}/scale"][mode])
    codes = TORCHAO[f"{name}/{short}/code"][mode]
    codes = nibbles(codes) if short == "e2m1" else codes
    # The codes of a block whose scale is NaN are never read.
    read = r.each(r.scale) != E8M0_NAN
    assert np.array_equal(r.code[read], codes[read])
    if name == "edges":
        assert same(r.value, TORCHAO[f"edges/{short}/value"][mode]).all()
    assert_verbs_agree(r)


@pytest.mark.parametrize("name", INPUTS)
def test_torchao_nvfp4_of_one_level(name: str) -> None:
    f = lowp.block_format("float4_e2m1fn/16/float8_e4m3fn/amax", compat="torchao")
    r, key = Result(X[name], f), f"{name}/nvfp4_one_level"
    nan = (r.scale & 127) == 127
    assert same(r.scale & (0xFF - 0x80 * nan), TORCHAO[f"{key}/scale"] & (0xFF - 0x80 * nan)).all()
    read = ~r.each(nan)
    assert np.array_equal(r.code[read], nibbles(TORCHAO[f"{key}/code"])[read])
    if f"{key}/value" in TORCHAO:
        assert same(r.value, TORCHAO[f"{key}/value"]).all()
    assert_verbs_agree(r)


def without_outer(name: str) -> Array:
    """Rows in which torchao's and Model-Optimizer's outer scale is NaN, infinite or zero.

    Theirs takes NaN and infinity into the tensor's amax, and underflows to zero below 2^-139;
    lowp's leaves them out, is 1 for a tensor of zeros and at least the smallest number: a block's
    NaN, or a tiny tensor, does not make the whole tensor NaN.
    """
    if name not in DESIGNED:
        return np.zeros(len(X[name]), bool)
    with np.errstate(all="ignore"):
        outer = np.abs(X[name]).max(1) / np.float32(2688)
    return ~(np.isfinite(outer) & (outer > 0))


@pytest.mark.parametrize("name", INPUTS)
def test_torchao_nvfp4_of_two_levels(name: str) -> None:
    f = lowp.block_format("nvfp4", compat="torchao")
    r, key = Result(X[name], f, name in DESIGNED), f"{name}/nvfp4_two_level"
    skip = without_outer(name)
    if name in DESIGNED:
        assert_differ_only(r.outer, TORCHAO[f"{key}/outer"], skip, "outer")
    else:
        assert np.array_equal(r.outer, TORCHAO[f"{key}/outer"])
    assert np.array_equal(r.scale[~skip], TORCHAO[f"{key}/scale"][~skip])
    # torchao multiplies by 1 / outer, infinite below 2^-128: zeros become NaN, the rest +-6.
    # Ours is the largest float at most: zeros stay zeros.
    with np.errstate(all="ignore"):
        lost = np.isinf(1 / r.outer.reshape(-1))
    lost = np.broadcast_to(lost, len(X[name]))
    codes = nibbles(TORCHAO[f"{key}/code"])
    assert np.array_equal(r.code[~skip & ~lost], codes[~skip & ~lost])
    assert not (r.code[lost] & 7)[X[name][lost] == 0].any()
    if f"{key}/value" in TORCHAO:
        assert same(r.value, TORCHAO[f"{key}/value"])[~skip & ~lost].all()
    assert_verbs_agree(r)


@pytest.mark.parametrize("compat", ["torchao", "model_optimizer"])
def test_tensors_that_lose_their_outer_scale_elsewhere_stay_numbers_here(compat: str) -> None:
    rows = without_outer("edges")
    x, f = X["edges"][rows], lowp.block_format("nvfp4", compat=compat)
    value = Result(x, f, by_row=True).value
    finite = np.isfinite(x)
    finite_blocks = np.repeat(finite.reshape(-1, 2, 16).all(2), 16, 1)
    assert np.isfinite(value[finite_blocks]).all()
    assert np.isnan(value[np.isnan(x)]).all()
    zero = (x == 0).all(1)
    assert (value[zero] == 0).all()


@pytest.mark.parametrize("shape", [(128, 4), (256, 8), (100, 6)])
def test_torchao_swizzles_scales_alike(shape: tuple[int, int]) -> None:
    places = TORCHAO[f"blocked/{shape[0]}x{shape[1]}"]  # they count from 1; 0 is padding
    scales = np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)
    swizzled = lowp.swizzle_scales(scales)
    assert np.array_equal(swizzled, np.append(np.uint8(0), scales.ravel())[places])
    assert np.array_equal(lowp.unswizzle_scales(swizzled, *shape), scales)


# ---- Model-Optimizer --------------------------------------------------------------------------

NANS = ("one nan", "nan and inf", "only nan")
INFINITIES = ("one +inf", "one -inf", "only +inf")


@pytest.mark.parametrize("name", INPUTS)
def test_model_optimizer_mxfp4(name: str) -> None:
    f = lowp.block_format("mxfp4", compat="model_optimizer")
    r, key = Result(X[name], f), f"{name}/mxfp4"
    # It converts log2 of NaN and infinity to an integer, and gets byte 0.
    odd = rows_of(name, *NANS, *INFINITIES)
    assert_differ_only(r.scale, MODELOPT[f"{key}/scale"], odd, "scale")
    assert np.array_equal(r.scale[rows_of(name, *NANS)].ravel(), [255] * 3 * (name == "edges"))
    assert np.array_equal(
        r.scale[rows_of(name, *INFINITIES)].ravel(), [254] * 3 * (name == "edges")
    )
    assert np.array_equal(r.code[~odd], nibbles(MODELOPT[f"{key}/code"])[~odd])
    if name == "edges":
        assert same(r.value, MODELOPT[f"{key}/value"])[~odd].all()
    assert_verbs_agree(r)


@pytest.mark.parametrize("name", INPUTS)
def test_model_optimizer_mxfp8(name: str) -> None:
    f = lowp.block_format("mxfp8_e4m3", compat="model_optimizer")
    r, key = Result(X[name], f), f"{name}/mxfp8"
    # NaN is unhandled there: byte 0, under which the block's numbers saturate. Infinity is as here.
    odd = rows_of(name, *NANS)
    assert_differ_only(r.scale, MODELOPT[f"{key}/scale"], odd, "scale")
    assert np.array_equal(r.code[~odd], MODELOPT[f"{key}/code"][~odd])
    if name == "edges":
        assert same(r.value, MODELOPT[f"{key}/value"])[~odd].all()
    assert_verbs_agree(r)


@pytest.mark.parametrize("name", INPUTS)
def test_model_optimizer_nvfp4(name: str) -> None:
    f = lowp.block_format("nvfp4", compat="model_optimizer")
    r, key = Result(X[name], f, name in DESIGNED), f"{name}/nvfp4"
    skip = without_outer(name)
    if name in DESIGNED:
        assert_differ_only(r.outer, MODELOPT[f"{key}/outer"], skip, "outer")
    else:
        assert np.array_equal(r.outer, MODELOPT[f"{key}/outer"])
    assert np.array_equal(r.scale[~skip], MODELOPT[f"{key}/scale"][~skip])
    assert np.array_equal(r.code[~skip], nibbles(MODELOPT[f"{key}/code"])[~skip])
    if name == "edges":
        # Its table of values has +0 for code 8.
        value, want = r.value[~skip], MODELOPT[f"{key}/value"][~skip]
        assert_differ_only(value, want, r.code[~skip] == 8, "value")
        assert np.array_equal(value, want)
    assert_verbs_agree(r)


def test_model_optimizer_pads_nvfp4_and_shortens_mxfp8() -> None:
    x = X["normal"][:8, :40]
    r = lowp.encode(x, lowp.block_format("mxfp8_e4m3", compat="model_optimizer"))
    assert np.array_equal(r.scales, MODELOPT["ragged40/mxfp8/scale"])
    assert np.array_equal(r.element_codes(), MODELOPT["ragged40/mxfp8/code"])
    assert same(r.decode(), MODELOPT["ragged40/mxfp8/value"]).all()
    r = lowp.encode(x, lowp.block_format("nvfp4", compat="model_optimizer"))
    codes = nibbles(MODELOPT["ragged40/nvfp4/code"])
    assert np.array_equal(r.scales, MODELOPT["ragged40/nvfp4/scale"])
    assert np.float32(r.outer_scale[0]) == MODELOPT["ragged40/nvfp4/outer"]
    assert np.array_equal(r.element_codes(), codes[:, :40])
    assert not codes[:, 40:].any()


# ---- Transformer Engine -----------------------------------------------------------------------


def te_sign_lost(x: Array, r: Result) -> Array:
    """The Python reference makes -0 code 0; the kernels' cvt, and lowp, keep its sign. Also where a
    tiny negative times the factor underflows to -0."""
    with np.errstate(all="ignore"):
        outer = r.outer.reshape(-1, 1) if r.outer.size else np.float32(1)
        scale = r.each(np.asarray(lowp.decode(r.scale, SCALE_OF[r.outer.size > 0])))
        # The inverse of the outer scale is what is rounded; it is at most the largest number.
        inverse = np.minimum(np.float32(1) / (scale * outer), FLOAT_MAX)
        return np.signbit(x) & (x * inverse == 0)


SCALE_OF = {True: "float8_e4m3fn", False: "float8_e8m0fnu"}


@pytest.mark.parametrize("name", INPUTS)
def test_transformer_engine_nvfp4(name: str) -> None:
    f = lowp.block_format("nvfp4", compat="te")
    r, key = Result(X[name], f, name in DESIGNED), f"{name}/nvfp4_1x16"
    # NaN and infinity get into its tensor's amax; where a row is nothing else, all blocks agree.
    odd = rows_of(name, "one nan", "nan and inf", "one +inf", "one -inf")
    assert_differ_only(r.scale, TE[f"{key}/scale"], odd, "scale")
    codes = nibbles(TE[f"{key}/code"])
    lost = te_sign_lost(X[name], r)
    assert_differ_only(r.code[~odd], codes[~odd], lost[~odd], "codes")
    assert (r.code[lost] == 8).all()
    assert_verbs_agree(r)


@pytest.mark.parametrize("name", INPUTS[:4])
def test_transformer_engine_nvfp4_in_tiles(name: str) -> None:
    r, key = (
        lowp.encode(X[name], lowp.block_format("nvfp4_16x16", compat="te")),
        f"{name}/nvfp4_16x16",
    )
    assert np.array_equal(np.repeat(r.scales, 16, 0), TE[f"{key}/scale"])
    assert np.array_equal(r.element_codes(), nibbles(TE[f"{key}/code"]))


@pytest.mark.parametrize("name", INPUTS)
def test_transformer_engine_mxfp4_but_for_the_references_logarithm(name: str) -> None:
    x, f = X[name], lowp.block_format("mxfp4", compat="te")
    r, key = Result(x, f), f"{name}/mxfp4_1x32_pow2"
    # lowp takes the MXFP8 kernels' formula, by bits and without NaN; the reference takes log2 in
    # float32, one binade low just above 6 times a power of two, and gives NaN for NaN.
    with np.errstate(all="ignore"):
        ratio = np.fmax.reduce(np.abs(x.reshape(len(x), -1, 32)), axis=-1) / np.float32(6)
        logarithm = np.log2(ratio.astype(np.float64)).astype(np.float32)
    exact = np.frexp(ratio)[1] - (np.frexp(ratio)[0] == 0.5)
    low = np.isfinite(logarithm) & (np.ceil(logarithm) < exact) & (exact >= -126)
    nan = np.isnan(x.reshape(len(x), -1, 32)).any(-1)
    ours = np.asarray(lowp.decode(r.scale, "float8_e8m0fnu"))
    assert_differ_only(ours, TE[f"{key}/scale"], low | nan, "scale")
    assert np.array_equal(ours[low], 2 * TE[f"{key}/scale"][low])
    # Under byte 0 the MXFP8 kernels multiply by 1, the reference by its own inverse.
    read = r.each(~low & ~nan & (r.scale > 0))
    lost = te_sign_lost(x, r)
    codes = nibbles(TE[f"{key}/code"])
    assert np.array_equal((r.code != codes)[read], lost[read])
    assert_verbs_agree(r, np.isnan(x))


@pytest.mark.parametrize("short", ["e4m3", "e5m2"])
@pytest.mark.parametrize("name", INPUTS)
def test_transformer_engine_mxfp8(name: str, short: str) -> None:
    x, f = X[name], lowp.block_format(f"mxfp8_{short}", compat="te")
    r, key = Result(x, f), f"{name}/{short}"
    assert np.array_equal(r.scale, TE_MXFP8[f"{key}/scale"])
    # The factor of byte 254 is 0 in these kernels, so infinity becomes NaN; newer ones multiply by
    # 2^-127, and infinity saturates, as here. Which NaN code a NaN gets is the processor's choice.
    codes = TE_MXFP8[f"{key}/code"]
    number = ~np.isnan(x)
    assert np.array_equal((r.code != codes)[number], np.isinf(x)[number])
    assert np.isnan(r.value[~number]).all()
    assert isinstance(f.element, lowp.Format)
    assert ((r.code & 127)[np.isinf(x)] == f.element.max_code).all()
    assert_verbs_agree(r)
