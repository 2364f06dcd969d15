"""What the study `fp4_design_space` found: effects of the techniques, recipes, fronts, scatter."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from verdicts import interval, markdown

MODELS = ("regression", "digits", "gpt")
FACTORS = ("block", "scale", "tensor_scale", "hadamard", "gradient_rounding", "gradient_estimator")
TITLES = {
    "scale": "scale",
    "block": "block of",
    "hadamard": "Hadamard",
    "tensor_scale": "tensor scale",
}
SCALES = {"float8_e8m0fnu": "E8M0", "float8_e4m3fn": "E4M3", "ue5m3": "UE5M3"}
NAMES = {"loss": "one seed to the other", "excess": "less float32's of the seed"}
#: What is compared: title, factor, its level without and with.
EFFECTS = (
    ("Hadamard 16 for none", "hadamard", 0, 16),
    ("tensor scale for none", "tensor_scale", "none", "tensor"),
    ("stochastic for nearest gradients", "gradient_rounding", "default", "stochastic_a"),
    ("clipped for straight through", "gradient_estimator", "straight_through", "clipped"),
    ("block of 16 for 32", "block", 32, 16),
    ("E4M3 for E8M0", "scale", "float8_e8m0fnu", "float8_e4m3fn"),
    ("UE5M3 for E8M0", "scale", "float8_e8m0fnu", "ue5m3"),
    ("UE5M3 for E4M3", "scale", "float8_e4m3fn", "ue5m3"),
)


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    grid = _grid(rows)
    return {
        "counts": _counts(rows),
        "recipes": _recipes(rows, grid),
        "effects": _effects(grid),
        "tensor": _tensor(grid),
        "hadamard": _within(grid, "hadamard", ("scale", "block")),
        "stochastic": _within(grid, "gradient_rounding", ("hadamard", "scale")),
        "clipped": _within(grid, "gradient_estimator", ("scale", "tensor_scale")),
        "combinations": _combinations(grid),
        "best": _best(grid),
        "front": _front(rows, grid),
        "scatter": _scatter(grid),
    }


def _grid(rows: pd.DataFrame) -> pd.DataFrame:
    """The FP4 configurations, `excess` the loss above that of float32 with the same seed."""
    plain = rows[rows.block.isna() & (rows.recipe == "float32")].set_index(["model", "seed"]).loss
    grid = rows[rows.block.notna()].astype({"block": int, "hadamard": int})
    reference = [plain[key] for key in zip(grid.model, grid.seed, strict=True)]
    return grid.assign(excess=grid.loss - reference)


def _sound(grid: pd.DataFrame) -> pd.DataFrame:
    """Without what underflows: a scale that is no power of two needs one of the tensor."""
    return grid[(grid.tensor_scale == "tensor") | (grid.scale == "float8_e8m0fnu")]


def _pairs(grid: pd.DataFrame, factor: str, without: object, level: object) -> pd.Series[float]:
    """Differences of loss with and without, all else (the seed, too) equal."""
    rest = ["model", *(f for f in FACTORS if f != factor), "seed"]
    by = grid.set_index([factor, *rest]).loss
    both = [set(by.index.get_level_values(0)) >= {without, level}]
    return (by.loc[level] - by.loc[without]).dropna() if all(both) else pd.Series(dtype=float)


def _models(grid: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    return ((model, grid[grid.model == model]) for model in MODELS)


def _counts(rows: pd.DataFrame) -> str:
    """How many runs of each model there are, how many diverged, and how long they took."""
    by = rows.groupby("model", sort=False)
    found = by.agg(runs=("loss", "size"), diverged=("diverged", "sum"), minutes=("seconds", "sum"))
    return markdown(found.assign(diverged=found.diverged.astype(int), minutes=found.minutes / 60))


def _recipes(rows: pd.DataFrame, grid: pd.DataFrame) -> str:
    """Mean losses of whole recipes beside those of the grid, and the scatter of seeds."""
    found = []
    for model, of in _models(grid):
        whole = rows[rows.block.isna() & (rows.model == model)].groupby("recipe").loss.mean()
        means = _mean(of)
        row: dict[str, object] = {"model": model}
        row |= {name: whole[name] for name in ("float32", "mxfp8", "nvfp4", "quartet")}
        row |= {"FP4 best": means.loss.min(), "median": means.loss.median()}
        found.append(row | {"worst": means.loss.max()})
    return markdown(pd.DataFrame(found))


def _effects(grid: pd.DataFrame) -> str:
    """Mean differences of loss, all else equal; negative is better."""
    found = []
    for title, factor, without, level in EFFECTS:
        row: dict[str, object] = {"change": title}
        for model, of in _models(_sound(grid)):
            row[model] = interval(_pairs(of, factor, without, level))
        found.append(row)
    both: dict[str, object] = {"change": "Hadamard and stochastic, with a tensor scale"}
    both |= {model: interval(_both(of)) for model, of in _models(grid)}
    return markdown(pd.DataFrame([*found, both]))


def _both(grid: pd.DataFrame) -> pd.Series[float]:
    """Differences that the paper's three techniques make to the tensor scale alone."""
    scaled = grid[grid.tensor_scale == "tensor"]
    techniques = ["hadamard", "gradient_rounding"]
    rest = [f for f in (*FACTORS, "seed") if f not in techniques]
    by = scaled.set_index([*techniques, *rest]).loss.sort_index()
    return (by.loc[16, "stochastic_a"] - by.loc[0, "default"]).dropna()


def _tensor(grid: pd.DataFrame) -> str:
    """What a tensor's scale changes, by the scale's format; mean losses without and with."""
    found = []
    for model, of in _models(grid):
        for scale, name in SCALES.items():
            chosen = of[of.scale == scale]
            levels = chosen.groupby("tensor_scale").excess.mean()
            change = interval(_pairs(chosen, "tensor_scale", "none", "tensor"))
            row: dict[str, object] = {"model": model, "scale": name}
            row |= {"without: above float32": levels["none"]}
            found.append(row | {"with": levels["tensor"], "change": change})
    return markdown(pd.DataFrame(found))


def _within(grid: pd.DataFrame, factor: str, others: tuple[str, ...]) -> str:
    """A factor's effect at each level of others: interactions."""
    _, _, without, level = next(e for e in EFFECTS if e[1] == factor)
    found = []
    for other in others:
        for value in sorted(grid[other].unique()):
            row: dict[str, object] = {"at": f"{TITLES[other]} {SCALES.get(value, value)}"}
            for model, of in _models(_sound(grid)):
                row[model] = interval(_pairs(of[of[other] == value], factor, without, level))
            found.append(row)
    return markdown(pd.DataFrame(found))


def _combinations(grid: pd.DataFrame) -> str:
    """Loss above float32's for each of the eight, straight through, over scales and blocks."""
    straight = grid[grid.gradient_estimator == "straight_through"]
    by = straight.groupby(["hadamard", "tensor_scale", "gradient_rounding", "model"])
    found = by.excess.mean().unstack()[list(MODELS)].reset_index()
    words = {0: "", 16: "Hadamard", "none": "", "tensor": "tensor scale"}
    words |= {"default": "", "stochastic_a": "stochastic"}
    parts = found[["hadamard", "tensor_scale", "gradient_rounding"]].itertuples(index=False)
    names = [" + ".join(words[p] for p in part if words[p]) or "none" for part in parts]
    return markdown(pd.DataFrame({"with": names} | {m: found[m] for m in MODELS}))


def _mean(of: pd.DataFrame) -> pd.DataFrame:
    """One model's configurations with the mean over all seeds, the best first."""
    by = of.groupby([*FACTORS, "bits"], as_index=False)
    means = by.agg(loss=("loss", "mean"), excess=("excess", "mean"), seeds=("seed", "size"))
    return means[means.seeds == means.seeds.max()].sort_values("loss").reset_index(drop=True)


def _named(row: pd.Series[float]) -> str:
    """A configuration in words."""
    words = [f"{SCALES[str(row.scale)]}, {row.block}"]
    words += ["tensor scale"] * (row.tensor_scale == "tensor") + ["Hadamard"] * bool(row.hadamard)
    words += ["stochastic"] * (row.gradient_rounding != "default")
    return ", ".join(words + ["clipped"] * (row.gradient_estimator == "clipped"))


def _best(grid: pd.DataFrame) -> str:
    """The best of each model, and the best one with the paper's three techniques."""
    found = []
    for model, of in _models(grid):
        means = _mean(of)
        paper = means.hadamard == 16
        paper &= (means.tensor_scale == "tensor") & (means.gradient_rounding == "stochastic_a")
        for place in sorted({*range(4), int(paper.idxmax())}):
            row = means.loc[place]
            found.append(
                {
                    "model": model,
                    "place": f"{place + 1} of {len(means)}",
                    "configuration": _named(row),
                    "bits": f"{row.bits:.2f}",
                    "loss": row.loss,
                    "above float32": row.excess,
                }
            )
    return markdown(pd.DataFrame(found))


def _front(rows: pd.DataFrame, grid: pd.DataFrame) -> str:
    """What no configuration of as many bits or fewer beats, by mean loss over the seeds."""
    found = []
    for model, of in _models(grid):
        own = _mean(of)
        points = [(round(r.bits, 2), r.loss, _named(r)) for _, r in own.iterrows()]
        whole = rows[rows.block.isna() & (rows.model == model)].groupby("recipe")
        for name, recipe in whole:
            points.append((round(recipe.bits.iloc[0], 2), recipe.loss.mean(), f"recipe {name}"))
        least = float("inf")
        for bits, loss, name in sorted(points):
            if loss < least:
                found.append({"model": model, "bits": bits, "loss": loss, "configuration": name})
                least = loss
    return markdown(pd.DataFrame(found))


def _scatter(grid: pd.DataFrame) -> str:
    """Standard deviations between two seeds of a configuration, and what pairing leaves of it."""
    found = []
    for model, of in _models(_sound(grid)):
        by = of.pivot_table(index=list(FACTORS), columns="seed", values=["loss", "excess"]).dropna()
        # Half the squared difference of two is an estimate of their variance.
        deviation = {name: ((by[name, 1] - by[name, 0]) ** 2 / 2).mean() ** 0.5 for name in NAMES}
        row: dict[str, object] = {"model": model} | {NAMES[k]: d for k, d in deviation.items()}
        row["between configurations"] = by.loss.mean(axis=1).std()
        row["rank correlation of the seeds"] = by.loss[0].corr(by.loss[1], method="spearman")
        found.append(row)
    return markdown(pd.DataFrame(found))
