"""What the study `fp8_bits` found: losses by bits kept, by learning rate, and where they matter."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
from verdicts import interval, markdown

RATES = (2e-3, 1e-2, 5e-2)
EXPONENTS, MANTISSAS = (8, 7, 6, 5, 4, 3), (7, 3, 2, 1)


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    masked = rows[rows.forward.isna() & (rows.scaling == "none")]
    return {
        "counts": _counts(rows),
        "plain": _losses(masked[masked["mask"] == "none"]),
        "steps": _steps(masked),
        "grid": _grid(masked),
        "scaled": _scaled(rows, masked),
        "operands": _operands(rows, masked),
        "front": _front(rows[rows.forward.isna()]),
        "scatter": _scatter(masked),
    }


def _mean(losses: pd.Series[float]) -> str:
    """The mean over seeds and the half of their range."""
    if losses.empty:
        return ""
    return f"{losses.mean():.3f} ± {(losses.max() - losses.min()) / 2:.3f}"


def _at(rows: pd.DataFrame, name: str, rate: float) -> pd.Series[float]:
    """Losses of a mask at a learning rate, by seed."""
    return rows[(rows["mask"] == name) & (rows.learning_rate == rate)].set_index("seed").loss


def _counts(rows: pd.DataFrame) -> str:
    """How many runs there are, how many diverged, and how long they took."""
    minutes = rows.seconds.sum() / 60
    found = [{"runs": len(rows), "diverged": int(rows.diverged.sum()), "minutes": minutes}]
    return markdown(pd.DataFrame(found))


def _losses(rows: pd.DataFrame) -> str:
    """One mask's losses at each learning rate."""
    (name,) = rows["mask"].unique()
    found = [{f"{rate:g}": _mean(_at(rows, name, rate)) for rate in RATES}]
    return markdown(pd.DataFrame(found))


def _steps(rows: pd.DataFrame) -> str:
    """Differences that one more masked bit makes, the seeds paired."""
    ladder = [(f"e{a}m7", f"e{b}m7") for a, b in pairwise(EXPONENTS)]
    ladder += [(f"e8m{a}", f"e8m{b}") for a, b in pairwise(MANTISSAS)] + [("e8m7", "e8m1")]
    found = []
    for before, after in [("none", "e8m7"), *ladder]:
        row = {"from": "float32" if before == "none" else before, "to": after}
        for rate in RATES:
            change = _at(rows, after, rate) - _at(rows, before, rate)
            row[f"{rate:g}"] = interval(change.dropna())
        found.append(row)
    return markdown(pd.DataFrame(found))


def _grid(rows: pd.DataFrame) -> str:
    """Mean losses by exponent and mantissa bits, a learning rate each."""
    found = []
    for rate in RATES:
        for exponent in EXPONENTS:
            row: dict[str, object] = {"learning rate": f"{rate:g}", "exponent bits": exponent}
            for mantissa in reversed(MANTISSAS):
                losses = _at(rows, f"e{exponent}m{mantissa}", rate)
                row[f"m{mantissa}"] = "" if losses.empty else f"{losses.mean():.3f}"
            found.append(row)
    return markdown(pd.DataFrame(found))


def _scaled(rows: pd.DataFrame, masked: pd.DataFrame) -> str:
    """With three mantissa bits, without and with a scale a tensor."""
    scaled = rows[rows.scaling == "tensor"]
    found = []
    for name in ("e4m3", "e3m3"):
        for title, of in (("none", masked), ("tensor", scaled)):
            row = {"mask": name, "scale": title}
            found.append(row | {f"{rate:g}": _mean(_at(of, name, rate)) for rate in RATES})
    return markdown(pd.DataFrame(found))


def _operands(rows: pd.DataFrame, masked: pd.DataFrame) -> str:
    """Losses where some operands alone are cut to e4m7, at the least learning rate."""
    forward, gradients = (rows[rows[slot] == "e4m7"].loss for slot in ("forward", "gradients"))
    row = {"x and w": _mean(forward), "gradients": _mean(gradients)}
    return markdown(pd.DataFrame([row | {"all": _mean(_at(masked, "e4m7", RATES[0]))}]))


def _front(rows: pd.DataFrame) -> str:
    """What no mask of as many bits or fewer beats, each at its best learning rate."""
    means = rows.groupby(["mask", "scaling", "learning_rate"]).agg(
        loss=("loss", "mean"), bits=("bits", "first")
    )
    best = means.reset_index().sort_values("loss").drop_duplicates(["mask", "scaling"])
    best = best.assign(bits=best.bits.round(2)).sort_values(["bits", "loss"])
    front = best[best.loss < best.loss.cummin().shift(fill_value=float("inf"))]
    front = front.rename(columns={"scaling": "scale", "learning_rate": "learning rate"})
    return markdown(front[["bits", "mask", "scale", "learning rate", "loss"]])


def _scatter(rows: pd.DataFrame) -> str:
    """Standard deviations over the seeds, pooled over masks."""
    by = rows.groupby(["learning_rate", "mask"]).loss.var().groupby("learning_rate").mean() ** 0.5
    return markdown(by.rename("over seeds").reset_index())
