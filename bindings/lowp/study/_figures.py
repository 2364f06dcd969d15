"""Figures of a report: how they are set, and how one becomes SVG for the page and a PNG file.

The SVG takes its colours from the page's CSS variables, so that one picture serves light and dark.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowp import _plot_style as style
from lowp.study._summary import Summary, number, spans_decades, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "INK", "MUTED", "PAPER", "RULE", "Picture", "better", "canvas", "drawing", "objective_axis",
    "picture", "scale",
]  # fmt: skip

INK, MUTED, RULE, PAPER = "#1a1c20", "#6a7079", "#dadee4", "#fffffe"
#: Colours of the SVG by CSS variable. Of points whose colours are part of a raster none changes.
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper", style.GRID: "ink"} | {
    colour: f"line-{place}" for place, colour in enumerate(style.LINES[:-1])
}
#: More marks than this are drawn as one image: the page stays small.
RASTER_LIMIT = 600
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Picture:
    """A figure: `name` of its file, what it shows, and its two forms. shape: "wide" or "small"."""

    name: str
    title: str
    svg: str
    png: bytes
    shape: str = "small"


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's own settings, whatever the user's are, and text that is never mathematics."""
    import matplotlib as mpl
    from cycler import cycler

    with mpl.rc_context(), warnings.catch_warnings():
        # A name may have letters that the font lacks: boxes are drawn for them.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
                "axes.titlelocation": "left", "axes.titlepad": 8, "axes.labelcolor": INK,
                "axes.edgecolor": MUTED, "axes.linewidth": 0.8, "axes.axisbelow": True,
                "axes.spines.top": False, "axes.spines.right": False, "grid.color": RULE,
                "grid.linewidth": 0.7, "text.color": INK, "text.parse_math": False,
                "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK,
                "ytick.labelcolor": INK, "legend.frameon": False, "legend.fontsize": 8.5,
                "svg.hashsalt": "lowp", "svg.fonttype": "path", "figure.facecolor": PAPER,
                "axes.facecolor": "none", "savefig.facecolor": PAPER, "hatch.linewidth": 0.6,
                "axes.formatter.useoffset": False, "axes.prop_cycle":
                cycler(color=style.LINES),
            }
        )  # fmt: skip
        yield


def canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure in inches with one pair of axes and a title at its left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title)
    return figure, axis


def picture(figure: Figure, name: str, title: str, shape: str = "small") -> Picture:
    """Both forms of a figure, the same bytes for the same figure."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    figure.savefig(
        svg,
        format="svg",
        transparent=True,
        dpi=150,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    # A point is a CSS pixel and a bit: text of 9 points is read without effort.
    widest = round(figure.get_figwidth() * 72 * 1.45)
    inline = _inline(svg.getvalue(), name, title, widest)
    return Picture(name, title, inline, png.getvalue(), shape)


def _inline(svg: str, name: str, title: str, widest: int) -> str:
    """The <svg> element alone, its names its own on the page, its colours the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = re.sub(rf"{colour}\b", f"var(--{variable})", svg, flags=re.IGNORECASE)
    # Its size comes from the page; <title> would be shown as a hint over the whole figure.
    head, rest = svg.split(">", 1)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", head) + ">" + rest
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = f'<svg role="img" aria-label="{label}" style="max-width: {widest}px"'
    svg = svg.replace("<svg", head, 1)
    return re.sub(r"\n\s*", "\n", svg).strip()


def better(summary: Summary) -> str:
    """Which way is better, in words."""
    return f"{'higher' if summary.goal == 'maximize' else 'lower'} is better"


def objective_axis(axis: Axes, summary: Summary, which: str) -> None:
    """The scale, label and ticks of the objective on the axis "x" or "y"."""
    text = f"{words(summary.objective)}, {better(summary)}"
    (axis.set_xlabel if which == "x" else axis.set_ylabel)(text)
    scale(axis, which, summary.values[summary.finite])


def scale(axis: Axes, which: str, values: NDArray[np.float64]) -> None:
    """Logarithmic where values span more than two decades, with zero kept where there are zeros."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, NullFormatter

    side = axis.xaxis if which == "x" else axis.yaxis
    set_scale = axis.set_xscale if which == "x" else axis.set_yscale
    positive = values[values > 0]
    wide = spans_decades(positive) and values.min() >= 0
    if not wide:
        side.set_major_locator(AutoLocator())
        side.set_major_formatter(
            FuncFormatter(
                lambda x, _: number(float(f"{x:.6g}")) if abs(x) >= 1e-9 or x == 0 else f"{x:.3g}"
            )
        )
        _plain_ticks(side)
        return
    if values.min() > 0:
        set_scale("log")
    else:
        set_scale("symlog", linthresh=float(positive.min()), linscale=1.0)
    side.set_major_formatter(FuncFormatter(_decade))
    side.set_minor_formatter(NullFormatter())


def _plain_ticks(side: Any) -> None:
    """Steps of tiny or huge numbers in a common power of ten."""
    from matplotlib.ticker import ScalarFormatter

    formatter = ScalarFormatter(useOffset=False, useMathText=False)
    formatter.set_powerlimits((-4, 6))
    side.set_major_formatter(formatter)


def _decade(x: float, _: int) -> str:
    if x <= 0:  # none is below zero: the axis only goes on there
        return "0" if x == 0 else ""
    exponent = math.log10(abs(x))
    if abs(exponent - round(exponent)) > 1e-6:
        return ""
    return "10" + f"{round(exponent)}".translate(_SUPERSCRIPTS)
