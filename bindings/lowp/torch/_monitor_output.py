"""A monitor's records as a table, as CSV and in TensorBoard."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lowp.measures import percent
from lowp.torch._observe import Row
from lowp.torch.recipe import QUANTIZED

__all__ = [
    "COLUMNS",
    "MEASURES",
    "by_tensor",
    "read_csv",
    "table",
    "to_csv",
    "to_tensorboard",
    "worst",
]

COLUMNS = [f.name for f in fields(Row)]
#: What has one number a row.
MEASURES = ("amax", "scale_min", "scale", "scale_max", "underflow", "overflow", "nan_count",
            "inf_count", "sqnr_db", "gain")  # fmt: skip
#: The worst is the smallest; of gain, what is furthest from 1; of the others the largest.
_SMALL_IS_WORSE = ("sqnr_db", "scale_min")


def by_tensor(records: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each module and role, in the order of their steps."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in records:
        found.setdefault((row.module, row.role), []).append(row)
    return found


def worst(rows: Sequence[Row], what: str) -> float:
    """The worst value of a measure; NaN, which is not known, only where there is no other."""
    values = [v for row in rows if not math.isnan(v := float(getattr(row, what)))]
    if not values:
        return math.nan
    if what == "gain":
        return max(values, key=lambda v: abs(v - 1))
    return min(values) if what in _SMALL_IS_WORSE else max(values)


# ---- table ---------------------------------------------------------------------------------------


def _power(value: float) -> str:
    """A scale as a power of two."""
    if not (math.isfinite(value) and value > 0):
        return "-" if math.isnan(value) else f"{value:g}"
    return f"2^{math.log2(value):.4g}"


def _decibel(value: float) -> str:
    return {math.inf: "exact", -math.inf: "overflow"}.get(value, f"{value:.1f}")


def _cells(rows: Sequence[Row]) -> list[str]:
    value = {what: worst(rows, what) for what in MEASURES}
    low, high = _power(value["scale_min"]), _power(value["scale_max"])
    return [
        f"{value['amax']:.3g}",
        low if low == high else f"{low} .. {high}",
        percent(value["underflow"]),
        percent(value["overflow"]),
        f"{value['nan_count']:.0f}, {value['inf_count']:.0f}",
        _decibel(value["sqnr_db"]),
        f"{value['gain']:.4f}",
    ]


def table(records: Sequence[Row], which: str) -> str:
    """See Monitor.table."""
    from rich.console import Console
    from rich.table import Table

    if which not in ("last", "worst"):
        raise ValueError(f"Monitor: table must be 'last' or 'worst'; got {which!r}")
    check_any(records)
    shown = Table(title=f"{which} of steps {records[0].step} to {records[-1].step}")
    for head in ("module", "role", "format", "amax", "scales", "underflow", "overflow",
                 "NaN, inf", "SQNR, dB", "gain"):  # fmt: skip
        shown.add_column(head, justify="left" if head in ("module", "role", "format") else "right")
    found = by_tensor(records)
    modules = list(dict.fromkeys(module for module, _ in found))
    for module, role in sorted(found, key=lambda t: (modules.index(t[0]), QUANTIZED.index(t[1]))):
        rows = found[module, role]
        last = [row for row in rows if row.step == rows[-1].step]
        taken = rows if which == "worst" else last
        shown.add_row(module, role, last[-1].format, *_cells(taken))
    console = Console(width=150, force_terminal=False)
    with console.capture() as captured:
        console.print(shown, markup=False)
    return captured.get()


def check_any(records: Sequence[Row]) -> None:
    """ValueError where nothing was recorded."""
    if not records:
        raise ValueError("Monitor: nothing is recorded; run the model between start() and stop()")


# ---- files ---------------------------------------------------------------------------------------


def to_csv(records: Iterable[Row], path: str | Path) -> None:
    """See Monitor.to_csv."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in records:
            cells = [getattr(row, name) for name in COLUMNS[:-1]]
            writer.writerow([*cells, " ".join(map(str, row.exponents))])


def read_csv(path: str | Path) -> list[Row]:
    """The records that Monitor.to_csv wrote. ValueError: a file of other columns."""
    read: dict[str, Any] = {"int": int, "float": float, "str": str}
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        if head != COLUMNS:
            raise ValueError(f"{path}: columns must be {', '.join(COLUMNS)}; got {', '.join(head)}")
        kinds = [read[str(f.type)] for f in fields(Row)[:-1]]
        found = []
        for *cells, exponents in rows:
            values = [kind(cell) for kind, cell in zip(kinds, cells, strict=True)]
            found.append(Row(*[*values, tuple(map(int, exponents.split()))]))
        return found


def to_tensorboard(records: Iterable[Row], writer: Any) -> None:
    """See Monitor.to_tensorboard."""
    if not isinstance(writer, (str, Path)):
        _write(records, writer)
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "Monitor.to_tensorboard needs TensorBoard: pip install tensorboard"
        ) from error
    with SummaryWriter(str(writer)) as made:
        _write(records, made)


def _write(records: Iterable[Row], writer: Any) -> None:
    for row in records:
        call = f"/call{row.call}" if row.call else ""
        tag = f"{row.module}/{row.role}{call}"
        for what in MEASURES:
            writer.add_scalar(f"{tag}/{what}", getattr(row, what), row.step)
        if row.exponents:
            exponents = range(row.first_exponent, row.first_exponent + len(row.exponents))
            pairs = list(zip(exponents, row.exponents, strict=True))
            writer.add_histogram_raw(
                f"{tag}/exponents",
                min=exponents[0],
                max=exponents[-1],
                num=sum(row.exponents),
                sum=sum(e * n for e, n in pairs),
                sum_squares=sum(e * e * n for e, n in pairs),
                # a bar of its own for each whole number
                bucket_limits=[e + 0.5 for e in exponents],
                bucket_counts=list(row.exponents),
                global_step=row.step,
            )
