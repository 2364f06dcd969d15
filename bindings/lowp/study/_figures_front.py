"""Pareto fronts: the objective against a cost, with the names of what nothing beats."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowp import _plot_style as style
from lowp.study._effects import codes_of
from lowp.study._figures import (
    INK,
    MUTED,
    RASTER_LIMIT,
    Picture,
    canvas,
    objective_axis,
    picture,
    scale,
)  # fmt: skip
from lowp.study._summary import Summary, label, short, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Front", "front", "front_of"]

_MOST_COLOURS = 6
_MOST_NAMES = 14
#: Longer names leave out what is the same along the front.
_SHORT = 24
#: Where a name's corner may be: points to the left (negative: right) of its own, and away from the
#: front's worse side (negative: towards it).
_OFFSETS = (
    (6, 3), (8, 12), (10, 24), (14, 36), (-7, -4), (20, 50), (30, 66), (40, 84), (8, 50), (8, 84),
    (-7, 4), (-10, -14),
)  # fmt: skip


@dataclass(frozen=True)
class Front:
    """A front against a cost: its picture, and places of its configurations from the cheapest."""

    cost: str
    scenario: str
    picture: Picture
    places: list[int]


def front_of(costs: NDArray[np.float64], values: NDArray[np.float64], goal: str) -> list[int]:
    """Places of what nothing else beats in both, cheapest first; the first of equals."""
    signed = -values if goal == "maximize" else values
    usable = np.flatnonzero(np.isfinite(costs) & np.isfinite(signed))
    found: list[int] = []
    for place in usable[np.lexsort((usable, signed[usable], costs[usable]))]:
        if not found or signed[place] < signed[found[-1]]:
            found.append(int(place))
    return found


def front(
    summary: Summary, cost: str, colour_by: str | None, shape: str,
    scenario: tuple[int, str] | None = None,
) -> Front:  # fmt: skip
    """The front against a cost; points have the colours of `colour_by`, an axis of few levels.

    shape: "wide" or "small". scenario: the number and name of the one that the summary is of.
    """
    costs = summary.configurations[cost].to_numpy(np.float64)
    places = front_of(costs, summary.values, summary.goal)
    place, heading = scenario or (0, "")
    title = ", ".join(filter(None, (f"{words(summary.objective)} against {words(cost)}", heading)))
    wide = shape == "wide"
    figure, axis = canvas(9.4 if wide else 5.6, 4.7, short(heading, 80 if wide else 45))
    known = np.isfinite(costs)
    shown = summary.finite & known
    objective_axis(axis, summary, "y")
    scale(axis, "x", costs[known])
    axis.set_xlabel(words(cost))
    axis.grid(True)
    _points(axis, summary, costs, shown, colour_by)
    x, y = costs[places], summary.values[places]
    axis.plot(x, y, color=INK, lw=1.2, drawstyle="steps-post", zorder=3)
    axis.plot(x, y, "o", ms=6.5, mfc="none", mec=INK, mew=1.3, zorder=4, label="Pareto front",
              clip_on=False)  # fmt: skip
    lost = known & ~summary.finite
    if lost.any():
        # On the upper edge: they have a cost and no place on the scale.
        axis.plot(costs[lost], np.full(int(lost.sum()), 1.0), "x", color=MUTED, ms=5, mew=1.2,
                  transform=axis.get_xaxis_transform(), clip_on=False,
                  label=f"not finite: {int(lost.sum())}")  # fmt: skip
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.3, columnspacing=1.2)
    lowest = summary.values[shown].min(initial=np.inf)
    _room(axis, summary.goal, (float(costs[known].min()), float(lowest)))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _names(axis, summary, places, costs)
    name = f"front-{place}-{cost}" if scenario else f"front-{cost}"
    drawn = picture(figure, name, title, shape)
    return Front(cost, heading, drawn, places)


def _points(
    axis: Axes, summary: Summary, costs: NDArray[np.float64], shown: NDArray[np.bool_],
    colour_by: str | None,
) -> None:  # fmt: skip
    raster = int(shown.sum()) > RASTER_LIMIT
    # those at zero lie on the edge
    style_of: dict[str, Any] = {
        "ls": "", "marker": "o", "ms": 4 if raster else 5, "mew": 0, "clip_on": False,
    }  # fmt: skip
    coded = codes_of(summary, colour_by) if colour_by else None
    if coded is None or len(coded[0]) > _MOST_COLOURS:
        axis.plot(costs[shown], summary.values[shown], color=style.NORMAL, alpha=0.45,
                  rasterized=raster, label="configurations", **style_of)  # fmt: skip
        return
    for level, name in enumerate(coded[0]):
        chosen = shown & (coded[1] == level)
        text = name if isinstance(summary.configurations[colour_by].iloc[0], str) else (
            f"{colour_by}={name}")  # fmt: skip
        axis.plot(costs[chosen], summary.values[chosen], color=style.LINES[level], alpha=0.6,
                  rasterized=raster, label=text, **style_of)  # fmt: skip


def _room(axis: Axes, goal: str, least: tuple[float, float]) -> None:
    """Space at the left and on the better side, where the names stand and no point lies; none below
    zero where nothing is. least: the smallest cost and objective.
    """
    axis.margins(x=0.05, y=0.06)
    low, high = axis.transData.transform(
        np.array(
            [[axis.get_xlim()[0], axis.get_ylim()[0]], [axis.get_xlim()[1], axis.get_ylim()[1]]]
        )
    )
    width, height = high - low
    better = -0.16 if goal != "maximize" else 0.0
    above = 0.16 if goal == "maximize" else 0.0
    room = np.array([[-0.2 * width, better * height], [0.0, above * height]])
    corners = np.array([low, high]) + room
    (left, bottom), (right, top) = axis.transData.inverted().transform(corners)
    limits = zip((left, bottom), least, (axis.get_xscale(), axis.get_yscale()), strict=True)
    left, bottom = (
        max(limit, 0.0) if low >= 0 and scale == "linear" else limit for limit, low, scale in limits
    )
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)


def _names(axis: Axes, summary: Summary, places: list[int], costs: NDArray[np.float64]) -> None:
    """Names on the better side of the front, where nothing else lies; what has no room has none."""
    down = -1 if summary.goal != "maximize" else 1
    points = np.column_stack([costs, summary.values])
    pixels = axis.transData.transform(points)
    known = pixels[np.isfinite(points).all(axis=1)]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in np.unique(np.round(known / 4) * 4, axis=0)]
    # The steps of the front are in the way, too.
    for (x0, y0), (x1, y1) in itertools.pairwise(pixels[places]):
        taken += [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, min(y0, y1), x1 + 1, max(y0, y1))]
    frame = axis.get_window_extent()
    pixel = axis.figure.dpi / 72
    for place, name in _front_names(summary, places, int(frame.width // 14)):
        measured = axis.text(0, 0, name, fontsize=8)
        width, height = measured.get_window_extent().size
        measured.remove()
        for out, away in _OFFSETS:
            x, y = pixels[place] + [-out * pixel, down * away * pixel]
            low, high = sorted((y, y + down * height))
            left = x - width if out > 0 else x
            box = (left - 2, low - 1, left + width + 2, high + 1)
            inside = (
                frame.x0 < box[0] and box[2] < frame.x1 and frame.y0 < box[1] < box[3] < frame.y1
            )
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                _write(axis, name, points[place], (-out, down * away))
                break


def _front_names(summary: Summary, places: list[int], limit: int) -> list[tuple[int, str]]:
    """Places and names of what is named: where names are long, what differs along the front."""
    chosen = [places[k] for k in _spread(len(places))]
    table = summary.configurations.iloc[chosen]
    full = [summary.label(place, 1000) for place in chosen]
    differing = [axis for axis in summary.axes if table[axis].nunique(dropna=False) > 1]
    if differing and max(map(len, full)) > min(limit, _SHORT):
        rows = table[differing].to_dict("records")
        full = [label({str(k): v for k, v in row.items()}) for row in rows]
    return [(place, short(name, limit)) for place, name in zip(chosen, full, strict=True)]


def _write(axis: Axes, name: str, point: NDArray[np.float64], offset: tuple[float, float]) -> None:
    x, y = offset
    lead = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkB": 4, "shrinkA": 0,
            "relpos": (1 if x < 0 else 0, 1 if y < 0 else 0)}  # fmt: skip
    axis.annotate(name, (float(point[0]), float(point[1])), offset, textcoords="offset points",
                  ha="right" if x < 0 else "left", va="top" if y < 0 else "bottom", fontsize=8,
                  arrowprops=lead if abs(y) > 8 else None)  # fmt: skip


def _spread(count: int) -> list[int]:
    """At most _MOST_NAMES places, both ends among them."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, _MOST_NAMES))})


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
