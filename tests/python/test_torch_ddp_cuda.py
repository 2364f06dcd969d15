"""lowp.torch under DistributedDataParallel on two GPUs by NCCL; skipped without them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if torch.cuda.device_count() < 2:
    pytest.skip("fewer than two GPUs that PyTorch can use", allow_module_level=True)

from ddp_jobs import RECIPE, check_delayed, check_reduced, same, spawn  # noqa: E402


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "whole", "whole", "nccl")


@pytest.fixture(scope="module")
def again(tmp_path_factory: Any) -> list[Any]:
    return spawn(2, tmp_path_factory.mktemp("two") / "again", "again", "nccl")


def test_two_runs_are_equal_bit_for_bit(whole: Any, again: Any) -> None:
    assert not same(whole[0]["middle"], whole[0]["end"])
    assert same([rank["end"] for rank in whole], [rank["end"] for rank in again])


def test_replicas_stay_equal(whole: Any) -> None:
    assert same(whole[0]["end"], whole[1]["end"])


def test_a_run_resumes_from_a_checkpoint_with_the_same_bits(again: Any) -> None:
    assert same([rank["resumed"] for rank in again], [rank["end"] for rank in again])


def test_streams_of_activations_differ_by_rank_and_those_of_weights_do_not(again: Any) -> None:
    first, second = (rank["same_input"] for rank in again)
    assert not same(first["x"], second["x"])
    assert same(first["w"], second["w"])


@pytest.mark.parametrize("order", ["ranks", "backend"])
def test_gradients_are_the_float32_mean_of_what_each_rank_rounded(again: Any, order: str) -> None:
    assert RECIPE.all_reduce is not None
    check_reduced([rank[order] for rank in again], RECIPE.all_reduce)


def test_ranks_keep_their_own_delayed_scales(again: Any) -> None:
    check_delayed([rank["delayed"] for rank in again])
