"""What the study `refinement` found: who converges, by kappa u, and the systems one by one."""

from __future__ import annotations

import pandas as pd
from verdicts import markdown

METHODS = {"lu": "factors", "rounded_once": "rounded once", "gmres": "GMRES"}
RANGES = (
    ("below 1", 0.0, 1.0),
    ("1 to 10", 1.0, 10.0),
    ("10 to 4,000", 10.0, 4e3),
    ("above", 4e3, 1e99),
)


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    return {"theory": _theory(rows), "systems": _systems(rows), "accuracy": _accuracy(rows)}


def _theory(rows: pd.DataFrame) -> str:
    """How many cases of each way converge, of those whose factors in the format are finite."""
    factored = rows[(rows.method == "lu") & (rows.factors == 1)]
    cases = set(zip(factored.matrix, factored.format, strict=True))
    known = rows[[case in cases for case in zip(rows.matrix, rows.format, strict=True)]]
    found = []
    for label, low, high in RANGES:
        inside = known[(known.kappa_u >= low) & (known.kappa_u < high)]
        row: dict[str, object] = {"kappa u": label, "cases": len(inside) // len(METHODS)}
        for method, title in METHODS.items():
            row[title] = int(inside[inside.method == method].converged.sum())
        found.append(row)
    return markdown(pd.DataFrame(found))


def _accuracy(rows: pd.DataFrame) -> str:
    """The largest backward error of what converges, a format."""
    good = rows[(rows.converged == 1) & (rows.method != "rounded_once")]
    found = good.groupby("format").backward_error.max().rename("largest backward error")
    counts = rows[rows.method == "lu"].groupby("format").factors.agg(lambda f: int((f == 0).sum()))
    overflow = counts.rename("LU overflows or breaks down")
    return markdown(pd.concat([found, overflow], axis=1).reset_index())


def _systems(rows: pd.DataFrame) -> str:
    """Refinements until the backward error is float32's, or why there is none."""
    found = []
    for (matrix, name), of in rows.groupby(["matrix", "format"], sort=False):
        row = {"matrix": f"`{matrix}`", "format": name, "kappa u": f"{of.kappa_u.iloc[0]:.1e}"}
        for method, title in METHODS.items():
            r = of[of.method == method].iloc[0]
            if r.factors == 0:
                row[title] = "no factors"
            elif r.converged:
                steps = f" ({r.inner_steps:.0f})" if method == "gmres" else ""
                row[title] = f"{r.steps:.0f}{steps}"
            elif r.backward_error == float("inf"):
                row[title] = "overflows"
            else:
                row[title] = f"fails, {r.backward_error:.0e}"
        found.append(row)
    return markdown(pd.DataFrame(found))
