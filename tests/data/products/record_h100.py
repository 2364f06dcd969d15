"""Records products of a GPU: python record_h100.py FOLDER. Needs PyTorch, CuPy and an NVIDIA H100.

products_512.npz: 512 by 512 by 512 products of PyTorch, in FP8 (_scaled_mm, scales 1, with and
without fast accumulation) and of float16 and bfloat16 with a float32 result; chains of
mma.m16n8k16 over k = 512 on tiles, each starting from the one before.
"""

import sys
from pathlib import Path

import cupy
import numpy as np
import torch

CHAIN = r"""
using half = unsigned short;
extern "C" __global__ void chain(const half* a, const half* b, float* d, int k) {
    // One warp: a 16 by k, b k by 8, both in C order, d 16 by 8.
    const int lane = threadIdx.x, group = lane / 4, pair = lane % 4;
    a += blockIdx.x * 16 * k;
    b += blockIdx.x * 8 * k;
    d += blockIdx.x * 128;
    float c[4] = {0, 0, 0, 0};
    for (int t = 0; t < k; t += 16) {
        unsigned x[4], y[2];
        for (int i = 0; i < 4; ++i) {
            const int row = group + 8 * (i % 2), column = t + pair * 2 + 8 * (i / 2);
            x[i] = a[row * k + column] | (unsigned)a[row * k + column + 1] << 16;
        }
        for (int i = 0; i < 2; ++i) {
            const int row = t + pair * 2 + 8 * i;
            y[i] = b[row * 8 + group] | (unsigned)b[(row + 1) * 8 + group] << 16;
        }
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.TYPE.TYPE.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    }
    for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + pair * 2 + i % 2] = c[i];
}
"""


def chains(kind: torch.dtype, name: str, tiles: int, k: int) -> dict[str, np.ndarray]:
    a = torch.randn(tiles, 16, k, device="cuda").to(kind)
    b = torch.randn(tiles, k, 8, device="cuda").to(kind)
    d = torch.empty(tiles, 16, 8, device="cuda")
    source = CHAIN.replace("TYPE", name)
    kernel = cupy.RawModule(code=source, options=("-arch=sm_90",)).get_function("chain")
    kernel((tiles,), (32,), (a.data_ptr(), b.data_ptr(), d.data_ptr(), np.int32(k)))
    torch.cuda.synchronize()
    codes = {"a": a.view(torch.int16), "b": b.view(torch.int16)}
    found = {key: x.cpu().numpy().view(np.uint16) for key, x in codes.items()}
    return {f"{name}_chain_{key}": x for key, x in (found | {"d": d.cpu().numpy()}).items()}


def main() -> None:
    torch.manual_seed(2026)
    n = 512
    found: dict[str, np.ndarray] = {}
    a = torch.randn(n, n, device="cuda").to(torch.float8_e4m3fn)
    b = torch.randn(n, n, device="cuda").to(torch.float8_e4m3fn)  # the second factor, transposed
    one = torch.ones((), device="cuda")
    for fast in (True, False):
        d = torch._scaled_mm(
            a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.float32, use_fast_accum=fast
        )
        found[f"e4m3_d_{'fast' if fast else 'slow'}"] = d.cpu().numpy()
    found["e4m3_a"] = a.view(torch.uint8).cpu().numpy()
    found["e4m3_b"] = b.view(torch.uint8).t().contiguous().cpu().numpy()
    for kind, name in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
        x = torch.randn(n, n, device="cuda").to(kind)
        y = torch.randn(n, n, device="cuda").to(kind)
        d = torch.mm(x, y, out_dtype=torch.float32)
        found[f"{name}_a"] = x.view(torch.int16).cpu().numpy().view(np.uint16)
        found[f"{name}_b"] = y.view(torch.int16).cpu().numpy().view(np.uint16)
        found[f"{name}_d"] = d.cpu().numpy()
        found |= chains(kind, name, 16, n)
    print(torch.__version__, torch.version.cuda, torch.cuda.get_device_name())
    np.savez_compressed(Path(sys.argv[1]) / "products_512.npz", **found)


if __name__ == "__main__":
    main()
