"""Write the golden fixtures of block scaling: what other libraries' own code computes.

Each library that can be imported gets one `.npz` beside this file; the others are skipped with a
note. `README.md` says what every array is and which call made it.

    python make_fixtures.py                  # every library that is installed
    PYTHONPATH=dir python make_fixtures.py   # dir holds microxcaling's `mx` or `transformer_engine`

Needs numpy and, for every library, a CPU build of torch.
"""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]

HERE = Path(__file__).parent
BLOCK = 32
FLOAT_MAX = np.float32(np.finfo(np.float32).max)
E2M1_TIES = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]
GOLDEN_AMAX = [3.0, 3.5, 5.0, 6.0, 6.0001, 7.0, 448.0, 449.0, 500.0]


# ---------------------------------------------------------------------------------------- inputs


def below(x: float) -> np.float32:
    """The float32 just below x."""
    return np.float32(np.nextafter(np.float32(x), np.float32(0)))


def above(x: float) -> np.float32:
    """The float32 just above x; infinity for the largest."""
    return np.float32(np.nextafter(np.float32(x), np.float32(np.inf)))


def block_of(values: list[float] | Floats, fill: float = 0.0) -> Floats:
    """One block that starts with `values`; the rest is `fill`."""
    row: Floats = np.full(BLOCK, fill, np.float32)
    row[: len(values)] = np.asarray(values, np.float32)
    return row


def spread(amax: np.float32, parts: Floats) -> Floats:
    """A sparse block whose two halves both reach amax; `parts` are four fractions below 1."""
    row: Floats = np.zeros(BLOCK, np.float32)
    row[0], row[16] = amax, -amax
    row[[1, 2, 17, 31]] = parts * amax
    return row


def around(x: float) -> Iterator[tuple[str, np.float32]]:
    """x with its two float32 neighbours, and the word for each."""
    yield "below", below(x)
    yield "at", np.float32(x)
    yield "above", above(x)


def e4m3_midpoints() -> Floats:
    """The ties between neighbouring non-negative E4M3 values, zero and 448 included."""
    tiny = [m * 2.0**-9 for m in range(8)]
    normal = [(8 + m) * 2.0 ** (e - 3) for e in range(-6, 9) for m in range(8)]
    grid = np.array([*tiny, *normal[:-1]])
    return np.asarray((grid[:-1] + grid[1:]) / 2, np.float32)


def named_edges(rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """The designed blocks, each with the name that README.md lists."""
    fraction = rng.uniform(-1, 1, BLOCK).astype(np.float32)
    small = rng.standard_normal(BLOCK).astype(np.float32)

    def with_first(*first: float | np.float32) -> Floats:
        row = small.copy()
        row[: len(first)] = first
        return row

    yield "zero", block_of([])
    yield "minus zero", block_of([], fill=-0.0)
    yield "zero and minus zero", block_of([0.0, -0.0, 1.0, -1.0])
    yield "one nan", with_first(np.nan)
    yield "one +inf", with_first(np.inf)
    yield "one -inf", with_first(-np.inf)
    yield "nan and inf", with_first(np.nan, np.inf, -np.inf)
    yield "only nan", block_of([], fill=np.nan)
    yield "only +inf", block_of([], fill=np.inf)
    yield "largest alone", block_of([float(FLOAT_MAX)])
    yield "-largest alone", block_of([-float(FLOAT_MAX)])
    yield "largest with others", with_first(FLOAT_MAX)
    yield "largest with large", fraction * FLOAT_MAX
    yield "largest everywhere", block_of([], fill=float(FLOAT_MAX))
    for amax in GOLDEN_AMAX:
        yield f"amax {amax:g}", with_first(amax)
        yield f"amax {amax:g} and fractions", np.append(np.float32(amax), fraction[1:] * amax)
    for power in (-149, -148, -140, -133, -128, -127, -126, -125, -120, -118, -112):
        for word, top in around(2.0**power):
            yield f"amax {word} 2^{power}", np.append(top, fraction[1:] * top)
    for scale in (1.0, 0.125, 2.0**-100):
        ties = np.array([6.0, *E2M1_TIES, *[-t for t in E2M1_TIES]], np.float32)
        yield f"e2m1 ties times {scale:g}", block_of(ties * np.float32(scale))
        near = [f(t) for t in E2M1_TIES for f in (below, above)]
        yield (
            f"e2m1 beside ties times {scale:g}",
            block_of(np.array([6.0, *near, *[-n for n in near]], np.float32) * np.float32(scale)),
        )
    middle = e4m3_midpoints()
    for start in range(0, len(middle), BLOCK - 1):
        part = middle[start : start + BLOCK - 1]
        sign = np.where(np.arange(len(part)) % 3 == 2, -1, 1).astype(np.float32)
        yield f"e4m3 ties from {start}", block_of(np.append(np.float32(448), part * sign))
    tiny = [-(2.0**-p) for p in (1, 2, 3, 4, 9, 10, 11, 17, 20, 40, 100, 126, 140, 149)]
    yield "tiny negatives", block_of([1.0, *tiny, *[-t for t in tiny]])
    yield "tiny negatives below 448", block_of([448.0, *tiny, *[-t for t in tiny]])


def make_inputs() -> dict[str, Array]:
    """Every input array by name; the same on every machine with the same numpy generator."""
    rng = np.random.default_rng(20261122)
    normal = rng.standard_normal((32, 64)).astype(np.float32)
    exponent = np.repeat(rng.integers(-20, 20, (32, 4)), 16, axis=1)
    names, rows = zip(*named_edges(rng), strict=True)
    parts = np.float32([0.7390114, -0.31246153, 0.5172319, -0.0211])
    powers = [(k, w, a) for k in range(-130, 128) for w, a in around(2.0**k)]
    at_max = [
        (m, k, w, a)
        for m in (1.5, 1.75, 1.875)
        for k in range(-130, 128, 6)
        for w, a in around(m * 2.0**k)
    ]
    return {
        "normal": normal,
        "scales": np.ldexp(normal[::-1], exponent).astype(np.float32),
        "laplace": rng.laplace(size=(16, 64)).astype(np.float32),
        "student": rng.standard_t(3, (16, 64)).astype(np.float32),
        "edges": np.stack(rows),
        "edges_names": np.array(names),
        "powers": np.stack([spread(a, parts) for _, _, a in powers]),
        "powers_names": np.array([f"2^{k} {w}" for k, w, _ in powers]),
        "maxima": np.stack([spread(a, parts) for *_, a in at_max]),
        "maxima_names": np.array([f"{m}*2^{k} {w}" for m, k, w, _ in at_max]),
    }


def arrays_of(inputs: dict[str, Array]) -> Iterator[tuple[str, Floats]]:
    """The inputs without their lists of names."""
    for name, value in inputs.items():
        if not name.endswith("_names"):
            yield name, value


# --------------------------------------------------------------------------------------- helpers


def bytes_of(tensor: Any) -> Array:
    """A torch tensor of any one-byte type as uint8."""
    import torch

    return np.asarray(tensor.contiguous().view(torch.uint8).numpy())


def row_by_row(x: Floats, quantize: Callable[[Floats], tuple[Array, ...]]) -> tuple[Array, ...]:
    """`quantize` on each row as a tensor of its own, results stacked (for per-tensor scales)."""
    parts = [quantize(x[i : i + 1]) for i in range(len(x))]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def is_designed(name: str) -> bool:
    """Whether an input is a list of separate blocks, not one tensor."""
    return name in ("edges", "powers", "maxima")


# --------------------------------------------------------------------------------------- torchao


def torchao() -> dict[str, Array]:
    """torchao's `to_mx`, `to_dtype`, `nvfp4_quantize` and `to_blocked`."""
    import torch
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
    from torchao.prototype.mx_formats.nvfp4_tensor import (
        NVFP4Tensor,
        nvfp4_quantize,
        per_tensor_amax_to_scale,
    )
    from torchao.prototype.mx_formats.utils import to_blocked

    elements = {
        "e4m3": torch.float8_e4m3fn,
        "e5m2": torch.float8_e5m2,
        "e2m3": "fp6_e2m3",
        "e3m2": "fp6_e3m2",
        "e2m1": torch.float4_e2m1fn_x2,
    }
    modes = [ScaleCalculationMode[m] for m in ("FLOOR", "CEIL", "EVEN", "RCEIL")]
    out: dict[str, Array] = {"modes": np.array([mode.name.lower() for mode in modes])}

    def nvfp4(x: Floats, level: Any) -> tuple[Array, ...]:
        scale, code = nvfp4_quantize(torch.from_numpy(x.copy()), 16, level)
        value = NVFP4Tensor(code, scale, 16, torch.float32, level).dequantize(torch.float32)
        outer = np.float32([1.0 if level is None else level.item()])
        return bytes_of(scale).reshape(len(x), -1), bytes_of(code), value.numpy(), outer

    def one_level(x: Floats) -> tuple[Array, ...]:
        return nvfp4(x, None)

    def two_levels(x: Floats) -> tuple[Array, ...]:
        return nvfp4(x, per_tensor_amax_to_scale(torch.from_numpy(x.copy()).abs().max()))

    for name, x in arrays_of(make_inputs()):
        tensor = torch.from_numpy(x.copy())
        for short, dtype in elements.items():
            pairs = [to_mx(tensor, dtype, BLOCK, mode) for mode in modes]
            out[f"{name}/{short}/scale"] = np.stack([bytes_of(scale) for scale, _ in pairs])
            out[f"{name}/{short}/code"] = np.stack([bytes_of(code) for _, code in pairs])
            if name == "edges":
                values = [to_dtype(c, s, dtype, BLOCK, torch.float32).numpy() for s, c in pairs]
                out[f"{name}/{short}/value"] = np.stack(values)
        for level, quantize in (("one", one_level), ("two", two_levels)):
            parts = row_by_row(x, quantize) if is_designed(name) else quantize(x)
            for what, part in zip(("scale", "code", "value", "outer"), parts, strict=True):
                keep = what != "value" or name in ("edges", "normal")
                if keep and not (what == "outer" and level == "one"):
                    out[f"{name}/nvfp4_{level}_level/{what}"] = part
    for rows, columns in ((128, 4), (256, 8), (100, 6)):
        place: Array = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
        out[f"blocked/{rows}x{columns}"] = to_blocked(torch.from_numpy(place)).numpy()
    return out


# ---------------------------------------------------------------------------------- microxcaling


def microxcaling() -> dict[str, Array]:
    """microxcaling's `_quantize_mx` without its CUDA extension."""
    import torch
    from mx.mx_ops import _quantize_mx, _shared_exponents

    formats = ("fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1", "int8")
    inputs = make_inputs()
    rounds = np.array(["nearest", "even", "floor", "nearest, flush_fp32_subnorms"])
    out: dict[str, Array] = {"rounds": rounds}

    def quantize(x: Floats, fmt: str, axis: int, rounding: str, flush: bool) -> Floats:
        tensor = torch.from_numpy(x.copy())
        value = _quantize_mx(
            tensor, 8, fmt, axes=[axis], block_size=BLOCK, round=rounding,
            flush_fp32_subnorms=flush, custom_cuda=False,
        )  # fmt: skip
        return np.asarray(value.contiguous().numpy())

    for name, x in arrays_of(inputs):
        if is_designed(name):
            exponent = _shared_exponents(torch.from_numpy(x.copy()), axes=[-1])
            out[f"{name}/shared_exponent"] = exponent.numpy()
        for fmt in formats:
            kinds = [("nearest", False)]
            if name in ("normal", "edges"):
                kinds += [("even", False), ("floor", False)]
            if name == "edges":
                kinds += [("nearest", True)]
            out[f"{name}/{fmt}"] = np.stack([quantize(x, fmt, -1, *kind) for kind in kinds])
    normal = inputs["normal"]
    for fmt in ("fp4_e2m1", "fp8_e4m3", "int8"):
        for length in (40, 20):
            out[f"ragged{length}/{fmt}"] = quantize(normal[:8, :length], fmt, -1, "nearest", False)
        out[f"axis0/{fmt}"] = quantize(normal, fmt, 0, "nearest", False)
        out[f"axis0_ragged20/{fmt}"] = quantize(normal[:20, :16], fmt, 0, "nearest", False)
    return out


# --------------------------------------------------------------------------------------- modelopt


def modelopt() -> dict[str, Array]:
    """Model-Optimizer's MXFP4QTensor, MXFP8QTensor and NVFP4QTensor on the CPU."""
    import torch
    from modelopt.torch.quantization.qtensor import MXFP4QTensor, MXFP8QTensor, NVFP4QTensor

    out: dict[str, Array] = {}

    def mxfp4(x: Floats) -> tuple[Array, ...]:
        q, scale = MXFP4QTensor.quantize(torch.from_numpy(x.copy()), BLOCK)
        value = q.dequantize(torch.float32, scale=scale, block_sizes={-1: BLOCK})
        return bytes_of(scale).reshape(len(x), -1), bytes_of(q._quantized_data), value.numpy()

    def mxfp8(x: Floats) -> tuple[Array, ...]:
        q, scale = MXFP8QTensor.quantize(torch.from_numpy(x.copy()))
        value = q.dequantize(torch.float32, scale=scale)
        return bytes_of(scale), bytes_of(q._quantized_data), value.numpy()

    def nvfp4(x: Floats) -> tuple[Array, ...]:
        q, scale, outer = NVFP4QTensor.quantize(torch.from_numpy(x.copy()), 16)
        value = q.dequantize(torch.float32, scale=scale, double_scale=outer, block_sizes={-1: 16})
        code = bytes_of(q._quantized_data)
        return bytes_of(scale), code, value.numpy(), np.float32([outer.item()])

    for name, x in arrays_of(make_inputs()):
        results = {
            "mxfp4": mxfp4(x),
            "mxfp8": mxfp8(x),
            "nvfp4": row_by_row(x, nvfp4) if is_designed(name) else nvfp4(x),
        }
        for kind, parts in results.items():
            for what, part in zip(("scale", "code", "value", "outer"), parts, strict=False):
                if what != "value" or name == "edges":
                    out[f"{name}/{kind}/{what}"] = part
    ragged = make_inputs()["normal"][:8, :40]
    for what, part in zip(("scale", "code", "value"), mxfp8(ragged), strict=True):
        out[f"ragged40/mxfp8/{what}"] = part
    q, scale, outer = NVFP4QTensor.quantize(torch.from_numpy(ragged.copy()), 16)
    out["ragged40/nvfp4/scale"], out["ragged40/nvfp4/outer"] = bytes_of(scale), outer.numpy()
    out["ragged40/nvfp4/code"] = bytes_of(q._quantized_data)  # its dequantize raises here
    return out


# ------------------------------------------------------------------------------ Transformer Engine


def transformer_engine() -> dict[str, Array]:
    """Transformer Engine's own Python reference of its NVFP4 kernels."""
    import torch
    from transformer_engine.pytorch.custom_recipes.quantization_nvfp4 import NVFP4QuantizerRef

    inputs = make_inputs()
    out: dict[str, Array] = {}

    def quantize(x: Floats, width: int, height: int, pow_2: bool) -> tuple[Array, ...]:
        tensor = torch.from_numpy(x.copy())
        amax = tensor.abs().max().view(1)
        code, scale = NVFP4QuantizerRef._quantize_blockwise_reference(
            tensor, amax, width, height, pow_2_scales=pow_2, eps=0.0
        )
        return (scale.numpy() if pow_2 else bytes_of(scale)), bytes_of(code), amax.numpy()

    def put(key: str, parts: tuple[Array, ...]) -> None:
        for what, part in zip(("scale", "code", "amax"), parts, strict=True):
            out[f"{key}/{what}"] = part

    for name, x in arrays_of(inputs):
        if is_designed(name):
            put(f"{name}/nvfp4_1x16", row_by_row(x, lambda row: quantize(row, 16, 1, False)))
        else:
            put(f"{name}/nvfp4_1x16", quantize(x, 16, 1, False))
            put(f"{name}/nvfp4_16x16", quantize(x, 16, 16, False))
        put(f"{name}/mxfp4_1x32_pow2", quantize(x, 32, 1, True))
    cpu = torch.device("cpu")
    hadamard = NVFP4QuantizerRef._build_hadamard_matrix(16, cpu, torch.float32, True)
    out["hadamard16"] = hadamard.numpy()
    return out


def mxfp8_formulas() -> dict[str, Array]:
    """MXFP8 by the formulas of Transformer Engine's kernels, written anew: no library ran.

    byte = round_up_to_e8m0(amax * float32(1/M)); element = cast(x * factor), saturating. The factor
    is the float32 of bits (254 - byte) << 23, so 0 where byte is 254, and 1 where byte is 0. The
    maximum is fmaxf's, which drops NaN: a NaN never reaches the scale.
    """
    import torch

    targets = {"e4m3": (448.0, torch.float8_e4m3fn), "e5m2": (57344.0, torch.float8_e5m2)}
    out: dict[str, Array] = {}
    for name, x in arrays_of(make_inputs()):
        blocks = x.reshape(len(x), -1, BLOCK)
        amax = np.fmax.reduce(np.abs(blocks), axis=-1, initial=np.float32(0))
        for short, (top, dtype) in targets.items():
            ratio = amax * (np.float32(1) / np.float32(top))
            bits = ratio.view(np.uint32)
            byte, tail = bits >> 23, bits & 0x7FFFFF
            up = (tail > 0) & (byte != 254) & ~((byte == 0) & (tail <= 0x400000))
            byte = np.where(np.isinf(ratio), 254, byte + up).astype(np.uint8)
            factor = ((254 - byte.astype(np.uint32)) << 23).view(np.float32)
            factor = np.where(byte == 0, np.float32(1), factor)
            scaled = np.clip(blocks * factor[..., None], -top, top).reshape(x.shape)
            out[f"{name}/{short}/scale"] = byte
            out[f"{name}/{short}/code"] = bytes_of(torch.from_numpy(scaled).to(dtype))
    return out


# ------------------------------------------------------------------------------------------- main

LIBRARIES: dict[str, tuple[str, Callable[[], dict[str, Array]]]] = {
    "torchao": ("torchao", torchao),
    "microxcaling": ("mx", microxcaling),
    "modelopt": ("nvidia-modelopt", modelopt),
    "transformer_engine": ("transformer-engine", transformer_engine),
    "te_mxfp8_formulas": ("numpy", mxfp8_formulas),
}


def version_of(distribution: str) -> str:
    """The installed version, or 'source files' where it is imported without being installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "source files"


def save(name: str, arrays: dict[str, Array]) -> None:
    """Write one archive and say how large it is."""
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, allow_pickle=False, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """Write inputs.npz, then one archive for each library that can be imported."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    save("inputs", make_inputs())
    for name, (distribution, produce) in LIBRARIES.items():
        try:
            arrays = produce()
        except ImportError as missing:
            print(f"{name}: skipped ({missing})")
            continue
        versions = f"{distribution} {version_of(distribution)}, torch {version_of('torch')}"
        arrays["made_with"] = np.array(f"{versions}, numpy {np.__version__}, {platform.machine()}")
        save(name, arrays)


if __name__ == "__main__":
    main()
