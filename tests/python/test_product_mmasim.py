"""Matrix units against MMA-Sim (Xie et al., arXiv 2511.10909), an independent simulator.

Skipped where the packages mmasim and torch are missing. Every code, infinities and NaN included.
"""

from __future__ import annotations

from typing import Any

import lowp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
fdpa = pytest.importorskip("mmasim.arithmetic.fdpa")

M, N = 24, 24
TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e4m3fnuz": torch.float8_e4m3fnuz,
    "float8_e5m2fnuz": torch.float8_e5m2fnuz,
    "tensorfloat32": torch.float32,
}


def unit(name: str, format: str) -> Any:
    """MMA-Sim's model: (F, rounding, terms, exponent of zero) of NVIDIA's, or AMD's."""
    if name.startswith("mi300"):
        model = fdpa.MMA_GTR_FDPA if name == "mi300_fp8" else fdpa.MMA_TR_FDPA
        terms = {"mi300": 8, "mi300_xf32": 4, "mi300_fp8": 16}[name]
        return model(F=24, F2=31, rho="RNE-FP32", L_max=terms)
    f, rho, terms, zero = {
        "v100": (23, "RZ-FP32", 4, -131),
        "a100": (24, "RZ-FP32", 8, -132),
        "a100_tf32": (24, "RZ-FP32", 4, -132),
        "ada_tf32": (24, "RZ-FP32", 4, -132),
        "h100_tf32": (25, "RZ-FP32", 8, -133),
        "b200_tf32": (25, "RZ-FP32", 8, -133),
        "ada": (24, "RZ-FP32", 8, -132),
        "ada_fp8": (13, "RZ-E8M13", 16, -132),
        "h100": (25, "RZ-FP32", 16, -133),
        "h100_fp8": (13, "RZ-E8M13", 32, -133),
        "b200": (25, "RZ-FP32", 16, -133),
        "b200_fp8_tcgen05": (25, "RZ-FP32", 32, -133),
    }[name]
    return fdpa.MMA_T_FDPA(f, rho, terms, zero, "", "")


def draw(rng: np.random.Generator, format: str, shape: tuple[int, ...], finite: bool) -> Any:
    bits = lowp.format(format).bits
    dtype = {8: np.uint8, 16: np.uint16}.get(bits, np.uint32)
    codes = rng.integers(0, 2**bits, shape).astype(dtype)
    if finite:
        values = lowp.decode(codes, format)
        codes[~np.isfinite(values)] = 1
    return codes


def tensor(codes: np.ndarray, format: str) -> Any:
    if format == "tensorfloat32":
        return torch.from_numpy(lowp.decode(codes, format))
    signed = codes.view(np.int8 if codes.itemsize == 1 else np.int16)
    return torch.from_numpy(signed).view(TYPES[format])


def equal(got: np.ndarray, want: np.ndarray, nan_bits: bool) -> None:
    same = got.view(np.uint32) == want.view(np.uint32)
    if not nan_bits:
        same |= np.isnan(got) & np.isnan(want)
    wrong = np.argwhere(~same)
    assert wrong.size == 0, (
        len(wrong),
        [(tuple(i), got[tuple(i)], want[tuple(i)]) for i in wrong[:5]],
    )


CASES = [
    (name, format)
    for name, (_, inputs, _) in lowp.accumulators().items()
    for format in inputs.split()
    if format in TYPES and name not in {"h100_fp8_promoted", "h100_fp8_mma", "b200_fp8"}
]


@pytest.mark.parametrize(("name", "format"), CASES)
@pytest.mark.parametrize("finite", [True, False])
def test_units_agree(name: str, format: str, finite: bool) -> None:
    rng = np.random.default_rng(11)
    # An infinite c or NaN MMA-Sim drops there next to large products: an accident of frexp.
    k = 16 if name == "mi300_fp8" and not finite else 96
    a, b = draw(rng, format, (M, k), finite), draw(rng, format, (k, N), finite)
    if not finite:  # few specials, or all is NaN
        a[:, 5:], b[5:] = draw(rng, format, (M, k - 5), True), draw(rng, format, (k - 5, N), True)
    c = np.ldexp(rng.normal(size=(M, N)), rng.integers(-40, 40, (M, N))).astype(np.float32)
    c[0], c[1, 0] = 0, np.float32(1e-42)
    if not finite:
        c[2, :3] = np.inf, -np.inf, np.nan
    if name == "mi300_fp8" and not finite:
        c[2] = 0
    want = unit(name, format)(tensor(a, format), tensor(b, format), torch.from_numpy(c)).numpy()
    got = lowp.matmul(
        lowp.decode(a, format),
        lowp.decode(b, format),
        c=c,
        accumulator=name,
        a_format=format,
        b_format=format,
    )
    if name.startswith("mi300"):  # the sign of zero is not known of AMD's
        got, want = got + np.float32(0), want + np.float32(0)
    equal(got, want, nan_bits=not name.startswith("mi300"))


def test_block_scaled_fp8_agrees() -> None:
    rng = np.random.default_rng(12)
    k = 128
    a = draw(rng, "float8_e4m3fn", (M, k), True)
    b = draw(rng, "float8_e4m3fn", (N, k), True)
    scales = [rng.integers(100, 150, (lines, k // 32)).astype(np.uint8) for lines in (M, N)]
    c = rng.normal(size=(M, N)).astype(np.float32) * 1000
    model = fdpa.MMA_ST_FDPA(25, "RZ-FP32", 32, -133, "", "")
    want = torch.from_numpy(c)
    e8m0 = [torch.from_numpy(s).view(torch.float8_e8m0fnu) for s in scales]
    for i in range(0, k, 32):
        want = model(
            tensor(a[:, i : i + 32].copy(), "float8_e4m3fn"),
            tensor(b[:, i : i + 32].copy(), "float8_e4m3fn").T,
            want,
            e8m0[0][:, i // 32 : i // 32 + 1],
            e8m0[1][:, i // 32 : i // 32 + 1].T,
        )
    got = np.empty((M, N), np.float32)
    values = [lowp.decode(x, "float8_e4m3fn") for x in (a, b)]
    wide = [lowp.decode(s, "float8_e8m0fnu", dtype=np.float64) for s in scales]
    scaled(got, values, wide, c, "b200_mxf8", "float8_e4m3fn", 32, -127)
    equal(got, want.numpy(), nan_bits=True)


@pytest.mark.parametrize(("scale", "block"), [("float8_e8m0fnu", 32), ("float8_e4m3fn", 16)])
def test_block_scaled_fp4_agrees(scale: str, block: int) -> None:
    rng = np.random.default_rng(13)
    k = 256
    a, b = (rng.integers(0, 16, (lines, k)).astype(np.uint8) for lines in (M, N))
    a[3] = 0
    low, high = (100, 150) if block == 32 else (0, 127)
    scales = [rng.integers(low, high, (lines, k // block)).astype(np.uint8) for lines in (M, N)]
    c = rng.normal(size=(M, N)).astype(np.float32) * 100
    values = [lowp.decode(x, "float4_e2m1fn") for x in (a, b)]
    wide = [lowp.decode(s, scale, dtype=np.float64) for s in scales]
    kind = torch.float8_e8m0fnu if block == 32 else torch.float8_e4m3fn
    codes = [torch.from_numpy(s).view(kind) for s in scales]
    model = fdpa.MMA_GST_FDPA(16, 35, "RZ-FP32", 64, -139)
    want = model(
        torch.from_numpy(values[0]), torch.from_numpy(values[1]).T, torch.from_numpy(c),
        codes[0], codes[1].T,
    )  # fmt: skip
    got = np.empty((M, N), np.float32)
    emin = -127 if block == 32 else -6
    scaled(got, values, wide, c, "b200_mxf4", "float4_e2m1fn", block, emin)
    equal(got, want.numpy(), nan_bits=True)


def scaled(
    out: np.ndarray, values: Any, scales: Any, c: np.ndarray, name: str, format: str, block: int,
    emin: int,
) -> None:  # fmt: skip
    """The product of factors whose scales are at hand."""
    lowp._core._matmul_2d(
        values[0], values[1].T, c, out, lowp.accumulator(name), format, format,
        (*scales, block, emin), 1.0, None, None, None, None, 0, 0, "philox4x32_10", 0, 1,
    )  # fmt: skip
