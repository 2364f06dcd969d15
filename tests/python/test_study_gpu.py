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
for package in ("pandas", "scipy", "simpleeval", "threadpoolctl", "tomli_w"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lowp[study]'")

from lowp.study import Study  # noqa: E402
from lowp.study.parameters import Paused  # noqa: E402
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


def test_a_run_that_pauses_is_not_tried_again_before_the_next(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    settings = {"folder": str(marks)}
    s = Study(
        "study_tasks:pauses", {"x": [0]}, settings=settings, folder=str(Path(__file__).parent)
    )
    for number in range(2):
        (row,) = s.run(tmp_path / "o", retries=3).rows()
        assert row["status"] == "failed"
        assert f"Paused: step {50 * number} of 100" in str(row["error"])
        assert len(list(marks.iterdir())) == number + 1
    assert s.run(tmp_path / "o").count() == {"done": 1}


def setting(**arguments: Any) -> _gpu.Setting:
    return _gpu.Setting(arguments, precision="float32", compiled=False)


def test_a_folder_for_checkpoints_is_made_before_the_run_wherever_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWP_STUDY_CHECKPOINTS", "some/kept")
    path = setting(seed=0).path
    assert path is not None
    assert path.parent == tmp_path / "some" / "kept"
    assert path.parent.is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOWP_STUDY_CHECKPOINTS", "file")
    with pytest.raises(FileExistsError):
        setting(seed=0)


def test_a_checkpoint_is_of_its_arguments_and_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWP_STUDY_CHECKPOINTS", str(tmp_path))
    found = [setting(seed=0).path, setting(seed=0).path, setting(seed=1).path]
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    found.append(setting(seed=0).path)
    assert found[0] == found[1]
    assert len(set(found)) == 3


class Model(torch.nn.Module):
    """One of many that share the code of their loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def loss(self, x: Any) -> Any:
        return x.reshape(-1, self.width).sum() * self.width


def test_every_model_of_a_process_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def backend(graph: Any, _: Any) -> Any:
        seen.append(graph)
        return graph.forward

    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: plain(function, backend=backend))
    for number in range(1, 13):
        _gpu._compiled(Model(number).loss)(torch.ones(12 * number))
        assert len(seen) == number


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
    with pytest.raises(Paused, match="not begun"):
        short(recipe=recipe)
    clock = SimpleNamespace(time=iter([0.0, math.inf]).__next__)
    monkeypatch.setattr(_gpu, "time", clock)
    with pytest.raises(Paused, match="step 50 of 120"):
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
