"""Heat maps of the objective over exponent and mantissa bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowp.study._effects import codes_of, effects
from lowp.study._figures import INK, MUTED, Picture, canvas, picture
from lowp.study._summary import Summary, centre, number, short, spans_decades, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heat_maps"]

_MOST_PANELS = 6
_FEWEST_SPLITS = 4
#: Cells beyond this have no numbers in them.
_MOST_NUMBERS = 120
_DARK, _LIGHT = "#101112", "#fdfdfd"


def heat_maps(summary: Summary, scenario: tuple[int, str] | None = None) -> list[Picture]:
    """A map, or one for every level of the axis that matters most among those of 2 to 6 levels,
    each with four splits or more; of a scenario, its number and name, one map.

    A cell is the mean over all configurations of that split, the geometric one where the objective
    spans decades; nothing is drawn where fewer than four splits were tried.
    """
    table = summary.configurations
    if not {"exponent_bits", "mantissa_bits"} <= set(table):
        return []
    splits = table[["exponent_bits", "mantissa_bits"]].to_numpy(np.float64)
    known = np.isfinite(splits).all(axis=1) & (splits == np.round(splits)).all(axis=1)
    if (
        len(np.unique(splits[known], axis=0)) < _FEWEST_SPLITS
        or len(np.unique(splits[known, 0])) < 2
    ):
        return []
    first, title = scenario or (1, "")
    whole = [(title, np.ones(len(splits), np.bool_))]
    panels = whole if scenario else _panels(summary, splits, known)
    cells = [_cells(summary, splits, known & chosen) for _, chosen in panels]
    means = np.concatenate([[c[0] for c in found.values()] for found in cells])
    finite = means[np.isfinite(means)]
    if not finite.size:
        return []
    limits = (float(finite.min()), float(finite.max()))
    sides = [np.unique(splits[known, k]).astype(int) for k in (0, 1)]
    return [
        _map(summary, title, found, sides, limits, f"map-{place}")
        for place, ((title, _), found) in enumerate(zip(panels, cells, strict=True), first)
    ]


def _panels(
    summary: Summary, splits: NDArray[np.float64], known: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Titles and configurations of the maps."""
    whole = [("mean over all else", np.ones(len(splits), np.bool_))]
    best: list[tuple[str, NDArray[np.bool_]]] = []
    reach = 0.0
    for axis, found in effects(summary).items():
        coded = codes_of(summary, axis)
        assert coded is not None
        names, codes = coded
        if not 2 <= len(names) <= _MOST_PANELS or _is_a_split(splits[known], codes[known]):
            continue
        tried = [len(np.unique(splits[known & (codes == k)], axis=0)) for k in range(len(names))]
        if min(tried) < _FEWEST_SPLITS:
            continue
        medians = np.array([level.median for level in found])
        medians = np.log(medians) if summary.log else medians
        known_ones = medians[np.isfinite(medians)]
        spread = float(np.ptp(known_ones)) if known_ones.size else 0.0
        if not best or spread > reach:
            reach = spread
            best = [(f"{axis}: {short(name, 30)}", codes == k) for k, name in enumerate(names)]
    return best or whole


def _is_a_split(splits: NDArray[np.float64], codes: NDArray[np.int64]) -> bool:
    """Whether an axis says no more than the split does: a map a level would have empty maps."""
    rows = np.column_stack([splits, codes])
    return len(np.unique(rows, axis=0)) == len(np.unique(splits, axis=0))


def _cells(
    summary: Summary, splits: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> dict[tuple[int, int], tuple[float, int, str]]:
    """By split: the mean of finite objectives, how many are not, and what those are."""
    found = {}
    for e, m in np.unique(splits[chosen], axis=0):
        values = summary.values[chosen & (splits[:, 0] == e) & (splits[:, 1] == m)]
        finite = values[np.isfinite(values)]
        lost = values[~np.isfinite(values)]
        mean = math.nan
        if finite.size:
            mean = centre(finite, log=summary.log)
        sign = number(lost[0]) if lost.size else ""
        found[int(e), int(m)] = (mean, int(lost.size), sign)
    return found


def _map(
    summary: Summary, title: str, cells: dict[tuple[int, int], tuple[float, int, str]],
    sides: list[NDArray[Any]], limits: tuple[float, float], name: str,
) -> Picture:  # fmt: skip
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    log = summary.log or spans_decades(np.array(limits))
    norm = (LogNorm if log else Normalize)(*limits)
    rows, columns = (range(int(side.min()), int(side.max()) + 1) for side in sides)
    grid = np.full((len(rows), len(columns)), math.nan)
    for (e, m), (mean, _, _) in cells.items():
        grid[e - rows[0], m - columns[0]] = mean
    width = min(max(2.4 + 0.56 * len(columns), 4.2), 7.4)
    height = min(max(1.4 + 0.42 * len(rows), 2.6), 6.0)
    figure, axis = canvas(width, height, title)
    colours = colormaps["viridis" if summary.goal == "maximize" else "viridis_r"]
    edges = [np.arange(r[0], r[-1] + 2) - 0.5 for r in (columns, rows)]
    mesh = axis.pcolormesh(
        *edges,
        np.ma.masked_invalid(grid),
        cmap=colours,
        norm=norm,
        edgecolors="face",
        linewidth=0.2,
    )
    _cell_texts(axis, cells, lambda x: colours(norm(x)), grid.size <= _MOST_NUMBERS)
    _mark_best(axis, summary.goal, cells)
    axis.set_xticks(list(columns) if len(columns) <= 16 else list(columns)[::2])
    axis.set_yticks(list(rows))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(words("mantissa_bits"))
    axis.set_ylabel(words("exponent_bits"))
    _bar(figure.colorbar(mesh, ax=axis, pad=0.02, aspect=24), summary, log)
    shape = "wide" if width > 5.6 else "small"
    return picture(figure, name, f"{words(summary.objective)} by split, {title}", shape)


def _bar(bar: Any, summary: Summary, log: bool) -> None:
    from matplotlib.ticker import NullFormatter

    from lowp.study._figures import _decade, _plain_ticks

    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)
    bar.set_label(words(summary.objective))
    if log:
        bar.ax.yaxis.set_major_formatter(_decade)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        _plain_ticks(bar.ax.yaxis)


def _cell_texts(
    axis: Axes, cells: dict[tuple[int, int], tuple[float, int, str]], colour: Any, numbers: bool
) -> None:
    for (e, m), (mean, lost, sign) in cells.items():
        if math.isnan(mean):
            axis.text(m, e, sign, ha="center", va="center", fontsize=8, color=INK)
            axis.fill(
                [m - 0.5, m + 0.5, m + 0.5, m - 0.5],
                [e - 0.5, e - 0.5, e + 0.5, e + 0.5],
                fill=False,
                hatch="////",
                edgecolor=MUTED,
                linewidth=0,
                alpha=0.5,
            )
            continue
        red, green, blue, _ = colour(mean)
        ink = _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else _LIGHT
        text = number(mean, 3) if numbers else ""
        text += f"\n{lost}× {sign}" if lost else ""
        axis.text(m, e, text, ha="center", va="center", fontsize=7.2, color=ink)


def _mark_best(axis: Axes, goal: str, cells: dict[tuple[int, int], tuple[float, int, str]]) -> None:
    finite = {place: mean for place, (mean, _, _) in cells.items() if math.isfinite(mean)}
    if not finite:
        return
    e, m = (max if goal == "maximize" else min)(finite, key=lambda place: finite[place])
    axis.plot(
        [m - 0.47, m + 0.47, m + 0.47, m - 0.47, m - 0.47],
        [e - 0.46, e - 0.46, e + 0.46, e + 0.46, e - 0.46],
        color="#D55E00",
        lw=2,
    )
