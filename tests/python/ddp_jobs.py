"""What processes of a DistributedDataParallel training do in tests: by gloo, or NCCL on GPUs."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import torch
from lowp.torch import Delayed, Layer, Quantizer, Recipe, convert
from lowp.torch.distributed import compress
from lowp.torch.optim import Optimizer, adam_8bit

FP8 = Quantizer("float8_e4m3fn", rounding="stochastic_a", saturation="finite")
E5M2 = Quantizer("float8_e5m2", rounding="stochastic_b", saturation="finite")
RECIPE = Recipe(
    layer=Layer.of(x=FP8, w=FP8, dy=E5M2),
    master_weights=Quantizer("bfloat16", rounding="stochastic_a"),
    optimizer_state=adam_8bit(64),
    all_reduce=Quantizer("mxfp8_e4m3/rounding=stochastic_a"),
    seed=11,
)
STEPS, CUT = 6, 3


# ---- in each process -----------------------------------------------------------------------------


def model() -> Any:
    torch.manual_seed(0)
    sizes = (24, 48, 40, 3)
    modules = []
    for i, o in pairwise(sizes):
        modules += [torch.nn.Linear(i, o), torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])


def device() -> Any:
    """Where this process works: its own GPU under NCCL."""
    on_gpu = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.distributed.get_rank()) if on_gpu else torch.device("cpu")


def wrap(net: Any) -> Any:
    """With several buckets, which DDP cuts anew after the first step."""
    torch.distributed._DEFAULT_FIRST_BUCKET_BYTES = 256
    return torch.nn.parallel.DistributedDataParallel(net, bucket_cap_mb=6000 / 2**20)


class Run:
    """A training of RECIPE, whole or from a checkpoint."""

    def __init__(self, checkpoint: Any = None) -> None:
        self.net = model().to(device())
        convert(self.net, RECIPE)
        self.ddp = wrap(self.net)
        self.compression = compress(self.ddp, RECIPE)
        self.optimizer = Optimizer.of(
            torch.optim.Adam(self.net.named_parameters(), lr=0.01), RECIPE
        )
        for name, saved in (checkpoint or {}).items():
            getattr(self, name).load_state_dict(saved)

    def checkpoint(self) -> Any:
        parts = ("net", "compression", "optimizer")
        return copy.deepcopy({name: getattr(self, name).state_dict() for name in parts})

    def train(self, steps: range) -> Any:
        rank = torch.distributed.get_rank()
        for step in steps:
            x = inputs(rank, step)
            self.ddp.zero_grad()
            (self.ddp(x) - x[:, :3].sin()).square().mean().backward()
            self.optimizer.step()
        return self.checkpoint()


def inputs(rank: int, step: int) -> Any:
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(16, 24, generator=generator).to(device())


def with_threads(count: int) -> Any:
    torch.set_num_threads(count)
    lowp.set_threads(count)
    found = Run().train(range(2))
    torch.set_num_threads(1)
    lowp.set_threads(1)
    return found


def reduced(order: str, format: Any) -> Any:
    """Gradients of each process alone, and the means that compress makes of them."""
    net = model().to(device())
    ddp = wrap(net)
    compression = compress(ddp, Recipe(all_reduce=format, seed=11), order=order)
    found = []
    for step in range(2):
        x = inputs(torch.distributed.get_rank(), step)
        ddp.zero_grad()
        with ddp.no_sync():
            ddp(x).square().mean().backward()
        alone = [p.grad.cpu().clone() for p in net.parameters()]
        ddp.zero_grad()
        ddp(x).square().mean().backward()
        found.append((alone, [p.grad.cpu().clone() for p in net.parameters()]))
    assert compression.state_dict() == {"steps": 2}
    return found


def same_input() -> Any:
    """What a layer makes of the same input in each process, with x or w rounded."""
    found = {}
    for role in ("x", "w"):
        net = model().to(device())
        convert(net, Recipe(layer=Layer(**{role: FP8})))
        found[role] = net[0](inputs(0, 0)).detach()
    return found


def delayed() -> Any:
    """Each call's largest input of the first layer, and what the layer remembers of it."""
    net = model().to(device())
    convert(net, Recipe(layer=Layer.of(x=Quantizer("float8_e4m3fn", scaling=Delayed(4)))))
    ddp = wrap(net)
    largest = []
    for step in range(3):
        x = inputs(torch.distributed.get_rank(), step) * (1 + torch.distributed.get_rank())
        largest.append(float(x.abs().amax()))
        ddp(x).square().mean().backward()
    s = net[0].lowp
    return {"largest": largest, "history": s.x_history, "scale": float(s.x_scale)}


#: Process groups, to the end of their process: gloo's, when freed, waits with the GIL for a thread
#: that may want it (PyTorch 2.13).
ALIVE: list[Any] = []


def work(rank: int, world: int, folder: str, job: str, backend: str) -> None:
    torch.set_num_threads(1)
    lowp.set_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    where = f"file://{folder}/meet"
    torch.distributed.init_process_group(backend, init_method=where, rank=rank, world_size=world)
    ALIVE.append(torch.distributed.group.WORLD)
    found: dict[str, Any] = {}
    if job == "whole":
        run = Run()
        found["middle"] = run.train(range(CUT))
        found["end"] = run.train(range(CUT, STEPS))
    if job == "three":
        found["ranks"] = reduced("ranks", "float32")
    if job in ("again", "three"):
        found["end"] = Run().train(range(STEPS))
        first = Run().train(range(CUT))
        found["resumed"] = Run(first).train(range(CUT, STEPS))
    if job == "again":
        found["ranks"] = reduced("ranks", RECIPE.all_reduce)
        found["backend"] = reduced("backend", RECIPE.all_reduce)
        found["same_input"] = same_input()
        found["delayed"] = delayed()
        found["threads"] = [with_threads(count) for count in (1, 2)]
    torch.save(found, f"{folder}/{job}{rank}")
    torch.distributed.destroy_process_group()


# ---- in the test ---------------------------------------------------------------------------------


def spawn(world: int, folder: Path, job: str, backend: str = "gloo") -> list[Any]:
    folder.mkdir()
    # Processes of their own, of one that has imported PyTorch only, which takes seconds each time.
    torch.multiprocessing.set_forkserver_preload(["torch", "torch._dynamo"])
    torch.multiprocessing.start_processes(
        work, (world, str(folder), job, backend), nprocs=world, start_method="forkserver"
    )
    return [torch.load(folder / f"{job}{rank}", map_location="cpu") for rank in range(world)]


def same(a: Any, b: Any) -> bool:
    """Bit for bit; nested as checkpoints are."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def check_reduced(ranks: list[Any], q: Quantizer) -> None:
    """The mean in rank order, in float32, of each rank's gradients as lowp.quantize gives them."""
    for step in range(2):
        for number in range(len(ranks[0][step][0])):
            total = None
            for rank, found in enumerate(ranks):
                alone = found[step][0][number].numpy()
                seed = 1 << 61 | rank << 32 | 11
                at = {"seed": seed, "stream": number << 32 | step}
                rounded = np.asarray(lowp.quantize(alone.reshape(-1), q.format, **at))
                total = rounded if total is None else total + rounded
            assert total is not None
            mean = (total / np.float32(len(ranks))).reshape(alone.shape)
            for found in ranks:
                assert found[step][1][number].numpy().tobytes() == mean.tobytes()


def check_delayed(ranks: list[Any]) -> None:
    """Every rank has seen its own inputs, and no other's."""
    for found in ranks:
        state = lowp.DelayedScaling(448.0, 4)
        for amax in found["largest"]:
            state.observe(amax)
        assert found["history"].tolist() == state.history.tolist()
        assert found["scale"] == state.scale
    assert ranks[0]["scale"] != ranks[1]["scale"]
