"""The loop of a training run on a GPU: steps that are replayed, and runs that stop and go on.

A step is captured as a CUDA graph once and replayed, so that small models do not wait for Python.
With a folder in the variable LOWP_STUDY_CHECKPOINTS (a relative one is beside the study's file), a
run that is not done at the Unix time in LOWP_STUDY_UNTIL leaves a checkpoint there and raises
Paused; when it is started again it goes on.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lowp
import lowp.torch as lt
from lowp.study.parameters import Paused
from lowp.study.tasks._loop import Options, judged
from lowp.study.tasks._models import Problem

__all__ = ["Setting", "run"]

#: Steps that run as they are before one is captured: libraries choose their kernels in them.
_EAGER = 3
#: Steps between two looks at the losses, the clock and the deadline.
_LOOK = 50


class Setting:
    """Precision, compiler, and where a run of these arguments keeps its checkpoint."""

    def __init__(self, arguments: Mapping[str, Any], *, precision: str, compiled: bool) -> None:
        """arguments: of the task, all that the run depends on. OSError: the folder of checkpoints
        cannot be made, which is told now and not at the deadline.
        """
        self.precision = precision
        self.compiled = compiled
        self.until = float(os.environ.get("LOWP_STUDY_UNTIL", "inf"))
        folder = os.environ.get("LOWP_STUDY_CHECKPOINTS")
        # of Python, too: models of text learn its sources
        versions = [lowp.__version__, torch.__version__, platform.python_version()]
        text = repr([*sorted(arguments.items()), *versions])
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.path = None if folder is None else Path(folder).resolve() / f"{name}.pt"
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The dtype of products."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False)


class _Run:
    """A model on the device, its optimizer, and one step of both."""

    def __init__(
        self, problem: Problem, recipe: lt.Recipe, options: Options, setting: Setting
    ) -> None:
        if problem.tokens is None:
            raise ValueError("device 'cuda' takes the models of text: gpt, gpt_small, gpt_25m")
        if recipe.master_weights is not None or recipe.optimizer_state:
            raise ValueError("device 'cuda' keeps weights and optimizer in float32")
        self.model: Any = problem.model
        self.batch = problem.tokens
        self.options, self.setting = options, setting
        lt.convert(self.model, recipe)
        self.model.to("cuda")
        self.rate = torch.zeros((), device="cuda")
        self.optimizer = _optimizer(self.model, options, self.rate)
        self.losses = torch.full((options.steps,), math.nan, device="cuda")
        self.loss = _compiled(self.model.loss) if setting.compiled else self.model.loss
        self.tokens = self.batch(0).to("cuda")
        self.found = torch.zeros((), device="cuda")
        self.graph: torch.cuda.CUDAGraph | None = None
        self.step = 0

    def _work(self) -> None:
        """Forward, backward, optimizer, on the tokens and the rate that are set."""
        self.optimizer.zero_grad()
        with self.setting.autocast():
            loss = self.loss(self.tokens)
        loss.backward()
        if self.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self.optimizer.step()
        self.found.copy_(loss.detach())

    def capture(self) -> None:
        """Make a graph of the step; nothing is computed."""
        self.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad()
        with torch.cuda.graph(self.graph):
            self._work()

    def advance(self) -> None:
        """One step more."""
        tokens = self.batch(self.step).pin_memory()
        self.tokens.copy_(tokens, non_blocking=True)
        self.rate.fill_(self.options.rate(self.step))
        if self.graph is None:
            self._work()
        else:
            self.graph.replay()
        self.losses[self.step].copy_(self.found)
        self.step += 1

    def is_finite(self) -> bool:
        """Whether all losses so far are; waits for the device."""
        return bool(self.losses[: self.step].isfinite().all())

    def state(self) -> dict[str, Any]:
        """What a run goes on from."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**parts, "losses": self.losses, "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """What state gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.losses.copy_(state["losses"])
        self.step = int(state["step"])


def _compiled(loss: Any) -> Any:
    """A model's loss by torch.compile. All models share its code, of which PyTorch compiles eight
    variants a process and runs others as they are: those of models before it are forgotten.
    """
    torch.compiler.reset()
    return torch.compile(loss)


def _optimizer(model: torch.nn.Module, options: Options, rate: torch.Tensor) -> Any:
    """PyTorch's, with a rate that is read from the device."""
    common: dict[str, Any] = {"lr": rate, "weight_decay": options.weight_decay, "fused": True}
    if options.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **common)
    betas = {"betas": (0.9, 0.95), "capturable": True}
    return torch.optim.AdamW(model.parameters(), **betas, **common)


def _save(made: _Run, path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    torch.save(made.state(), part)
    part.rename(path)


def _train(made: _Run, setting: Setting) -> None:
    """All steps, or as many as there are before a loss that is not finite. Paused: no more time."""
    first = made.step
    while made.step < made.options.steps:
        if made.step - first == _EAGER:
            made.capture()
        made.advance()
        if made.step % _LOOK:
            continue
        if not made.is_finite():
            return
        if setting.path is not None and time.time() > setting.until:
            _save(made, setting.path)
            raise Paused(f"step {made.step} of {made.options.steps}: run it again to go on")


def run(
    problem: Problem, recipe: lt.Recipe, options: Options, setting: Setting
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """As _loop.run, on a GPU. ValueError: a model that is none of text, other optimizers' formats.

    The bits are not those of the CPU: PyTorch's products, sums and functions are others there.
    """
    if time.time() > setting.until:
        raise Paused("not begun: run it again")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # graphs are not captured on the default stream
        made = _Run(problem, recipe, options, setting)
        if setting.path is not None and setting.path.exists():
            made.restore(torch.load(setting.path, map_location="cuda", weights_only=True))
        _train(made, setting)
        losses = made.losses[: made.step].double().cpu().numpy()
        made.model.eval()
        with torch.no_grad(), setting.autocast():
            found = problem.judge()
    if not np.isfinite(losses).all():
        losses = losses[: int(np.argmin(np.isfinite(losses))) + 1]
    if setting.path is not None:
        setting.path.unlink(missing_ok=True)
    return losses, judged(float(losses[-1]), found)
