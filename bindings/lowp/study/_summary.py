"""What a report shows of a store: its rows averaged over replicates, the best first."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COSTS",
    "Summary",
    "centre",
    "label",
    "number",
    "plain",
    "quantiles",
    "short",
    "spans_decades",
    "summary",
    "varies",
    "words",
]

#: Columns of a store's frame that are neither axes nor metrics.
_ROW = ("number", "hash", "status", "seconds", "error")
_SPLIT = ("exponent_bits", "mantissa_bits")
#: Costs in the order of the report; what a study's own cost model adds comes after them.
COSTS = ("bits", "multiplier_area", "multiplier_energy", "adder_area", "adder_energy")
#: Spans that a linear axis does not show.
_DECADES = 2.0


@dataclass(frozen=True)
class Summary:
    """The rows of a store, and its configurations: rows that differ in replicates alone are one.

    rows: the frame, its metrics as float64. configurations: one row each, the best first, then
    those without a finite objective; columns: the axes that vary, the means of metrics and costs,
    `NAME.spread` (half of the largest less the smallest), `count`, `seconds` (summed), `number` (of
    its first row) and `hashes` (of its rows). A mean over what is NaN or infinite is NaN or
    infinite: a seed that diverged is seen. scenarios: those of the axes that are conditions.
    """

    rows: pd.DataFrame
    configurations: pd.DataFrame
    axes: tuple[str, ...]
    constants: dict[str, Any]
    metrics: tuple[str, ...]
    costs: tuple[str, ...]
    objective: str
    goal: str
    replicates: tuple[str, ...]
    scenarios: tuple[str, ...] = ()

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The objective of every configuration; NaN where there is no such metric."""
        if self.objective not in self.configurations:
            return np.full(len(self.configurations), math.nan)
        return np.asarray(self.configurations[self.objective], np.float64)

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Which configurations have a finite objective."""
        return np.isfinite(self.values)

    @property
    def log(self) -> bool:
        """Whether the objective is shown, and averaged, as its logarithm."""
        return spans_decades(self.values[self.finite])

    def count(self, status: str) -> int:
        """How many rows have a status."""
        return int((self.rows["status"] == status).sum())

    def label(self, place: int, limit: int = 48) -> str:
        """The name of a configuration: its values of the axes that vary."""
        row = self.configurations.iloc[place]
        return short(label({name: row[name] for name in self.axes}), limit)


def summary(store: Any) -> Summary:
    """The summary of a store (`lowp.study.Store`); empty where it has no rows."""
    study, rows = store.study, store.frame().copy()
    for name in ("number", "hash", "status", "seconds", "error"):
        if name not in rows:
            rows[name] = math.nan if name == "seconds" else ""
    axes = [name for name in study.axis_names if name in rows]
    others = [name for name in rows if name not in (*axes, *_ROW, *_SPLIT)]
    measured = store.metrics
    objective = study.objective or (measured[0] if measured else "")
    # a task may count bits better than its formats' names tell: a cost still
    measured = [name for name in measured if name not in COSTS or name == objective]
    facts = [name for name in others if name not in measured]
    costs = [*(n for n in COSTS if n in facts), *(n for n in facts if n not in COSTS)]
    metrics = [name for name in (study.metrics or measured) if name in others and name not in costs]
    for name in (*metrics, *costs, "seconds", *(n for n in _SPLIT if n in rows and n not in axes)):
        rows[name] = _floats(rows[name])
    for name in axes:
        rows[name] = _plain_values(rows[name])
    if objective in others and objective not in metrics:
        metrics.insert(0, objective)
    replicates = tuple(name for name in study.replicates if name in axes)
    varying = [n for n in axes if n not in replicates and rows[n].nunique(dropna=False) > 1]
    constants = {n: rows[n].iloc[0] for n in axes if n not in (*varying, *replicates) and len(rows)}
    done = rows[rows["status"] == "done"]
    extra = [n for n in _SPLIT if n in rows and n not in axes]
    found = _configurations(done, varying, [*metrics, *costs, *extra])
    return Summary(
        rows, _ranked(found, objective, study.goal), tuple(varying), constants, tuple(metrics),
        tuple(n for n in costs if varies(found[n])), objective, study.goal, replicates,
        tuple(n for n in varying if n in study.scenarios),
    )  # fmt: skip


def _floats(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _plain_values(column: pd.Series[Any]) -> pd.Series[Any]:
    """An axis' values as they were given; None where a row's grid lacks the axis."""
    import pandas as pd

    found = [None if value is None or value != value else value for value in column]
    return pd.Series(found, column.index, dtype=object)


def varies(column: pd.Series[Any]) -> bool:
    """Whether a column has two finite values."""
    values = column.to_numpy(np.float64)
    return np.unique(values[np.isfinite(values)]).size > 1


def _configurations(done: pd.DataFrame, axes: list[str], numbers: list[str]) -> pd.DataFrame:
    import pandas as pd

    if axes and len(done):
        group = done.groupby(axes, sort=False, dropna=False).ngroup().to_numpy(np.int64)
    else:
        group = np.zeros(len(done), np.int64)
    groups = int(group.max()) + 1 if len(group) else 0
    first = np.unique(group, return_index=True)[1]
    counts = np.bincount(group, minlength=groups)
    columns: dict[str, Any] = {
        name: pd.Series(done[name].to_numpy()[first], dtype=object) for name in axes
    }
    for name in numbers:
        values = done[name].to_numpy(np.float64)
        columns[name], columns[f"{name}.spread"] = _means(values, group, counts)
    columns["count"] = counts
    seconds = np.nan_to_num(done["seconds"].to_numpy(np.float64))
    columns["seconds"] = np.bincount(group, seconds, groups)
    columns["number"] = done["number"].to_numpy()[first]
    order = np.argsort(group, kind="stable")
    hashes = np.split(done["hash"].to_numpy()[order], np.cumsum(counts)[:-1]) if groups else []
    columns["hashes"] = [tuple(map(str, part)) for part in hashes]
    return pd.DataFrame(columns)


def _means(
    values: NDArray[np.float64], group: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and half the range of each group; NaN and infinities pass through."""
    low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        np.minimum.at(low, group, values)
        np.maximum.at(high, group, values)
        # Counted from the smallest: equal values have exactly that mean.
        means = low + np.bincount(group, values - low[group], len(counts)) / counts
        return np.where(low == high, low, means), np.where(low == high, 0.0, (high - low) / 2)


def _ranked(found: pd.DataFrame, objective: str, goal: str) -> pd.DataFrame:
    if objective not in found:
        return found
    values = found[objective].to_numpy(np.float64)
    signed = np.where(np.isfinite(values), -values if goal == "maximize" else values, np.inf)
    return found.iloc[np.argsort(signed, kind="stable")].reset_index(drop=True)


def spans_decades(values: NDArray[np.float64]) -> bool:
    """Whether values are positive and span more than two decades."""
    if not values.size or values.min() <= 0:
        return False
    return bool(np.log10(values.max()) - np.log10(values.min()) > _DECADES)


def centre(values: NDArray[np.float64], *, log: bool) -> float:
    """The mean of finite values, with log the geometric one; no sum overflows."""
    if log:
        return float(np.exp(np.log(values).mean()))
    largest = float(np.abs(values).max()) or 1.0
    return float((values / largest).mean() * largest)


def quantiles(
    values: NDArray[np.float64], shares: tuple[float, ...], *, log: bool
) -> NDArray[np.float64]:
    """Quantiles of finite values, with log interpolated between logarithms; no sum overflows."""
    if log:
        return np.asarray(np.exp(np.quantile(np.log(values), shares)))
    largest = float(np.abs(values).max()) or 1.0
    return np.asarray(np.quantile(values / largest, shares) * largest)


def number(value: Any, digits: int = 4) -> str:
    """A number as people write it: four significant digits; "NaN", "∞"; texts as they are.

    Zeros at the end are digits that were rounded to; what is exact has none.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return str(value)
    x = float(value)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else "∞" if x > 0 else "−∞"
    if x == int(x) and abs(x) < 1e9:
        text = f"{int(x):,}".replace(",", "\u202f") if abs(x) > 9999 else f"{int(x)}"
    elif 1e-4 <= abs(x) < 1e6:
        text = f"{x:.{max(digits - 1 - math.floor(math.log10(abs(x))), 0)}f}"
        text = text.rstrip("0") if "." in text and _same(float(text), x) else text
    else:
        mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
        exact = _same(float(f"{mantissa}e{exponent}"), x)
        text = f"{mantissa.rstrip('0').rstrip('.') if exact else mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def _same(a: float, b: float) -> bool:
    """Whether a number is what was written, but for the rounding of a sum or two."""
    return abs(a - b) <= 1e-12 * abs(b)


def plain(value: Any, digits: int = 6) -> str:
    """A value of an axis or a setting as it was given, no zeros at the end."""
    if value is None:
        return "–"
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        text = f"{value:.{digits}g}"
        return re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    return number(value) if isinstance(value, (float, np.floating)) else str(value)


def words(name: str) -> str:
    """A column's name as an axis says it."""
    known = {
        "bits": "bits a value",
        "exponent_bits": "exponent bits",
        "mantissa_bits": "mantissa bits",
        "multiplier_area": "multiplier area, µm²",
        "multiplier_energy": "energy of a multiplication, pJ",
        "adder_area": "adder area, µm²",
        "adder_energy": "energy of an addition, pJ",
        "seconds": "time, s",
        "relative_mse": "relative MSE",
        "sqnr_db": "SQNR, dB",
    }
    return known.get(name, name.replace("_", " "))


def label(values: dict[str, Any]) -> str:
    """A configuration in words: texts as they are, numbers with the name of their axis."""
    given = {name: value for name, value in values.items() if value is not None}
    parts = [v if isinstance(v, str) else f"{n}={plain(v, 4)}" for n, v in given.items()]
    return ", ".join(parts) or "the only configuration"


def short(text: str, limit: int) -> str:
    """A text on one line of at most `limit` characters, its middle left out."""
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"
