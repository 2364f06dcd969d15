"""What `lowp convert-model` checks before it works and shows after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ._cli_show import decibel, table
from ._convert import Report, Row
from .measures import Error

#: Names of tensors that a line shows before it says how many more there are.
_NAMES = 2


def check_files(source: Path, out: Path, force: bool) -> None:
    """Refuse, before anything is read, what could not or should not be written. ValueError."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file")
    if out.suffix.lower() != ".safetensors":
        raise ValueError(f"{out}: the new file must be named .safetensors")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent} to write to")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file")
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out}: is the file that is read; name another one")
    if out.exists() and not force:
        raise ValueError(f"{out}: exists already; --force replaces it")


def report_data(report: Report, source: str, out: Path, target: str | None) -> dict[str, Any]:
    """The whole report for JSON. target: the format, or None for the way back."""
    sizes = {"bytes_before": report.bytes_before, "bytes_after": report.bytes_after}
    total = report.total().error() if target else None
    return {
        "source": source,
        "out": str(out),
        "format": target,
        **sizes,
        "ratio": _ratio(report.bytes_before, report.bytes_after),
        "converted": {
            "tensors": len(report.rows),
            "values": sum(row.size for row in report.rows),
            "bits_per_value": _bits(report.rows),
            "bytes_before": sum(row.bytes_before for row in report.rows),
            "bytes_after": sum(row.bytes_after for row in report.rows),
        },
        "total": _measured(total),
        "tensors": [_row_data(row) for row in report.rows],
        "kept": report.kept,
    }


def _measured(e: Error | None) -> dict[str, Any] | None:
    if e is None:
        return None
    names = ("sqnr_db", "relative_mse", "max_relative_error", "flushed", "count", "nan_count")
    return {name: getattr(e, name) for name in (*names, "inf_count")}


def _row_data(row: Row) -> dict[str, Any]:
    names = ("tensor", "dtype", "shape", "format", "bytes_before", "bytes_after")
    data = {name: getattr(row, name) for name in names}
    return data | {"error": None if row.sums is None else _measured(row.sums.error())}


def report_text(
    report: Report, source: str, out: Path, target: str | None, worst: int
) -> RenderableType:
    """What was written, the tensors that lost most, and those that stay with the reason."""
    what = f"in {target}" if target else "as numbers"
    parts: list[RenderableType] = []
    if target:
        parts.append(_worst_table(report, target, worst))
    parts.append(_total_table(report, f"{source} -> {out}, {what}", bool(target)))
    parts += _kept_lines(report)
    return Group(*parts)


def _worst_table(report: Report, target: str, worst: int) -> RenderableType:
    errors = [(row.sums.error(), row) for row in report.rows if row.sums is not None]
    errors = sorted(errors, key=lambda pair: (pair[0].sqnr_db, pair[1].tensor))[:worst]
    cells = [
        [row.tensor, row.dtype, " x ".join(map(str, row.shape)), decibel(e.sqnr_db)]
        for e, row in errors
    ]
    cut = len(errors) < len(report.rows)
    which = f"worst {len(errors)} of {len(report.rows)} tensors" if cut else "all tensors"
    return table(f"{target}: {which}", ["tensor", "type", "shape", "SQNR dB"], cells, left=3)


def _total_table(report: Report, title: str, has_errors: bool) -> RenderableType:
    before = sum(row.bytes_before for row in report.rows)
    after = sum(row.bytes_after for row in report.rows)
    sqnr = [decibel(report.total().error().sqnr_db)] if has_errors else []
    kept = report.bytes_before - before, report.bytes_after - after
    numbers = [str(len(report.rows)), str(sum(row.size for row in report.rows))]
    changed = "converted" if has_errors else "restored"
    rows = [
        [changed, *numbers, _bits_text(report), *_sizes(before, after), *sqnr],
        ["kept, header", str(len(report.kept)), "", "", *_sizes(*kept), *[""] * has_errors],
        ["file", "", "", "", *_sizes(report.bytes_before, report.bytes_after), *[""] * has_errors],
    ]
    columns = ["part", "tensors", "values", "bits a value", "bytes before", "bytes after", "ratio"]
    return table(title, [*columns, *["SQNR dB"] * has_errors], rows)


def _sizes(before: int, after: int) -> list[str]:
    ratio = _ratio(before, after)
    return [str(before), str(after), "" if ratio is None else f"{ratio:.3g}"]


def _ratio(before: int, after: int) -> float | None:
    return before / after if after else None


def _bits(rows: list[Row]) -> float | None:
    size = sum(row.size for row in rows)
    return 8 * sum(row.bytes_after for row in rows) / size if size else None


def _bits_text(report: Report) -> str:
    bits = _bits(report.rows)
    return "" if bits is None else f"{bits:.4g}"


def _kept_lines(report: Report) -> list[RenderableType]:
    """The tensors that stay, by their reasons."""
    lines: list[RenderableType] = []
    for reason in dict.fromkeys(report.kept.values()):
        names = [name for name, why in report.kept.items() if why == reason]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(Text(f"kept {len(names)}, {reason}: {', '.join(names[:_NAMES])}{more}"))
    return lines
