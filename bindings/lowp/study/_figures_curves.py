"""Series of a study: curves over steps with replicates as bands, and histograms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowp import _plot_style as style
from lowp.study._figures import INK, Picture, canvas, picture, scale
from lowp.study._summary import Summary, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curves", "curves", "gather", "histograms"]

#: Labelled curves: the best, and then the worst; all where there are no more than both.
_BEST, _WORST = 5, 3
_MOST_SHOWN = 240
#: Longer curves are drawn as means over windows of equal length.
_MOST_POINTS = 600
_HISTOGRAMS = 6
#: Seen in the light and in the dark.
_GREY = "#8a9099"

Series = dict[int, list[NDArray[np.float64]]]


@dataclass(frozen=True)
class Curves:
    """A picture, and what is said below it."""

    picture: Picture
    shown: int
    total: int
    window: int
    ended: int


def gather(store: Any, summary: Summary) -> dict[str, Series]:
    """By name of a series: the arrays of its rows by configuration, at most 240 configurations.

    The best and the worst are among them, and others evenly between.
    """
    total = len(summary.configurations)
    places = {round(k) for k in np.linspace(0, total - 1, min(total, _MOST_SHOWN))}
    places |= set(range(min(total, _BEST))) | set(range(max(total - _WORST, 0), total))
    found: dict[str, Series] = {}
    for place in sorted(places):
        for name_of_row in summary.configurations["hashes"].iloc[place]:
            for name, values in store.series(name_of_row).items():
                array = np.asarray(values, np.float64).reshape(-1)
                if array.size:
                    found.setdefault(name, {}).setdefault(place, []).append(array)
    return found


def is_histogram(name: str) -> bool:
    """Whether a series is counts of bins, or the edges of one that is."""
    return re.search(r"hist(ogram)?s?($|_)|_counts?$|_edges$|^edges$|^counts$", name) is not None


def curves(summary: Summary, name: str, series: Series) -> Curves:
    """Curves of one series, the best and worst configurations named, the others thin and grey."""
    figure, axis = canvas(9.4, 4.9, "")
    chosen = _chosen(summary, sorted(series))
    longest = max(a.size for arrays in series.values() for a in arrays)
    window = -(-longest // _MOST_POINTS)
    every = np.concatenate([a for arrays in series.values() for a in arrays])
    others = [place for place in series if place not in chosen]
    for place in others:
        steps, mean, _, _ = _band(series[place], window)
        axis.plot(steps, mean, color=_GREY, lw=0.6, alpha=0.4, zorder=1,
                  rasterized=len(others) > 60)  # fmt: skip
    for k, place in enumerate(chosen):
        # The worst are dashed, too: colours alone do not tell them apart.
        dashes = "-" if k < _BEST or len(chosen) == len(series) else (0, (4, 2))
        _curve(axis, series[place], window, k, dashes, summary.label(place, 60))
    if others:
        axis.plot([], [], color=_GREY, lw=0.8, label=f"{len(others)} others")
    scale(axis, "y", every[np.isfinite(every)] if np.isfinite(every).any() else np.ones(1))
    axis.set_xlabel("step" if window == 1 else f"step (means over {window} steps)")
    axis.set_ylabel(words(name))
    axis.grid(True)
    axis.margins(x=0.01)
    figure.legend(loc="outside lower left", ncols=2, handlelength=1.8, fontsize=8)
    ended = sum(not np.isfinite(a).all() for arrays in series.values() for a in arrays)
    title = f"{words(name)} over steps"
    drawn = picture(figure, f"curve-{_slug(name)}", title, "wide")
    return Curves(drawn, len(series), len(summary.configurations), window, ended)


def _chosen(summary: Summary, places: Sequence[int]) -> list[int]:
    """Places in the order of the objective: all of few, else the best and the worst finite ones."""
    if len(places) <= _BEST + _WORST:
        return list(places)
    finite = [place for place in places if summary.finite[place]] or list(places)
    return list(dict.fromkeys([*finite[:_BEST], *finite[-_WORST:]]))


def _curve(
    axis: Axes, arrays: Sequence[NDArray[np.float64]], window: int, place: int, dashes: Any,
    name: str,
) -> None:  # fmt: skip
    # Black is for the text: eight curves are seven colours and one again, dashed or with others.
    colours = (*style.LINES[:6], INK)
    colour = colours[place % len(colours)]
    steps, mean, low, high = _band(arrays, window)
    if len(arrays) > 1 or window > 1:
        axis.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0, zorder=2)
    axis.plot(steps, mean, color=colour, lw=1.5, ls=dashes, zorder=3, label=name)
    if not np.isfinite(mean).all():
        last = np.flatnonzero(np.isfinite(mean))
        if last.size:
            axis.plot(steps[last[-1]], mean[last[-1]], "x", color=colour, ms=7, mew=2, zorder=4)


def _band(
    arrays: Sequence[NDArray[np.float64]], window: int
) -> tuple[NDArray[np.float64], ...]:  # fmt: skip
    """Steps, mean, smallest and largest over replicates (and steps of a window); NaN: not finite.

    Replicates that end early, as diverged ones do, count as long as they run.
    """
    longest = max(a.size for a in arrays)
    longest = -(-longest // window) * window
    table = np.full((len(arrays), longest), np.nan)
    ran = np.zeros(table.shape, np.bool_)
    for row, array in enumerate(arrays):
        table[row, : array.size] = np.where(np.isfinite(array), array, np.nan)
        ran[row, : array.size] = True
    table = table.reshape(len(arrays), -1, window).transpose(1, 0, 2).reshape(-1, window * len(
        arrays))  # fmt: skip
    ran = ran.reshape(len(arrays), -1, window).transpose(1, 0, 2).reshape(table.shape)
    counts = ran.sum(axis=1)
    total = np.where(ran, table, 0.0).sum(axis=1)
    low = np.where(ran, table, np.inf).min(axis=1)
    high = np.where(ran, table, -np.inf).max(axis=1)
    mean = np.clip(total / counts, low, high)
    steps = np.arange(len(mean), dtype=np.float64) * window
    return steps, np.asarray(mean, np.float64), low, high


def histograms(summary: Summary, found: Mapping[str, Series]) -> list[Picture]:
    """Histograms of the best configurations, each its own figure; the first replicate's.

    Series that end with "_edges" are the edges of the bins of the one without; others count bins.
    """
    pictures = []
    for name, series in found.items():
        if name.endswith("edges"):
            continue
        stem = re.sub(r"_counts?$", "", name)
        edges = found.get(f"{name}_edges") or found.get(f"{stem}_edges") or found.get("edges") or {}
        for place in sorted(series)[:_HISTOGRAMS]:
            counts = np.where(np.isfinite(series[place][0]), series[place][0], 0.0)
            own = edges.get(place, [np.empty(0)])[0]
            known = own.size == counts.size + 1 and bool(np.isfinite(own).all())
            figure, axis = canvas(5.2, 2.7, summary.label(place, 48))
            bins = own if known else np.arange(counts.size + 1) - 0.5
            share = 100 * counts / (counts.sum() or 1.0)
            axis.stairs(share, bins, color=style.NORMAL, fill=True, lw=0)
            value = words(re.sub(r"_?hist(ogram)?s?$", "", stem))
            axis.set_xlabel(value if known else f"{value} bin".strip() if value else "code")
            axis.set_ylabel("share, %")
            axis.grid(True, axis="y")
            axis.margins(x=0.01)
            file = f"histogram-{_slug(name)}-{place + 1}"
            pictures.append(picture(figure, file, f"{words(stem)} of {summary.label(place, 80)}"))
    return pictures


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "series"
