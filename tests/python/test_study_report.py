"""The report of a study says what the rows say, whatever they are, and works in a browser."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("pandas")
pytest.importorskip("jinja2")
pytest.importorskip("simpleeval")
pytest.importorskip("tomli_w")

import browser
import pandas as pd
from lowp import study
from lowp.study import _figures, _figures_front
from lowp.study._compare import compare
from lowp.study._effects import decompose, effects
from lowp.study._figures_effects import settings_of_layers
from lowp.study._figures_front import front_of
from lowp.study._report import report
from lowp.study._scenarios import overall, scenarios
from lowp.study._summary import number, short, summary

Rows = Sequence[Mapping[str, Any]]
EVIL = ('<script>alert("x")</script>', "\"quoted\" & 'single'", "$\\alpha$ $x^$", "a" * 300, "日本",
        "-->", " ")  # fmt: skip


class Rehearsal:
    """What a report reads of a store, with rows that no task would give."""

    def __init__(
        self, path: Path, rows: Rows, axes: Sequence[str], metrics: Sequence[str] = ("loss",),
        series: Mapping[int, Mapping[str, Any]] | None = None, name: str = "rehearsal",
        goal: str = "minimize", toml: str = "", scenarios: Sequence[str] = (),
    ) -> None:  # fmt: skip
        path.mkdir(parents=True, exist_ok=True)
        (path / "study.toml").write_text(toml, encoding="utf-8")
        self.path, self.metrics, self.command = path, tuple(metrics), "lowp study run study.toml"
        self._rows, self._series = rows, series or {}
        self.study = SimpleNamespace(
            name=name, task_name="error", axis_names=tuple(axes), settings={}, derive={},
            constraints=(), metrics=(), objective=None, goal=goal, replicates=("seed",),
            scenarios=tuple(scenarios),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        head = ["number", "hash", "status", *self.study.axis_names]
        filled = [
            {"number": k, "hash": f"{k}", "status": "done", "seconds": 0.25, "error": "", **row}
            for k, row in enumerate(self._rows)
        ]
        found = pd.DataFrame(filled)
        rest = [name for name in found if name not in (*head, "seconds", "error")]
        return found.reindex(columns=[*head, *rest, "seconds", "error"])

    def series(self, hash: str) -> dict[str, np.ndarray]:
        return {k: np.asarray(v, np.float64) for k, v in self._series.get(int(hash), {}).items()}

    def versions(self) -> dict[str, str]:
        return {"lowp": "0.0", "python": "3"}


def training(path: Path) -> Rehearsal:
    """Formats, roundings and seeds; one diverged, one failed; loss curves and histograms."""
    rows, series = [], {}
    random = np.random.default_rng(5)
    for (e, m), r, seed in itertools.product(
        itertools.product((2, 3, 4), (1, 2, 3)), ("nearest", "stochastic"), (0, 1)
    ):
        loss = 4.0**-m + 0.1 * (e == 2) + 0.01 * (r == "nearest") + 0.001 * seed
        row = {"format": f"e{e}m{m}", "rounding": r, "seed": seed, "bits": e + m + 1.0,
               "exponent_bits": e, "mantissa_bits": m, "multiplier_energy": 0.1 * (m + 1) ** 2,
               "loss": loss, "seconds": 1.5}  # fmt: skip
        if (e, m, r, seed) == (2, 3, "stochastic", 1):
            row["loss"] = np.inf
        curve = loss + np.exp(-np.arange(50) / 9) + 0.01 * random.standard_normal(50)
        series[len(rows)] = {"loss": curve, "weight_histogram": random.integers(0, 99, 16),
                             "weight_histogram_edges": np.linspace(-1, 1, 17)}  # fmt: skip
        rows.append(row)
    rows[0] |= {"status": "failed", "error": "ValueError: got <b>\n 5", "loss": np.nan}
    return Rehearsal(path, rows, ("format", "rounding", "seed"), series=series, name="Training",
                     toml='task = "training"\n')  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `training`."""
    return report(training(tmp_path_factory.mktemp("trained")))


def page(store: Any) -> str:
    return report(store).read_text(encoding="utf-8")


def shown(text: str) -> list[str]:
    return re.findall(r'<figure class="\w+" id="figure-([^"]+)"', text)


# ---- what is shown -------------------------------------------------------------------------------


def test_a_report_has_every_part_that_its_data_allow(trained: Path) -> None:
    text = trained.read_text(encoding="utf-8")
    figures = shown(text)
    for name in ("front-bits", "front-multiplier_energy", "map-1", "map-2", "shares", "effect-1",
                 "effect-2", "curve-loss", "histogram-weight_histogram-1"):  # fmt: skip
        assert name in figures
    assert sorted(p.stem for p in (trained.parent / "figures").glob("*.png")) == sorted(figures)
    for said in ("lowp study run study.toml", "task = &#34;training&#34;", "Failures: 1",
                 "ValueError: got &lt;b&gt;", "1 failed"):  # fmt: skip
        assert said in text


def test_the_same_store_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    paths = [report(training(tmp_path / "store"), tmp_path / "again"), trained]
    files = [[path, *sorted((path.parent / "figures").iterdir())] for path in paths]
    assert len(files[0]) > 8
    for a, b in zip(*files, strict=True):
        assert a.name == b.name
        assert a.read_bytes() == b.read_bytes()


def test_figures_of_a_former_report_do_not_stay(tmp_path: Path) -> None:
    rows = [{"format": f, "loss": x, "bits": b} for f, x, b in (("a", 2.0, 3.0), ("b", 1.0, 4.0))]
    report(Rehearsal(tmp_path, rows, ["format"]))
    assert list((tmp_path / "figures").iterdir())
    report(Rehearsal(tmp_path, rows[:1], ["format"]))
    assert not list((tmp_path / "figures").iterdir())


NASTY: dict[str, tuple[Rows, Sequence[str], Sequence[str]]] = {
    "no rows": ([], ["format"], ()),
    "one row": ([{"format": "e4m3", "loss": 0.5, "bits": 8.0}], ["format"], ["loss"]),
    "all failed": ([{"format": f, "status": "failed", "error": "x"} for f in "ab"], ["format"], ()),
    "nothing finite": (
        [{"format": f, "loss": x, "bits": b} for f, x, b in
         (("a", np.nan, 3.0), ("b", np.inf, 4.0), ("c", -np.inf, 5.0))], ["format"], ["loss"]),
    "one axis": ([{"rate": 10.0**-k, "loss": 1.0 + k} for k in range(6)], ["rate"], ["loss"]),
    "a constant": ([{"format": f, "loss": 1.0, "bits": 8.0} for f in "abc"], ["format"], ["loss"]),
    "a missing axis": (
        [{"format": "x", "block": np.nan, "loss": 1.0}, {"format": "y", "block": 32, "loss": 2.0},
         {"format": "x", "block": 16, "loss": 0.0}], ["format", "block"], ["loss"]),
    "huge and tiny": (
        [{"a": a, "b": b, "loss": x} for a, b, x in
         (("p", 1, 1e300), ("p", 2, 1e-300), ("q", 1, -1e300), ("q", 2, 3e300))],
        ["a", "b"], ["loss"]),
    "names": (
        [{"format": v, "other": w, "loss": 1.0 + i * j, "bits": i + 3.0, "exponent_bits": i,
          "mantissa_bits": j} for i, v in enumerate(EVIL) for j, w in enumerate(EVIL)],
        ["format", "other"], ["loss"]),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", NASTY)
def test_a_report_is_written_of_any_rows(what: str, tmp_path: Path) -> None:
    rows, axes, metrics = NASTY[what]
    evil = '<img src=x onerror=alert(1)> & "name"'
    text = page(Rehearsal(tmp_path, rows, axes, metrics, name=evil, toml="</pre><script>"))
    # Tags of the page's own alone: one script, or none without a table, and nothing a name wrote.
    assert text.count("<script") == ("<table id" in text)
    assert "<img" not in text
    assert "src=" not in text.replace("img src=x", "")


def test_what_is_not_finite_is_shown_and_counted(tmp_path: Path) -> None:
    rows = [{"format": f, "bits": 4.0 + k, "loss": x, "exponent_bits": 2 + k // 2,
             "mantissa_bits": k % 2} for k, (f, x) in
            enumerate(zip("abcde", (1.0, np.nan, np.inf, 2.0, 5.0), strict=True))]  # fmt: skip
    found = summary(Rehearsal(tmp_path, rows, ["format"]))
    assert found.finite.tolist() == [True, True, True, False, False]
    text = page(Rehearsal(tmp_path, rows, ["format"]))
    assert "2 without a finite loss" in text
    assert text.count(' lost"') == 2
    assert "Left out, as the objective is not finite: 2 configurations." in text


@pytest.mark.parametrize(
    ("losses", "low"), [((0.01, 0.5, 0.9), 0), ((0, 0.5, 0.9), 0), ((-0.1, 0.5, 0.9), None)]
)
def test_a_front_does_not_go_below_zero_where_nothing_is(
    losses: tuple[float, ...], low: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, float]] = []

    def caught(figure: Any, *rest: Any) -> Any:
        limits.append((figure.axes[0].get_xlim()[0], figure.axes[0].get_ylim()[0]))
        return _figures.picture(figure, *rest)

    monkeypatch.setattr(_figures_front, "picture", caught)
    rows = [{"format": f, "bits": b, "loss": x} for f, b, x in
            zip("abc", (32.0, 8.0, 4.0), losses, strict=True)]  # fmt: skip
    page(Rehearsal(tmp_path, rows, ["format"]))
    ((left, bottom),) = limits
    assert left == 0
    assert bottom == low if low is not None else bottom < min(losses)


def test_five_thousand_rows_make_a_page_of_little_size(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    grid = itertools.product(range(2, 7), range(1, 6), ("e8m0", "e4m3"), (8, 16, 32, 64), range(25))
    rows = [
        {"format": f"e{e}m{m}", "scale": s, "block": b, "rate": float(random.uniform(0, 1)),
         "bits": e + m + 1 + 8 / b, "loss": 4.0**-m * (1 + 8 / e) * random.uniform(1, 2)}
        for e, m, s, b, _ in grid
    ]  # fmt: skip
    path = report(Rehearsal(tmp_path, rows, ("format", "scale", "block", "rate")))
    assert len(rows) == 5000
    assert path.stat().st_size < 1_500_000
    assert "250 of 5000" in path.read_text(encoding="utf-8")


# ---- numbers -------------------------------------------------------------------------------------


def test_replicates_are_averaged_and_a_diverged_one_is_seen(tmp_path: Path) -> None:
    losses = {"a": (1.0, 3.0), "b": (1.0, np.nan), "c": (0.5, np.inf)}
    rows = [{"format": f, "seed": k, "loss": x} for f, pair in losses.items()
            for k, x in enumerate(pair)]  # fmt: skip
    table = summary(Rehearsal(tmp_path, rows, ("format", "seed"))).configurations
    assert table["format"].tolist() == ["a", "b", "c"]
    assert table["loss"].tolist()[0] == 2.0
    assert table["loss.spread"].tolist()[0] == 1.0
    assert np.isnan(table["loss"][1])
    assert table["loss"][2] == np.inf
    assert table["count"].tolist() == [2, 2, 2]
    assert table["hashes"].tolist() == [("0", "1"), ("2", "3"), ("4", "5")]


def test_equal_replicates_have_exactly_their_value_and_no_spread(tmp_path: Path) -> None:
    rows = [{"format": "a", "seed": k, "loss": 0.1} for k in range(3)]
    table = summary(Rehearsal(tmp_path, rows, ("format", "seed"))).configurations
    assert table["loss"].tolist() == [0.1]
    assert table["loss.spread"].tolist() == [0.0]


def test_the_front_is_what_nothing_beats_in_both() -> None:
    random = np.random.default_rng(2)
    for goal, sign in (("minimize", 1), ("maximize", -1)):
        costs = random.integers(0, 9, 80).astype(np.float64)
        values = random.integers(0, 9, 80).astype(np.float64)
        values[3], costs[4] = np.nan, np.inf
        front = front_of(costs, values, goal)
        usable = [k for k in range(80) if np.isfinite(costs[k]) and np.isfinite(values[k])]
        beaten = [
            any(costs[j] <= costs[k] and sign * values[j] <= sign * values[k]
                and (costs[j], values[j]) != (costs[k], values[k]) for j in usable)
            for k in usable
        ]  # fmt: skip
        best = {(costs[k], values[k]) for k, lost in zip(usable, beaten, strict=True) if not lost}
        assert {(costs[k], values[k]) for k in front} == best
        assert len(front) == len(best)
        assert np.all(np.diff(costs[front]) > 0)


def grid_of(function: Any, path: Path, levels: Sequence[int] = (3, 4, 2)) -> Rehearsal:
    rows = [{"a": f"a{i}", "b": f"b{j}", "c": f"c{k}", "loss": float(function(i, j, k))}
            for i, j, k in itertools.product(*map(range, levels))]  # fmt: skip
    return Rehearsal(path, rows, ("a", "b", "c"))


def test_shares_of_a_full_grid_are_those_of_the_sums_of_squares(tmp_path: Path) -> None:
    found = decompose(summary(grid_of(lambda i, j, k: 10 + 2 * i + j * k, tmp_path)))
    assert found is not None
    assert found.exact
    i, j, k = np.meshgrid(np.arange(3.0), np.arange(4.0), np.arange(2.0), indexing="ij")
    y = 10 + 2 * i + j * k
    total = ((y - y.mean()) ** 2).sum()
    main = {axis: y.mean(axis=rest, keepdims=True) - y.mean()
            for axis, rest in (("a", (1, 2)), ("b", (0, 2)), ("c", (0, 1)))}  # fmt: skip
    for axis, effect in main.items():
        assert found.main[axis] == pytest.approx((effect**2 * np.ones_like(y)).sum() / total)
    pair = y.mean(axis=0, keepdims=True) - y.mean() - main["b"] - main["c"]
    assert found.pairs["b", "c"] == pytest.approx((pair**2 * np.ones_like(y)).sum() / total)
    assert found.pairs["a", "b"] == pytest.approx(0, abs=1e-12)
    assert sum(found.main.values()) + sum(found.pairs.values()) + found.rest == pytest.approx(1)


def test_an_additive_objective_has_no_interactions_though_rows_are_missing(tmp_path: Path) -> None:
    store = grid_of(lambda i, j, k: 1 + i + 3 * j * j - 2 * k, tmp_path)
    store._rows = [row for n, row in enumerate(store._rows) if n % 5]
    found = decompose(summary(store))
    assert found is not None
    assert not found.exact
    assert found.rest == pytest.approx(0, abs=1e-9)
    assert all(share == pytest.approx(0, abs=1e-9) for share in found.pairs.values())


def test_a_level_has_its_mean_and_says_what_is_not_finite(tmp_path: Path) -> None:
    rows = [{"a": a, "b": b, "loss": x} for a, b, x in
            (("p", 1, 1.0), ("p", 2, 3.0), ("q", 1, np.inf), ("q", 2, 5.0))]  # fmt: skip
    p, q = effects(summary(Rehearsal(tmp_path, rows, ("a", "b"))))["a"]
    assert (p.name, p.median, p.count, p.missing) == ("p", 2.0, 2, 0)
    assert (q.name, q.median, q.count, q.missing) == ("q", 5.0, 1, 1)


@pytest.mark.parametrize("log", [False, True])
def test_a_dot_of_an_effect_lies_within_its_bar(log: bool, tmp_path: Path) -> None:
    # Nineteen of twenty are equal: either mean is beyond their 90th percentile.
    losses = [1.0] * 19 + [1e6 if log else 50.0]
    rows = [{"a": a, "b": b, "loss": x} for a in "pq" for b, x in enumerate(losses)]
    found = summary(Rehearsal(tmp_path, rows, ("a", "b")))
    assert found.log == log
    for level in effects(found)["a"]:
        assert level.low <= level.median <= level.high


# ---- scenarios -----------------------------------------------------------------------------------


def under_conditions(path: Path, names: Sequence[str] = ("easy", "hard")) -> Rehearsal:
    """Formats under conditions: "b" is the best but where it is easy, "d" ran there alone."""
    losses = {"a": (1e-6, 3.0, 0.9), "b": (2e-6, 1.0, 0.5), "c": (3e-6, 2.0, np.nan)}
    rows = [
        {"format": f, "data": name, "steps": 100 * (k + 1), "bits": 4.0 + ord(f) - ord("a"),
         "exponent_bits": 2 + "abc".index(f) % 2, "mantissa_bits": "abc".index(f),
         "loss": x[min(k, 2)]}
        for f, x in losses.items() for k, name in enumerate(names)
    ]  # fmt: skip
    rows.append({"format": "d", "data": names[0], "steps": 100, "bits": 7.0, "loss": 1e-9})
    return Rehearsal(path, rows, ("format", "data", "steps"), scenarios=["data"])


def test_each_scenario_has_its_front_and_its_best(tmp_path: Path) -> None:
    store = under_conditions(tmp_path)
    found = summary(store)
    parts = scenarios(found)
    assert [part.name for part in parts] == ["easy", "hard"]
    assert [part.summary.axes for part in parts] == [("format",)] * 2
    assert [part.summary.label(0) for part in parts] == ["d", "b"]
    text = page(store)
    assert {"front-1-bits", "front-2-bits", "shares"} <= set(shown(text))
    assert "front-bits" not in shown(text)
    store.study.scenarios = ()
    assert scenarios(summary(store)) == []
    assert "front-bits" in shown(page(store))


def test_the_headline_is_the_lowest_mean_rank_of_what_ran_in_all_scenarios(tmp_path: Path) -> None:
    found = summary(under_conditions(tmp_path, ("easy", "hard", "odd")))
    best = overall(found, scenarios(found))
    assert best is not None
    assert (best.label, best.choices, best.values) == ("b", 3, [2e-6, 1.0, 0.5])
    assert best.rank == pytest.approx((2 + 1 + 1) / 3)
    text = page(under_conditions(tmp_path, ("easy", "hard", "odd")))
    assert "lowest mean rank over 3 scenarios" in text
    assert "1.33 of 3" in text


def test_ranks_go_by_the_goal_share_places_and_put_what_is_not_finite_last(tmp_path: Path) -> None:
    losses = {"a": (1.0, np.inf), "b": (1.0, 3.0), "c": (0.5, 4.0)}
    rows = [{"format": f, "n": n, "loss": x[n]} for f, x in losses.items() for n in (0, 1)]
    for goal, name, rank in (("minimize", "c", 1.5), ("maximize", "b", 1.75)):
        store = Rehearsal(tmp_path, rows, ("format", "n"), scenarios=["n"], goal=goal)
        found = summary(store)
        assert {part.name for part in scenarios(found)} == {"n=0", "n=1"}
        best = overall(found, scenarios(found))
        assert best is not None
        assert (best.label, best.rank) == (name, rank)


def test_of_many_scenarios_six_are_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    text = page(under_conditions(tmp_path, [f"case {k}" for k in range(9)]))
    fronts = [name for name in shown(text) if name.startswith("front-")]
    assert fronts == [f"front-{k}-bits" for k in range(1, 7)]
    assert "Drawn: 6 of 9, those of most rows, of equals the first." in text
    assert "case 8</td>" in text


def test_scenarios_without_a_common_choice_have_no_headline(tmp_path: Path) -> None:
    pairs = (("a", "p"), ("b", "p"), ("c", "q"), ("d", "q"))
    rows = [{"format": f, "data": d, "loss": x, "bits": 3.0 + x} for x, (f, d) in enumerate(pairs)]
    store = Rehearsal(tmp_path, rows, ("format", "data"), scenarios=["data"])
    assert overall(summary(store), scenarios(summary(store))) is None
    assert "no choice ran in all of them" in page(store)


def test_layers_are_shown_by_setting(tmp_path: Path) -> None:
    rows = [
        {"layer": layer, "format": f, "loss": (at + 1) * (10.0 if f == "int4" else 1.0)}
        for f, (at, layer) in itertools.product(("int8", "int4"), enumerate(("a", "b", "all")))
    ]
    store = Rehearsal(tmp_path, rows[:-2], ["format", "layer"])
    found = settings_of_layers(summary(store), ["a", "b"])
    assert list(found) == ["int8", "int4"]
    assert found["int8"].tolist() == [1, 2]
    assert found["int4"][0] == 10
    assert np.isnan(found["int4"][1])
    assert "layers" in shown(page(store))


def test_bits_that_a_task_counts_are_a_cost(tmp_path: Path) -> None:
    rows = [{"w": f"int{n}", "bits": n + 0.25, "loss": 1.0 / n} for n in (4, 6, 8)]
    found = summary(Rehearsal(tmp_path, rows, ["w"], ["loss", "bits"]))
    assert found.costs == ("bits",)
    assert found.metrics == ("loss",)


def test_numbers_have_four_digits_and_exact_ones_no_more_than_they_need() -> None:
    cases = {0.5: "0.5", 1 / 3: "0.3333", 2 / 3e4: "6.667e−5", 8.0: "8", -8.25: "−8.25",
             1e12: "1e12", 1.2345e12: "1.234e12",
             123456: "123\u202f456", np.nan: "NaN", np.inf: "∞", -np.inf: "−∞", 0.0: "0",
             31.4159: "31.42", 0.1 + 0.2 + 0.12: "0.42", 1234.56: "1235"}  # fmt: skip
    for value, text in cases.items():
        assert number(value) == text
    assert short("a" * 50, 11) == "aaaaaa…aaaa"
    assert short("two\n\tlines", 20) == "two lines"


# ---- two stores ----------------------------------------------------------------------------------


def test_two_stores_are_paired_by_their_axes_whatever_the_order(tmp_path: Path) -> None:
    rows = [{"format": f, "seed": k, "loss": x} for f, k, x in
            (("a", 0, 1.0), ("a", 1, np.nan), ("b", 0, 2.0), ("c", 0, 0.0),
             ("d", 0, 1.0))]  # fmt: skip
    other = [dict(row) for row in rows[::-1]]
    a = Rehearsal(tmp_path / "a", rows, ("format", "seed"))
    assert compare(a, Rehearsal(tmp_path / "b", other, ("format", "seed"))).equal
    other[0]["loss"], other[1]["loss"], other[2]["status"] = 1.5, np.inf, "failed"
    other[4]["format"] = "z"
    found = compare(a, Rehearsal(tmp_path / "b", other, ("format", "seed")))
    assert (found.pairs, found.same, len(found.only_a), len(found.only_b)) == (4, 1, 1, 1)
    told = found.frame.set_index("format")
    assert told.loc["d", "relative"] == 0.5
    assert told.loc["c", "absolute"] == np.inf
    assert told.loc["b", "metric"] == "status"
    assert (told.loc["b", "a"], told.loc["b", "b"]) == ("done", "failed")


def test_stores_without_a_common_axis_or_with_doubled_rows_are_refused(tmp_path: Path) -> None:
    one = Rehearsal(tmp_path / "a", [{"a": 1, "loss": 1.0}], ("a",))
    two = Rehearsal(tmp_path / "b", [{"b": 1, "loss": 1.0}], ("b",))
    both = [{"a": 1, "b": b, "loss": 1.0} for b in (1, 2)]
    with pytest.raises(ValueError, match="no common axis"):
        compare(one, two)
    with pytest.raises(ValueError, match="several rows with a=1"):
        compare(one, Rehearsal(tmp_path / "c", both, ("a", "b")))


def test_a_real_store_is_reported_and_equals_itself(tmp_path: Path) -> None:
    asked = study.Study(
        "error", {"format": ["e{2..4}m{1..3}", "mxfp4"], "data": ["gaussian", "laplace"]},
        settings={"count": 2048, "histogram": True}, name="Errors",
    )  # fmt: skip
    store = asked.run(tmp_path / "store")
    text = page(store)
    assert {"front-bits", "map-1", "shares", "histogram-histogram-1"} <= set(shown(text))
    assert "relative MSE" in text
    assert compare(store, study.open(store.path)).equal


# ---- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium to open the page with")
    with browser.Browser(program) as opened:
        yield opened


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("what", ["training", "names", "no rows"])
def test_the_page_fits_says_no_error_and_asks_nobody(
    what: str, width: int, chromium: browser.Browser, trained: Path, tmp_path: Path
) -> None:
    if what == "training":
        path = trained
    else:
        rows, axes, metrics = NASTY[what]
        path = report(Rehearsal(tmp_path, rows, axes, metrics, name=EVIL[0]))
    chromium.open(path, width, dark=width == 400)
    assert chromium.run("document.documentElement.scrollWidth") == width
    assert chromium.run("document.title") == ("Training" if what == "training" else EVIL[0])
    loud = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded",
            "Page.javascriptDialogOpening"}  # fmt: skip
    assert [event for event in chromium.events if event["method"] in loud] == []
    asked = [e["params"]["request"]["url"] for e in chromium.events
             if e["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def test_a_click_on_a_heading_sorts_the_table(chromium: browser.Browser, trained: Path) -> None:
    chromium.open(trained)
    click = "document.querySelector(`th[title={}] button`).click()"
    column = "[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[{}].textContent)"
    ranks = chromium.run(column.format(0))
    assert ranks == [str(k + 1) for k in range(len(ranks))]
    losses = chromium.run(column.format(3))
    assert losses[-1] == "∞"
    chromium.run(click.format("loss"))
    assert chromium.run(column.format(3)) == losses
    chromium.run(click.format("loss"))
    down = chromium.run(column.format(3))
    assert down[-1] == "∞"
    assert down[:-1] == losses[-2::-1]
    chromium.run(click.format("format"))
    formats = chromium.run(column.format(1))
    assert formats == sorted(formats)
    assert chromium.run("document.querySelectorAll('th[aria-sort]').length") == 1


def test_the_search_hides_rows_that_do_not_fit(chromium: browser.Browser, trained: Path) -> None:
    chromium.open(trained)
    chromium.run(
        "search.value = 'E3M2 stochastic'; search.dispatchEvent(new Event('input')), undefined"
    )
    visible = "[...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden).length"
    assert chromium.run(visible) == 1
    assert chromium.run("document.getElementById('count').textContent") == "1 of 18 rows"


def test_the_page_is_dark_where_the_reader_wants_it(
    chromium: browser.Browser, trained: Path
) -> None:
    colours = []
    for dark in (False, True):
        chromium.open(trained, dark=dark)
        colours.append(chromium.run("getComputedStyle(document.body).backgroundColor"))
    light, dark_one = (sum(map(int, re.findall(r"\d+", colour))) for colour in colours)
    assert light > 600
    assert dark_one < 150
