"""Training runs of studies on a GPU: they train, repeat, stop and go on; skipped without one."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from lowp.study.tasks import _gpu  # noqa: E402
from lowp.study.tasks.training import training  # noqa: E402

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
SMALL: dict[str, Any] = {"model": "gpt", "width": 64, "layers": 2, "batch": 4, "context": 64}


def short(**given: Any) -> Any:
    return training(device="cuda", precision="bfloat16", **{**SMALL, "steps": 120, **given})


def test_precision_and_compiler_are_refused_on_the_cpu() -> None:
    for given in ({"precision": "bfloat16"}, {"compiled": True}):
        with pytest.raises(ValueError, match="for device 'cuda'"):
            training(**given)


@needs_gpu
@pytest.mark.parametrize("recipe", ["float32", "mxfp8", "nvfp4", "hybrid_fp8"])
def test_a_small_decoder_trains(recipe: str) -> None:
    found = short(recipe=recipe)
    losses = found.series["loss"]
    assert len(losses) == 120
    assert losses[-10:].mean() < 0.75 * losses[:10].mean()
    assert found.metrics["diverged"] == 0


@needs_gpu
def test_float32_on_a_gpu_is_near_float32_on_the_cpu() -> None:
    given = {**SMALL, "steps": 20}
    here, there = (training(device=d, **given).series["loss"] for d in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, rtol=2e-3)


@needs_gpu
@pytest.mark.parametrize("recipe", ["nvfp4", "hybrid_fp8"])
def test_a_run_that_is_stopped_goes_on_to_the_same_end(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = short(recipe=recipe)
    monkeypatch.setenv("LOWP_STUDY_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("LOWP_STUDY_UNTIL", str(time.time()))
    with pytest.raises(_gpu.Paused, match="not begun"):
        short(recipe=recipe)
    clock = SimpleNamespace(time=iter([0.0, math.inf]).__next__)
    monkeypatch.setattr(_gpu, "time", clock)
    with pytest.raises(_gpu.Paused, match="step 50 of 120"):
        short(recipe=recipe)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    monkeypatch.undo()
    monkeypatch.setenv("LOWP_STUDY_CHECKPOINTS", str(tmp_path))
    resumed = short(recipe=recipe)
    assert not list(tmp_path.iterdir())
    assert resumed.metrics["steps"] == 120
    np.testing.assert_allclose(resumed.series["loss"], whole.series["loss"], rtol=5e-3)


@needs_gpu
def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="the models of text"):
        training(model="regression", device="cuda")
