"""Pictures of a monitor's records: measures over steps, and exponents against the format's range.

One panel a role, as in Training and inference of large language models using 8-bit floating point
(arXiv 2309.17224), which shows the scales of weights, activations and gradients so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import lowp
from lowp import _plot_style as style
from lowp.torch._monitor_output import by_tensor, check_any, worst
from lowp.torch._observe import Row
from lowp.torch._ops import parse
from lowp.torch.recipe import QUANTIZED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["picture"]

_TITLES = {
    "scale": "Scales: the median of each tensor",
    "amax": "Largest magnitudes",
    "underflow": "Underflow: become zero, %",
    "overflow": "Overflow: beyond the largest, %",
    "sqnr_db": "SQNR, dB",
    "gain": "Gain",
    "exponents": "Exponents of the values, and what the format holds",
}
_POWERS = ("scale", "amax")
_SHARES = ("underflow", "overflow")
#: Smaller parts of a histogram are not drawn: they would only widen the axis.
_LEAST = 1e-3
#: Bands of more modules than that would hide one another.
_MAX_BANDS = 3
_ROLES = {
    "x": "x, forward",
    "w": "w, forward",
    "output": "output",
    "bias": "bias",
    "dgrad_dy": "dy, input gradient",
    "dgrad_w": "w, input gradient",
    "wgrad_x": "x, weight gradient",
    "wgrad_dy": "dy, weight gradient",
}


def picture(records: Sequence[Row], what: str) -> Figure:
    """See Monitor.plot."""
    if what not in _TITLES:
        raise ValueError(f"Monitor: plot takes one of {', '.join(_TITLES)}; got {what!r}")
    check_any(records)
    tensors = by_tensor(records)
    modules = list(dict.fromkeys(module for module, _ in tensors))
    roles = [role for role in QUANTIZED if any(r == role for _, r in tensors)]
    colours = dict(zip(modules, _colours(len(modules)), strict=True))
    height = 2.4 if what != "exponents" else max(1.9, 1.0 + 0.24 * len(modules))
    across = min(2, len(roles))
    down = -(-len(roles) // across)
    figure = style.figure(3.2 + 4.2 * across, 0.9 + height * down, _TITLES[what])
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=what == "exponents")
    for axis, role in zip(panels.flat, roles, strict=False):
        axis.set_title(_ROLES[role], fontsize=10, loc="left")
        if what == "exponents":
            _ranges(axis, modules, {m: tensors.get((m, role), []) for m in modules})
        else:
            of_role = {m: tensors[m, role] for m in modules if (m, role) in tensors}
            _lines(axis, what, of_role, colours)
        style.bare(axis)
    for axis in panels.flat[len(roles) :]:
        axis.set_visible(False)
    _finish(figure, panels, what, colours, len(roles))
    return figure


def _colours(count: int) -> list[Any]:
    """Colours that are told apart; of many modules a scale from the first to the last."""
    if count <= len(style.LINES):
        return list(style.LINES[:count])
    from matplotlib import colormaps

    return [colormaps["viridis"](0.92 * i / (count - 1)) for i in range(count)]


# ---- over steps ----------------------------------------------------------------------------------


def _series(rows: Sequence[Row], what: str) -> tuple[list[int], list[float]]:
    """Steps, and of each the worst value of its calls as it is drawn; NaN draws nothing."""
    of_step: dict[int, list[Row]] = {}
    for row in rows:
        of_step.setdefault(row.step, []).append(row)
    values = [worst(calls, what) for calls in of_step.values()]
    if what in _SHARES:
        values = [100 * v for v in values]
    elif what == "amax" or what.startswith("scale"):
        values = [math.log2(v) if 0 < v < math.inf else math.nan for v in values]
    return list(of_step), [v if math.isfinite(v) else math.nan for v in values]


def _lines(axis: Axes, what: str, rows: dict[str, list[Row]], colours: dict[str, Any]) -> None:
    for module, of_module in rows.items():
        steps, values = _series(of_module, what)
        marker = "o" if len(steps) == 1 else ""
        axis.plot(steps, values, marker=marker, lw=1.3, color=colours[module])
        if what == "scale" and len(rows) <= _MAX_BANDS:
            low, high = (_series(of_module, f"scale_{end}")[1] for end in ("min", "max"))
            axis.fill_between(steps, low, high, color=colours[module], alpha=0.13, lw=0)
    axis.grid(axis="y", color=style.GRID, alpha=0.12, lw=0.6)
    if what in _POWERS:
        style.powers_of_two(axis, "y", 5)
    if what in _SHARES:
        axis.set_ylim(bottom=0)


# ---- exponents -----------------------------------------------------------------------------------


def _ranges(axis: Axes, modules: list[str], rows: dict[str, list[Row]]) -> None:
    """A strip a module: how many values have each exponent, between the ends of its format."""
    for place, module in enumerate(reversed(modules)):
        if not rows[module]:
            continue
        row = rows[module][-1]
        counts = np.asarray(row.exponents, np.float64)
        if counts.size:
            shown = counts >= _LEAST * counts.sum()
            counts, left = counts[shown], row.first_exponent + np.flatnonzero(shown)
            axis.bar(left, 0.84 * counts / counts.max(), 1.0, place - 0.42, align="edge",
                     color=style.SUBNORMAL, lw=0)  # fmt: skip
        _ends(axis, place, row)


def _ends(axis: Axes, place: int, row: Row) -> None:
    """Where the format's smallest and largest values lie, at the median of the scales."""
    found = parse(row.format)
    element = found.element if isinstance(found, lowp.BlockFormat) else found
    if not isinstance(element, lowp.Format) or not 0 < row.scale < math.inf:
        return
    least = element.min_subnormal if element.has_subnormals else element.min_normal
    for value, colour in ((least, style.FLUSHED), (element.max, style.BEYOND)):
        at = math.log2(value) + math.log2(row.scale)
        axis.plot([at, at], [place - 0.42, place + 0.42], color=colour, lw=2.2)


# ---- the rest ------------------------------------------------------------------------------------


def _finish(figure: Figure, panels: Any, what: str, colours: dict[str, Any], count: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    across = panels.shape[1]
    for place, axis in enumerate(panels.flat[:count]):
        if place + across >= count:
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("magnitude |x|" if what == "exponents" else "step")
        if what == "exponents":
            axis.tick_params(axis="y", length=0)
            style.powers_of_two(axis, "x", 7)
        else:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    if what == "exponents":
        panels.flat[0].set_yticks(range(len(colours)), list(reversed(colours)))
        panels.flat[0].set_ylim(-0.6, len(colours) - 0.4)
        keys = {
            "values": style.SUBNORMAL,
            "smallest and": style.FLUSHED,
            "largest of the format, at the median scale": style.BEYOND,
        }
        lines = [Line2D([], [], color=c, lw=4 if n == "values" else 2.2) for n, c in keys.items()]
        figure.legend(lines, list(keys), loc="outside lower center", ncols=3, frameon=False)
        return
    lines = [Line2D([], [], color=c, lw=2) for c in colours.values()]
    shown = list(zip(lines, colours, strict=True))[:24]
    figure.legend(
        [line for line, _ in shown],
        [name for _, name in shown],
        loc="outside right upper",
        title="module",
        alignment="left",
        fontsize=8,
        frameon=False,
    )
