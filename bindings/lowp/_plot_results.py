"""Pictures of results: the scales of blocks as a map, measures of several formats as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _plot_style as style
from .measures import Error, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare", "scale_map"]

#: Measures by name: the panel's title, and how a value is written.
_TITLES = {
    "sqnr_db": "SQNR, dB",
    "relative_mse": "relative MSE",
    "max_relative_error": "largest relative error",
    "max_absolute_error": "largest error",
    "max_ulp": "largest error, ulp",
    "gain": "gain",
    "cosine": "cosine",
    "flushed": "become zero, %",
    "clipped": "beyond the largest, %",
    "subnormal": "subnormal, %",
    "code_entropy": "entropy of codes, bits",
}
_SHARES = ("flushed", "clipped", "subnormal")
_MAX_SIDE = 4096


def scale_map(scales: Any, *, title: str = "Scales") -> Figure:
    """A figure of the scales of blocks, their log2 as colour: rows down, blocks across.

    scales: a `lowp.BlockTensor`, or an array of scales of any shape (one dimension is a row; of
    more than two, all but the last are rows). Scales that are zero, negative, NaN or infinite are
    grey. ValueError: no scales, or more than 4096 a side. ModuleNotFoundError: no matplotlib.
    """
    table = _table(scales)
    good = np.isfinite(table) & (table > 0)
    shown = np.full(table.shape, math.nan)
    shown[good] = np.log2(table[good])
    rows, columns = table.shape
    height = min(max(1.9, 1.2 + 7.2 * rows / max(columns, 1)), 8.0)
    figure = style.figure(9, height, title)
    axis = figure.subplots()
    colours = _colours()
    image = axis.imshow(shown, aspect="auto", interpolation="nearest", cmap=colours)
    axis.set_xlabel("block")
    axis.set_ylabel("row")
    _whole_ticks(axis, rows, columns)
    bar = figure.colorbar(image, ax=axis, pad=0.015)
    bar.outline.set_visible(False)
    style.powers_of_two(bar.ax, "y", 6 if height > 3 else 3)
    missing = int(table.size - good.sum())
    note = f", {missing} not positive and finite (grey)" if missing else ""
    axis.set_title(f"{rows} x {columns} blocks{note}", fontsize=10, loc="left")
    return figure


def compare(
    results: Mapping[str, Error], measures: Sequence[str] = ("sqnr_db", "flushed", "clipped")
) -> Figure:
    """A figure of bars: a panel a measure of `lowp.Error`, a bar a result, in the order given.

    What has no finite value is written in place of its bar. ValueError: no result or measure, or a
    measure that `lowp.Error` lacks. ModuleNotFoundError: matplotlib is not installed.
    """
    if not results or not measures:
        raise ValueError("lowp.plot.compare: at least one result and one measure; got none")
    unknown = [name for name in measures if name not in _TITLES]
    if unknown:
        raise ValueError(f"lowp.plot.compare: no measure {unknown[0]!r}; there are {list(_TITLES)}")
    figure = style.figure(2.2 + 2.6 * len(measures), 1.3 + 0.36 * len(results), "Comparison")
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, measures, strict=True):
        _bars(axis, name, [getattr(e, name) for e in results.values()])
    axes[0].set_yticks(range(len(results)), list(results))
    axes[0].invert_yaxis()
    return figure


def _table(scales: Any) -> NDArray[np.float64]:
    values = scales.scale_values() if hasattr(scales, "scale_values") else scales
    table = np.asarray(values, np.float64)
    table = table.reshape(-1, table.shape[-1]) if table.ndim else table.reshape(1, 1)
    if not table.size or max(table.shape) > _MAX_SIDE:
        raise ValueError(
            f"lowp.plot.scale_map: 1 to {_MAX_SIDE} scales a side; got {table.shape}: cut "
            "a part out"
        )
    return table


def _colours() -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"].with_extremes(bad="#CCCCCC")


def _whole_ticks(axis: Axes, rows: int, columns: int) -> None:
    from matplotlib.ticker import MaxNLocator

    for side, count in ((axis.xaxis, columns), (axis.yaxis, rows)):
        side.set_major_locator(MaxNLocator(nbins=min(count, 10), integer=True, min_n_ticks=1))
    axis.spines[:].set_visible(False)


def _bars(axis: Axes, name: str, values: list[float]) -> None:
    factor = 100.0 if name in _SHARES else 1.0
    lengths = [factor * value if math.isfinite(value) else 0.0 for value in values]
    places = range(len(values))
    axis.barh(places, lengths, 0.62, color=style.NORMAL)
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    span = (high - low) or 1.0
    for place, length, value in zip(places, lengths, values, strict=True):
        axis.text(max(length, 0.0) + 0.03 * span, place, _written(name, value), va="center",
                  fontsize=9)  # fmt: skip
    # Room for the numbers after the bars.
    axis.set_xlim(low, low + 1.42 * span)
    axis.set_title(_TITLES[name], fontsize=10, loc="left")
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _written(name: str, value: float) -> str:
    if name in _SHARES:
        return percent(value).removesuffix(" %")
    if math.isnan(value):
        return "unknown"
    if name == "sqnr_db":
        return {math.inf: "exact", -math.inf: "overflow"}.get(value, f"{value:.1f}")
    return f"{value:.3g}"
