"""A small tensor with an outlier in MXFP4 and NVFP4: what the scale rule and a transform change."""

import lowp
import numpy as np

x = np.float32([0.1 * (i % 7) - 0.3 for i in range(32)])
x[5] = 7.0

for name in ["mxfp4", "mxfp4/rceil", "mxfp4/mse", "nvfp4", "fp4_ue5m3_16"]:
    block = lowp.block_format(name)
    q = lowp.quantize(x, block)
    t = lowp.encode(x, block)
    print(f"{name}: {t.nbytes} bytes, squared error {((q - x) ** 2).sum():.4f}")
    print("  scales", *t.scales, f"  x[5] -> {q[5]:.6g}")

h = lowp.hadamard(x, 16)
q = lowp.hadamard(lowp.quantize(h, "mxfp4"), 16, inverse=True)
print(f"mxfp4 of the transformed: squared error {((q - x) ** 2).sum():.4f}")
