"""The report of a study: one HTML page that needs nothing else, and its figures as PNG files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lowp.study._effects import Decomposition, decompose, effects
from lowp.study._figures import Picture, drawing
from lowp.study._figures_curves import curves, gather, histograms, is_histogram
from lowp.study._figures_effects import interaction, layers, level_bars, shares
from lowp.study._figures_front import Front, front
from lowp.study._figures_maps import heat_maps
from lowp.study._scenarios import Scenario, overall, scenarios
from lowp.study._summary import Summary, number, plain, short, summary, words

__all__ = ["report"]

_MOST_ROWS, _MOST_FAILED, _MOST_VALUES, _MOST_CURVES = 250, 100, 12, 4
_MOST_EFFECTS, _MOST_PAIRS = 8, 2
#: Of scenarios with figures, with wide ones, of fronts of all, and of rows of their best.
_MOST_SCENARIOS, _MOST_WIDE, _MOST_FRONTS, _MOST_LISTED = 6, 3, 9, 40
#: The axis whose levels are the layers of a network.
_LAYER = "layer"
#: A pair of axes that explains less is not drawn.
_LEAST_SHARE = 0.005


@dataclass
class _Section:
    """A part of the page: figures and what is said below them; `kind` chooses further parts."""

    name: str
    title: str
    figures: list[Picture]
    notes: list[str] = field(default_factory=list)
    fronts: list[dict[str, Any]] = field(default_factory=list)


def report(store: Any, directory: str | Path | None = None, *, title: str | None = None) -> Path:
    """The path of report.html, written with figures/*.png into a directory (default: the store's).

    store: a `lowp.study.Store`, however far it ran; without rows the page says so. title: of the
    page (default: the study's name). What is drawn follows from the data: the Pareto front against
    every cost that differs, maps over exponent and mantissa bits, effects and interactions of axes,
    curves and histograms of the series, sensitivity where an axis is `layer`. Replicates are
    averaged; what is NaN or infinite is shown and counted. The page loads nothing from elsewhere,
    and the same store gives the same bytes. ModuleNotFoundError: without the extra `study`.
    """
    found = summary(store)
    folder = Path(store.path if directory is None else directory)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with drawing():
        sections = _sections(store, found)
    for old in (folder / "figures").glob("*.png"):
        old.unlink()
    for section in sections:
        for drawn in section.figures:
            (folder / "figures" / f"{drawn.name}.png").write_bytes(drawn.png)
    page = _page(store, found, sections, title or store.study.name)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


def _sections(store: Any, found: Summary) -> list[_Section]:
    """What the data allow to show, in the order of the page."""
    sections = []
    if found.finite.any():
        parts = decompose(found)
        by_axis = effects(found)
        table = found.configurations
        ranked = [a for a in (parts.main if parts else ()) if table[a].nunique(dropna=False) <= 6]
        shown = [s for s in scenarios(found)[:_MOST_SCENARIOS] if s.summary.finite.any()]
        sections.append(_fronts(found, shown, ranked))
        sections.append(_maps(found, shown))
        sections.append(_effects(found, parts))
        if _LAYER in by_axis:
            note = (
                "One layer at a time. Where other settings are more than six: their median and "
                "middle 80 %, the dashed line is the median of all."
            )
            drawn = [layers(found, by_axis[_LAYER])]
            sections.append(_Section("layers", "Sensitivity of layers", drawn, [note]))
    if len(found.configurations):
        sections += _series(store, found)
    return [section for section in sections if section.figures]


def _fronts(found: Summary, shown: list[Scenario], ranked: list[str]) -> _Section:
    """Fronts, of every scenario its own; ranked: axes of few levels, those that matter first."""
    better = "higher" if found.goal == "maximize" else "lower"
    notes = [
        "On the front: configurations that no cheaper or equally cheap one beats. "
        f"{better.title()} {words(found.objective)} is better."
    ]
    section = _Section("front", "Pareto fronts", [], notes)
    costs = found.costs[: max(_MOST_FRONTS // len(shown), 1)] if shown else found.costs
    parts = [((k, s.name), s.summary) for k, s in enumerate(shown, 1)] if shown else [(None, found)]
    for scenario, part in parts:
        colour_by = next((axis for axis in ranked if axis in part.axes), None)
        for cost in [cost for cost in part.costs if cost in costs]:
            shape = "wide" if cost == part.costs[0] and len(shown) <= _MOST_WIDE else "small"
            drawn = front(part, cost, colour_by, shape, scenario)
            section.figures.append(drawn.picture)
            section.fronts.append(_front_table(part, drawn))
    notes += _scenario_notes(found, shown)
    if len(costs) < len(found.costs):
        rest = ", ".join(map(words, found.costs[len(costs) :]))
        notes.append(f"Not drawn: fronts against {rest}.")
    return section


def _scenario_notes(found: Summary, shown: list[Scenario]) -> list[str]:
    if not shown:
        return []
    of, total = ", ".join(found.scenarios), len(scenarios(found))
    note = f"A figure is of one scenario ({of}), on a scale of its own."
    if total > len(shown):
        note += f" Drawn: {len(shown)} of {total}, those of most rows, of equals the first."
    return [note]


def _front_table(found: Summary, drawn: Front) -> dict[str, Any]:
    costs = found.configurations[drawn.cost]
    rows = [
        (number(costs.iloc[k]), number(found.values[k]), found.label(k, 160)) for k in drawn.places
    ]
    heads = (words(drawn.cost), words(found.objective), "configuration")
    count = f"{len(rows)} of {len(found.configurations)}"
    against = f"{words(drawn.cost)}{', ' if drawn.scenario else ''}{drawn.scenario}"
    return {"title": f"Front against {against}: {count}", "heads": heads, "rows": rows}


def _maps(found: Summary, shown: list[Scenario]) -> _Section:
    kind = "geometric mean" if found.log else "mean"
    if any(scenario.summary.log != found.log for scenario in shown):
        kind = "mean (the geometric one where the scale is logarithmic)"
    note = (
        f"A cell is the {kind} over all configurations of that split; the best is framed. Hatched: "
        "none is finite; “2× ∞”: two are not and are left out of the mean."
    )
    drawn = [p for k, s in enumerate(shown, 1) for p in heat_maps(s.summary, (k, s.name))]
    maps = drawn if shown else heat_maps(found)
    notes = [note, *_scenario_notes(found, shown)]
    return _Section("maps", "Exponent against mantissa bits", maps, notes)


def _scenarios(found: Summary) -> dict[str, Any] | None:
    """The best of each scenario, and how the best of all does there; None without scenarios."""
    parts = scenarios(found)
    best = overall(found, parts)
    if not parts:
        return None
    bits = "bits" in found.configurations
    heads = [("scenario", False), (f"best {words(found.objective)}", True)]
    heads += [(words("bits"), True)] if bits else []
    heads += [("best configuration", False)]
    heads += [("best by mean rank", True)] if best else []
    rows = []
    for k, part in enumerate(parts[:_MOST_LISTED]):
        table, finite = part.summary.configurations, bool(part.summary.finite.any())
        row = [part.name, number(part.summary.values[0]) if finite else "none is finite"]
        row += [number(table["bits"].iloc[0]) if finite else ""] if bits else []
        row += [part.summary.label(0, 120) if finite else ""]
        rows.append([*row, number(best.values[k])] if best else row)
    return {"heads": heads, "rows": rows, "total": len(parts), "overall": best,
            "rank": number(best.rank, 3) if best else ""}  # fmt: skip


def _effects(found: Summary, parts: Decomposition | None) -> _Section:
    if parts is None:
        return _Section("effects", "", [])
    by_axis = effects(found)
    figures = [shares(parts)]
    for place, axis in enumerate([n for n in parts.main if n != _LAYER][:_MOST_EFFECTS], 1):
        figures.append(level_bars(found, axis, by_axis[axis], place))
    for place, (pair, share) in enumerate(list(parts.pairs.items())[:_MOST_PAIRS], 1):
        drawn = interaction(found, pair, place) if share >= _LEAST_SHARE else None
        figures += [drawn] if drawn is not None else []
    return _Section("effects", "What matters", figures, _effect_notes(found, parts))


def _effect_notes(found: Summary, parts: Decomposition) -> list[str]:
    of = f"the logarithm of {words(found.objective)}" if found.log else words(found.objective)
    lost = int((~found.finite).sum())
    notes = [
        f"Shares: the sum of squares of {of} about its mean, over {int(found.finite.sum())} "
        "configurations with replicates averaged. An axis’ share is what least squares on one "
        "effect a level loses without that axis; a pair’s is what the means of its cells explain "
        "of the rest. " + ("The configurations are a full grid: shares add up to 100 %."
        if parts.exact else "The configurations are no full grid: axes are confounded, shares "
        "need not add up to 100 %, and a pair’s is a lower bound."),
        "Dots: medians of a level; bars: the middle 80 % over all other axes; dashed: the median "
        "of all. Numeric axes of more than 24 values are binned.",
    ]  # fmt: skip
    if lost:
        notes.append(f"Left out, as the objective is not finite: {lost} configurations.")
    return notes


def _series(store: Any, found: Summary) -> list[_Section]:
    series = gather(store, found)
    lines = [name for name in series if not is_histogram(name)]
    lines.sort(key=lambda name: (name != "loss", name))
    sections = []
    drawn = [curves(found, name, series[name]) for name in lines[:_MOST_CURVES]]
    if drawn:
        notes = [
            "Lines: means over replicates; bands: their smallest and largest"
            + (" (and those of a window’s steps)." if drawn[0].window > 1 else ".")
            + " A cross ends a curve that is not finite from there on."
        ]
        if drawn[0].shown < drawn[0].total:
            notes.append(f"Drawn: {drawn[0].shown} of {drawn[0].total} configurations.")
        if drawn[0].ended:
            notes.append(f"Runs with values that are not finite: {drawn[0].ended}.")
        if len(lines) > _MOST_CURVES:
            notes.append("Not drawn: " + ", ".join(lines[_MOST_CURVES:]) + ".")
        sections.append(_Section("curves", "Curves", [c.picture for c in drawn], notes))
    counted = {name: s for name, s in series.items() if is_histogram(name)}
    note = "Of the best configurations; the first replicate of each."
    drawn_counts = histograms(found, counted)
    return [*sections, _Section("histograms", "Histograms", drawn_counts, [note])]


def _page(store: Any, found: Summary, sections: list[_Section], title: str) -> str:
    from jinja2 import Environment, StrictUndefined

    source = resources.files(__package__).joinpath("report.html.jinja").read_text("utf-8")
    # The template is this package's own; everything that a study says is escaped.
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    failed = found.rows[found.rows["status"] == "failed"]
    compared = _scenarios(found)
    page = environment.from_string(source).render(
        title=title,
        cards=_cards(found, compared),
        asked=_asked(store.study, found),
        scenarios=compared,
        sections=sections,
        best=_table(found),
        failed=_failures(found, failed),
        errors=Counter(short(str(e), 200) for e in failed["error"]).most_common(8),
        failed_count=len(failed),
        command=store.command,
        versions=store.versions(),
        toml=_toml(store),
    )
    return str(page)


def _cards(found: Summary, compared: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Heading, value and a line below it of what is told first."""
    cards = []
    best = compared["overall"] if compared else None
    if compared and best:
        value = f"{compared['rank']} of {best.choices}"
        cards.append((f"lowest mean rank over {compared['total']} scenarios", value, best.label))
    elif compared and compared["total"] > 1:
        cards.append(("scenarios", str(compared["total"]), "no choice ran in all of them"))
    elif found.finite.any():
        value = number(found.values[0])
        bits = found.configurations["bits"].iloc[0] if "bits" in found.configurations else np.nan
        at = f" at {number(bits)} bits" if np.isfinite(bits) else ""
        below = found.label(0, 120)
        cards.append((f"best {words(found.objective)}{at}", value, below))
    failed = found.count("failed")
    below = f"{failed} failed" if failed else "none failed"
    cards.append(("runs done", number(found.count("done")), below))
    total = len(found.configurations)
    lost = int((~found.finite).sum()) if found.objective in found.configurations else 0
    below = f"{lost} without a finite {words(found.objective)}" if lost else "all finite"
    seeds = f", each over {', '.join(found.replicates)}" if found.replicates else ""
    cards.append(("configurations", number(total), (below if total else "nothing to show") + seeds))
    seconds = float(np.nansum(found.rows["seconds"])) if len(found.rows) else 0.0
    each = seconds / len(found.rows) if len(found.rows) else 0.0
    cards.append(("compute time", _time(seconds), f"{_time(each)} a run, all workers together"))
    return cards


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{number(1000 * seconds, 3)} ms"
    if seconds < 120:
        return f"{number(seconds, 3)} s"
    return f"{number(seconds / 60, 3)} min" if seconds < 7200 else f"{number(seconds / 3600, 3)} h"


def _asked(study: Any, found: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the study asked: parts of name and text."""
    first = [("task", study.task_name)]
    if found.objective:
        first.append(("objective", f"{found.goal} {found.objective}"))
    if found.scenarios:
        first.append(("scenarios", ", ".join(found.scenarios)))
    if found.replicates:
        first.append(("replicates", ", ".join(found.replicates)))
    axes = [(name, _values(found, name)) for name in study.axis_names]
    parts = [("Study", first), ("Axes", axes)]
    for head, mapping in (("Settings", study.settings), ("Derived", study.derive)):
        if mapping:
            parts.append((head, [(str(k), plain(v)) for k, v in dict(mapping).items()]))
    if study.constraints:
        parts.append(("Constraints", [("", str(text)) for text in study.constraints]))
    return parts


def _values(found: Summary, name: str) -> str:
    if name not in found.rows:
        return "nothing ran yet"
    values = list(dict.fromkeys(found.rows[name]))
    written = [short(plain(v), 60) for v in values]
    if len(values) <= _MOST_VALUES:
        return ", ".join(written)
    if all(isinstance(v, (int, float, np.number)) for v in values):
        return f"{plain(min(values))} to {plain(max(values))} ({len(values)} values)"
    return f"{', '.join(written[: _MOST_VALUES - 2])} … {written[-1]} ({len(values)} values)"


def _table(found: Summary) -> dict[str, Any]:
    """The best configurations: heads, and rows of (text, number to sort by) a cell."""
    table = found.configurations
    numbers = [n for n in (found.objective, *found.costs, *found.metrics) if n in table]
    numbers = list(dict.fromkeys(numbers))
    heads = [("#", "place", True), *((axis, axis, False) for axis in found.axes)]
    heads += [(name.replace("_", " "), words(name), True) for name in numbers]
    heads += [("runs", "count", True), ("time", "seconds", True)]
    rows = []
    for k in range(min(len(table), _MOST_ROWS)):
        row = table.iloc[k]
        cells: list[tuple[str, Any]] = [(str(k + 1), k + 1)]
        cells += [(plain(row[axis]), _key(row[axis])) for axis in found.axes]
        cells += [(_spread(row[name], row[f"{name}.spread"]), _key(row[name])) for name in numbers]
        cells += [(str(row["count"]), row["count"]), (_time(row["seconds"]), row["seconds"])]
        rows.append(cells)
    return {"heads": heads, "rows": rows, "total": len(table)}


def _spread(mean: float, spread: float) -> str:
    text = number(mean)
    return f"{text} ± {number(spread, 2)}" if np.isfinite(mean) and spread > 0 else text


def _key(value: Any) -> Any:
    """What a column is sorted by; texts of what is not a finite number."""
    if isinstance(value, (int, float, np.number)) and np.isfinite(value):
        return float(value)
    return str(value)


def _failures(found: Summary, failed: Any) -> list[tuple[str, str, str]]:
    names = (*found.axes, *found.replicates)
    return [
        (
            number(row["number"]),
            ", ".join(f"{n}={plain(row[n])}" for n in names),
            str(row["error"]),
        )
        for _, row in failed.head(_MOST_FAILED).iterrows()
    ]


def _toml(store: Any) -> str:
    file = Path(store.path) / "study.toml"
    return file.read_text("utf-8") if file.is_file() else ""
