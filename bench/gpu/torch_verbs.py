"""lowp on a GPU through PyTorch, against a copy on the device and its peers, in one run: PyTorch's
own casts, torchao and microxcaling, eager and compiled. Peers that are not there are left out.

Prints values a second, the ratio to the copy of as many bytes, and what a call costs the host.
Arguments: the dtypes, float32 and bfloat16 where none are given.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import lowp
import lowp.torch as lt
import torch

COUNT = 2**27
Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Median of the device's own clock, after warming up."""
    times = []
    for i in range(13):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def host_microseconds(work: Work) -> float:
    """What a call costs the host: the fastest of some runs of many calls."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(500):
            work()
        times.append((time.perf_counter() - start) / 500 * 1e6)
        torch.cuda.synchronize()
    return min(times)


def peer(name: str) -> Any:
    """A module, or None where it is not installed or does not go with this PyTorch."""
    try:
        return import_module(name)
    except Exception as error:  # whatever its import meets is its own matter
        print(f"{name.partition('.')[0]} is left out: {type(error).__name__}: {error}"[:100])
        return None


def of_lowp(x: torch.Tensor) -> dict[str, tuple[float, Work]]:
    """Bytes moved a value and work, by name."""
    size = x.element_size()
    rows: dict[str, tuple[float, Work]] = {
        "quantize fp8": (2 * size, lambda: lt.quantize(x, "float8_e4m3fn")),
        "quantize fp8, stochastic": (
            2 * size,
            lambda: lt.quantize(x, "float8_e4m3fn", rounding="stochastic_a", seed=1),
        ),
        "quantize mxfp8": (2 * size, lambda: lt.quantize(x, "mxfp8_e4m3")),
        "quantize mxfp4": (2 * size, lambda: lt.quantize(x, "mxfp4")),
        "quantize nvfp4": (3 * size, lambda: lt.quantize(x, "nvfp4")),
        "encode fp8": (size + 1, lambda: lt.encode(x, "float8_e4m3fn")),
        "encode mxfp8": (size + 1 + 1 / 32, lambda: lt.encode(x, "mxfp8_e4m3")),
        "encode mxfp4": (size + 0.5 + 1 / 32, lambda: lt.encode(x, "mxfp4")),
        "encode nvfp4": (2 * size + 0.5 + 1 / 16, lambda: lt.encode(x, "nvfp4")),
        "hadamard 16": (2 * size, lambda: lt.hadamard(x, 16, seed=1)),
        "error fp8, with quantize": (4 * size, lambda: lowp.error(x, "float8_e4m3fn")),
    }
    return rows


def of_torch(x: torch.Tensor) -> dict[str, tuple[float, Work]]:
    """PyTorch's casts."""
    fp8, size = torch.float8_e4m3fn, x.element_size()
    both = torch.compile(lambda t: t.to(fp8).to(t.dtype))
    return {
        "quantize fp8": (2 * size, lambda: x.to(fp8).to(x.dtype)),
        "quantize fp8, compiled": (2 * size, lambda: both(x)),
        "encode fp8": (size + 1, lambda: x.to(fp8)),
    }


def of_torchao(x: torch.Tensor) -> dict[str, tuple[float, Work]]:
    """torchao's casts to MX and NVFP4, as it calls them: compiled."""
    mx = peer("torchao.prototype.mx_formats.mx_tensor")
    nv = peer("torchao.prototype.mx_formats.nvfp4_tensor")
    if mx is None or nv is None:
        return {}
    size, fp4 = x.element_size(), torch.float4_e2m1fn_x2
    to_mx = torch.compile(mx.to_mx)

    def two_levels(t: torch.Tensor) -> Any:
        return nv.nvfp4_quantize(t, 16, nv.per_tensor_amax_to_scale(t.abs().max()))

    nvfp4 = torch.compile(two_levels)
    return {
        "encode mxfp8, compiled": (size + 1, lambda: to_mx(x, torch.float8_e4m3fn, 32)),
        "encode mxfp4, compiled": (size + 0.5, lambda: to_mx(x, fp4, 32)),
        "encode mxfp4, eager": (size + 0.5, lambda: mx.to_mx(x, fp4, 32)),
        "encode nvfp4, compiled": (2 * size + 0.5, lambda: nvfp4(x)),
    }


def of_microxcaling(x: torch.Tensor) -> dict[str, tuple[float, Work]]:
    """microxcaling's quantizer in PyTorch's operations, eager and compiled."""
    mx = peer("mx.mx_ops")
    if mx is None:
        return {}
    size = x.element_size()
    how = {"scale_bits": 8, "axes": [-1], "block_size": 32}

    def run(t: torch.Tensor, element: str) -> Any:
        return mx._quantize_mx(t, elem_format=element, **how)

    compiled = torch.compile(run)
    return {
        "quantize mxfp4, eager": (2 * size, lambda: run(x, "fp4_e2m1")),
        "quantize mxfp4, compiled": (2 * size, lambda: compiled(x, "fp4_e2m1")),
        "quantize mxfp8, eager": (2 * size, lambda: run(x, "fp8_e4m3")),
    }


LIBRARIES = {
    "lowp": of_lowp,
    "torch": of_torch,
    "torchao": of_torchao,
    "microxcaling": of_microxcaling,
}


def main() -> None:
    """Print the tables."""
    print(f"{torch.cuda.get_device_name()}, lowp {lowp.__version__}, torch {torch.__version__}")
    for name in sys.argv[1:] or ("float32", "bfloat16"):
        dtype = getattr(torch, name)
        x = torch.randn(COUNT // 4096, 4096, device="cuda", dtype=dtype)
        y, moved = torch.empty_like(x), 2 * COUNT * x.element_size()
        copy = moved / seconds(lambda y=y, x=x: y.copy_(x))
        print(f"{name}: a copy moves {copy / 1e9:.0f} GB/s, {copy * COUNT / moved / 1e9:.1f} Gv/s")
        small = torch.randn(64, 64, device="cuda", dtype=dtype)
        for library, rows in LIBRARIES.items():
            large, little = rows(x), rows(small)
            for what, (bytes_a_value, work) in large.items():
                try:
                    rate = COUNT / seconds(work)
                    host = host_microseconds(little[what][1])
                except Exception as error:  # a peer may not compile on this machine
                    print(f"{library:13} {what:27} {type(error).__name__}: {error}"[:100])
                    continue
                share = rate * bytes_a_value / copy
                print(
                    f"{library:13} {what:27} {rate / 1e9:7.1f} Gv/s {share:6.3f} of copy "
                    f"{host:7.1f} us a call"
                )


if __name__ == "__main__":
    main()
