"""lowp.torch under DistributedDataParallel: reproducible, resumable, and gradients in a format.

Processes talk by gloo on the CPU, through a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="PyTorch is built without gloo",
)

from ddp_jobs import RECIPE, check_delayed, check_reduced, same, spawn  # noqa: E402
from lowp.torch import Quantizer, Recipe  # noqa: E402
from lowp.torch.distributed import compress  # noqa: E402


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "whole", "whole")


@pytest.fixture(scope="module")
def again(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "again", "again")


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


def test_ranks_keep_their_own_delayed_scales(again: Any) -> None:
    check_delayed([rank["delayed"] for rank in again])


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
