"""Pictures of formats, of values on their grids and of results; needs matplotlib.

`pip install lowp[cli]` brings it. Every picture is a Figure, which `save` writes to a file and a
notebook shows; nothing is drawn on a screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _plot_style as style
from ._plot_formats import code_histogram, error_curve, values
from ._plot_results import compare, scale_map
from .measures import Error, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Histogram",
    "Panel",
    "code_histogram",
    "compare",
    "distribution",
    "error_curve",
    "save",
    "scale_map",
    "values",
]

#: Bins an octave, and the octaves that float64 spans.
_BINS = 4
_LOWEST, _HIGHEST = -1075, 1024

_VALUES = "values of the format"
#: Grids of more positive values are drawn as a band.
_MAX_TICKS = 160
_MAX_GRID_BITS = 10


@dataclass
class Histogram:
    """Counts of log2|x| in quarters of an octave; zeros, NaN and infinities are left out."""

    counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((_HIGHEST - _LOWEST) * _BINS, np.int64)
    )

    def add(self, x: NDArray[np.floating[Any]]) -> None:
        """Count the values of an array of any shape."""
        magnitudes = np.abs(x[np.isfinite(x) & (x != 0)].astype(np.float64))
        bins = np.floor((np.log2(magnitudes) - _LOWEST) * _BINS).astype(np.int64)
        last = len(self.counts) - 1
        self.counts += np.bincount(np.clip(bins, 0, last), minlength=last + 1)

    def edges(self) -> NDArray[np.float64]:
        """The bins' edges as log2|x|."""
        return _LOWEST + np.arange(len(self.counts) + 1) / _BINS

    def span(self) -> tuple[float, float]:
        """Edges (log2) around all values but the smallest 0.01 %; (0, 1) where there is none."""
        if not self.counts.any():
            return 0.0, 1.0
        below = np.cumsum(self.counts)
        first = int(np.argmax(below > below[-1] * 1e-4))
        last = int(np.flatnonzero(self.counts)[-1])
        edges = self.edges()
        return float(edges[first]), float(edges[last + 1])


@dataclass(frozen=True)
class Panel:
    """One format's part of the picture: what was measured, and the values it was given.

    The picture shows magnitudes over `unit`: 1, or the format's max for values that were scaled so
    that their largest is that max. name: that of a block format, whose elements are in `format`.
    """

    format: lowp.Format
    histogram: Histogram
    error: Error
    unit: float = 1.0
    name: str = ""

    def log2(self, magnitude: float) -> float:
        """Place of a magnitude on the axis."""
        return math.log2(magnitude) - math.log2(self.unit)


def distribution(panels: Sequence[Panel], title: str, axis_label: str = "magnitude |x|") -> Figure:
    """A figure with one panel a format: the values' histogram over |x| above the format's grid.

    Values that the format flushes to zero, holds as subnormals or cannot reach differ in colour.
    ValueError: no panel. ModuleNotFoundError: matplotlib is not installed.
    """
    if not panels:
        raise ValueError("lowp.plot.distribution: at least one panel is needed; got none")
    figure = style.figure(9, 1.2 + 2.1 * len(panels), title)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, axis in zip(panels, axes, strict=True):
        _draw(axis, panel)
        axis.set_xlim(*_range(panels))
    axes[-1].set_xlabel(axis_label)
    _legend(figure, panels[0])
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure; the suffix (.png, .svg, .pdf) picks the kind of file."""
    figure.savefig(path, dpi=150)


def _range(panels: Sequence[Panel]) -> tuple[float, float]:
    """What all panels show: the values, and each grid as far as it is near them."""
    shifts = [math.log2(panel.unit) for panel in panels]
    spans = [panel.histogram.span() for panel in panels]
    low = min(span[0] - shift for span, shift in zip(spans, shifts, strict=True))
    high = max(span[1] - shift for span, shift in zip(spans, shifts, strict=True))
    bottom = min(panel.log2(panel.format.min_subnormal) for panel in panels)
    top = max(panel.log2(panel.format.max) for panel in panels)
    return min(low, max(bottom, low - 4)) - 1, max(high, min(top, high + 6)) + 1


def _zones(panel: Panel) -> list[tuple[str, str, float, float]]:
    """Label, colour and range (log2) of what becomes of a magnitude, from zero to infinity."""
    f = panel.format
    lowest = panel.log2(f.min_subnormal) - (1 if f.has_zero else 0)
    normal, largest = panel.log2(f.min_normal), panel.log2(f.max)
    return [
        ("under half the smallest", style.FLUSHED, -math.inf, lowest),
        ("subnormal", style.SUBNORMAL, lowest, normal),
        ("normal", style.NORMAL, normal, largest),
        ("beyond the largest", style.BEYOND, largest, math.inf),
    ]


def _draw(axis: Axes, panel: Panel) -> None:
    lefts = panel.histogram.edges()[:-1] - math.log2(panel.unit)
    all_counts = panel.histogram.counts
    percents = 100 / max(int(all_counts.sum()), 1)
    below = np.zeros_like(all_counts)
    for (_, colour, *_), counts in zip(_zones(panel), _counts_by_zone(panel, lefts), strict=True):
        at = counts > 0
        axis.bar(
            lefts[at], percents * counts[at], 1 / _BINS, percents * below[at],
            align="edge", color=colour, linewidth=0,
        )  # fmt: skip
        below += counts
    top = float(all_counts.max()) * percents * 1.1 or 1.0
    axis.set_ylim(-0.16 * top, top)
    _draw_grid(axis, panel, 0.16 * top)
    axis.axhline(0, color=style.GRID, linewidth=0.8)
    _decorate(axis, top)
    axis.set_title(_caption(panel), fontsize=10, loc="left")


def _counts_by_zone(panel: Panel, lefts: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """The histogram's counts apart by zone. Zones begin where bins do, except beyond the largest
    value: as many of that value's bin are beyond as the error's share of clipped values says.
    """
    counts = panel.histogram.counts
    _, subnormal, normal, beyond = (low for _, _, low, _ in _zones(panel))
    border = max(int(np.searchsorted(lefts, beyond, "right")) - 1, 0)
    zone = np.searchsorted([subnormal, normal], lefts, "right")
    zone[border + 1 :] = 3
    parts = [np.where(zone == i, counts, 0) for i in range(4)]
    e = panel.error
    clipped = 0.0 if math.isnan(e.clipped) else e.clipped * (e.count - e.nan_count - e.inf_count)
    over = min(max(round(clipped) - int(parts[3].sum()), 0), int(counts[border]))
    parts[zone[border]][border] -= over
    parts[3][border] += over
    return parts


def _decorate(axis: Axes, top: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_ylabel("% of values\nper ¼ octave")
    # No ticks below zero: that strip belongs to the grid.
    axis.set_yticks([tick for tick in MaxNLocator(4).tick_values(0, top) if 0 <= tick <= top])
    style.powers_of_two(axis)
    style.bare(axis)
    axis.tick_params(labelbottom=True)


def _draw_grid(axis: Axes, panel: Panel, strip: float) -> None:
    """The format's positive values as ticks below the axis, or as a band where they are many."""
    f = panel.format
    grid = f.values() if f.bits <= _MAX_GRID_BITS else np.array([])
    positive = grid[grid > 0]
    bottom, top = -0.85 * strip, -0.2 * strip
    if 0 < positive.size <= _MAX_TICKS:
        places = np.log2(positive) - math.log2(panel.unit)
        axis.vlines(places, bottom, top, color=style.GRID, linewidth=0.8)
        return
    low, high = panel.log2(f.min_subnormal), panel.log2(f.max)
    axis.fill_between([low, high], bottom, top, color=style.GRID, alpha=0.35, linewidth=0)


def _caption(panel: Panel) -> str:
    e, f = panel.error, panel.format
    exact = "exact" if e.relative_mse == 0 else f"SQNR {e.sqnr_db:.1f} dB"
    largest = f"{f.max:g}" if f.max < 1e6 else f"{f.max:.3g}"
    shares = [f"{percent(e.flushed)} become zero", f"{percent(e.clipped)} beyond {largest}"]
    return f"{panel.name or f.name}:  " + ",  ".join([exact, *shares])


def _legend(figure: Figure, panel: Panel) -> None:
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Patch(color=zone[1], label=zone[0]) for zone in _zones(panel)]
    handles.append(
        Line2D([], [], color=style.GRID, marker="|", linestyle="", markersize=9, label=_VALUES)
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
