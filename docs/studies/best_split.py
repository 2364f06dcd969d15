"""What the study `best_split` found: the paper's lists from its law, and the law fitted here."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from lowp import laws
from verdicts import markdown

#: Best splits of 3 to 16 bits, and critical data sizes in 1e12 tokens of models of 1e9 parameters
#: in blocks of 128. Source: Sun et al., arXiv 2501.02423v3.
SPLITS = (
    *("E1M1", "E2M1", "E2M2", "E3M2", "E3M3", "E4M3", "E4M4"),
    *("E5M4", "E5M5", "E6M5", "E6M6", "E7M6", "E7M7", "E8M7"),
)
CRITICAL = {"E8M7": "1730", "E4M3": "27", "E2M1": "0.4"}

#: Embeddings of bytes and places, a row of the width each: N leaves them out, as the paper does.
EMBEDDINGS = 256 + 64
#: What float32 counts as, which has no scales.
FLOAT32 = {"exponent_bits": 8, "mantissa_bits": 23, "block": 1}
#: Intervals of delta - nu as wide as this say nothing of which one is larger.
UNKNOWN = 5
#: Where every split was trained.
PLACE = {"width": 32, "steps": 300}
#: Seeds that all configurations have.
SEEDS = 3


#: Made of fits.
FITTED = {"fits", "quality", "splits", "data", "own_critical"}


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    rows = _named(rows)
    fits = _fitted(rows)
    return {
        "runs": _runs(rows),
        "law": _law(),
        "critical": _critical(),
        "fits": _coefficients(fits),
        "quality": _quality(fits),
        "splits": _splits(rows, fits),
        "every": _every(rows),
        "data": _data(rows, fits),
        "blocks": _blocks(rows),
        "own_critical": _own_critical(rows, fits),
    }


# ---- the paper's law -----------------------------------------------------------------------------


def _law() -> str:
    found = []
    for row, paper in zip(laws.best_splits(), SPLITS, strict=True):
        place = f"E {row['continuous_E']:.2f}, M {row['continuous_M']:.2f}"
        same = "yes" if row["split"] == paper else "no"
        found.append(
            {"bits": row["bits"], "law": row["split"], "paper": paper, "same": same, "real": place}
        )
    return markdown(pd.DataFrame(found))


def _critical() -> str:
    law = laws.FloatingPointLaw()
    found = []
    for name, paper in CRITICAL.items():
        E, M = map(int, name[1:].split("M"))
        size = float(law.critical_data_size(1e9, E, M, 128)) / 1e12
        found.append({"format": name, "law, 1e12 tokens": size, "paper": paper})
    return markdown(pd.DataFrame(found))


# ---- what was trained ----------------------------------------------------------------------------


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the law's variables, and the loss above float32's of the same seed."""
    full = rows.element.isna()
    rows = rows.assign(**{k: rows[k].where(~full, v) for k, v in FLOAT32.items()})
    columns = {"exponent_bits": "E", "mantissa_bits": "M", "block": "B", "samples": "D"}
    rows = rows.rename(columns=columns).assign(N=rows.parameters - EMBEDDINGS * rows.width)
    key = ["width", "steps", "seed"]
    base = rows[full].set_index(key).loss.rename("base")
    rows = rows.join(base, on=key)
    return rows.assign(
        penalty=rows.loss - rows.base,
        element=rows.element.fillna("float32"),
        split=[f"E{e:.0f}M{m:.0f}" for e, m in zip(rows.E, rows.M, strict=True)],
    )


def _at_place(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows.width == PLACE["width"]) & (rows.steps == PLACE["steps"])]


def _runs(rows: pd.DataFrame) -> str:
    found = {
        "runs": len(rows),
        "diverged": int(rows.diverged.sum()),
        "minutes in one process": f"{rows.seconds.sum() / 60:.1f}",
        "N": " ".join(f"{n:.0f}" for n in sorted(rows.N.unique())),
        "D, bytes": " ".join(f"{d:.0f}" for d in sorted(rows.D.unique())),
    }
    return markdown(pd.DataFrame([found]))


def _fitted(rows: pd.DataFrame) -> dict[str, laws.Fit]:
    """The law fitted four times; rows are means of the same seeds, which they share."""
    key = ["width", "steps", "N", "D", "E", "M", "B"]

    def fit(part: pd.DataFrame, held: dict[str, float]) -> laws.Fit:
        means = part.groupby(key, as_index=False).loss.mean()
        return laws.fit(laws.FloatingPointLaw(**held), means, fixed=held)

    same = rows[rows.seed < SEEDS]
    # What quantizing adds for each seed, on top of one loss for all: what the law says of
    # float32 then has no part in it.
    level = float(rows[rows.B == 1].loss.mean())
    costs = same[same.B > 1].assign(loss=lambda f: level + f.penalty)
    alone = {"n": 0.0, "d": 0.0, "epsilon": level}
    place = _at_place(rows)[lambda f: f.B.isin([1, 16])]
    return {
        "losses": fit(same, {}),
        "costs": fit(costs, alone),
        "costs, 300 steps on": fit(costs[costs.steps >= PLACE["steps"]], alone),
        "splits alone": fit(place, {"n": 0.0, "alpha": 0.0, "d": 0.0, "beta": 0.0}),
    }


def _coefficients(fits: dict[str, laws.Fit]) -> str:
    """Coefficients with intervals beside the paper's."""
    found = []
    for name, paper in laws.FloatingPointLaw().coefficients.items():
        row = {"coefficient": name, "paper": f"{paper:.4g}"}
        for title, fit in fits.items():
            row[title] = "held"
            if name in fit.free:
                row[title] = _interval(fit.coefficients[name], *fit.intervals[name])
        found.append(row)
    return markdown(pd.DataFrame(found))


def _interval(value: float, low: float, high: float) -> str:
    """A coefficient and its ends; a search that ends at the limit of 0 stops a little above."""
    value, low, high = (x if x > 1e-4 else 0.0 for x in (value, low, high))
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _quality(fits: dict[str, laws.Fit]) -> str:
    found = []
    for title, fit in fits.items():
        row = {"fit": title, "rows": len(fit.observed), "R2": f"{fit.r2:.3f}"}
        row["residual / loss"] = f"{fit.sigma:.4f}"
        low, high = fit.interval(lambda law: law.delta - law.nu)
        more = f"{fit.law.delta - fit.law.nu:.1f} ({low:.1f} to {high:.1f})"
        row["delta - nu"] = more if high - low < UNKNOWN else "not determined"
        row["best splits of 3 to 7 bits"] = " ".join(
            fit.law.best_split(bits).name for bits in range(3, 8)
        )
        found.append(row)
    return markdown(pd.DataFrame(found))


def _own_critical(rows: pd.DataFrame, fits: dict[str, laws.Fit]) -> str:
    """The data sizes beyond which the fit to the losses has more data harm, at the largest N."""
    N, fit = float(rows.N.max()), fits["losses"]
    splits = ((1, 0), (1, 1), (2, 1))
    E, M = (list(bits) for bits in zip(*splits, strict=True))

    def sizes(law: laws.FloatingPointLaw) -> Any:
        return law.critical_data_size(N, E, M, 16)

    found = [
        {"format": f"E{e}M{m}", "bytes": f"{size:.2g}", "interval": f"{low:.2g} to {high:.2g}"}
        for (e, m), size, low, high in zip(
            splits, sizes(fit.law), *fit.interval(sizes), strict=True
        )
    ]
    return markdown(pd.DataFrame(found))


def _splits(rows: pd.DataFrame, fits: dict[str, laws.Fit]) -> str:
    """The best split of each width as measured, and the laws', with what they cost."""
    place = _at_place(rows)[lambda f: f.B == 16]
    costs = place.groupby("split").penalty.agg(["mean", "sem"])
    named = {"paper's law": laws.FloatingPointLaw(), "splits alone": fits["splits alone"].law}
    found = []
    for bits, of in place[place.E + place.M > 1].groupby(place.E + place.M + 1):
        best, second = costs.loc[of.split.unique()].nsmallest(2, "mean").index
        losses = of.pivot(index="seed", columns="split", values="loss")
        gap = losses[second] - losses[best]
        row: dict[str, object] = {
            "bits": int(bits),
            "measured": f"{best}, {_plus_minus(costs.loc[best])}",
            "next is worse by": f"{gap.mean():.4f} ± {gap.sem():.4f}, {second}",
        }
        for title, law in named.items():
            name = law.best_split(int(bits)).name
            row[title] = f"{name}, {_plus_minus(costs.loc[name])}"
        found.append(row)
    return markdown(pd.DataFrame(found))


def _every(rows: pd.DataFrame) -> str:
    """What every split costs, mantissa bits down and exponent bits across."""
    place = _at_place(rows)[lambda f: f.B == 16]
    costs = place.groupby(["M", "E"]).penalty.agg(["mean", "sem"]).apply(_plus_minus, axis=1)
    found = costs.unstack().fillna("")
    found.columns = [f"E{e:.0f}" for e in found.columns]
    found.index = [f"M{m:.0f}" for m in found.index]
    return markdown(found.rename_axis("mantissa"))


def _plus_minus(cost: pd.Series) -> str:
    return f"{cost['mean']:.4f} ± {cost['sem']:.4f}"


def _data(rows: pd.DataFrame, fits: dict[str, laws.Fit]) -> str:
    """What quantizing costs by model size and data: the mean over the formats run everywhere."""
    everywhere = [e for e, of in rows.groupby("element") if of.steps.nunique() > 1]
    grid = rows[rows.element.isin(everywhere) & (rows.B == 16) & (rows.seed < SEEDS)]
    law = fits["costs, 300 steps on"].law
    found = []
    for (N, D), of in grid.groupby(["N", "D"]):
        costs = of.groupby("seed").penalty.mean()
        names = of[["E", "M"]].drop_duplicates()
        said = law.penalty(N, D, names.E.to_numpy(), names.M.to_numpy(), 16).mean()
        row = {"N": f"{N:.0f}", "D": f"{D:.0f}", "float32": float(of.base.mean())}
        for name in ("E1M0", "E2M1"):
            row[name] = float(of[of.split == name].loss.mean())
        row["cost, mean of 7"] = f"{costs.mean():.4f} ± {costs.sem():.4f}"
        found.append(row | {"fit": f"{said:.4f}"})
    return markdown(pd.DataFrame(found))


def _blocks(rows: pd.DataFrame) -> str:
    """What quantizing costs by block size, beside what the law says of its growth."""
    place = _at_place(rows)[lambda f: (f.seed < SEEDS) & (f.B > 1)]
    place = place[place.groupby("split").B.transform("nunique") > 1]
    costs = place.groupby(["split", "B"]).penalty.agg(["mean", "sem"])
    each = place.groupby(["seed", "B"]).penalty.mean().groupby("B").agg(["mean", "sem"])
    found = [
        {"format": split} | {f"B {b:.0f}": _plus_minus(of.loc[split, b]) for _, b in of.index}
        for split, of in costs.groupby("split")
    ]
    found.append({"format": "mean"} | {f"B {b:.0f}": _plus_minus(c) for b, c in each.iterrows()})
    growth = {f"B {b:.0f}": f"{math.log2(b) / math.log2(each.index[0]):.2f}" for b in each.index}
    ratio = {f"B {b:.0f}": f"{c['mean'] / each['mean'].iloc[0]:.2f}" for b, c in each.iterrows()}
    found += [{"format": "mean / that of B 4"} | ratio, {"format": "the law's ratio"} | growth]
    return markdown(pd.DataFrame(found))
