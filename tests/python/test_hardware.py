"""Conversions recorded on an NVIDIA H100 and from CUDA's reference headers, every row of them.

tests/tables/h100_convert_1.npz: the `cvt` instruction of each column's name, on every upper half of
a float32 with four lower halves. tests/tables/cuda_reference_fp4_fp6_e8m0.npz: the host-side
reference conversions of cuda_fp4.h, cuda_fp6.h and cuda_fp8.h (CUDA 13.0). The hardware has
conventions of its own for NaN and for signs; each test says which, and compares the rest as it is.
"""

from __future__ import annotations

import lowp
import numpy as np
import pytest
from samples import TABLES, Run


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(TABLES / name) as file:
        return {key: file[key] for key in file.files}


H100 = load("h100_convert_1.npz")
CUDA = load("cuda_reference_fp4_fp6_e8m0.npz")


def equal_rows(got: np.ndarray, want: np.ndarray, x: np.ndarray) -> None:
    wrong = np.flatnonzero(got != want)[:5]
    assert wrong.size == 0, [(float(x[i]).hex(), hex(got[i]), hex(want[i])) for i in wrong]


@pytest.mark.parametrize(
    ("table", "column", "format"),
    [
        (H100, "e4m3_rn_satfinite", "float8_e4m3fn"),
        (H100, "e5m2_rn_satfinite", "float8_e5m2"),
        (CUDA, "e4m3_rn_satfinite", "float8_e4m3fn"),
    ],
    ids=["h100_e4m3", "h100_e5m2", "cuda_e4m3"],
)
def test_fp8_conversions_equal_the_recording(
    run: Run, table: dict[str, np.ndarray], column: str, format: str
) -> None:
    # NaN becomes 0x7F whatever its sign; lowp's own NaN of e5m2 is the quiet one of IEEE, 0x7E.
    x = table["input"].view(np.float32)
    got = run(lowp.encode, x, format, saturation="finite", nan=0x7F)
    equal_rows(got, table[column], x)


@pytest.mark.parametrize(
    ("column", "format", "rounding"),
    [
        ("f16_rn", "float16", "nearest_ties_to_even"),
        ("f16_rz", "float16", "toward_zero"),
        ("bf16_rn", "bfloat16", "nearest_ties_to_even"),
        ("bf16_rz", "bfloat16", "toward_zero"),
    ],
)
def test_16_bit_conversions_equal_the_recording(
    run: Run, column: str, format: str, rounding: str
) -> None:
    # NaN becomes 0x7FFF whatever its sign and payload; lowp's own is the quiet one with no payload.
    x = H100["input"].view(np.float32)
    equal_rows(run(lowp.encode, x, format, rounding=rounding, nan=0x7FFF), H100[column], x)


def test_tensorfloat32_conversions_equal_the_recording(run: Run) -> None:
    # The register holds a float32 pattern: 19 bits of code, then 13 bits that are zero.
    # Ties go away from zero (rna). A NaN is cut off: sign and upper payload stay, so 0x7F800001
    # even becomes the pattern of infinity; lowp has one NaN, and rows with NaN take the cut here.
    x = H100["input"].view(np.float32)
    codes = run(lowp.encode, x, "tensorfloat32", rounding="nearest_ties_to_away")
    got = np.where(
        np.isnan(x), H100["input"] & np.uint32(0xFFFFE000), codes.astype(np.uint32) << np.uint32(13)
    )
    equal_rows(got, H100["tf32_rna"], x)


def test_quantize_equals_the_float32_that_tensorfloat32_is_kept_in(run: Run) -> None:
    x = H100["input"].view(np.float32)
    number = ~np.isnan(x)
    got = run(lowp.quantize, x, "tensorfloat32", rounding="nearest_ties_to_away").view(np.uint32)
    equal_rows(got[number], H100["tf32_rna"][number], x[number])


@pytest.mark.parametrize(
    ("column", "format"),
    [("e2m1_rn", "float4_e2m1fn"), ("e2m3_rn", "float6_e2m3fn"), ("e3m2_rn", "float6_e3m2fn")],
)
def test_fp4_and_fp6_conversions_equal_the_recording(run: Run, column: str, format: str) -> None:
    # These formats have no NaN and no infinity: CUDA makes NaN the largest positive value.
    x = CUDA["input"].view(np.float32)
    largest = lowp.format(format).max_code
    got = run(lowp.encode, x, format, saturation="finite", nan=largest)
    equal_rows(got, CUDA[column], x)


@pytest.mark.parametrize(
    ("column", "rounding"), [("e8m0_rp", "toward_positive"), ("e8m0_rz", "toward_zero")]
)
def test_e8m0_conversions_equal_the_recording(run: Run, column: str, rounding: str) -> None:
    # CUDA takes the magnitude: a negative number gives the scale of its absolute value, zero the
    # smallest scale (code 0), infinity the largest (254) with satfinite. NaN is 0xFF.
    x = CUDA["input"].view(np.float32)
    got = run(lowp.encode, np.abs(x), "float8_e8m0fnu", rounding=rounding, saturation="finite")
    equal_rows(got, CUDA[column], x)
