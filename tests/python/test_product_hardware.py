"""Matrix products recorded on GPUs, every element of them, to the bit.

tests/data/products: tiles of an H100. tensor_cores: 2,000 dot products each of five GPUs, from the
public data of Khattak and Mikaitis (arXiv 2512.07004); read where it lies beside the checkout.
"""

from __future__ import annotations

from pathlib import Path

import lowp
import numpy as np
import pytest
from samples import Run

HERE = Path(__file__).resolve().parents[1]
RECORDED = HERE / "data" / "products"
PUBLISHED = HERE.parents[1] / "shared" / "hardware" / "tensor_cores"

FORMATS = {
    "f16": "float16",
    "bf16": "bfloat16",
    "tf32": "tensorfloat32",
    "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2",
}
UNITS = {
    "f16": "h100",
    "bf16": "h100",
    "tf32": "h100_tf32",
    "e4m3": "h100_fp8_mma",
    "e5m2": "h100_fp8_mma",
}


def values(codes: np.ndarray, kind: str) -> np.ndarray:
    if kind == "tf32":
        return codes.view(np.float32)
    return lowp.decode(codes, FORMATS[kind])


def bits(x: np.ndarray) -> np.ndarray:
    return x.view(np.uint32)


def equal_bits(got: np.ndarray, want: np.ndarray) -> None:
    wrong = np.argwhere(bits(got) != bits(want))
    assert wrong.size == 0, (
        len(wrong),
        [(tuple(i), got[tuple(i)], want[tuple(i)]) for i in wrong[:5]],
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_every_tile_of_an_h100_is_reproduced_infinities_and_nan_included(
    run: Run, kind: str
) -> None:
    with np.load(RECORDED / f"mma_{kind}_1.npz") as f:
        a, b, c, d = (f[x] for x in "abcd")
    got = run(
        lowp.matmul,
        values(a, kind),
        values(b, kind),
        c=c,
        accumulator=UNITS[kind],
        a_format=FORMATS[kind],
        b_format=FORMATS[kind],
    )
    equal_bits(got, d)


@pytest.mark.parametrize("speed", ["fast", "slow"])
@pytest.mark.parametrize("k", [32, 64, 128, 256])
def test_scaled_mm_of_an_h100_is_reproduced(run: Run, k: int, speed: str) -> None:
    with np.load(RECORDED / "scaled_mm_e4m3_1.npz") as f:
        a, b, d = f[f"a{k}"], f[f"b{k}"], f[f"d{k}_{speed}"]
    unit = "h100_fp8" if speed == "fast" else "h100_fp8_promoted"
    got = run(
        lowp.matmul,
        values(a, "e4m3"),
        values(b, "e4m3"),
        accumulator=unit,
        a_format="float8_e4m3fn",
        b_format="float8_e4m3fn",
    )
    equal_bits(got, d)


@pytest.mark.parametrize(
    ("kind", "result", "unit"),
    [
        ("e4m3", "d_fast", "h100_fp8"),
        ("e4m3", "d_slow", "h100_fp8_promoted"),
        ("f16", "d", "h100"),
        ("bf16", "d", "h100"),
        ("f16_chain", "d", "h100"),
        ("bf16_chain", "d", "h100"),
    ],
)
def test_long_products_of_an_h100_are_reproduced(
    run: Run, kind: str, result: str, unit: str
) -> None:
    format = FORMATS[kind.removesuffix("_chain")]
    with np.load(RECORDED / "products_512.npz") as f:
        a, b, d = f[f"{kind}_a"], f[f"{kind}_b"], f[f"{kind}_{result}"]
    got = run(
        lowp.matmul,
        lowp.decode(a, format),
        lowp.decode(b, format),
        accumulator=unit,
        a_format=format,
        b_format=format,
    )
    equal_bits(got, d)


PUBLISHED_ROWS = [
    ("V100", "fp16", "v100", "float16"),
    ("A100", "fp16", "a100", "float16"),
    ("A100", "bf16", "a100", "bfloat16"),
    ("A100", "tf32", "a100_tf32", "tensorfloat32"),
    ("Ada", "fp16", "ada", "float16"),
    ("Ada", "bf16", "ada", "bfloat16"),
    ("Ada", "tf32", "ada_tf32", "tensorfloat32"),
    ("Ada", "E4M3", "ada_fp8", "float8_e4m3fn"),
    ("Ada", "E5M2", "ada_fp8", "float8_e5m2"),
    ("H100", "fp16", "h100", "float16"),
    ("H100", "bf16", "h100", "bfloat16"),
    ("H100", "tf32", "h100_tf32", "tensorfloat32"),
    ("H100", "E4M3", "h100_fp8", "float8_e4m3fn"),
    ("H100", "E5M2", "h100_fp8", "float8_e5m2"),
    ("B200", "fp16", "b200", "float16"),
    ("B200", "bf16", "b200", "bfloat16"),
    ("B200", "tf32", "b200_tf32", "tensorfloat32"),
    ("B200", "E4M3", "b200_fp8", "float8_e4m3fn"),
    ("B200", "E5M2", "b200_fp8", "float8_e5m2"),
]


@pytest.mark.parametrize(("gpu", "kind", "unit", "format"), PUBLISHED_ROWS)
def test_published_rows_are_reproduced(
    run: Run, gpu: str, kind: str, unit: str, format: str
) -> None:
    path = PUBLISHED / f"{gpu}.npz"
    if not path.exists():
        pytest.skip("the published rows are not beside this checkout")
    with np.load(path) as f:
        a, b, c, d = (f[f"{kind}_{x}"].view(np.float32) for x in "abcd")
    ignores_c = gpu == "H100" and format.startswith("float8")  # these rows are of c = 0
    got = run(
        lowp.matmul,
        a[:, None, :],
        b[:, :, None],
        c=None if ignores_c else c[:, None, None],
        accumulator=unit,
        a_format=format,
        b_format=format,
    )
    equal_bits(got[:, 0, 0], d)


# A float16 result takes the sum itself, to nearest even, and c in float16; FP8 on the H100 and the
# B200 goes through two float16 instructions, and their results and c are added in float16.
HALF = "/result=float16/result_rounding=nearest_ties_to_even"
PUBLISHED_HALVES = [
    ("V100", "fp16", "v100" + HALF),
    ("A100", "fp16", "a100" + HALF),
    ("Ada", "fp16", "ada" + HALF),
    ("Ada", "E4M3", "ada_fp8" + HALF),
    ("Ada", "E5M2", "ada_fp8" + HALF),
    ("H100", "fp16", "h100" + HALF),
    ("H100", "E4M3", "h100_fp8_mma/promotion=float16" + HALF),
    ("H100", "E5M2", "h100_fp8_mma/promotion=float16" + HALF),
    ("B200", "fp16", "b200" + HALF),
    ("B200", "E4M3", "h100_fp8_mma/promotion=float16" + HALF),
    ("B200", "E5M2", "h100_fp8_mma/promotion=float16" + HALF),
]


@pytest.mark.parametrize(("gpu", "kind", "unit"), PUBLISHED_HALVES)
def test_published_rows_with_float16_results_are_reproduced(
    run: Run, gpu: str, kind: str, unit: str
) -> None:
    path = PUBLISHED / f"{gpu}.npz"
    if not path.exists():
        pytest.skip("the published rows are not beside this checkout")
    with np.load(path) as f:
        a, b, c, d = (f[f"{kind}_{x}"].view(np.float32) for x in ("a", "b", "c", "d16"))
    format = {"fp16": "float16", "E4M3": "float8_e4m3fn", "E5M2": "float8_e5m2"}[kind]
    got = run(
        lowp.matmul,
        a[:, None, :],
        b[:, :, None],
        c=lowp.quantize(c, "float16")[:, None, None],
        accumulator=unit,
        a_format=format,
        b_format=format,
    )
    equal_bits(got[:, 0, 0], d)
