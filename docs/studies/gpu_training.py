"""What the study `gpu_training` found: gaps to bfloat16, the papers' claims, loss curves.

python docs/studies/gpu_training.py FOLDER writes the curves of the study's folder beside the rows:
means of the training loss over twentieths of a run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from verdicts import markdown

CURVES = Path(__file__).with_name("gpu_training_curves.csv")
POINTS = 20
BASE = "bfloat16"
DEFAULTS = {
    "recipe": "float32",
    "x": "none",
    "hadamard": 0,
    "scaling": "none",
    "accumulator": "none",
}
#: Values of the axes by a configuration's name where they are no defaults.
NAMES: dict[str, dict[str, object]] = {
    BASE: {},
    "MXFP8, rceil": {"recipe": "mxfp8"},
    "MXFP8, floor": {"x": "mxfp8_e4m3"},
    "FP8 hybrid, delayed scales": {"x": "float8_e4m3fn", "scaling": "delayed"},
    "NVFP4 + Hadamard + stochastic gradients": {"x": "nvfp4", "hadamard": 16},
    "NVFP4": {"x": "nvfp4"},
    "MXFP4": {"recipe": "mxfp4"},
    "FP8, power-of-two scales": {"recipe": "graphcore_fp8"},
    "the same, sums of h100_fp8": {
        "recipe": "graphcore_fp8",
        "accumulator": "h100_fp8/lowest_exponent=-149",
    },
    "bfloat16, sums in float16": {"recipe": "bf16", "accumulator": "float16"},
    "bfloat16, sums in float16, promoted each 32 terms": {
        "recipe": "bf16",
        "accumulator": "float16/chunk=32",
    },
}
#: What papers report: the loss of the first is no larger than that of the second.
CLAIMS = (
    ("rceil no worse than floor", "2506.08027", "MXFP8, rceil", "MXFP8, floor"),
    ("NVFP4 better than MXFP4", "2509.25149", "NVFP4", "MXFP4"),
    (
        "Hadamard and stochastic gradients help NVFP4",
        "2509.25149",
        "NVFP4 + Hadamard + stochastic gradients",
        "NVFP4",
    ),
)
#: What papers report: the loss is as bfloat16's, or FP8's, within some percent.
NEAR = (
    ("MXFP8 as bfloat16", "2506.08027", "MXFP8, rceil", BASE, 0.5),
    ("FP8 with delayed scales as bfloat16", "2209.05433", "FP8 hybrid, delayed scales", BASE, 0.5),
    (
        "NVFP4's recipe within 1.5 % of FP8",
        "2509.25149",
        "NVFP4 + Hadamard + stochastic gradients",
        "MXFP8, rceil",
        1.5,
    ),
    (
        "sums of an FP8 unit's 14 bits fall short",
        "2412.19437",
        "the same, sums of h100_fp8",
        "FP8, power-of-two scales",
        0.5,
    ),
    ("sums in float16 fall short", "1710.03740", "bfloat16, sums in float16", BASE, 0.5),
)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the name of each one's configuration."""
    name = pd.Series("", index=rows.index)
    for title, values in NAMES.items():
        fits = name == ""
        for axis, value in (DEFAULTS | values).items():
            fits &= rows[axis] == value
        name[fits] = title
    return rows.assign(name=name)


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    rows = named(rows)
    large, small = rows[rows.model != "gpt"], rows[rows.model == "gpt"]
    return {
        "counts": _counts(rows),
        "large": _gaps(large),
        "small": _gaps(small),
        "claims": _claims(rows),
        "near": _near(rows),
        "curves": _curves(),
    }


def _counts(rows: pd.DataFrame) -> str:
    """How many runs there are of each model, their sizes, and how long they took."""
    found = [
        {
            "model": model,
            "parameters": f"{int(of.parameters.iloc[0]):,}",
            "steps": f"{int(of.steps.iloc[0]):,}",
            "bytes a run": f"{int(of.samples.iloc[0]):,}",
            "runs": len(of),
            "seeds": of.seed.nunique(),
            "diverged": int(of.diverged.sum()),
            "minutes": f"{of.seconds.sum() / 60:.1f}",
        }
        for model, of in rows.groupby("model", sort=False)
    ]
    return markdown(pd.DataFrame(found))


def _losses(rows: pd.DataFrame, name: str) -> pd.Series[float]:
    return rows[rows.name == name].set_index("seed").loss.sort_index()


def _spread(x: pd.Series[float]) -> str:
    """The mean and half the range."""
    return f"{x.mean():+.4f} ± {(x.max() - x.min()) / 2:.4f}"


def _gaps(rows: pd.DataFrame) -> str:
    """Losses, and gaps to bfloat16 paired by seed, from the least on."""
    base = _losses(rows, BASE)
    found = []
    for name in NAMES:
        losses = _losses(rows, name)
        if losses.empty:
            continue
        gap = (losses - base).dropna()
        row = {"configuration": name, "test loss": f"{losses.mean():.4f}"}
        of_base = 100 * gap.mean() / base.mean()
        found.append(
            row
            | {
                "gap": _spread(gap),
                "%": f"{of_base:+.2f}",
                "seconds a run": f"{rows[rows.name == name].seconds.mean():.0f}",
            }
        )
    seeds = _spread(base - base.mean()).partition("± ")[2]
    frame = pd.DataFrame(found)
    frame.loc[frame.configuration == BASE, "gap"] = f"seeds: ± {seeds}"
    return markdown(frame)


def _claims(rows: pd.DataFrame) -> str:
    """Each paper's claim, and how much the second loss is above the first, by seed."""
    found = []
    for text, source, better, worse in CLAIMS:
        model = rows[rows.name == better].model
        if model.empty:
            continue
        of = rows[rows.model == model.iloc[0]]
        margin = (_losses(of, worse) - _losses(of, better)).dropna()
        where = "all seeds" if (margin >= 0).all() else "no seed" if (margin < 0).all() else "some"
        numbers = ", ".join(f"{m:+.4f}" for m in margin)
        found.append(
            {"reported": text, "arXiv": source, "first is lower in": where, "margins": numbers}
        )
    return markdown(pd.DataFrame(found))


def _near(rows: pd.DataFrame) -> str:
    """How far a loss is from what a paper compares it with, in percent, by seed."""
    found = []
    for text, source, name, other, percent in NEAR:
        model = rows[rows.name == name].model
        if model.empty:
            continue
        of = rows[rows.model == model.iloc[0]]
        base = _losses(of, other)
        gap = (100 * (_losses(of, name) - base) / base).dropna()
        within = "yes" if (gap.abs() <= percent).all() else "no"
        numbers = ", ".join(f"{g:+.2f}" for g in gap)
        row = {"reported": text, "arXiv": source, "% above": numbers}
        found.append(row | {"within": f"{percent:g} %: {within}"})
    return markdown(pd.DataFrame(found))


# ---- curves --------------------------------------------------------------------------------------


def _curves() -> str:
    """Mean training losses of twentieths of a run, over the seeds; some of the columns."""
    curves = pd.read_csv(CURVES)
    shown = [str(i) for i in (0, 1, 3, 7, 11, 15, POINTS - 1)]
    found = []
    for (model, name), of in curves.groupby(["model", "name"], sort=False):
        means = of[shown].mean()
        row: dict[str, object] = {"model": model, "configuration": name}
        found.append(row | {f"{int(i) + 1}/{POINTS}": f"{means[i]:.3f}" for i in shown})
    return markdown(pd.DataFrame(found))


def write_curves(folder: str) -> None:
    """The curves of a study's folder, beside the rows."""
    from lowp import study

    results = study.open(folder)
    rows = named(results.frame())
    order = {name: i for i, name in enumerate(NAMES)}
    found = []
    for row in rows[rows.status == "done"].itertuples():
        parts = np.array_split(np.asarray(results.series(row.hash)["loss"]), POINTS)
        of = {"model": row.model, "name": row.name, "seed": row.seed}
        found.append(of | {str(i): f"{part.mean():.4f}" for i, part in enumerate(parts)})
    found.sort(key=lambda r: (r["model"] != "gpt_25m", order[str(r["name"])], r["seed"]))
    pd.DataFrame(found).to_csv(CURVES, index=False)


if __name__ == "__main__":
    write_curves(sys.argv[1])
