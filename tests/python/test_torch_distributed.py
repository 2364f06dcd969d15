"""lowp.torch under DistributedDataParallel: reproducible, resumable, and gradients in a format.

Processes talk by gloo on the CPU, through a file.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="PyTorch is built without gloo",
)

from lowp.torch import Layer, Quantizer, Recipe, convert  # noqa: E402
from lowp.torch.distributed import compress  # noqa: E402
from lowp.torch.optim import Optimizer, adam_8bit  # noqa: E402

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


def wrap(net: Any) -> Any:
    """With several buckets, which DDP cuts anew after the first step."""
    torch.distributed._DEFAULT_FIRST_BUCKET_BYTES = 256
    return torch.nn.parallel.DistributedDataParallel(net, bucket_cap_mb=6000 / 2**20)


class Run:
    """A training of RECIPE, whole or from a checkpoint."""

    def __init__(self, checkpoint: Any = None) -> None:
        self.net = model()
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
    return torch.randn(16, 24, generator=generator)


def with_threads(count: int) -> Any:
    torch.set_num_threads(count)
    lowp.set_threads(count)
    found = Run().train(range(2))
    torch.set_num_threads(1)
    lowp.set_threads(1)
    return found


def reduced(order: str, format: Any) -> Any:
    """Gradients of each process alone, and the means that compress makes of them."""
    net = model()
    ddp = wrap(net)
    compression = compress(ddp, Recipe(all_reduce=format, seed=11), order=order)
    found = []
    for step in range(2):
        x = inputs(torch.distributed.get_rank(), step)
        ddp.zero_grad()
        with ddp.no_sync():
            ddp(x).square().mean().backward()
        alone = [p.grad.clone() for p in net.parameters()]
        ddp.zero_grad()
        ddp(x).square().mean().backward()
        found.append((alone, [p.grad.clone() for p in net.parameters()]))
    assert compression.state_dict() == {"steps": 2}
    return found


def same_input() -> Any:
    """What a layer makes of the same input in each process, with x or w rounded."""
    found = {}
    for role in ("x", "w"):
        net = model()
        convert(net, Recipe(layer=Layer(**{role: FP8})))
        found[role] = net[0](inputs(0, 0)).detach()
    return found


def work(rank: int, world: int, folder: str, job: str) -> None:
    torch.set_num_threads(1)
    lowp.set_threads(1)
    where = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
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
        found["threads"] = [with_threads(count) for count in (1, 2)]
    torch.save(found, f"{folder}/{job}{rank}")
    torch.distributed.destroy_process_group()


# ---- in the test ---------------------------------------------------------------------------------


def spawn(world: int, folder: Path, job: str) -> list[Any]:
    folder.mkdir()
    # Processes of their own, of one that has imported PyTorch only, which takes seconds each time.
    torch.multiprocessing.set_forkserver_preload(["torch", "torch._dynamo"])
    torch.multiprocessing.start_processes(
        work, (world, str(folder), job), nprocs=world, start_method="forkserver"
    )
    return [torch.load(folder / f"{job}{rank}") for rank in range(world)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "whole", "whole")


@pytest.fixture(scope="module")
def again(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "again", "again")


def same(a: Any, b: Any) -> bool:
    """Bit for bit; nested as checkpoints are."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_two_runs_are_equal_bit_for_bit(whole: Any, again: Any) -> None:
    assert not same(whole[0]["middle"], whole[0]["end"])
    assert same([rank["end"] for rank in whole], [rank["end"] for rank in again])


def test_replicas_stay_equal(whole: Any) -> None:
    assert same(whole[0]["end"], whole[1]["end"])


def test_a_run_resumes_from_a_checkpoint_with_the_same_bits(again: Any) -> None:
    assert same([rank["resumed"] for rank in again], [rank["end"] for rank in again])


def test_three_ranks_resume_with_the_same_bits_and_sum_in_rank_order(tmp_path: Path) -> None:
    """Sums of 8-bit values are mostly exact: float32 shows their order."""
    ranks = spawn(3, tmp_path / "three", "three")
    assert same(ranks[0]["resumed"], ranks[0]["end"])
    assert same([rank["end"] for rank in ranks], [ranks[0]["end"]] * 3)
    check_reduced([rank["ranks"] for rank in ranks], Quantizer("float32"))


def test_streams_of_activations_differ_by_rank_and_those_of_weights_do_not(again: Any) -> None:
    first, second = (rank["same_input"] for rank in again)
    assert not same(first["x"], second["x"])
    assert same(first["w"], second["w"])


def test_threads_change_no_bit(again: Any) -> None:
    """Products of this size are PyTorch's own bits with one thread and with two."""
    one, two = again[0]["threads"]
    assert same(one, two)


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


@pytest.mark.parametrize("order", ["ranks", "backend"])
def test_gradients_are_the_float32_mean_of_what_each_rank_rounded(again: Any, order: str) -> None:
    assert RECIPE.all_reduce is not None
    check_reduced([rank[order] for rank in again], RECIPE.all_reduce)


def test_what_cannot_be_compressed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="DistributedDataParallel model; got Linear"):
        compress(torch.nn.Linear(2, 2), RECIPE)
    where = f"file://{tmp_path}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    try:
        half = torch.nn.Linear(2, 2)
        ddp = torch.nn.parallel.DistributedDataParallel(half)
        assert compress(ddp, Recipe()) is None
        with pytest.raises(ValueError, match="order must be ranks or backend"):
            compress(ddp, RECIPE, order="sorted")
        compress(ddp, Recipe(all_reduce="float64"))
        with pytest.raises(Exception, match=r"all_reduce, gradient of .*does not hold"):
            ddp(torch.ones(1, 2)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
