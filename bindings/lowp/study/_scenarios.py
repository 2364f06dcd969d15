"""Scenarios: the conditions that a study's choices are compared under, each with a best of its own.

The data, a problem's size or the model is no choice: an objective pooled over them has the easiest
one as its winner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lowp.study._summary import Summary, label, plain, short, varies

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Overall", "Scenario", "overall", "scenarios"]


@dataclass(frozen=True)
class Scenario:
    """A combination of values of the scenario axes; `summary`: of its configurations alone."""

    name: str
    summary: Summary


@dataclass(frozen=True)
class Overall:
    """What is best over all scenarios: the choice of the lowest mean rank.

    rank: 1 is best in every scenario; equal objectives share a rank, what is not finite comes last.
    values: its objective in each scenario. choices: how many ran in every scenario; others are not
    ranked.
    """

    label: str
    rank: float
    values: list[float]
    choices: int


def scenarios(summary: Summary) -> list[Scenario]:
    """The scenarios of a study, those of most rows first, then as they ran; none without axes."""
    if not summary.scenarios or not len(summary.configurations):
        return []
    table = summary.configurations
    group = table.groupby(list(summary.scenarios), sort=False, dropna=False).ngroup()
    parts = [table[group == k].reset_index(drop=True) for k in range(int(group.max()) + 1)]
    parts.sort(key=lambda part: (-int(part["count"].sum()), int(part["number"].min())))
    return [Scenario(_name(summary, part), _within(summary, part)) for part in parts]


def overall(summary: Summary, found: list[Scenario]) -> Overall | None:
    """The best choice over scenarios; None where there are fewer than two, or no choice ran in all.

    An axis that has one value within every scenario, as the steps of each model, goes with it and
    is no choice.
    """
    choices = [a for a in summary.axes if any(a in scenario.summary.axes for scenario in found)]
    if len(found) < 2 or not choices:
        return None
    every = summary.configurations
    key = every.groupby(choices, sort=False, dropna=False).ngroup()
    key.index = every["number"]
    columns = [
        dict(zip(key[s.summary.configurations["number"]], s.summary.values, strict=True))
        for s in found
    ]
    complete = sorted(set.intersection(*map(set, columns)))
    if not complete:
        return None
    sign = -1 if summary.goal == "maximize" else 1
    table = [_ranks(sign * np.array([c[k] for k in complete])) for c in columns]
    ranks = np.mean(table, axis=0)
    best = complete[int(np.argmin(ranks))]
    row = every.iloc[int(np.flatnonzero(key.to_numpy() == best)[0])]
    values = [float(column[best]) for column in columns]
    text = short(label({name: row[name] for name in choices}), 120)
    return Overall(text, float(ranks.min()), values, len(complete))


def _ranks(values: Any) -> Any:
    """Ranks from 1, means of equals; what is not finite shares the last ones."""
    from scipy.stats import rankdata

    return rankdata(np.where(np.isfinite(values), values, np.inf))


def _name(summary: Summary, part: pd.DataFrame) -> str:
    values = [(name, part[name].iloc[0]) for name in summary.scenarios]
    return ", ".join(v if isinstance(v, str) else f"{n}={plain(v)}" for n, v in values)


def _within(summary: Summary, part: pd.DataFrame) -> Summary:
    """The summary of some configurations: only what varies among them is an axis or a cost."""
    axes = [name for name in summary.axes if part[name].nunique(dropna=False) > 1]
    costs = [name for name in summary.costs if varies(part[name])]
    return replace(summary, configurations=part, axes=tuple(axes), costs=tuple(costs), scenarios=())
