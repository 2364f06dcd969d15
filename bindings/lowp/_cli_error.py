"""`lowp error`: what formats do to the tensors of a model, measured chunk by chunk."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

import lowp

from ._cli_show import decibel, number, table
from ._files_layout import KEY, Plain
from ._targets import Options, Target, bits_per_value, slabs
from .files import Reader
from .measures import Error, Sums, carried, measure, measure_blocks, percent
from .plot import Histogram, Panel
from .readers import TensorFile

#: Formats that are compared where none is named.
DEFAULT_FORMATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")
SCALES = ("none", "tensor")
DEFAULT_ROUNDING = "nearest_ties_to_even"


@dataclass(frozen=True)
class Plan:
    """What to measure and how."""

    formats: tuple[Target, ...]
    rounding: str | None
    saturation: str
    random_bits: int = 32
    seed: int = 0
    scale: str = "none"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 1

    def __post_init__(self) -> None:
        """Refuse what block formats cannot do. ValueError."""
        blocks = [target.name for target in self.formats if isinstance(target, lowp.BlockFormat)]
        if blocks and self.saturation != "finite":
            raise ValueError(f"elements of {blocks[0]} saturate: leave out --saturation")

    def takes(self, name: str, size: int) -> bool:
        """Whether a tensor of this name and number of elements is measured."""
        wanted = not self.include or any(fnmatchcase(name, p) for p in self.include)
        unwanted = any(fnmatchcase(name, p) for p in self.exclude)
        return wanted and not unwanted and size >= self.min_size


@dataclass(frozen=True)
class Row:
    """One tensor in one format."""

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    #: Bits a value takes, scales included.
    bits: float
    sums: Sums


@dataclass
class Report:
    """All that was measured, a list of rows a format; after an interrupt, whole tensors only."""

    plan: Plan
    skipped: dict[str, str]
    rows: dict[str, list[Row]]
    histograms: dict[str, Histogram] = field(default_factory=dict)
    interrupted: bool = False

    def total(self, name: str) -> Error:
        """The measures of all tensors together, as if they were one."""
        return sum((row.sums for row in self.rows[name]), Sums()).error()

    def bits(self, name: str) -> float:
        """Bits a value takes in all tensors together, scales included."""
        rows = [row for row in self.rows[name] if row.sums.count]
        count = sum(row.sums.count for row in rows)
        return sum(row.bits * row.sums.count for row in rows) / count if count else math.nan


def chosen(file: TensorFile, plan: Plan) -> list[str]:
    """Names of the tensors to measure; ValueError if none is left."""
    skipped = _skipped(file)
    readable = [name for name in file.names if name not in skipped]
    names = [name for name in readable if plan.takes(name, file.size(name))]
    if not names:
        raise ValueError(
            f"{file.path}: no tensor to measure: of {len(file)}, {len(file) - len(readable)} are "
            f"not floating point and {len(readable)} are left out by --include, --exclude and "
            f"--min-size {plan.min_size}"
        )
    return names


def _skipped(file: TensorFile) -> dict[str, str]:
    """The tensors that are not measured, each with the reason."""
    if KEY not in file.metadata:
        return file.skipped
    hint = "codes or scales; lowp convert-model --dequantize makes numbers of them"
    reader = Reader(file.path)
    plain = {name for name, layout in reader.layouts.items() if isinstance(layout, Plain)}
    return {
        name: file.skipped.get(name, hint) if name in plain else hint
        for name in file.names
        if name not in plain or name in file.skipped
    }


def run(
    file: TensorFile, plan: Plan, advance: Callable[[str, int], None], *, draw: bool = False
) -> Report:
    """Measure every chosen tensor in every format; `advance` hears a name and elements done,
    each once a format.

    An interrupt (Ctrl-C) ends the run early and keeps the tensors that are complete.
    """
    names = [target.name for target in plan.formats]
    report = Report(plan, _skipped(file), {name: [] for name in names})
    if draw:
        report.histograms = {name: Histogram() for name in names}
    try:
        for index, name in enumerate(chosen(file, plan)):
            _measure_tensor(file, name, index, report, advance)
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def _measure_tensor(
    file: TensorFile, name: str, index: int, report: Report, advance: Callable[[str, int], None]
) -> None:
    formats = report.plan.formats
    blocks = _blocks(report.plan)
    scalars = [target for target in formats if isinstance(target, lowp.Format)]
    # A Ctrl-C is to leave whole tensors in the report, so nothing is added before the end.
    found = _in_scalars(file, name, index, scalars, report, advance) if scalars else {}
    for block in blocks:
        found[block.name] = _in_blocks(file, name, index, block, report, advance)
    for target in formats:
        row, drawn = found[target.name]
        report.rows[target.name].append(row)
        if target.name in report.histograms:
            report.histograms[target.name].counts += drawn.counts


def _in_scalars(
    file: TensorFile,
    name: str,
    index: int,
    formats: list[lowp.Format],
    report: Report,
    advance: Callable[[str, int], None],
) -> dict[str, tuple[Row, Histogram]]:
    scales = _scales(file, name, report.plan, formats)
    sums = [Sums() for _ in formats]
    drawn = [Histogram() for _ in formats]
    for number_of_chunk, chunk in enumerate(file.chunks(name)):
        stream = (index << 32) + number_of_chunk
        for i, target in enumerate(formats):
            scaled, part = _measure_chunk(chunk, target, scales[i], report.plan, stream)
            sums[i] += part
            if report.histograms:
                drawn[i].add(scaled)
        advance(name, chunk.size * len(formats))
    return {
        target.name: (_row(file, name, target, scales[i], sums[i]), drawn[i])
        for i, target in enumerate(formats)
    }


def _in_blocks(
    file: TensorFile,
    name: str,
    index: int,
    target: lowp.BlockFormat,
    report: Report,
    advance: Callable[[str, int], None],
) -> tuple[Row, Histogram]:
    """Along the last axis; a tensor of one dimension is one row."""
    plan, sums, drawn = report.plan, Sums(), Histogram()
    shape = file.shapes[name]
    options = Options(plan.rounding, None, plan.random_bits, plan.seed, index << 32)
    for part in file.rows(name, slabs(shape, target, -1, plan.rounding)):
        x = part.astype(np.float64 if part.dtype == np.float64 else np.float32, copy=False)
        x = x.reshape(1, -1) if x.ndim < 2 else x
        sums += measure_blocks(x, target, options)
        if report.histograms:
            drawn.add(options.in_units(x, target, -1))
        advance(name, x.size)
    return _row(file, name, target, 1.0, sums), drawn


def _row(file: TensorFile, name: str, target: Target, scale: float, sums: Sums) -> Row:
    shape = file.shapes[name]
    bits = bits_per_value(target, shape if len(shape) > 1 else (1, math.prod(shape)))
    return Row(name, file.dtypes[name], shape, scale, bits, sums)


def _measure_chunk(
    chunk: NDArray[np.floating[Any]], target: lowp.Format, scale: float, plan: Plan, stream: int
) -> tuple[NDArray[np.floating[Any]], Sums]:
    """The chunk divided by its scale, and its sums; errors are those of the values scaled back."""
    x = carried(chunk, target)
    factor = x.dtype.type(scale)
    scaled = x if scale == 1.0 else x / factor
    quantized = lowp.quantize(
        scaled,
        target,
        rounding=plan.rounding,
        saturation=plan.saturation,
        random_bits=plan.random_bits,
        seed=plan.seed,
        stream=stream,
    )
    restored = quantized if scale == 1.0 else quantized * factor
    # Limits in the tensor's own units; both factors are float32, so the product is exact.
    limits = (target.lowest * float(scale), target.max * float(scale))
    return scaled, measure(x, restored, limits)


def _scales(file: TensorFile, name: str, plan: Plan, formats: Sequence[lowp.Format]) -> list[float]:
    if plan.scale == "none":
        return [1.0 for _ in formats]
    return tensor_scales(file.chunks(name), formats)


def tensor_scales(
    chunks: Iterable[NDArray[np.floating[Any]]], formats: Sequence[lowp.Format]
) -> list[float]:
    """The scale amax / max of each format, a float32 rounded up so that amax stays within max.

    amax is the largest finite magnitude; the scale is 1 where it is zero or there is none.
    """
    largest = 0.0
    for chunk in chunks:
        magnitudes = np.abs(chunk[np.isfinite(chunk)])
        largest = max(largest, float(magnitudes.max(initial=0.0)))
    return [_scale(largest, target) for target in formats]


def _scale(largest: float, target: lowp.Format) -> float:
    if largest == 0.0:
        return 1.0
    with np.errstate(over="ignore", under="ignore"):
        scale = np.float32(largest / target.max)
    if float(scale) * target.max < largest:
        scale = np.nextafter(scale, np.float32(np.inf))
    if not np.isfinite(scale):
        raise ValueError(f"amax {largest:g} over {target.name}'s max does not fit a float32 scale")
    return float(scale)


# ---- tables --------------------------------------------------------------------------------------

_MEASURES = ["SQNR dB", "rel MSE", "max rel", "flushed", "clipped"]
#: Below this width of the terminal, types and shapes are left to --csv and --json.
_WIDE = 110
#: More tensors than this that are left out for one reason share a line.
_MANY = 4


def report_text(report: Report, worst: int | None, width: int) -> RenderableType:
    """A table a format with its `worst` tensors (None: all), then the totals of all formats."""
    parts: list[RenderableType] = []
    for name, rows in report.rows.items():
        if rows:
            columns = _columns(report, width, name)
            parts.append(_format_table(name, rows, worst, columns))
    parts.append(_total_table(report))
    parts += [Text(line) for line in _skipped_lines(report.skipped)]
    return Group(*parts)


def _skipped_lines(skipped: dict[str, str]) -> Iterator[str]:
    """A line a tensor; many of one reason share a line."""
    for note in dict.fromkeys(skipped.values()):
        names = [name for name, why in skipped.items() if why == note]
        if len(names) > _MANY:
            names = [f"{names[0]} and {len(names) - 1} more"]
        yield from (f"not measured: {name}: {note}" for name in names)


def _columns(report: Report, width: int, name: str) -> dict[str, Callable[[Row], str]]:
    """What a table says of each tensor before the measures."""
    columns: dict[str, Callable[[Row], str]] = {"tensor": lambda row: row.tensor}
    if width >= _WIDE:
        columns["type"] = lambda row: row.dtype
        columns["shape"] = lambda row: " x ".join(map(str, row.shape)) or "scalar"
    is_block = any(target.name == name for target in _blocks(report.plan))
    if report.plan.scale != "none" and not is_block:
        columns["scale"] = lambda row: f"{row.scale:.4g}"
    return columns


def _blocks(plan: Plan) -> list[lowp.BlockFormat]:
    return [target for target in plan.formats if isinstance(target, lowp.BlockFormat)]


def _format_table(
    name: str, rows: list[Row], worst: int | None, columns: dict[str, Callable[[Row], str]]
) -> RenderableType:
    errors = [(row.sums.error(), row) for row in rows]
    if worst is not None:
        errors = sorted(errors, key=lambda pair: (pair[0].sqnr_db, pair[1].tensor))[:worst]
    cut = len(errors) < len(rows)
    title = f"{name}: worst {len(errors)} of {len(rows)} tensors" if cut else f"{name}: all tensors"
    cells = [[cell(row) for cell in columns.values()] + _error_cells(e) for e, row in errors]
    left = len(columns) - ("scale" in columns)
    return table(title, [*columns, *_MEASURES], cells, left=left)


def _error_cells(e: Error) -> list[str]:
    ratios = [f"{e.relative_mse:.3g}", f"{e.max_relative_error:.3g}"]
    return [decibel(e.sqnr_db), *ratios, percent(e.flushed), percent(e.clipped)]


def _total_table(report: Report) -> RenderableType:
    plan = report.plan
    totals = {target: report.total(target.name) for target in plan.formats}
    special = any(e.nan_count or e.inf_count for e in totals.values())
    cells = []
    for target, e in totals.items():
        counts = [str(e.nan_count), str(e.inf_count)] if special else []
        bits = f"{report.bits(target.name):.4g}"
        cells.append([target.name, bits, *_error_cells(e), str(e.count), *counts])
    measured = len(report.rows[plan.formats[0].name])
    tensors = f"{measured} tensor" if measured == 1 else f"{measured} tensors"
    state = "interrupted after" if report.interrupted else "total of"
    rounding = plan.rounding or DEFAULT_ROUNDING
    how = f"{rounding}, saturation {plan.saturation}, scale {plan.scale}"
    if plan.scale != "none" and _blocks(plan):
        how += ", block formats with their own"
    columns = ["format", "bits", *_MEASURES, "values", *["NaN", "inf"] * special]
    return table(f"{state} {tensors} ({how})", columns, cells)


# ---- files ---------------------------------------------------------------------------------------


def _measured(e: Error) -> dict[str, Any]:
    return {name: getattr(e, name) for name in Error.__dataclass_fields__}


def report_data(report: Report, model: str) -> dict[str, Any]:
    """The whole report for JSON: the plan, and a total and all tensors of each format."""
    plan = report.plan
    names = ("rounding", "saturation", "random_bits", "seed", "scale", "include", "exclude")
    settings = {name: getattr(plan, name) for name in (*names, "min_size")}
    settings["rounding"] = plan.rounding or DEFAULT_ROUNDING
    formats = [
        {
            "format": name,
            "bits_per_value": report.bits(name),
            "total": _measured(report.total(name)),
            "tensors": [dict(_row_data(row)) for row in rows],
        }
        for name, rows in report.rows.items()
    ]
    state = {"skipped": report.skipped, "interrupted": report.interrupted}
    return {"model": model} | settings | {"formats": formats} | state


def _row_data(row: Row) -> Iterator[tuple[str, Any]]:
    yield from (("tensor", row.tensor), ("dtype", row.dtype), ("shape", row.shape))
    yield "scale", row.scale
    yield "bits_per_value", row.bits
    yield from _measured(row.sums.error()).items()


def write_csv(report: Report, path: Path) -> None:
    """One line a format and tensor, floats as the shortest text that reads back the same."""
    measures = list(Error.__dataclass_fields__)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["format", "tensor", "dtype", "shape", "scale", *measures])
        for name, rows in report.rows.items():
            for row in rows:
                shape = "x".join(map(str, row.shape))
                e = row.sums.error()
                cells = [number(getattr(e, measure)) for measure in measures]
                writer.writerow([name, row.tensor, row.dtype, shape, repr(row.scale), *cells])


def panels(report: Report) -> list[Panel]:
    """What `lowp.plot.distribution` draws; scaled values in units of what their scale makes max."""
    return [_panel(report, target) for target in report.plan.formats]


def _panel(report: Report, target: Target) -> Panel:
    drawn, total = report.histograms[target.name], report.total(target.name)
    if isinstance(target, lowp.Format):
        return Panel(target, drawn, total, target.max if report.plan.scale == "tensor" else 1.0)
    assert isinstance(target.element, lowp.Format)
    return Panel(target.element, drawn, total, target.element.max, target.name)


def axis_label(plan: Plan) -> str:
    """What the pictures' axis shows. ValueError for formats that one picture cannot show."""
    blocks = _blocks(plan)
    for target in blocks:
        if not isinstance(target.element, lowp.Format):
            raise ValueError(f"--plot draws no codebooks, and so not {target.name}: leave it out")
    if blocks and len(blocks) < len(plan.formats) and plan.scale == "none":
        raise ValueError(
            f"--plot of {blocks[0].name} beside formats without scales needs --scale tensor, so "
            "that all are drawn in units of their scales"
        )
    if blocks:
        return "magnitude |x| / largest that its scale allows"
    return "magnitude |x|" if plan.scale == "none" else "magnitude |x| / amax of its tensor"
