"""What two stores say differently of the same configurations: of another machine, say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Rows of two stores, paired by their values of the axes that both have.

    frame: a row for each pair and metric whose values differ: the axes, `number_a`, `number_b`,
    `metric`, `a`, `b`, `absolute` |b - a| and `relative` |b - a| / |a| (0 by 0 does not occur;
    infinite where a is 0). NaN equals NaN; of NaN and a number both differences are NaN, and of an
    infinity and a number infinite. Where one row is done and the other is not, a row with `metric`
    "status" holds the two words. only_a, only_b: rows of the frames without a partner.
    """

    axes: tuple[str, ...]
    metrics: tuple[str, ...]
    pairs: int
    same: int
    frame: pd.DataFrame
    only_a: pd.DataFrame
    only_b: pd.DataFrame
    #: Metrics of one store alone.
    other_metrics: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both stores have the same rows with the same metrics and numbers."""
        rows = len(self.frame), len(self.only_a), len(self.only_b)
        return not any(rows) and not self.other_metrics


def compare(a: Any, b: Any) -> Comparison:
    """The differences of two stores (`lowp.study.Store`) by the axes and metrics that both have.

    An axis of one store alone does not pair rows, so its values must single them out: ValueError
    where several rows of a store agree in all common axes, where no axis is common, and where no
    metric is.
    """
    axes = tuple(name for name in a.study.axis_names if name in b.study.axis_names)
    metrics = tuple(name for name in a.metrics if name in b.metrics)
    if not axes:
        raise ValueError(
            f"lowp.study.compare: no common axis; {a.path} has {', '.join(a.study.axis_names)}, "
            f"{b.path} has {', '.join(b.study.axis_names)}"
        )
    if not metrics and a.metrics and b.metrics:
        raise ValueError(
            f"lowp.study.compare: no common metric; {a.path} has {', '.join(a.metrics)}, "
            f"{b.path} has {', '.join(b.metrics)}"
        )
    frames = a.frame(), b.frame()
    places = [
        _by_axes(store.path, frame, axes) for store, frame in zip((a, b), frames, strict=True)
    ]
    common = [key for key in places[0] if key in places[1]]
    differences: list[dict[str, Any]] = []
    same = 0
    for key in common:
        row_a, row_b = frames[0].iloc[places[0][key]], frames[1].iloc[places[1][key]]
        found = _differences(row_a, row_b, axes, metrics)
        same += not found
        differences += found
    columns = [*axes, "number_a", "number_b", "metric", "a", "b", "absolute", "relative"]
    only = [
        frame.iloc[[place for key, place in own.items() if key not in other]].reset_index(drop=True)
        for frame, own, other in ((frames[0], *places), (frames[1], *places[::-1]))
    ]
    frame = _table(differences, columns)
    others = tuple(name for name in (*a.metrics, *b.metrics) if name not in metrics)
    return Comparison(axes, metrics, len(common), same, frame, only[0], only[1], others)


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=columns)


def _by_axes(path: Any, frame: pd.DataFrame, axes: tuple[str, ...]) -> dict[tuple[Any, ...], int]:
    """The place of each row by its values; a missing one, of a union of grids, equals itself."""
    places: dict[tuple[Any, ...], int] = {}
    for place, values in enumerate(frame[list(axes)].itertuples(index=False, name=None)):
        key = tuple(None if v is None or v != v else (isinstance(v, bool), v) for v in values)
        if key in places:
            told = ", ".join(f"{n}={v}" for n, v in zip(axes, values, strict=True))
            raise ValueError(
                f"lowp.study.compare: {path} has several rows with {told}, as it has axes that "
                "the other store lacks: compare stores of the same axes"
            )
        places[key] = place
    return places


def _differences(
    a: pd.Series[Any], b: pd.Series[Any], axes: tuple[str, ...], metrics: tuple[str, ...]
) -> list[dict[str, Any]]:
    head = {**{n: a[n] for n in axes}, "number_a": a["number"], "number_b": b["number"]}
    if a["status"] != b["status"]:
        return [
            {**head, "metric": "status", "a": a["status"], "b": b["status"],
             "absolute": np.nan, "relative": np.nan}
        ]  # fmt: skip
    found = []
    for name in metrics:
        x, y = np.float64(a[name]), np.float64(b[name])
        if x == y or (np.isnan(x) and np.isnan(y)):
            continue
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            absolute = np.abs(y - x)
            relative = np.inf if np.isinf(absolute) else absolute / np.abs(x)
        found.append({**head, "metric": name, "a": float(x), "b": float(y),
                      "absolute": float(absolute), "relative": float(relative)})  # fmt: skip
    return found
