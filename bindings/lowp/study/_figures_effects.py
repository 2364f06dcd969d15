"""Bars of effects: medians of levels, shares of the sum of squares, the strongest pair, layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _plot_style as style
from lowp.study._effects import Decomposition, Level, codes_of
from lowp.study._figures import (
    INK,
    MUTED,
    PAPER,
    Picture,
    better,
    canvas,
    objective_axis,
    picture,
    scale,
)
from lowp.study._summary import Summary, centre, label, quantiles, short, words

__all__ = ["interaction", "layers", "level_bars", "settings_of_layers", "shares"]

_MOST_LEVELS, _MOST_LAYERS, _MOST_SHARES = 24, 60, 14
_MOST_LINES, _MOST_ACROSS = 6, 16


def level_bars(summary: Summary, axis_name: str, found: list[Level], place: int) -> Picture:
    """A dot a level with its spread, texts from the best; of many levels the best are shown."""
    numeric = not isinstance(summary.configurations[axis_name].iloc[0], str)
    shown = _ranked(summary, found)[:_MOST_LEVELS]
    shown = [level for level in found if level in shown] if numeric else shown
    title = axis_name if len(shown) == len(found) else (
        f"{axis_name}: best {len(shown)} of {len(found)}")  # fmt: skip
    return _dots(summary, shown, f"effect-{place}", title, f"effect of {axis_name}")


def layers(summary: Summary, found: list[Level]) -> Picture:
    """The sensitivity of layers, in the order of the study; at most 60, the worst ones.

    A dot a setting of the other axes where there are few of those, medians over them otherwise.
    "all" is no layer.
    """
    found = [level for level in found if level.name != "all"] or found
    worst = _ranked(summary, found)[-_MOST_LAYERS:]
    shown = [level for level in found if level in worst]
    settings = settings_of_layers(summary, [level.name for level in shown])
    what = "sensitivity of layers"
    if not 1 < len(settings) <= _MOST_LINES:
        return _dots(summary, shown, "layers", "layer", what, "wide")
    figure, axis = canvas(9.4, 1.6 + 0.22 * len(shown), "layer")
    for k, (name, values) in enumerate(settings.items()):
        axis.plot(values, np.arange(len(shown)), "o", color=style.LINES[k], ms=6,
                  mec=PAPER, mew=0.8, label=short(name, 60))  # fmt: skip
    drawn = np.concatenate(list(settings.values()))
    scale(axis, "x", drawn[np.isfinite(drawn)])
    axis.set_xlabel(f"{words(summary.objective)}, {better(summary)}")
    _level_names(axis, [short(level.name, 40) for level in shown])
    axis.grid(True)
    figure.legend(loc="outside lower left", alignment="left", ncols=3)
    return picture(figure, "layers", f"{words(summary.objective)}: {what}", "wide")


def settings_of_layers(summary: Summary, names: list[str]) -> dict[str, NDArray[np.float64]]:
    """The objective of each layer by what the other axes are set to; NaN where there is none."""
    rows = summary.configurations.assign(objective=np.where(summary.finite, summary.values, np.nan))
    rows = rows[rows["layer"].isin(names)]
    others = [n for n in summary.axes if n != "layer" and rows[n].nunique(dropna=False) > 1]
    places = {name: place for place, name in enumerate(names)}
    found: dict[str, NDArray[np.float64]] = {}
    for _, row in rows.sort_values("number", kind="stable").iterrows():
        setting = label({name: row[name] for name in others})
        values = found.setdefault(setting, np.full(len(names), np.nan))
        values[places[row["layer"]]] = row["objective"]
    return found


def _ranked(summary: Summary, found: list[Level]) -> list[Level]:
    """The best medians first, levels without one last."""
    sign = -1 if summary.goal == "maximize" else 1
    return sorted(found, key=lambda v: (np.isnan(v.median), sign * v.median))


def _dots(
    summary: Summary, shown: list[Level], name: str, title: str, what: str, shape: str = "small"
) -> Picture:
    wide = shape == "wide"
    figure, axis = canvas(9.4 if wide else 5.2, 1.15 + (0.22 if wide else 0.27) * len(shown), "")
    axis.set_title(short(title, 60 if wide else 40))
    objective_axis(axis, summary, "x")
    axis.grid(True, axis="x")
    axis.axvline(
        quantiles(summary.values[summary.finite], (0.5,), log=summary.log)[0],
        color=MUTED,
        lw=0.9,
        ls=(0, (4, 3)),
        zorder=1,
    )
    for place, level in enumerate(shown):
        axis.plot([level.low, level.high], [place, place], color=style.SUBNORMAL, lw=5,
                  solid_capstyle="round", zorder=2)  # fmt: skip
        axis.plot(
            [level.median], [place], "o", color=style.NORMAL, ms=7.5, mec=PAPER, mew=1, zorder=3
        )
        if level.missing:
            axis.annotate(f"{level.missing} not finite", (1, place), xycoords=("axes fraction",
                          "data"), xytext=(3, 0), textcoords="offset points", va="center",
                          fontsize=7.5, color=style.BEYOND)  # fmt: skip
    _level_names(axis, [short(level.name, 40 if wide else 26) for level in shown])
    _common_limits(axis, summary)
    return picture(figure, name, f"{words(summary.objective)}: {what}", shape)


def _level_names(axis: Any, names: list[str]) -> None:
    """Names of levels from the top down."""
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_ylim(len(names) - 0.4, -0.6)


def _common_limits(axis: object, summary: Summary) -> None:
    """The same range in every panel, so that effects compare: where 98 % of values lie."""
    values = summary.values[summary.finite]
    shown = np.log(values) if summary.log else values
    low, high = np.quantile(shown, (0.01, 0.99))
    room = 0.06 * ((high - low) or max(abs(high), 1.0) * 0.1)
    limits = np.array([low - room, high + room])
    if not summary.log and values.min() >= 0:
        limits = np.maximum(limits, 0.0)
    axis.set_xlim(*(np.exp(limits) if summary.log else limits))  # type: ignore[attr-defined]


def shares(found: Decomposition) -> Picture:
    """Bars of explained shares: axes, then pairs; the smallest pairs are left to the table."""
    pairs = [(f"{a} × {b}", share) for (a, b), share in found.pairs.items()]
    pairs = [item for item in pairs if item[1] >= 5e-4][: _MOST_SHARES - min(len(found.main), 8)]
    main = list(found.main.items())[:10]
    bars = [(n, s, style.NORMAL) for n, s in main] + [(n, s, style.FLUSHED) for n, s in pairs]
    rest = "everything else" if found.exact else "not explained by single axes"
    bars.append((rest, found.rest, MUTED))
    figure, axis = canvas(9.4, 1.2 + 0.27 * len(bars), "")
    for place, (_, share, colour) in enumerate(bars):
        axis.barh(place, 100 * share, 0.66, color=colour)
        axis.text(100 * share, place, f"  {_percent(share)}", va="center", fontsize=8.5)
    axis.set_yticks(range(len(bars)), [short(name, 44) for name, _, _ in bars])
    axis.set_ylim(len(bars) - 0.4, -0.6)
    axis.set_xlim(0, 112 * max(share for _, share, _ in bars) or 1)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(True, axis="x")
    axis.set_xlabel("share of the sum of squares, %")
    axis.barh([0], [0], color=style.NORMAL, label="one axis")
    axis.barh([0], [0], color=style.FLUSHED, label="interaction of two")
    figure.legend(loc="outside upper left", ncols=2)
    return picture(figure, "shares", "shares of explained variance", "wide")


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 1e-3 else f"{100 * share:.1f} %"


def interaction(summary: Summary, pair: tuple[str, str], place: int) -> Picture | None:
    """Means over the levels of one axis, a line a level of the other; None: too many levels."""
    coded = [(name, codes_of(summary, name)) for name in pair]
    (lines_name, lines), (across_name, across) = sorted(
        ((n, c) for n, c in coded if c is not None), key=lambda item: len(item[1][0])
    )
    if len(lines[0]) > _MOST_LINES or len(across[0]) > _MOST_ACROSS:
        return None
    figure, axis = canvas(5.2, 3.9, short(f"{across_name} × {lines_name}", 44))
    objective_axis(axis, summary, "y")
    axis.grid(True, axis="y")
    for k, name in enumerate(lines[0]):
        means = np.full(len(across[0]), np.nan)
        for j in range(len(across[0])):
            chosen = summary.finite & (lines[1] == k) & (across[1] == j)
            if chosen.any():
                means[j] = centre(summary.values[chosen], log=summary.log)
        axis.plot(np.arange(len(means)), means, "o-", ms=4.5,
                  color=style.LINES[k], lw=1.4, label=short(name, 22))  # fmt: skip
    names = [short(name, 18) for name in across[0]]
    turn = sum(map(len, names)) > 44
    axis.set_xticks(range(len(names)), names, rotation=40 if turn else 0,
                    ha="right" if turn else "center", rotation_mode="anchor")  # fmt: skip
    axis.set_xlim(-0.3, len(names) - 0.7)
    axis.set_xlabel(words(across_name), color=INK)
    figure.legend(title=words(lines_name), loc="outside lower left", alignment="left", ncols=3)
    what = f"interaction of {across_name} and {lines_name}"
    return picture(figure, f"interaction-{place}", f"{words(summary.objective)}: {what}")
