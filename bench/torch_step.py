"""A training step of the small GPT in several recipes and with other quantizers, on the CPU.

    python bench/torch_step.py [--size small] [--threads 2] [--rounds 7]

Every line is the same step: six quantized operands of each linear layer, PyTorch's float32
products. Rounds go over all lines in turn; the fastest of each counts. Peers that are not installed
are left out: microxcaling (on PYTHONPATH), QPyTorch (PyPI: qtorch, which compiles itself).
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from time import perf_counter
from typing import Any

import lowp.torch as lt
import torch
from lowp.study.tasks._gpt import GPT, SIZES, Size, batch, corpus
from lowp.torch import recipes
from torch import nn
from torch.nn import functional as F

Quantize = Callable[[torch.Tensor, int], torch.Tensor]


class Emulated(torch.autograd.Function):
    """The linear layer of the recipes with a quantizer from elsewhere: (tensor, axis)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, q: Quantize) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.q = q
        return F.linear(q(x, -1), q(w, -1))

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        x, w = ctx.saved_tensors
        q = ctx.q
        rows, inputs = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        dx = q(rows, -1) @ q(w, 0)
        return dx.reshape(x.shape), q(rows, 0).t() @ q(inputs, 0), None


def emulate(model: nn.Module, q: Quantize) -> None:
    """Every linear layer of the model through Emulated."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = lambda x, m=module: Emulated.apply(x, m.weight, q)  # type: ignore[method-assign]


def peers() -> dict[str, Quantize]:
    """The quantizers of other libraries that are here: MXFP8 with floor scales."""
    found: dict[str, Quantize] = {}
    try:
        from mx.mx_ops import _quantize_mx

        found["microxcaling, MXFP8"] = lambda x, axis: _quantize_mx(
            x, 8, elem_format="fp8_e4m3", axes=[axis], block_size=32, round="even"
        )
    except ImportError as error:
        print(f"microxcaling left out: {error}")
    try:
        from qtorch.quant import block_quantize, float_quantize

        found["QPyTorch, E4M3 without scales"] = lambda x, axis: float_quantize(
            x.contiguous(), exp=4, man=3, rounding="nearest"
        )
        found["QPyTorch, 8-bit block floating point"] = lambda x, axis: block_quantize(
            x.contiguous(), wl=8, dim=0 if axis else -1, rounding="nearest"
        )
    except ImportError as error:
        print(f"QPyTorch left out: {error}")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time a training step in several recipes.")
    parser.add_argument("--size", default="small", choices=list(SIZES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="one line, for its largest resident set")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size, (text, _) = SIZES[args.size], corpus()
    models: dict[str, GPT] = {}

    def add(name: str, change: Callable[[GPT], object]) -> None:
        if args.only not in (None, name):
            return
        torch.manual_seed(0)
        models[name] = GPT(size)
        change(models[name])

    add("float32", lambda model: None)
    presets = {"MXFP8": recipes.mxfp8(), "MXFP4": recipes.mxfp4(), "NVFP4": recipes.nvfp4()}
    for name, recipe in presets.items():
        add(name, lambda model, r=recipe: lt.convert(model, r.replace(keep=())))  # type: ignore[misc]
    for name, q in peers().items():
        add(name, lambda model, q=q: emulate(model, q))  # type: ignore[misc]

    optimizers = {name: torch.optim.AdamW(m.parameters(), 1e-3) for name, m in models.items()}
    best = dict.fromkeys(models, float("inf"))
    for number in range(args.rounds):
        for name, model in models.items():
            ids = batch(text, size, number)
            start = perf_counter()
            loss = model.loss(ids)
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            best[name] = min(best[name], perf_counter() - start)
    if args.only is None:
        show(models["float32"], size, args.threads, best)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{args.only or 'all'}: largest resident set {peak:.0f} MiB")


def show(model: GPT, size: Size, threads: int, best: dict[str, float]) -> None:
    """The table of all lines."""
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {size.batch} x {size.context} bytes, {threads} threads")
    print("| step | ms | more than float32 | of float32 | of MXFP8 |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in best.items():
        ratios = seconds / best["float32"], seconds / best["MXFP8"]
        more = seconds - best["float32"]
        times = f"{seconds * 1e3:.1f} | {more * 1e3:.1f}"
        print(f"| {name} | {times} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
