"""Matrix units against MMA-Sim (PyPI: mmasim), in one process, one thread: multiply-adds a second.

python bench/peers_products.py [SIZE]: products of SIZE-cubed, 96 unless said. Needs torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter

import lowp
import numpy as np
import torch
from mmasim.arithmetic import fdpa

UNITS = {
    "h100": ("float16", torch.float16, (25, "RZ-FP32", 16, -133)),
    "h100_fp8": ("float8_e4m3fn", torch.float8_e4m3fn, (13, "RZ-E8M13", 32, -133)),
    "a100": ("bfloat16", torch.bfloat16, (24, "RZ-FP32", 8, -132)),
}


def seconds(work: Callable[[], object]) -> float:
    """The best of some runs that take a second together."""
    best, spent = float("inf"), 0.0
    while spent < 1:
        start = perf_counter()
        work()
        took = perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(
        f"| unit | lowp, {n} | lowp, 512 | MMA-Sim, {n} | ratio |\n| --- | --- | --- | --- | --- |"
    )
    for name, (format, dtype, parameters) in UNITS.items():
        model = fdpa.MMA_T_FDPA(*parameters, "", "")

        def ours(size: int, format: str = format, name: str = name) -> float:
            a, b = (
                lowp.quantize(rng.normal(size=(size, size)).astype(np.float32), format)
                for _ in "ab"
            )
            keywords = {"accumulator": name, "a_format": format, "b_format": format, "threads": 1}
            return size**3 / seconds(lambda: lowp.matmul(a, b, **keywords)) / 1e9

        a, b = (torch.from_numpy(rng.normal(size=(n, n))).to(dtype) for _ in "ab")
        theirs = n**3 / seconds(partial(model, a, b, torch.zeros(n, n))) / 1e9
        small, large = ours(n), ours(512)
        print(f"| `{name}` | {small:.2f} | {large:.2f} | {theirs:.6f} | {small / theirs:,.0f} |")


if __name__ == "__main__":
    main()
