"""The loop of a training run: a warm-up, half a cosine, and an end where the loss is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lowp.torch as lt
from lowp.study.tasks._models import Problem

__all__ = ["Options", "judged", "run"]


@dataclass(frozen=True)
class Options:
    """Of the optimizer."""

    steps: int
    learning_rate: float
    optimizer: str
    weight_decay: float
    clip_norm: float

    def __post_init__(self) -> None:
        """Refuse what no run can have. ValueError."""
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1; got {self.steps}")
        for name in ("weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or above; got {getattr(self, name)}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = min(50, self.steps // 5 + 1)
        cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * min((step + 1) / warm, cosine)


def run(
    problem: Problem, recipe: lt.Recipe, options: Options
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Losses of the steps, and loss, diverged and what else the problem is judged by."""
    lt.convert(problem.model, recipe)
    parameters = list(problem.model.parameters())
    optimizer = _optimizer(problem.model, recipe, options)
    losses: list[float] = []
    for step in range(options.steps):
        loss = problem.loss(step)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = options.rate(step)
        optimizer.step()
    problem.model.eval()
    with torch.no_grad():
        found = problem.judge()
    return np.array(losses), judged(losses[-1], found)


def judged(last: float, found: dict[str, float]) -> dict[str, float]:
    """What the problem is judged by after a last loss, and whether the run diverged."""
    is_finite = math.isfinite(last) and math.isfinite(found["loss"])
    if not is_finite:
        found = dict.fromkeys(found, math.nan) | {"loss": math.inf}
    return found | {"diverged": float(not is_finite)}


def _optimizer(model: torch.nn.Module, recipe: lt.Recipe, options: Options) -> Any:
    """PyTorch's, within the recipe's formats of weights and states where it has any."""
    common = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    if options.optimizer == "sgd":
        made: Any = torch.optim.SGD(model.parameters(), momentum=0.9, **common)
    else:
        made = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), **common)
    if recipe.master_weights is None and not recipe.optimizer_state:
        return made
    return lt.optim.Optimizer.of(made, recipe, nonfinite="ignore")
