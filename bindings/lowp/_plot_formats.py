"""Pictures of formats: where their values lie, what they err by, which codes data uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

from . import _plot_style as style
from . import _targets
from ._arguments import FormatLike
from ._arrays import code_dtype
from ._sums import entropy, in_ulps
from .measures import code_histogram as count_codes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["code_histogram", "error_curve", "values"]

#: Formats of more bits have more values than a picture has columns.
_MAX_VALUE_BITS = 10
#: Up to this many positive values have labels, of this width a character, of the axis' width.
_MAX_LABELS, _CHARACTER = 16, 0.0165
#: Magnitudes an octave of an error curve, and octaves that are shown at most to either side of 1.
_PLACES, _MAX_OCTAVES = 64, 48
#: Up to this many codes, each bar has its label; of more than these, neighbours share a bar.
_MAX_LABELLED, _MAX_BARS = 32, 512

Doubles = NDArray[np.float64]


def values(*formats: FormatLike) -> Figure:
    """A figure with a row a format: its values on a number line, and its positive ones in log2.

    Subnormal numbers and zero differ in colour. ValueError: no format, or one of more than 10 bits.
    ModuleNotFoundError: matplotlib is not installed.
    """
    targets = _formats("values", formats)
    for target in targets:
        if target.bits > _MAX_VALUE_BITS:
            raise ValueError(
                f"lowp.plot.values: formats of at most {_MAX_VALUE_BITS} bits; got {target}, of "
                f"{target.bits}: error_curve shows any"
            )
    figure = style.figure(10, 1.1 + 1.15 * len(targets), "Values")
    axes = figure.subplots(
        len(targets), 2, squeeze=False, sharex="col", gridspec_kw={"width_ratios": [1, 1]}
    )
    lowest = -1.03 if any(target.lowest < 0 for target in targets) else -0.03
    for target, (left, right) in zip(targets, axes, strict=True):
        _draw_line(left, target, lowest)
        _draw_log(right, target)
    axes[-1, 0].set_xlabel("value / largest magnitude")
    axes[-1, 1].set_xlabel("positive values")
    _legend(
        figure, [("normal", style.NORMAL), ("subnormal", style.SUBNORMAL), ("zero", style.GRID)]
    )
    return figure


def error_curve(*formats: FormatLike) -> Figure:
    """A figure of the largest |q - x| / |x| at each magnitude x, under nearest-even saturating
    quantization: a line a format, which falls and jumps once a binade, is 1 where values become
    zero, and rises to 1 beyond the format's largest.

    ValueError: no format, or more than 7. ModuleNotFoundError: matplotlib is not installed.
    """
    targets = _formats("error_curve", formats)
    if len(targets) > len(style.LINES):
        raise ValueError(
            f"lowp.plot.error_curve: at most {len(style.LINES)} formats; got {len(targets)}"
        )
    figure = style.figure(9, 4.6, "Relative error of rounding to nearest")
    axis = figure.subplots()
    low = min(np.log2(target.min_subnormal) for target in targets) - 2
    high = max(np.log2(target.max) for target in targets) + 2
    low, high = max(low, -_MAX_OCTAVES), min(high, _MAX_OCTAVES)
    places = np.arange(low * _PLACES, high * _PLACES + 1) / _PLACES
    floor = 0.0
    for target, colour in zip(targets, style.LINES, strict=False):
        errors = np.log2(_largest_errors(target, np.exp2(places)))
        axis.plot(places, errors, color=colour, linewidth=1.5, label=target.name)
        floor = min(floor, float(errors.min()))
    axis.axhline(0, color=style.GRID, linewidth=0.8, linestyle=":")
    axis.set_ylim(floor - 1, 0.7)
    axis.set_xlim(low, high)
    style.powers_of_two(axis)
    style.powers_of_two(axis, "y", 8)
    axis.set_xlabel("magnitude |x|")
    axis.set_ylabel("largest |q − x| / |x|")
    style.bare(axis)
    figure.legend(loc="outside lower center", ncols=min(len(targets), 5), frameon=False)
    return figure


def code_histogram(
    x: ArrayLike, format: Any, *, saturation: str | None = None, axis: int = -1
) -> Figure:
    """A figure of how often finite elements of x get each code, in the order of the values.

    x: floats of any shape. format: a format or block format (codes of its elements) of at most 16
    bits. The title has the entropy of the codes. Errors: those of
    `lowp.measures.code_histogram`. ModuleNotFoundError: matplotlib is not installed.
    """
    target = _targets.resolve(format)
    counts = count_codes(x, target, saturation=saturation, axis=axis)
    shares = 100 * counts / max(int(counts.sum()), 1)
    element = getattr(target, "element", target)
    name = str(getattr(target, "name", target))
    bits = np.log2(len(counts))
    figure = style.figure(9, 3.6, f"Codes of {name}")
    drawn = figure.subplots()
    drawn.set_title(f"entropy {entropy(counts):.2f} of {bits:.3g} bits", fontsize=10, loc="left")
    drawn.set_ylabel("% of values")
    if isinstance(element, lowp.Format):
        _draw_codes(drawn, shares, element)
    else:
        drawn.bar(np.arange(len(shares)), shares, 0.9, color=style.NORMAL)
        drawn.set_xlabel("code")
    drawn.set_ylim(bottom=0)
    style.bare(drawn)
    return figure


def _formats(what: str, formats: tuple[FormatLike, ...]) -> list[lowp.Format]:
    if not formats:
        raise ValueError(f"lowp.plot.{what}: at least one format is needed; got none")
    return [lowp.format(format) for format in formats]


def _colours(x: Doubles, target: lowp.Format) -> list[str]:
    """The colour of each value: zero, subnormal or normal."""
    small = np.abs(x) < target.min_normal
    return [
        style.GRID if v == 0 else style.SUBNORMAL if s else style.NORMAL
        for v, s in zip(x, small, strict=True)
    ]


def _draw_line(axis: Axes, target: lowp.Format, lowest: float) -> None:
    grid = target.values()
    largest = max(target.max, -target.lowest)
    width = 1.4 if grid.size <= 64 else 0.6
    axis.vlines(grid / largest, 0, 1, colors=_colours(grid, target), linewidth=width)
    axis.set_ylim(0, 1.55)
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_xlim(lowest, 1.03)
    title = f"{target.name}: {target.lowest:g} to {target.max:g}"
    axis.set_title(title, fontsize=10, loc="left")
    _label(axis, grid[grid >= 0], grid[grid >= 0] / largest, 1.03 - lowest)
    _strip(axis)


def _draw_log(axis: Axes, target: lowp.Format) -> None:
    grid = target.values()
    grid = grid[grid > 0]
    places = np.log2(grid)
    width = 1.4 if grid.size <= 64 else 0.6
    axis.vlines(places, 0, 1, colors=_colours(grid, target), linewidth=width)
    axis.set_ylim(0, 1.55)
    style.powers_of_two(axis)
    _strip(axis)


def _label(axis: Axes, grid: Doubles, places: Doubles, width: float) -> None:
    """Values above their ticks, from the largest down, as far as there is room."""
    if grid.size > _MAX_LABELS:
        return
    free = np.inf
    for value, place in zip(grid[::-1], places[::-1], strict=True):
        text = f"{value:g}"
        half = _CHARACTER * width * (len(text) + 1) / 2
        if place + half <= free:
            axis.text(place, 1.1, text, ha="center", fontsize=8, color=style.GRID)
            free = place - half


def _strip(axis: Axes) -> None:
    """A line of numbers has no second axis."""
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)


def _largest_errors(target: lowp.Format, x: Doubles) -> Doubles:
    """Half an ulp over x, as far as the format reaches; then what is lost."""
    q = lowp.quantize(x, target, saturation="finite")
    here = np.abs(q - x) / x
    half_ulp = 0.5 / in_ulps(x, np.ones_like(x), target) / x
    # At the largest number itself nothing is lost: half an ulp keeps the line in one piece.
    return np.where(
        x > target.max, np.maximum(here, half_ulp), np.maximum(here, np.minimum(half_ulp, 1))
    )


def _draw_codes(axis: Axes, shares: Doubles, target: lowp.Format) -> None:
    decoded = lowp.decode(
        np.arange(len(shares), dtype=code_dtype(target.bits)), target, dtype=np.float64
    )
    decoded = np.asarray(decoded)
    # NaN sorts to the end. -0 comes before 0, as the code order of a number line has it.
    order = np.lexsort((~np.signbit(decoded), decoded))
    grid, heights = decoded[order], shares[order]
    group = -(-len(grid) // _MAX_BARS)
    starts = np.arange(0, len(grid), group)
    axis.bar(
        starts + (group - 1) / 2,
        np.add.reduceat(heights, starts),
        0.85 if len(grid) <= _MAX_LABELLED else group,
        color=_colours(grid[starts], target),
        linewidth=0,
    )
    axis.set_ylabel("% of values" if group == 1 else f"% of values\nper {group} codes")
    if len(grid) <= _MAX_LABELLED:
        size = 9 if len(grid) <= 16 else 7
        axis.set_xticks(starts, [f"{value:g}" for value in grid], fontsize=size)
    else:
        picked = _spread(grid)
        axis.set_xticks(picked, [f"{value:.3g}" for value in grid[picked]], fontsize=9)
    axis.set_xlim(-1, len(grid))
    axis.set_xlabel("value of the code")


def _spread(grid: Doubles) -> NDArray[np.intp]:
    """Nine places of a long row of values that are worth a label: the ends, zero and between."""
    finite = np.flatnonzero(np.isfinite(grid))
    return np.unique(np.rint(np.linspace(finite[0], finite[-1], 9)).astype(np.intp))


def _legend(figure: Figure, entries: list[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for label, colour in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
