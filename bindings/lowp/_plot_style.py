"""Colours and axes that all pictures of `lowp.plot` share; only `figure` needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette, told apart by colour-blind eyes too.
NORMAL, SUBNORMAL, FLUSHED, BEYOND = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GRID = "#222222"
#: Of lines that are compared, in the order of use.
LINES = (NORMAL, FLUSHED, "#009E73", BEYOND, "#CC79A7", SUBNORMAL, GRID)


def figure(width: float, height: float, title: str) -> Figure:
    """An empty figure with a title, in inches."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    drawn.suptitle(title, fontsize=13, fontweight="bold")
    return drawn


def bare(axis: Axes) -> None:
    """No frame at the top and the right."""
    axis.spines[["top", "right"]].set_visible(False)


def powers_of_two(axis: Axes, which: str = "x", count: int = 14) -> None:
    """Ticks at whole numbers k, written 2^k: the axis holds log2 of what is shown."""
    from matplotlib.ticker import MaxNLocator

    chosen = axis.xaxis if which == "x" else axis.yaxis
    chosen.set_major_locator(MaxNLocator(nbins=count, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    chosen.set_major_formatter(lambda x, _: f"$2^{{{x:g}}}$")
