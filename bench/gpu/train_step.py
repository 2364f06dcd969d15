"""Time of a training step of a GPT of 124 M parameters, plain and in recipes, in one run.

As PyTorch's users train: float32 parameters under torch.autocast in bfloat16, flash attention,
torch.compile of the whole model, fused AdamW. Every recipe has a process of its own, so that they
compile at the same time; then they are timed in turn, alone, several rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lowp.torch as lt
import torch
from lowp import _device_both
from lowp.study.tasks._gpt import GPT, Size

KEEP = ("lm_head",)  # as the papers do; the embedding has no product
VOCABULARY = 50304
APART = ", apart"  # after a recipe's name: rows and columns quantized by a call each


def recipes() -> dict[str, lt.Recipe | None]:
    """What is timed; None is plain PyTorch."""
    nvfp4 = lt.recipes.nvfp4(bfloat16=(), keep=KEEP)
    return {
        "plain": None,
        "mxfp8": lt.recipes.mxfp8(keep=KEEP),
        "mxfp8, floor": lt.recipes.mxfp8(rule="floor", keep=KEEP),
        "nvfp4": nvfp4,
        "bf16": lt.recipes.bf16(keep=KEEP),
        "mxfp4": lt.recipes.mxfp4(keep=KEEP),
        "hybrid_fp8": lt.recipes.hybrid_fp8(history=16, keep=KEEP),
    }


def read_apart() -> None:
    """Have matrices read once for their rows and once for their columns."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    _device_both.quantize_both = refuse


class Training:
    """A model and its step."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        """name: of the recipe."""
        torch.manual_seed(0)
        self.device = args.device
        size = Size(args.width, args.layers, args.width // 64, 1024, args.batch, VOCABULARY)
        model = GPT(size)
        model.lm_head.weight = model.embed.weight
        recipe = recipes()[name.removesuffix(APART)]
        if name.endswith(APART):
            read_apart()
        if recipe is not None:
            lt.convert(model, recipe)
        self.model = model.to(self.device)
        fused = self.device == "cuda"
        self.optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=fused)
        self.loss = torch.compile(model.loss, fullgraph=True) if args.compile else model.loss
        self.ids = torch.randint(VOCABULARY, (args.batch, 1025), device=self.device)

    def step(self) -> torch.Tensor:
        """Forward, backward, optimizer: the loss, which nobody waits for."""
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.loss(self.ids)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


def times(training: Training, count: int) -> list[float]:
    """Milliseconds of steps by the device's clock."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    training.step()
    events[0].record()
    for event in events[1:]:
        training.step()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in pairwise(events)]


def host_milliseconds(training: Training, count: int) -> float:
    """What Python takes to put one step on the device."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        training.step()
    seconds = time.perf_counter() - begin
    torch.cuda.synchronize()
    return 1e3 * seconds / count


def profile(training: Training, path: Path) -> None:
    """Kernels by the device time of three steps, in microseconds."""
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(3):
            training.step()
        torch.cuda.synchronize()
    table = found.key_averages().table("self_cuda_time_total", 60, max_name_column_width=110)
    path.write_text(table)


def serve(name: str, args: argparse.Namespace, link: Any) -> None:
    """One recipe's process: compile, then do what is asked for."""
    torch.set_float32_matmul_precision("high")
    begin = time.perf_counter()
    training = Training(name, args)
    losses = [training.step().item() for _ in range(3)]
    ready = time.perf_counter() - begin
    memory = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    link.send({"ready": ready, "memory": memory, "loss": losses[-1]})
    while (asked := link.recv()) is not None:
        if asked == "times":
            link.send(times(training, args.steps))
        elif asked == "host":
            link.send(host_milliseconds(training, 3))
        else:
            profile(training, Path(asked))
            link.send(None)
        torch.cuda.empty_cache()


def measure(links: dict[str, Any], args: argparse.Namespace) -> dict[str, list[float]]:
    """Times of all steps, recipe by recipe in turn."""
    found: dict[str, list[float]] = {name: [] for name in links}
    for _ in range(args.rounds):
        for name, link in links.items():
            link.send("times")
            found[name] += link.recv()
    return found


def report(found: dict[str, list[float]], facts: dict[str, Any], hosts: dict[str, float]) -> None:
    """The table; the first recipe is what the others are held against."""
    base = statistics.median(next(iter(found.values())))
    print(f"{'recipe':16} {'ms':>8} {'of plain':>9} {'least':>8} {'host ms':>8} {'GiB':>6} loss")
    for name, steps in found.items():
        median = statistics.median(steps)
        print(
            f"{name:16} {median:8.2f} {median / base:9.3f} {min(steps):8.2f} {hosts[name]:8.2f} "
            f"{facts[name]['memory']:6.1f} {facts[name]['loss']:.4f} "
            f"(ready in {facts[name]['ready']:.0f} s)"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=["plain", "mxfp8", "nvfp4"])
    parser.add_argument("--batch", type=int, default=32, help="sequences of 1024 tokens")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10, help="timed in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--after", type=Path, help="time once this file is there, no earlier")
    parser.add_argument("--profile", type=Path, help="a folder for tables of kernels")
    args = parser.parse_args()
    context = get_context("spawn")
    links, workers = {}, []
    for name in args.recipes:
        links[name], other = context.Pipe()
        workers.append(context.Process(target=serve, args=(name, args, other), daemon=True))
        workers[-1].start()
        other.close()
    facts = {}
    for name, link in links.items():
        with contextlib.suppress(EOFError):  # it failed, and has said why
            facts[name] = link.recv()
    links = {name: links[name] for name in facts}
    while args.after is not None and not args.after.exists():
        time.sleep(0.1)
    hosts = {}
    for name, link in links.items():
        link.send("host")
        hosts[name] = link.recv()
    found = measure(links, args)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {args.batch} x 1024")
    report(found, facts, hosts)
    for name, link in links.items():
        if args.profile is not None:
            link.send(str(args.profile / f"profile_{name.replace(', ', '_')}.txt"))
            link.recv()
        link.send(None)


if __name__ == "__main__":
    main()
