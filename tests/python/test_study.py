"""Studies: patterns, axes, constraints, files that are refused, searches, results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import lowp
import numpy as np
import pytest

for package in ("pandas", "scipy", "simpleeval", "threadpoolctl", "tomli_w"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lowp[study]'")

import study_tasks  # noqa: E402
from lowp import study  # noqa: E402
from lowp.study import Range, Study, StudyError, expand, tasks  # noqa: E402
from lowp.study.tasks.error import error  # noqa: E402
from lowp.study.tasks.refinement import refinement  # noqa: E402

TASKS = Path(__file__).parent


def values(s: Study) -> list[dict[str, object]]:
    return [dict(c.axes) for c in s.grid()]


# ---- patterns and axes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("e4m3", ["e4m3"]),
        ("e{2..3}m{1..2}", ["e2m1", "e2m2", "e3m1", "e3m2"]),
        ("mxfp4/{16..64..16}", ["mxfp4/16", "mxfp4/32", "mxfp4/48", "mxfp4/64"]),
        ("mxfp4/{floor|rceil}", ["mxfp4/floor", "mxfp4/rceil"]),
        ("{-1,-0.5,0,0.5,1}/{16..17}", ["{-1,-0.5,0,0.5,1}/16", "{-1,-0.5,0,0.5,1}/17"]),
        ("q{-1..1}", ["q-1", "q0", "q1"]),
        ("a{|b}", ["a", "ab"]),
    ],
)
def test_patterns_expand_in_order(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_a_pattern_that_makes_too_many_names_or_none_is_refused() -> None:
    with pytest.raises(ValueError, match="1000000000 names; the limit is 100000"):
        expand("e{1..100000}m{1..10000}")
    with pytest.raises(ValueError, match="ends before it begins"):
        expand("e{5..2}m1")


def test_ranges_hold_both_ends_and_are_even_in_their_scale() -> None:
    assert Range(0.0, 1.0, 5).values() == [0, 0.25, 0.5, 0.75, 1]
    assert Range(1e-4, 1e-2, 3, log=True).values() == [1e-4, pytest.approx(1e-3), 1e-2]
    assert Range(1, 4, 4).values() == [1, 2, 3, 4]
    assert Range(1, 3, 9).values() == [1, 2, 3]  # integers, each once


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"low": 1.0, "high": 0.0}, "low < high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "starts above 0"),
        ({"low": 0.0, "high": 1.0, "count": 1}, "at least 2"),
        ({"low": "a", "high": 1.0}, "must be a number"),
        ({"low": 0.0, "top": 1.0}, "has low and high"),
        ([], "at least one value"),
        ([[1, 2]], r"expected texts, numbers, true or false; got \[1, 2\]"),
    ],
)
def test_axes_that_hold_nothing_sensible_are_refused(given: object, problem: str) -> None:
    with pytest.raises(StudyError, match=problem):
        Study(study_tasks.square, {"x": given})


def test_the_grid_is_the_union_of_products_each_configuration_once() -> None:
    s = Study(study_tasks.square, [{"x": [0, 1], "y": [1, 2]}, {"x": [1.0, 2.0], "y": 2}])
    assert values(s) == [
        {"x": 0, "y": 1},
        {"x": 0, "y": 2},
        {"x": 1, "y": 1},
        {"x": 1, "y": 2},
        {"x": 2.0, "y": 2},
    ]
    assert [c.number for c in s.grid()] == list(range(5))
    assert s.axis_names == ("x", "y")


def test_derived_arguments_are_made_of_axes_that_the_task_does_not_have() -> None:
    s = Study(
        study_tasks.formats,
        {"element": ["float4_e2m1fn", "int4"], "block": [16, 32], "scale": ["bfloat16"]},
        derive={"w": "{element}/{block}/{scale}"},
    )
    arguments = [c.arguments["w"] for c in s.grid()]
    assert arguments[0] == "float4_e2m1fn/16/bfloat16"
    assert len(arguments) == 4
    assert next(s.grid()).facts["bits"] == 5.0
    both = s.replace(settings={"x": "e4m3"})
    assert next(both.grid()).facts["bits"] == (5.0 + 8) / 2


# ---- constraints ---------------------------------------------------------------------------------


def test_constraints_see_axes_settings_and_facts() -> None:
    s = Study(
        "error",
        {"format": ["e{2..5}m{1..4}", "mxfp4", "nvfp4"], "count": [1024, 2048]},
        settings={"magnitude": 2},
        constraints=["bits <= 5", "count == 1024 or bits > 4.4", "magnitude == 2"],
    )
    found = {(c.axes["format"], c.axes["count"]) for c in s.grid()}
    small = {("e2m1", 1024), ("mxfp4", 1024)}
    both = {(f, n) for f in ("e2m2", "e3m1", "nvfp4") for n in (1024, 2048)}
    assert found == small | both


def test_constraints_that_name_axes_alone_come_before_impossible_formats() -> None:
    s = Study(
        study_tasks.formats,
        {"e": [2, 40], "m": [1]},
        derive={"w": "e{e}m{m}"},
        constraints=["bits < 100", "e < 10"],
    )
    assert [c.arguments["w"] for c in s.grid()] == ["e2m1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bitz <= 8", "did you mean 'bits'"),
        ("x +", "is no expression"),
        ("x + 1", "must be true or false; got"),
        ("x < 'a'", "not supported between"),
        ("__import__('os').system('true') == 0", "not defined|not available"),
    ],
)
def test_constraints_that_mean_nothing_are_refused(text: str, problem: str) -> None:
    s = Study(study_tasks.square, {"x": [0.5]}, constraints=[text])
    with pytest.raises(StudyError, match=problem) as caught:
        s.check()
    assert caught.value.keys == ("constraints",)


# ---- against the task ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "keys", "problem"),
    [
        ({"axes": {"xx": [1.0]}}, ("axes", "xx"), "has no parameter 'xx'; did you mean 'x'"),
        ({"axes": {"x": ["a"]}}, ("axes", "x"), "expected a number; got 'a'"),
        ({"axes": {"y": [1.5]}}, ("axes", "y"), "expected an integer; got 1.5"),
        ({"axes": {"y": [True]}}, ("axes", "y"), "expected an integer; got True"),
        ({"settings": {"y": "2"}}, ("settings", "y"), "expected an integer; got '2'"),
        ({"derive": {"y": "{z}"}}, ("derive", "y"), "asks for 'z', which is no axis; the axes are"),
        ({"task": "eror"}, ("task",), "did you mean 'error'"),
        ({"task": "no_such_module:f"}, ("task",), "No module named 'no_such_module'"),
        ({"task": "study_tasks:f"}, ("task",), "has no function 'f'"),
        ({"task": study_tasks.positional}, ("task",), "positional has x"),
        ({"goal": "minimise"}, ("goal",), "did you mean 'minimize'"),
        ({"search": {"method": "sobel", "count": 4}}, ("search", "method"), "'sobol'"),
        ({"search": {"methods": "sobol"}}, ("search", "methods"), "did you mean 'method'"),
        ({"search": {"method": "random"}}, ("search",), "needs a count"),
        ({"search": {"method": "halving"}}, ("search",), "needs a budget"),
        ({"search": {"method": "halving", "budget": "y"}}, ("search", "budget"), "got 'y'"),
        ({"cost": {"model": "study_tasks:f"}, "axes": {"w": ["e4m3"]}, "task": study_tasks.formats},
         ("cost", "model"), "has no function 'f'"),
        ({"cost": {"operands": ["z"]}}, ("cost", "operands"), "no parameter 'z'"),
        ({"constraints": ["x > 1"]}, ("constraints",), "no configuration is left"),
        ({"constraints": "x > 1"}, ("constraints",), "expected a list of texts"),
        ({"axes": {}}, ("axes",), "expected a table of axes"),
        ({"name": "a/b"}, ("name",), "expected a name for a folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_key_before_anything_runs(
    fields: dict[str, object], keys: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    given = {"task": study_tasks.square, "axes": {"x": [0.5]}, "folder": str(TASKS), **fields}
    with pytest.raises(StudyError, match=problem) as caught:
        Study(**given).run(tmp_path / "results")  # type: ignore[arg-type]
    assert caught.value.keys == keys
    assert not (tmp_path / "results").exists()


def test_an_impossible_format_is_reported_before_anything_runs(tmp_path: Path) -> None:
    s = Study("error", {"format": ["e{4..12}m3"]}, settings={"count": 1024})
    with pytest.raises(StudyError, match=r"axes.format: .*e12m3|axes.format: .*exponent"):
        s.run(tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_numbers_mean_the_same_as_integers_where_a_task_takes_numbers() -> None:
    a, b = (Study(study_tasks.square, {"x": [one]}) for one in (1, 1.0))
    assert next(a.grid()).hash == next(b.grid()).hash


def test_the_hash_is_of_arguments_files_source_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(s: Study) -> str:
        return next(s.grid()).hash

    file = tmp_path / "x.npy"
    np.save(file, np.eye(4, dtype=np.float32))
    given = {"format": ["e4m3"], "data": [str(file)]}
    before = first(Study("error", given))
    assert first(Study("error", given)) == before
    assert first(Study("error", given, settings={"count": 2**20})) == before  # a default
    assert first(Study("error", given, settings={"seed": 1})) != before
    np.save(file, np.ones((4, 4), np.float32))
    assert first(Study("error", given)) != before
    one, other = (first(Study(f, {"x": [1]})) for f in (study_tasks.fails, study_tasks.dies))
    assert one != other
    monkeypatch.setattr(lowp, "__version__", "0.0.0")
    assert first(Study(study_tasks.fails, {"x": [1]})) != one


# ---- files ---------------------------------------------------------------------------------------

FILE = """name = "small"
task = "error"
objective = "relative_mse"
constraints = ["bits <= 8"]

[settings]
count = 1024

[axes]
format = ["e{2..5}m{1..4}", "mxfp4"]
data = ["gaussian", "laplace"]
"""


def test_a_file_is_the_study_that_python_makes(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(FILE)
    found = study.load(tmp_path / "s.toml")
    made = Study(
        "error",
        {"format": ["e{2..5}m{1..4}", "mxfp4"], "data": ["gaussian", "laplace"]},
        name="small",
        objective="relative_mse",
        constraints=["bits <= 8"],
        settings={"count": 1024},
        folder=str(tmp_path),
    )
    assert found == made
    assert study.to_toml(found) == FILE
    (tmp_path / "again.toml").write_text(study.to_toml(found.replace()))
    assert study.load(tmp_path / "again.toml") == found


@pytest.mark.parametrize(
    ("change", "line", "key", "problem"),
    [
        (("name =", "nmae ="), 1, "nmae", "did you mean 'name'"),
        (('task = "error"', "task = 3"), 2, "task", "expected a text; got 3"),
        (('"relative_mse"', '"relative_mes"'), 3, "objective", "did you mean 'relative_mse'"),
        (("constr", "metrics = ['sqnr']\nconstr"), 4, "metrics", "did you mean 'sqnr_db'"),
        (("bits <=", "bitss <="), 4, "constraints", "did you mean 'bits'"),
        (("count = 1024", "cuont = 1024"), 7, "settings.cuont", "did you mean 'count'"),
        (("count = 1024", 'count = "1024"'), 7, "settings.count", "expected an integer"),
        (("format = [", "fromat = ["), 10, "axes.fromat", "did you mean 'format'"),
        (('"mxfp4"', '"mxpf4"'), 10, "axes.format", "did you mean the block format 'mxfp4'"),
        (("{1..4}", "{4..1}"), 10, "axes.format", "ends before it begins"),
        (('"laplace"', '"la place"'), 11, "axes.data", "distribution must be"),
        (('"laplace"', "4"), 11, "axes.data", "got 4"),
        (("[axes]", "[axis]"), 9, "axis", "did you mean 'axes'"),
        (("[settings]", "[settings"), None, "", "line 6"),
        (("[settings]\ncount = 1024", "settings = 4"), 6, "settings", "expected a table"),
    ],
)
def test_a_malformed_file_is_refused_with_line_key_and_nearest_name(
    change: tuple[str, str], line: int | None, key: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    assert change[0] in FILE
    path.write_text(FILE.replace(*change))
    with pytest.raises(ValueError, match=problem) as caught:
        study.load(path)
    start = f"{path}, line {line}: {key}" if line else f"{path}: "
    assert str(caught.value).startswith(start), caught.value


def test_the_objective_of_an_own_task_is_compared_with_its_first_result(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.5]}, objective="negativ")
    assert s.check() == 1
    with pytest.raises(StudyError, match=r"objective.*'negativ'.*did you mean 'negative'"):
        s.run(tmp_path / "o")


def test_the_metrics_that_are_known_before_a_run_are_those_of_its_results() -> None:
    assert set(error(format="mxfp4", count=1024).metrics) == {*tasks.metrics_of("error")}
    found = refinement(format="float16", matrix="randsvd(8, 1e2)").metrics
    assert {*found} == {*tasks.metrics_of("refinement")}
    overflow = refinement(format="float4_e2m1fn", matrix="randsvd(8, 1e2)").metrics
    assert {*overflow} <= {*found}


def test_lines_are_found_in_tables_arrays_of_tables_and_inline_tables(tmp_path: Path) -> None:
    text = """task = "error"
search = { method = "grid", conut = 3 }
[[axes]]
format = "e4m3"

[[axes]]
format = "e5m2"
seeed = 1
"""
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"line 2: search.conut: .*did you mean 'count'"):
        study.load(path)
    path.write_text(text.replace(", conut = 3", ""))
    with pytest.raises(ValueError, match=r"line 8: axes.seeed: .*did you mean 'seed'"):
        study.load(path)


def test_files_that_are_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        study.load(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        study.load(tmp_path / "b.toml")


# ---- costs ---------------------------------------------------------------------------------------


def test_bits_count_scales_and_are_the_mean_of_the_operands() -> None:
    s = Study(study_tasks.formats, {"w": ["mxfp4"], "x": ["float8_e4m3fn", "nvfp4"]})
    assert [c.facts["bits"] for c in s.grid()] == [(4.25 + 8) / 2, pytest.approx((4.25 + 4.5) / 2)]


def test_cost_proxies_rank_as_the_public_table_does() -> None:
    small, large = (study.cost.proxies(f, f, f) for f in ("float16", "float32"))
    assert all(small[name] < large[name] for name in small)
    assert study.cost.proxies("int8", "int8")["multiplier_energy"] == pytest.approx(0.2, rel=0.02)
    assert max(study.cost.residuals().values()) < 0.35
    assert math.isnan(study.cost.proxies("nf4", "nf4")["multiplier_area"])
    assert math.isnan(study.cost.proxies("e4m3", "e4m3", "h100_fp8")["adder_area"])


def test_a_cost_model_of_ones_own_replaces_the_proxies() -> None:
    def model(x: str, w: str, accumulator: str) -> dict[str, float]:
        return {"price": len(x) + len(w) + len(accumulator)}

    s = Study(
        study_tasks.formats,
        {"w": ["e4m3", "bfloat16"]},
        cost=study.Cost(model, operands=["w"], accumulator="e5m10"),
        constraints=["price > 15"],
    )
    assert [dict(c.facts) for c in s.grid()] == [
        {"bits": 16.0, "exponent_bits": 8, "mantissa_bits": 7, "price": 21.0}
    ]


# ---- searches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_random_search_draws_different_configurations_and_the_same_ones_again(
    method: str,
) -> None:
    search = {"method": method, "count": 16, "seed": 3}
    axes = {"x": {"low": 0.0, "high": 1.0}, "y": [0, 1, 2, 3]}
    s = Study(study_tasks.square, axes, search=search, constraints=["x > 0.1"])
    first, again = ([dict(c.axes) for c in next(plan(s))] for _ in range(2))
    assert first == again
    assert len({json.dumps(a) for a in first}) == 16
    assert {a["y"] for a in first} == {0, 1, 2, 3}
    assert all(0.1 < a["x"] <= 1 for a in first)
    other = s.replace(search={**search, "seed": 4})
    assert [dict(c.axes) for c in next(plan(other))] != first


def plan(s: Study):  # type: ignore[no-untyped-def]
    from lowp.study._search import plan_of

    return plan_of(s)


def test_a_random_search_of_a_small_space_ends_with_all_of_it() -> None:
    s = Study(study_tasks.square, {"y": [0, 1]}, search={"method": "random", "count": 10})
    assert len(next(plan(s))) == 2


def test_halving_keeps_the_best_share_by_the_mean_of_seeds(tmp_path: Path) -> None:
    s = Study(
        study_tasks.learns,
        {"rate": [0.1, 0.3, 0.45, 0.6, 0.9, 0.95], "steps": [1, 4, 16], "seed": [0, 1]},
        search={"method": "halving", "budget": "steps", "keep": 0.5},
    )
    frame = s.run(tmp_path / "o").frame()
    rates = {n: sorted(set(frame.rate[frame.steps == n])) for n in (1, 4, 16)}
    assert rates == {1: [0.1, 0.3, 0.45, 0.6, 0.9, 0.95], 4: [0.3, 0.45, 0.6], 16: [0.45, 0.6]}
    assert len(frame) == 2 * (6 + 3 + 2)


def test_halving_never_prefers_what_failed_or_diverged(tmp_path: Path) -> None:
    s = Study(
        study_tasks.odd,
        {"kind": ["nan", "infinite", "text"]},
        search={"method": "random", "count": 3},
    )
    from lowp.study._search import score

    assert score(s, {"loss": math.nan}) == score(s, {"loss": math.inf}) == score(s, None)
    assert score(s, {"loss": 1e300}) < score(s, None)
    assert score(s.replace(goal="maximize"), {"loss": 2.0}) == -2.0


def test_optuna_finds_the_minimum_and_asks_the_same_after_a_restart(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowp[optuna]'")
    s = Study(
        study_tasks.square,
        {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0, "high": 8}},
        search={"method": "optuna", "count": 48, "seed": 1},
    )
    whole = s.run(tmp_path / "whole")
    assert whole.frame().loss.min() < 0.05
    part = s.run(tmp_path / "part", limit=20)
    assert len(part.rows()) == 20
    assert rows(s.run(tmp_path / "part")) == rows(whole)


def test_optuna_prunes_by_the_budget(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowp[optuna]'")
    s = Study(
        study_tasks.learns,
        {"rate": {"low": 0.0, "high": 1.0}, "steps": [1, 4, 16]},
        search={"method": "optuna", "count": 40, "seed": 1, "budget": "steps"},
    )
    frame = s.run(tmp_path / "o").frame()
    counts = [int((frame.steps == n).sum()) for n in (1, 4, 16)]
    assert counts[0] == 40
    assert counts[0] > counts[1] >= counts[2] > 0


def rows(store: study.Store) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in store.rows()]


# ---- results -------------------------------------------------------------------------------------


def test_a_store_gives_rows_series_versions_and_a_frame(tmp_path: Path) -> None:
    s = Study(study_tasks.slow, {"x": [3, 1]}, name="two", settings={"seconds": 0.0})
    store = s.run(tmp_path / "o")
    frame = store.frame()
    assert list(frame.columns) == ["number", "hash", "status", "x", "loss", "seconds", "error"]
    assert frame.loss.tolist() == [3.0, 1.0]
    assert store.series(frame.hash[0])["curve"].tolist() == [3, 4, 5, 6]
    assert store.series("none") == {}
    store.close()
    again = study.open(tmp_path / "o")
    assert again.study.axes == s.axes
    assert again.study.name == "two"
    assert again.versions()["lowp"] == lowp.__version__
    assert again.frame().equals(frame)
    with pytest.raises(ValueError, match="no results of a study"):
        study.open(tmp_path)


def test_only_the_metrics_asked_for_are_kept(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.5]}, metrics=["negative"])
    assert s.run(tmp_path / "o").metrics == ("negative",)
    with pytest.raises(StudyError, match="did you mean 'negative'"):
        s.replace(metrics=["negativ"]).run(tmp_path / "p")


def test_a_failing_configuration_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    s = Study(study_tasks.fails, {"x": list(range(6))})
    frame = s.run(tmp_path / "o").frame()
    assert frame.status.tolist() == ["done", "failed", "done", "done", "failed", "done"]
    assert frame.error[1].startswith("ArithmeticError: no result at 1\n")
    assert "study_tasks.py" in frame.error[1]


def test_what_failed_is_tried_again_and_what_is_done_is_not(tmp_path: Path) -> None:
    s = Study(study_tasks.fails_once, {"x": [0, 1, 2, 3]}, settings={"folder": str(tmp_path)})
    first = s.run(tmp_path / "o", retries=0)
    assert first.count() == {"done": 2, "failed": 2}
    seconds = {row["x"]: row["seconds"] for row in first.rows()}
    again = s.run(tmp_path / "o", retries=0)
    assert again.count() == {"done": 4}
    assert {
        r["x"]: r["seconds"] for r in again.rows() if r["x"] % 2 == 0
    }.items() <= seconds.items()


def test_a_failing_configuration_is_tried_again_within_a_run(tmp_path: Path) -> None:
    s = Study(study_tasks.fails_once, {"x": [0, 1]}, settings={"folder": str(tmp_path)})
    assert s.run(tmp_path / "o").count() == {"done": 2}


def test_what_tasks_must_not_return_is_a_failure_and_what_is_not_finite_is_none(
    tmp_path: Path,
) -> None:
    kinds = ["text", "nothing", "empty", "square", "nan", "infinite"]
    frame = Study(study_tasks.odd, {"kind": kinds}).run(tmp_path / "o").frame()
    assert frame.status.tolist() == ["failed"] * 4 + ["done"] * 2
    problems = ["must be a number", "returns a dict", "returns a dict", "one dimension"]
    assert all(p in e for p, e in zip(problems, frame.error, strict=False))
    assert np.isnan(frame.loss[4])
    assert np.isinf(frame.loss[5])


def test_a_limit_is_a_part_and_the_next_run_goes_on(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1, 0.2, 0.3, 0.4, 0.5]})
    assert s.run(tmp_path / "o", limit=2).count() == {"done": 2}
    assert s.run(tmp_path / "o", limit=0).count() == {"done": 2}
    assert rows(s.run(tmp_path / "o")) == rows(s.run(tmp_path / "p"))


def test_a_study_grows_in_its_folder_and_keeps_what_it_has(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1, 0.2]})
    s.run(tmp_path / "o")
    more = s.replace(axes={"x": [0.0, 0.1, 0.2]}).run(tmp_path / "o")
    assert [row["x"] for row in more.rows()] == [0.0, 0.1, 0.2]
    assert more.study.axes == ({"x": [0.0, 0.1, 0.2]},)


def test_rows_are_those_of_the_study_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Study(study_tasks.square, {"x": [0.1, 0.2]})
    first = rows(s.run(tmp_path / "o"))
    other = s.replace(settings={"y": 5})
    assert {row["loss"] for row in rows(other.run(tmp_path / "o"))}.isdisjoint(
        row["loss"] for row in first
    )
    assert rows(s.replace(axes={"x": [0.2]}).run(tmp_path / "o", limit=0)) == [
        {**first[1], "number": 0}
    ]
    assert rows(s.run(tmp_path / "o", limit=0)) == first  # they were kept
    monkeypatch.setattr(lowp, "__version__", "0.0.0")
    assert rows(s.replace().run(tmp_path / "o", limit=0)) == []


def test_rows_that_lack_a_metric_that_is_wanted_now_are_run_again(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1]}, metrics=["loss"])
    assert s.run(tmp_path / "o").metrics == ("loss",)
    more = s.replace(metrics=["negative"], objective="loss").run(tmp_path / "o")
    assert more.metrics == ("loss", "negative")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"workers": 0}, "workers must be an integer of 1 or more; got 0"),
        ({"workers": True}, "got True"),
        ({"retries": -1}, "retries must be"),
        ({"limit": -1}, "limit must be"),
        ({"runner": "cloud"}, "runner must be one of process, pool, dask"),
    ],
)
def test_options_that_a_run_does_not_have_are_refused(
    options: dict[str, object], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        Study(study_tasks.square, {"x": [0.1]}).run(tmp_path / "o", **options)


# ---- the task `error` ----------------------------------------------------------------------------


def test_the_task_error_gives_what_lowp_error_gives(tmp_path: Path) -> None:
    x = lowp.quality.samples_of("laplace", 4096, seed=5).astype(np.float32).reshape(-1, 1024)
    found = error(format="nvfp4", data="laplace", count=4096, seed=5, histogram=True)
    wanted = lowp.error(x, "nvfp4")
    assert all(found.metrics[m] == getattr(wanted, m) for m in ("relative_mse", "gain", "clipped"))
    assert found.series["histogram"].sum() == pytest.approx(1)
    y = lowp.hadamard(x, 32)
    assert (
        error(format="mxfp4", data="laplace", count=4096, seed=5, hadamard=32).metrics[
            "relative_mse"
        ]
        == lowp.error(y, "mxfp4").relative_mse
    )
    np.save(tmp_path / "x.npy", x)
    of_file = error(format="mxfp4", data=str(tmp_path / "x.npy")).metrics
    assert of_file["relative_mse"] == lowp.error(x, "mxfp4").relative_mse


def test_the_best_scale_gives_the_error_of_gmse() -> None:
    from lowp.study.tasks.error import error

    found = error(format="float4_e2m1fn", scale="optimal", count=2**18).metrics["relative_mse"]
    assert found == pytest.approx(lowp.gmse("float4_e2m1fn"), rel=0.02)


def test_the_task_error_refuses_what_does_not_go_together() -> None:
    from lowp.study.tasks.error import error

    with pytest.raises(ValueError, match="for scalar formats"):
        error(format="mxfp4", scale="amax")
    with pytest.raises(ValueError, match="multiple of it; got 1500"):
        error(format="e4m3", count=1500)


def test_a_store_of_another_layout_is_refused(tmp_path: Path) -> None:
    import sqlite3

    s = Study(study_tasks.square, {"x": [0.1]})
    s.run(tmp_path / "o").close()
    with sqlite3.connect(tmp_path / "o" / "rows.sqlite") as rows:
        rows.execute("pragma user_version = 7")
    with pytest.raises(ValueError, match=r"written by another version of lowp \(layout 7"):
        study.open(tmp_path / "o").rows()
