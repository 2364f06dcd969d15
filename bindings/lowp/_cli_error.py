"""`lowp error`: what formats do to the tensors of a model, measured chunk by chunk."""

from __future__ import annotations

import csv
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
from .measures import Error, Sums, carried, measure, percent
from .plot import Histogram, Panel
from .readers import TensorFile

#: Formats that are compared where none is named.
DEFAULT_FORMATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")
SCALES = ("none", "tensor")


@dataclass(frozen=True)
class Plan:
    """What to measure and how."""

    formats: tuple[lowp.Format, ...]
    rounding: str
    saturation: str
    random_bits: int = 32
    seed: int = 0
    scale: str = "none"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 1

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


def chosen(file: TensorFile, plan: Plan) -> list[str]:
    """Names of the tensors to measure; ValueError if none is left."""
    readable = [name for name in file.names if name not in file.skipped]
    names = [name for name in readable if plan.takes(name, file.size(name))]
    if not names:
        raise ValueError(
            f"{file.path}: no tensor to measure: of {len(file)}, {len(file) - len(readable)} are "
            f"not floating point and {len(readable)} are left out by --include, --exclude and "
            f"--min-size {plan.min_size}"
        )
    return names


def run(
    file: TensorFile, plan: Plan, advance: Callable[[str, int], None], *, draw: bool = False
) -> Report:
    """Measure every chosen tensor in every format; `advance` hears a name and elements done.

    An interrupt (Ctrl-C) ends the run early and keeps the tensors that are complete.
    """
    names = [target.name for target in plan.formats]
    report = Report(plan, file.skipped, {name: [] for name in names})
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
    scales = _scales(file, name, report.plan)
    sums = [Sums() for _ in formats]
    drawn = [Histogram() for _ in report.histograms]
    for number_of_chunk, chunk in enumerate(file.chunks(name)):
        stream = (index << 32) + number_of_chunk
        for i, target in enumerate(formats):
            scaled, part = _measure_chunk(chunk, target, scales[i], report.plan, stream)
            sums[i] += part
            if drawn:
                drawn[i].add(scaled)
        advance(name, chunk.size)
    for i, target in enumerate(formats):
        row = Row(name, file.dtypes[name], file.shapes[name], scales[i], sums[i])
        report.rows[target.name].append(row)
    for total, part_of_it in zip(report.histograms.values(), drawn, strict=True):
        total.counts += part_of_it.counts


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


def _scales(file: TensorFile, name: str, plan: Plan) -> list[float]:
    if plan.scale == "none":
        return [1.0 for _ in plan.formats]
    return tensor_scales(file.chunks(name), plan.formats)


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


def report_text(report: Report, worst: int | None, width: int) -> RenderableType:
    """A table a format with its `worst` tensors (None: all), then the totals of all formats."""
    parts: list[RenderableType] = []
    for name, rows in report.rows.items():
        if rows:
            parts.append(_format_table(name, rows, worst, _columns(report, width)))
    parts.append(_total_table(report))
    parts += [Text(f"not measured: {name}: {note}") for name, note in report.skipped.items()]
    return Group(*parts)


def _columns(report: Report, width: int) -> dict[str, Callable[[Row], str]]:
    """What a table says of each tensor before the measures."""
    columns: dict[str, Callable[[Row], str]] = {"tensor": lambda row: row.tensor}
    if width >= _WIDE:
        columns["type"] = lambda row: row.dtype
        columns["shape"] = lambda row: " x ".join(map(str, row.shape)) or "scalar"
    if report.plan.scale != "none":
        columns["scale"] = lambda row: f"{row.scale:.4g}"
    return columns


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
        cells.append([target.name, str(target.bits), *_error_cells(e), str(e.count), *counts])
    measured = len(report.rows[plan.formats[0].name])
    tensors = f"{measured} tensor" if measured == 1 else f"{measured} tensors"
    state = "interrupted after" if report.interrupted else "total of"
    how = f"{plan.rounding}, saturation {plan.saturation}, scale {plan.scale}"
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
    formats = [
        {
            "format": name,
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
    """What `lowp.plot.distribution` draws; scaled values in units of their tensor's amax."""
    scaled = report.plan.scale == "tensor"
    return [
        Panel(
            target,
            report.histograms[target.name],
            report.total(target.name),
            target.max if scaled else 1.0,
        )
        for target in report.plan.formats
    ]
