"""Handwritten digits learnt in BF16, FP8 and FP4 by two small networks, with a picture.

python docs/examples/digits.py --out build/digits.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import lowp.torch as lt
import numpy as np
import torch
from lowp.torch import recipes
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

RECIPES: dict[str, lt.Recipe | None] = {
    "float32": None,
    "BF16": recipes.bf16(keep=()),
    "FP8": recipes.mxfp8(keep=()),
    "FP4": recipes.nvfp4(keep=()),
}


def networks() -> dict[str, nn.Module]:
    """Fresh ones; torch.manual_seed decides their weights."""
    mlp = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    return {"MLP": mlp, "CNN": cnn}


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 images of 8 by 8 and their digits."""
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32) / 16)[:, None]
    return images, torch.from_numpy(digits.target)


def train(model: nn.Module, seed: int, epochs: int) -> tuple[float, list[float]]:
    """Accuracy on the last fifth of the images, and the losses of the steps."""
    images, targets = data()
    held = len(images) // 5
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(images) - held, generator=generator)
        for rows in order.split(64):
            loss = F.cross_entropy(model(images[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = model(images[-held:]).argmax(1) == targets[-held:]
    return right.float().mean().item(), losses


def study(seeds: int, epochs: int) -> list[dict[str, Any]]:
    """Every network in every recipe."""
    runs = [
        (network, name, seed) for seed in range(seeds) for network in networks() for name in RECIPES
    ]
    results = []
    for network, name, seed in track(runs, description="training"):
        torch.manual_seed(seed)
        model = networks()[network]
        recipe = RECIPES[name]
        if recipe is not None:
            lt.convert(model, recipe.replace(seed=seed))
        start = time.perf_counter()
        accuracy, losses = train(model, seed, epochs)
        seconds = time.perf_counter() - start
        results.append(
            {
                "network": network,
                "recipe": name,
                "accuracy": accuracy,
                "losses": losses,
                "seconds": seconds,
            }
        )
    return results


def show(results: list[dict[str, Any]]) -> None:
    """A table: means over the seeds, and the range of the accuracy."""
    table = Table(title="digits")
    for head in ("network", "recipe", "accuracy", "lowest", "last loss", "seconds"):
        table.add_column(head, justify="left" if head in ("network", "recipe") else "right")
    for network in networks():
        for name in RECIPES:
            runs = [r for r in results if (r["network"], r["recipe"]) == (network, name)]
            accuracy = [r["accuracy"] for r in runs]
            last = np.mean([np.mean(r["losses"][-20:]) for r in runs])
            seconds = np.mean([r["seconds"] for r in runs])
            row = (
                f"{np.mean(accuracy):.1%}",
                f"{min(accuracy):.1%}",
                f"{last:.4f}",
                f"{seconds:.1f}",
            )
            table.add_row(network, name, *row)
    Console(width=100).print(table)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Smoothed losses of the steps, mean over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, constrained_layout=True)
    colours = {"float32": "#000000", "BF16": "#0072B2", "FP8": "#009E73", "FP4": "#D55E00"}
    kernel = np.ones(15) / 15
    for axis, network in zip(axes, networks(), strict=True):
        for name in RECIPES:
            runs = [r["losses"] for r in results if (r["network"], r["recipe"]) == (network, name)]
            rows = np.array([np.convolve(r, kernel, "valid") for r in runs])
            steps = np.arange(rows.shape[1]) + len(kernel)
            axis.semilogy(steps, rows.mean(0), label=name, color=colours[name], lw=1.4)
            axis.fill_between(
                steps, rows.min(0), rows.max(0), color=colours[name], alpha=0.15, lw=0
            )
        axis.set(title=network, xlabel="step")
    axes[0].set_ylabel("training loss")
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train digits in BF16, FP8 and FP4.")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("build/digits.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # steps of a millisecond gain nothing from more
    results = study(args.seeds, args.epochs)
    show(results)
    plot(results, args.out)
    print(f"picture: {args.out}")


if __name__ == "__main__":
    main()
