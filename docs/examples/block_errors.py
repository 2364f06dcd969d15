"""What block formats do to Gaussian, Laplace and Student-t data: errors, gains, and what helps.

relMSE = E(x - q)^2 / E x^2 and gain = <x, q> / <x, x> of 2^21 samples, nearest even. The column
`reference` holds the figures of an independent program; `off` is the distance from it.
"""

import lowp
import numpy as np

SAMPLES = 2**21

# The per-tensor figures with the best scale for each format.
PER_TENSOR = {
    "e0m3": 0.01306,
    "float4_e2m1fn": 0.01274,
    "e3m0": 0.0378,
    "float6_e2m3fn": 8.33e-4,
    "float6_e3m2fn": 2.74e-3,
    "float8_e4m3fn": 6.94e-4,
    "float8_e5m2": 2.74e-3,
    "int8": 9.06e-5,
}

BLOCKS = {
    "mxfp4": (0.01322, 0.9805),
    "mxfp4/16/floor": (0.01386, 0.9719),
    "mxfp4/32/ceil": (0.02081, 0.9928),
    "mxfp4/16/ceil": (0.01794, 0.9918),
    "mxfp4/32/rceil": (0.01332, 0.9901),
    "mxfp4/16/rceil": (0.01272, 0.9898),
    "mxfp4/32/even": (0.01252, 0.9898),
    "mxfp4/16/even": (0.01212, 0.9896),
    "float4_e2m1fn/32/float32/amax": (0.01022, 0.9941),
    "float4_e2m1fn/16/float32/amax": (0.00885, 0.9959),
    "fp4_ue5m3_32": (0.01033, None),
    "fp4_ue5m3_16": (0.00903, None),
    "nvfp4/32": (0.01033, None),
    "nvfp4": (0.00903, 0.9955),
    "nvfp4_four_six": (None, None),
    "mxfp8_e4m3": (8.62e-4, None),
    "mxfp8_e4m3/even": (7.62e-4, None),
    "mxfp8_e4m3/rceil": (7.05e-4, None),
}


def off(value: float, reference: float | None) -> str:
    return "" if reference is None else f"{100 * (value / reference - 1):+.1f} %"


def main() -> None:
    print("Gaussian data, one scale a tensor, the best one")
    for name, reference in PER_TENSOR.items():
        value = lowp.gmse(name)
        print(f"  {name:30} {value:9.3g}  reference {reference:8.3g} {off(value, reference):>8}")

    x = lowp.quality.samples_of("gaussian", SAMPLES).astype(np.float32)
    print("\nGaussian data in blocks: relMSE and gain")
    for name, (mse, gain) in BLOCKS.items():
        e = lowp.error(x, name)
        known = "" if mse is None else f"reference {mse:8.3g} {off(e.relative_mse, mse):>8}"
        gains = "" if gain is None else f"  reference {gain:.4f} {off(e.gain, gain):>7}"
        print(f"  {name:30} {e.relative_mse:9.3g}  {e.gain:.4f}  {known:27}{gains}")

    print("\nHadamard transform of 32 before quantizing: relMSE without -> with")
    for data in ("gaussian", "laplace", "student_t3"):
        x = lowp.quality.samples_of(data, SAMPLES).astype(np.float32)
        for name in ("mxfp4", "nvfp4"):
            plain = lowp.error(x, name).relative_mse
            spread = lowp.error(lowp.hadamard(x, 32), name).relative_mse
            change = 100 * (spread / plain - 1)
            print(f"  {data:12} {name:6} {plain:.5f} -> {spread:.5f}  {change:+.0f} %")


if __name__ == "__main__":
    main()
