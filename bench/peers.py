"""lowp against its peers from Python, with pytest-benchmark: `python -m pytest bench/peers.py`.

One table for each task and size; the figures in brackets are the ratio to the fastest. Peers that
are not installed are skipped; slow ones get a part of the array. One thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lowp
import numpy as np
import pytest

Run = Callable[[Any], Any]
SIZES = [1 << 10, 1 << 16, 1 << 25]
LONGEST = 0.5  # seconds of one round
E4M3 = lowp.format("float8_e4m3fn")


def lowp_run(task: str) -> Run:
    if task == "encode":
        return lambda x: lowp.encode(x, E4M3, threads=1)
    if task == "decode":
        return lambda codes: lowp.decode(codes, E4M3, threads=1)
    if task == "stochastic":
        return lambda x: lowp.quantize(x, E4M3, rounding="stochastic_a", threads=1)
    target = lowp.format("float16") if task == "quantize float16" else E4M3
    return lambda x: lowp.quantize(x, target, threads=1)


def ml_dtypes_run(task: str) -> Run:
    e4m3 = pytest.importorskip("ml_dtypes").float8_e4m3fn
    if task == "encode":
        return lambda x: x.astype(e4m3)
    if task == "decode":
        return lambda codes: codes.view(e4m3).astype(np.float32)
    return lambda x: x.astype(e4m3).astype(np.float32)


def numpy_run(task: str) -> Run:
    return lambda x: x.astype(np.float16).astype(np.float32)


def gfloat_run(task: str) -> Run:
    gfloat = pytest.importorskip("gfloat")
    info = pytest.importorskip("gfloat.formats").format_info_ocp_e4m3
    if task == "quantize":
        return lambda x: gfloat.round_ndarray(info, x)
    mode = gfloat.RoundMode.StochasticFastest
    bits = np.random.default_rng(0).integers(0, 1 << 16, SIZES[-1])
    return lambda x: gfloat.round_ndarray(info, x, mode, srbits=bits[: x.size], srnumbits=16)


def pychop_run(task: str) -> Run:
    chop = pytest.importorskip("pychop").Chop
    run: Run = chop(exp_bits=4, sig_bits=3, rmode=5 if task == "stochastic" else 1)
    return run


def lowp_blocks(task: str) -> Run:
    name = task.split()[0]
    if task.endswith("encode"):
        return lambda x: lowp.encode(x, name, threads=1)
    return lambda x: lowp.quantize(x, name, threads=1)


def gfloat_blocks(task: str) -> Run:
    gfloat = pytest.importorskip("gfloat")
    info = pytest.importorskip("gfloat.formats").format_info_mxfp4_e2m1

    def run(x: Any) -> Any:
        return [
            gfloat.quantize_block(info, block, gfloat.compute_scale_amax)
            for block in x.reshape(-1, 32)
        ]

    return run


def pychop_blocks(task: str) -> Run:
    quantize = pytest.importorskip("pychop").mx_quantize
    return lambda x: quantize(x, "mxfp4_e2m1", block_size=32)


def microxcaling_blocks(task: str) -> Run:
    torch = pytest.importorskip("torch")
    quantize = pytest.importorskip("mx.mx_ops")._quantize_mx
    torch.set_num_threads(1)
    how = {"scale_bits": 8, "elem_format": "fp4_e2m1", "axes": [-1], "block_size": 32}
    return lambda x: quantize(torch.from_numpy(x), **how)


def torchao_blocks(task: str) -> Run:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    if task.startswith("nvfp4"):
        tensor = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")

        def two_levels(x: Any) -> Any:
            y = torch.from_numpy(x).reshape(-1, 32)
            scale = tensor.per_tensor_amax_to_scale(y.abs().max())
            return tensor.nvfp4_quantize(y, 16, scale)

        return two_levels
    to_mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor").to_mx
    fp4 = torch.float4_e2m1fn_x2
    return lambda x: to_mx(torch.from_numpy(x).reshape(-1, 32), fp4, 32)


TASKS: dict[str, dict[str, Callable[[str], Run]]] = {
    "quantize": {
        "lowp": lowp_run,
        "ml_dtypes": ml_dtypes_run,
        "gfloat": gfloat_run,
        "pychop": pychop_run,
    },
    "quantize float16": {"lowp": lowp_run, "numpy": numpy_run},
    "stochastic": {"lowp": lowp_run, "gfloat": gfloat_run, "pychop": pychop_run},
    "encode": {"lowp": lowp_run, "ml_dtypes": ml_dtypes_run},
    "decode": {"lowp": lowp_run, "ml_dtypes": ml_dtypes_run},
    "mxfp4": {
        "lowp": lowp_blocks,
        "pychop": pychop_blocks,
        "gfloat": gfloat_blocks,
        "microxcaling": microxcaling_blocks,
    },
    "mxfp4 encode": {"lowp": lowp_blocks, "torchao": torchao_blocks},
    "nvfp4 encode": {"lowp": lowp_blocks, "torchao": torchao_blocks},
}


def shortened(run: Run, x: Any) -> Any:
    """As much of x as `run` does in about LONGEST seconds, judged by a part of it."""
    part = x[: 1 << 13]
    run(part)  # what is worked out once
    start = time.perf_counter()
    run(part)
    seconds = (time.perf_counter() - start) * x.size / part.size
    return x if seconds < LONGEST else x[: max(part.size, int(x.size * LONGEST / seconds)) & ~31]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("task", "library"), [(task, library) for task, rows in TASKS.items() for library in rows]
)
def test_values_a_second(benchmark: Any, task: str, library: str, size: int) -> None:
    run = TASKS[task][library](task)
    x: Any = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    if task == "decode":
        x = lowp.encode(x, E4M3)
    x = shortened(run, x)
    benchmark.group = f"{task}, {size:,} values"
    benchmark.pedantic(run, (x,), rounds=7, iterations=max(1, (1 << 18) // x.size), warmup_rounds=1)
    benchmark.extra_info["values"] = x.size
    benchmark.extra_info["gvalues_per_s"] = x.size / benchmark.stats["median"] / 1e9


def test_call_of_16_values(benchmark: Any) -> None:
    x = np.ones(16, np.float32)
    benchmark.group = "one call on 16 values"
    benchmark(lowp.quantize, x, E4M3)
