"""Loss curves of a small GPT in many recipes: which format trains, and by how much it falls short.

    python docs/examples/train_gpt.py --size tiny --steps 300 --seeds 3 --out build/gpt

Each run is one process on one thread and one file of the folder, so a study that was interrupted
goes on where it stopped. At the end there are a table, what the papers report, and a picture.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

KEEP = ["lm_head"]  # what all papers leave alone; the embedding has no product


def recipes() -> dict[str, Any]:
    """The runs of the study; None is plain float32."""
    from lowp.torch import Hadamard, Layer, Recipe
    from lowp.torch import recipes as known

    def of(*args: Any, **roles: Any) -> Recipe:
        return Recipe(Layer.of(*args, **roles), keep=KEEP)

    def nvfp4(gradient: str, **roles: Any) -> Recipe:
        return of("nvfp4", "nvfp4_16x16", gradient, **roles)

    down = "nvfp4/rounding=stochastic_a"
    turn = Hadamard(16, "fresh")
    short = {"x": "bfloat16", "w": "bfloat16", "dy": "bfloat16"}
    return {
        "float32": None,
        "bf16": known.bf16(keep=KEEP),
        "mxfp8": known.mxfp8(keep=KEEP),
        "mxfp8, floor": known.mxfp8(rule="floor", keep=KEEP),
        "fp8 hybrid": known.hybrid_fp8(history=16, keep=KEEP),
        "nvfp4": nvfp4(down, wgrad_transform=turn),
        "nvfp4, nearest dy": nvfp4("nvfp4", wgrad_transform=turn),
        "nvfp4, no Hadamard": nvfp4(down),
        "mxfp4": known.mxfp4(keep=KEEP),
        "mxfp4, stochastic dy": known.mxfp4(gradients="stochastic_a", keep=KEEP),
        "sum in bfloat16": of(**short, accumulator="bfloat16"),
        "sum in e5m4": of(**short, accumulator="e5m4"),
    }


def run(
    name: str, size_name: str, steps: int, seed: int, folder: str, device: str
) -> dict[str, Any]:
    """One training run: losses of the steps, and the loss on held-out text."""
    import lowp.torch as lt
    import torch
    from lowp.study.tasks._gpt import GPT, SIZES, batch, corpus

    torch.set_num_threads(1)
    size = SIZES[size_name]
    train, test = corpus()
    torch.manual_seed(seed)
    model = GPT(size)
    recipe = recipes()[name]
    if recipe is not None:
        lt.convert(model, recipe.replace(seed=seed))
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    warm = min(50, steps // 5 + 1)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / warm, 0.1 + 0.45 * (1 + math.cos(math.pi * i / steps))),
    )
    losses, start = [], time.perf_counter()
    for step in range(steps):
        loss = model.loss(batch(train, size, seed * 1_000_003 + step).to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        held = [model.loss(batch(test, size, 10**9 + i).to(device)).item() for i in range(32)]
    result = {
        "name": name,
        "size": size_name,
        "seed": seed,
        "steps": steps,
        "losses": losses,
        "test": float(np.mean(held)),
        "seconds": seconds,
    }
    path = path_of(folder, name, size_name, steps, seed, device)
    path.with_suffix(".part").write_text(json.dumps(result))
    path.with_suffix(".part").rename(path)
    return result


def path_of(folder: str, name: str, size: str, steps: int, seed: int, device: str) -> Path:
    """The file of one run: another device or version of lowp is another run."""
    import lowp

    word, where = ("".join(c if c.isalnum() else "_" for c in s) for s in (name, device))
    return Path(folder) / f"{size}-{steps}-{word}-{seed}-{where}-{lowp.__version__}.json"


def study(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs: those there are, and the others now."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    Path(args.out).mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(["float32", *(args.recipes or recipes())])  # gaps are to float32
    wanted = [
        (n, args.size, args.steps, s, args.out, args.device)
        for s in range(args.seeds)
        for n in names
    ]
    paths = {w: path_of(args.out, *w[:4], args.device) for w in wanted}
    missing = [w for w in wanted if not paths[w].exists()]
    print(
        f"{len(wanted) - len(missing)} of {len(wanted)} results are of earlier runs in {args.out}"
    )
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with (
        Progress(*columns, TimeElapsedColumn()) as progress,
        ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool,
    ):
        task = progress.add_task("runs", total=len(wanted), completed=len(wanted) - len(missing))
        for done in as_completed([pool.submit(run, *w) for w in missing]):
            r = done.result()
            progress.update(task, advance=1, description=f"{r['name']}, seed {r['seed']}")
    return [json.loads(paths[w].read_text()) for w in wanted]


def by_name(results: list[dict[str, Any]], key: str) -> dict[str, np.ndarray]:
    """One array a recipe: a row a seed."""
    names = dict.fromkeys(r["name"] for r in results)
    return {name: np.array([r[key] for r in results if r["name"] == name]) for name in names}


CLAIMS = [
    ("NVFP4 falls less short than MXFP4", "nvfp4", "mxfp4"),
    ("stochastic gradients no worse than nearest (NVFP4)", "nvfp4", "nvfp4, nearest dy"),
    ("stochastic gradients no worse than nearest (MXFP4)", "mxfp4, stochastic dy", "mxfp4"),
    ("rceil no worse than floor (MXFP8)", "mxfp8", "mxfp8, floor"),
    ("Hadamard in the weight gradient no worse than none", "nvfp4", "nvfp4, no Hadamard"),
    ("MXFP8 falls less short than NVFP4", "mxfp8", "nvfp4"),
    ("sums in bfloat16 worse than in float32", "bf16", "sum in bfloat16"),
    ("sums with 4 bits worse than in bfloat16", "sum in bfloat16", "sum in e5m4"),
]


def report(results: list[dict[str, Any]]) -> None:
    """A table of gaps to float32 on held-out text, paired by seed, and the claims."""
    from rich.console import Console
    from rich.table import Table

    test, seconds = by_name(results, "test"), by_name(results, "seconds")
    first = results[0]
    seeds = len({r["seed"] for r in results})
    table = Table(title=f"{first['size']}, {first['steps']} steps, {seeds} seeds")
    for head in ("recipe", "test loss", "gap to float32", "spread", "seconds a step"):
        table.add_column(head, justify="left" if head == "recipe" else "right")
    for name, losses in test.items():
        gap = losses - test["float32"]
        pace = seconds[name].mean() / results[0]["steps"]
        row = f"{losses.mean():.4f}", f"{gap.mean():+.4f}", f"{np.ptp(gap):.4f}", f"{pace:.3f}"
        table.add_row(name, *row)
    console = Console(width=100)
    console.print(table)
    own = np.ptp(test["float32"])
    console.print(f"float32's own losses are {own:.4f} apart over the seeds", highlight=False)
    for text, better, worse in CLAIMS:
        if better in test and worse in test:
            margin = test[worse] - test[better]
            verdict = (
                "all seeds"
                if (margin > 0).all()
                else "no seed"
                if (margin <= 0).all()
                else "some seeds"
            )
            console.print(
                f"{text}: {verdict}, margins {np.round(margin, 4).tolist()}", markup=False
            )


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Smoothed loss above float32's, one band a recipe over its seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    losses = by_name(results, "losses")
    width = max(results[0]["steps"] // 25, 1)
    kernel = np.ones(width) / width
    smooth = {
        n: np.array([np.convolve(r, kernel, "valid") for r in rows]) for n, rows in losses.items()
    }
    steps = np.arange(width - 1, results[0]["steps"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)
    styles = ["-", "--", ":"]
    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
    for i, (name, rows) in enumerate(smooth.items()):
        line = {"color": colours[i % 6], "linestyle": styles[i // 6 % 3], "lw": 1.4}
        left.plot(steps, rows.mean(0), label=name, **line)
        gap = rows - smooth["float32"]
        right.plot(steps, gap.mean(0), **line)
        right.fill_between(steps, gap.min(0), gap.max(0), color=line["color"], alpha=0.12, lw=0)
    left.set(xlabel="step", ylabel="training loss, nats a byte", title="loss")
    right.set(xlabel="step", ylabel="loss above float32's", title="gap, band over seeds")
    left.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=120)


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The text above as it stands, and the defaults."""


def known_recipe(name: str) -> str:
    """The name of a run, or an error that lists them."""
    if name not in recipes():
        names = "; ".join(recipes())
        raise argparse.ArgumentTypeError(f"no recipe {name!r} in this study; there are: {names}")
    return name


def count(text: str) -> int:
    """A number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text!r}")
    return int(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Help)
    names = ", ".join(f'"{name}"' for name in recipes())
    parser.add_argument("--size", default="tiny", choices=["tiny", "small"], help="of the model")
    parser.add_argument("--steps", type=count, default=300, help="of the optimizer")
    parser.add_argument("--seeds", type=count, default=3, help="runs of each recipe")
    parser.add_argument(
        "--recipes",
        nargs="*",
        metavar="NAME",
        type=known_recipe,
        help=f"some of {names}; None is all, float32 is always among them",
    )
    parser.add_argument("--jobs", type=count, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--device", default="cpu", help="as PyTorch names it")
    parser.add_argument("--out", default="build/gpt", help="folder of results and the picture")
    args = parser.parse_args()
    results = study(args)
    report(results)
    picture = Path(args.out) / f"{args.size}.png"
    plot(results, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
