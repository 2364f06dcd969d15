"""The plain PyTorch path against the kernels: the same bits, on the CPU and on a GPU where one is.

NaNs of scalar formats are compared to the bit, those of blocks as NaNs: there their payload is the
hardware's.
"""

from __future__ import annotations

from typing import Any

import lowp
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from samples import (
    REGISTERED,
    STOCHASTIC,
    assert_same,
    assert_same_bits,
    carriers,
    descriptors,
    probes,
    random_floats,
    some_codes,
)

torch = pytest.importorskip("torch", reason="the plain path is PyTorch's: pip install torch")
from lowp.torch import _plain  # noqa: E402 (after torch)

Array = np.ndarray[Any, Any]

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
FLOATS = {np.float32: torch.float32, np.float64: torch.float64}
HALVES = (torch.float16, torch.bfloat16)
KINDS = ("normal", "wide", "rows", "grid", "tiny", "powers", "special")


def on(device: str, x: Array) -> Any:
    return torch.from_numpy(np.ascontiguousarray(x)).to(device)


def sharp(f: lowp.Format, dtype: Any, count: int = 4000) -> Array:
    """Values, midpoints, their neighbours, specials; every bfloat16 beside them."""
    x = probes(f, dtype)
    every = np.arange(1 << 16, dtype=np.uint32) << 16
    some = every.view(np.float32)[:: 17 if dtype == np.float32 else 61]
    with np.errstate(invalid="ignore"):  # signalling NaNs among them
        wide = some.astype(dtype)
    return np.concatenate([x[:: max(1, len(x) // count)], wide, random_floats(200, dtype)])


def nan_code(f: lowp.Format) -> dict[str, int]:
    return {} if f.has_nan else {"nan": 0}


def same_verbs(f: lowp.Format, x: Array, device: str, **options: Any) -> None:
    """quantize and encode of both give the same bits."""
    there, note = on(device, x), f"{f} {options}"
    want, got = lowp.quantize(x, f, **options), _plain.quantize(there, f, **options)
    assert_same(got.cpu().numpy(), want, x, note)
    assert_same_bits(got.cpu().numpy(), want)
    codes = _plain.encode(there, f, **nan_code(f), **options)
    assert_same_bits(codes.cpu().numpy(), lowp.encode(x, f, **nan_code(f), **options))


# ---- scalar formats ------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_format_has_the_kernels_bits_in_every_mode(name: str, device: str) -> None:
    f = lowp.format(name)
    for dtype in carriers(f):
        x = sharp(f, dtype)
        for i, rounding in enumerate(lowp.ROUNDINGS):
            for saturation in lowp.SATURATIONS:
                bits = {"random_bits": (32, 31, 7, 1)[i % 4]} if rounding in STOCHASTIC else {}
                same_verbs(
                    f, x, device, rounding=rounding, saturation=saturation, seed=3, stream=i, **bits
                )


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float4_e2m1fn"])
def test_every_bfloat16_number_has_the_kernels_bits(name: str) -> None:
    x = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    for rounding in lowp.ROUNDINGS:
        same_verbs(lowp.format(name), x, "cpu", rounding=rounding, seed=1)


@given(
    descriptors(max_bits=40),
    st.sampled_from(lowp.ROUNDINGS),
    st.sampled_from(lowp.SATURATIONS),
    st.integers(1, 32),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=300)
def test_any_descriptor_has_the_kernels_bits(
    f: lowp.Format, rounding: str, saturation: str, random_bits: int, seed: int
) -> None:
    for dtype in carriers(f):
        options = {"rounding": rounding, "saturation": saturation, "random_bits": random_bits}
        same_verbs(f, sharp(f, dtype, 1500), "cpu", **options, seed=seed, stream=seed // 7)
        codes = some_codes(f, 512)
        got = _plain.decode(torch.from_numpy(codes), f, FLOATS[dtype])
        assert_same_bits(got.numpy(), lowp.decode(codes, f, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", REGISTERED)
def test_decode_inverts_encode_and_has_the_kernels_bits(name: str, device: str) -> None:
    f = lowp.format(name)
    codes = some_codes(f)
    for dtype in carriers(f):
        got = _plain.decode(on(device, codes), f, FLOATS[dtype])
        assert_same_bits(got.cpu().numpy(), lowp.decode(codes, f, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", HALVES, ids=str)
def test_halves_are_quantized_as_their_float32_values(half: Any, device: str) -> None:
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(half)
    for name in ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float8_e4m3fnuz", "int4"):
        f = lowp.format(name)
        for rounding in lowp.ROUNDINGS:
            got = _plain.quantize(x.to(device), f, rounding=rounding, seed=5)
            want = lowp.quantize(x.float().numpy(), f, rounding=rounding, seed=5)
            assert got.dtype == half
            assert_same(got.float().cpu().numpy(), want, x.float().numpy(), f"{f} {rounding}")
            codes = _plain.encode(x.to(device), f, rounding=rounding, seed=5, **nan_code(f))
            want = lowp.encode(x.float().numpy(), f, rounding=rounding, seed=5, **nan_code(f))
            assert_same_bits(codes.cpu().numpy(), want)


def test_any_shape_strides_and_no_elements_do() -> None:
    f = lowp.format("float8_e4m3fn")
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    moved = torch.from_numpy(x).permute(2, 0, 1)
    for rounding in ("nearest_ties_to_even", "stochastic_b"):
        got = _plain.quantize(moved, f, rounding=rounding, seed=2).numpy()
        want = lowp.quantize(moved.contiguous().numpy(), f, rounding=rounding, seed=2)
        assert_same_bits(got, want)
    for shape in ((), (0,), (2, 0, 3)):
        empty = torch.full(shape, 0.3)
        assert _plain.quantize(empty, f).shape == shape
        assert _plain.encode(empty, f, rounding="stochastic_a").shape == shape


def test_a_nan_is_refused_where_the_format_has_none() -> None:
    f = lowp.format("float4_e2m1fn")
    with pytest.raises(ValueError, match="no NaN"):
        _plain.encode(torch.tensor([1.0, np.nan]), f)
    assert _plain.encode(torch.tensor([np.nan]), f, nan=5).tolist() == [5]


def test_formats_wider_than_the_dtype_and_unknown_words_are_refused() -> None:
    x = torch.ones(2)
    for dtype, name in ((torch.float16, "bfloat16"), (torch.float32, "float64")):
        with pytest.raises(ValueError, match="does not hold"):
            _plain.quantize(x.to(dtype), lowp.format(name))
    for options in ({"rounding": "up"}, {"saturation": "clip"}, {"random_bits": 33}):
        with pytest.raises(ValueError, match="must be"):
            _plain.quantize(x, lowp.format("float8_e5m2"), **options)
    with pytest.raises(ValueError, match="higher bits"):
        _plain.decode(torch.tensor([16], dtype=torch.uint8), lowp.format("float4_e2m1fn"))


# ---- random bits and the Hadamard transform ------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("generator", lowp.GENERATORS)
def test_random_words_are_those_of_lowp(generator: str, device: str) -> None:
    for seed, stream in ((0, 0), (7, 2**63 + 5), (2**64 - 1, 2**40)):
        want = lowp.random_bits(1003, seed=seed, stream=stream, generator=generator)
        options = {"generator": generator, "device": device}
        got = _plain.random_bits((17, 59), seed=seed, stream=stream, **options)
        assert (got.reshape(-1).cpu().numpy() == want).all()
        words = [torch.tensor(w - 2**64 if w >= 2**63 else w) for w in (seed, stream)]
        again = _plain.random_bits(1003, seed=words[0], stream=words[1], **options)
        assert torch.equal(again, got.reshape(-1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [2, 16, 32, 256])
def test_the_hadamard_transform_has_the_kernels_bits(size: int, device: str) -> None:
    rng = np.random.default_rng(size)
    signs = rng.choice([-1, 1], size)
    for dtype in (*FLOATS, np.float16):
        for shape, axis in (((3, 2 * size), -1), ((size, 5), 0), ((2, size, 3), 1)):
            x = (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 3, shape)).astype(dtype)
            for inverse in (False, True):
                for options in ({}, {"seed": 5, "stream": 3}, {"signs": signs}):
                    want = lowp.hadamard(x, size, axis=axis, inverse=inverse, **options)
                    if "signs" in options:
                        options = {"signs": torch.from_numpy(signs)}
                    there = on(device, x)
                    got = _plain.hadamard(there, size, axis=axis, inverse=inverse, **options)
                    assert_same_bits(got.cpu().numpy(), want)


# ---- blocks --------------------------------------------------------------------------------------


def blocks_of_data(kind: str, shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    if kind == "wide":
        x *= 10.0 ** rng.integers(*((-38, 38) if dtype == np.float32 else (-300, 300)), shape)
    elif kind == "rows":
        x *= 2.0 ** rng.integers(-20, 20, (*shape[:-1], 1))
    elif kind == "grid":
        x = np.round(x * 4) / 4
    elif kind == "tiny":
        x *= 1e-40 if dtype == np.float32 else 1e-310
    y = x.astype(dtype)
    if kind == "powers":  # of two, and their neighbours: where logarithms are rounded
        y = np.exp2(rng.integers(-30, 30, shape)).astype(dtype)
        for _ in range(3):
            y = np.nextafter(y, np.where(rng.integers(0, 2, shape), y, dtype(np.inf)), dtype=dtype)
            y = np.nextafter(y, np.where(rng.integers(0, 2, shape), y, dtype(0)), dtype=dtype)
    flat = y.reshape(-1)
    if kind in ("special", "grid"):
        flat[rng.integers(0, flat.size, flat.size // 4)] = 0.0
        flat[rng.integers(0, flat.size, flat.size // 8)] = -0.0
        flat[: min(64, flat.size // 2)] = 0
    if kind == "special":
        for value in (np.nan, np.inf, -np.inf):
            flat[rng.integers(0, flat.size, 3)] = value
    return y


def same_blocks(block: Any, x: Array, axis: int = -1, device: str = "cpu", **options: Any) -> None:
    """Both give the same bits, or both refuse."""
    try:
        want = lowp.quantize(x, block, axis=axis, **options)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            _plain.quantize(on(device, x), block, axis=axis, **options)
        return
    got = _plain.quantize(on(device, x), block, axis=axis, **options).cpu().numpy()
    assert got.dtype == want.dtype
    assert_same(got, want, x, f"{block} {x.shape} {axis} {options}")


PRESETS = tuple(lowp.block_formats())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_kernels_bits_on_every_kind_of_data(name: str, device: str) -> None:
    block = lowp.block_format(name)
    for kind in KINDS:
        for dtype in FLOATS:
            same_blocks(block, blocks_of_data(kind, (5, 200), dtype), device=device)
    x = blocks_of_data("rows", (3, 40, 70), np.float32)
    for axis in (-1, 1, 0):
        same_blocks(block, x, axis, device)
    same_blocks(block, blocks_of_data("normal", (300,), np.float32), 0, device)
    same_blocks(block, blocks_of_data("normal", (4, 130), np.float16), -1, device)


def supported_variants(name: str) -> list[lowp.BlockFormat]:
    """A preset under every rule that the path knows, and as every library has it."""
    preset = lowp.block_format(name)
    found = [preset.replace(rule=r) for r in lowp.SCALE_RULES if r not in ("mse", "shrink")]
    for compat in lowp.COMPATS:
        try:
            found.append(lowp.block_format(name, compat=compat))
        except ValueError:  # noqa: PERF203 (a library that has no such format)
            continue
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_rule_and_library_has_the_kernels_bits(name: str, device: str) -> None:
    for block in supported_variants(name):
        for kind in ("normal", "wide", "tiny", "powers", "special"):
            for dtype in FLOATS:
                same_blocks(block, blocks_of_data(kind, (4, 150), dtype), device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
def test_every_rounding_of_elements_and_scales_has_the_kernels_bits(
    rounding: str, device: str
) -> None:
    source = {"seed": 2**60 + 1, "stream": 2**63 + 3}
    for name in ("mxfp4", "nvfp4", "nf4", "deepseek_1x128", "int8_row"):
        block = lowp.block_format(name)
        for kind in ("normal", "special", "wide"):
            x = blocks_of_data(kind, (4, 130), np.float32)
            same_blocks(block, x, device=device, rounding=rounding, random_bits=9, **source)
            same_blocks(block.replace(scale_rounding=rounding), x, device=device, **source)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", ["mean_abs", "std"])
def test_means_are_summed_in_the_kernels_order(rule: str, device: str) -> None:
    for shape in (1, 7, 32, 5000, "tensor", "row", "column", (16, 16), (3, 7), (2, 3000), (4, 90)):
        # A scale of all the carrier's bits shows the last one of a sum.
        for scale, dtype in (("float32", np.float32), ("float64", np.float64)):
            block = lowp.BlockFormat("float16", scale, shape, rule)
            for size in ((40, 90), (7, 6100)):
                same_blocks(block, blocks_of_data("rows", size, dtype), device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "arithmetic", ["division", "torchao", "transformer_engine", "model_optimizer"]
)
def test_quotients_associate_as_the_kernels_do(arithmetic: str, device: str) -> None:
    for scale in ("float8_e4m3fn", "float8_e8m0fnu", "bfloat16"):
        for rule in ("amax", "rceil", "three_quarters"):
            # Elements of many bits show which quotient was rounded, and how.
            fields = {"arithmetic": arithmetic, "outer": "row", "gain": 1.3}
            block = lowp.BlockFormat("e8m20", scale, 16, rule, **fields)
            for kind in ("normal", "rows", "tiny"):
                same_blocks(block, blocks_of_data(kind, (9, 100), np.float32), device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
def test_codebooks_round_as_the_kernels_do(rounding: str, device: str) -> None:
    book = [-3.0, -1.0, -(2.0**-60), 0.1, 0.7, 2.0, 7.5]
    values = np.array([np.float32(v) for v in book], np.float64)
    ends = [-4.0, 9.0, np.inf, -np.inf, np.nan, 0.0, -0.0]
    points = np.concatenate([values, (values[1:] + values[:-1]) / 2, values * 0.9, ends])
    block = lowp.BlockFormat(values, "float32", 5, 1.0, rounding=rounding, nan="element")
    block = block.replace(infinity="number")
    for dtype in FLOATS:
        x = np.concatenate([np.nextafter(points.astype(dtype), dtype(to)) for to in (-9, 9)])
        for y in (x, points.astype(dtype)):
            same_blocks(block, y, device=device, seed=4)


@st.composite
def block_formats(draw: st.DrawFn) -> lowp.BlockFormat:
    """Any fields at all; what contradicts itself is left out."""
    book = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20, unique=True).map(sorted)
    element = draw(st.one_of(st.sampled_from(REGISTERED), descriptors(max_bits=10), book))
    scale = draw(
        st.sampled_from(
            ("float8_e8m0fnu", "float8_e4m3fn", "ue5m3", "float32", "bfloat16", "ue2m0", "e5m2")
        )
    )
    tiles = [(4, 4), (16, 16), (3, 7), (1, 9), (5, 1)]
    shape = draw(st.sampled_from([1, 2, 5, 16, 32, 33, "tensor", "row", "column", *tiles]))
    rules = [r for r in lowp.SCALE_RULES if r not in ("mse", "shrink")]
    choices: dict[str, list[Any]] = {
        "rounding": list(lowp.ROUNDINGS),
        "scale_rounding": list(lowp.ROUNDINGS),
        "random_bits": [1, 9, 32],
        "gain": [0.5, 1.5, 0.1],
        "post_gain": [0.5, 4 / 3],
        "outer": ["row", "tensor"],
        "outer_fixed": [0.3, 2.0],
        "outer_format": ["bfloat16", "float8_e8m0fnu"],
        "nan": ["element"],
        "infinity": ["number"],
        "arithmetic": ["torchao", "transformer_engine", "model_optimizer"],
        "exponents": ["logarithm"],
        "zero_sign": ["positive", "negative"],
        "scale_saturation": ["none", "propagate"],
        "zero_scale": [0.0, 1.0, 1e-3],
        "min_scale": [1e-4, 1.0],
        "max_scale": [2.0, 1e4],
        "lowest_divisor": [1.0, 2.0**-126],
    }
    taken = draw(st.sets(st.sampled_from(sorted(choices)), max_size=7))
    fields = {key: draw(st.sampled_from(choices[key])) for key in sorted(taken)}
    try:
        return lowp.BlockFormat(element, scale, shape, draw(st.sampled_from(rules)), **fields)
    except ValueError:
        reject()


@given(
    block_formats(),
    st.sampled_from(KINDS),
    st.sampled_from([(40,), (7, 60), (3, 20, 33), (2, 3, 4, 17), (3000,), (1, 2)]),
    st.sampled_from(list(FLOATS)),
    st.integers(-1, 1),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=600)
def test_any_block_format_has_the_kernels_bits(
    block: lowp.BlockFormat, kind: str, shape: tuple[int, ...], dtype: Any, axis: int, seed: int
) -> None:
    at = axis if axis < len(shape) else -1
    try:
        same_blocks(block, blocks_of_data(kind, shape, dtype, seed % 1000), at, seed=seed)
    except NotImplementedError:
        assert block.fields["statistic"] in ("mean_abs", "rms")


def test_what_the_path_does_not_know_is_said() -> None:
    x = torch.ones(2, 64)
    for rule in ("mse", "shrink"):
        with pytest.raises(NotImplementedError, match="search"):
            _plain.quantize(x, lowp.block_format("mxfp4").replace(rule=rule))
    left_out = lowp.BlockFormat(rule="mean_abs", nan="element")
    with pytest.raises(NotImplementedError, match="means"):
        _plain.quantize(x, left_out)
    with pytest.raises(ValueError, match="saturate"):
        _plain.quantize(x, lowp.block_format("mxfp4"), saturation="none")


def test_blocks_of_no_elements_and_of_one_value_do() -> None:
    block = lowp.block_format("mxfp4")
    for shape in ((0,), (3, 0)):
        assert _plain.quantize(torch.ones(shape), block).shape == shape
    assert float(_plain.quantize(torch.tensor(0.3), block)) == lowp.quantize(
        np.array(0.3, np.float32), block
    )
