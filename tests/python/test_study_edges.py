"""Studies at their edges: names, costs, searches with replicates, own modules, odd tasks, files."""

from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

for package in ("pandas", "scipy", "simpleeval", "threadpoolctl", "tomli_w", "cloudpickle"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lowp[study]'")

import study_tasks  # noqa: E402
from lowp import study  # noqa: E402
from lowp.study import Range, Result, Study, StudyError  # noqa: E402
from lowp.study.tasks.error import error  # noqa: E402
from lowp.study.tasks.refinement import refinement  # noqa: E402

TASKS = Path(__file__).parent


def losses(store: study.Store) -> list[float]:
    return [row["loss"] for row in store.rows()]


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["number", "hash", "status", "seconds", "error"])
def test_columns_that_every_row_has_are_no_names_of_axes_or_metrics(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="every row has a column of this name"):
        Study(study_tasks.slow, {name: [1]})

    def task(*, x: int) -> dict[str, float]:
        return {name: 1.0}

    store = Study(task, {"x": [1]}).run(tmp_path / "o")
    assert store.rows()[0]["error"].startswith("TypeError: a metric's name is a text, none of")


def test_an_axis_is_what_was_asked_for_and_a_metric_what_was_measured(tmp_path: Path) -> None:
    def task(*, format: study.FormatName, x: int = 0) -> dict[str, float]:
        return {"x": 7.0, "bits": 99.0, "loss": 1.0}

    row = Study(task, {"format": ["e4m3"], "x": [3]}).run(tmp_path / "o").rows()[0]
    assert (row["x"], row["bits"]) == (3, 99.0)


@pytest.mark.parametrize(
    ("fields", "key", "problem"),
    [
        ({"replicates": ["sede"]}, "replicates", "got 'sede'"),
        ({"scenarios": ["y"]}, "scenarios", "got 'y'"),
        ({"scenarios": "x"}, "scenarios", "expected a list of texts; got 'x'"),
        ({"scenarios": ["x"], "replicates": ["x"]}, "scenarios", "'x' is in replicates, too"),
        ({"settings": {"x": 1.0}}, "axes.x", "'x' is in settings, too"),
        ({"derive": {"y": "{x}"}, "axes": {"x": [1], "y": [2]}}, "axes.y", "is in derive, too"),
        ({"derive": {"y": 5}}, "derive.y", "expected a text; got 5"),
        ({"settings": {"y": [1]}}, "settings.y", r"expected an integer; got \[1\]"),
        ({"cost": {"operands": 5}}, "cost.operands", "expected a list of texts; got 5"),
        ({"cost": {"operands": "x"}}, "cost.operands", "expected a list of texts; got 'x'"),
        ({"cost": {"operands": ["x"]}}, "cost.operands", "'x' takes no format"),
        ({"cost": {"accumulator": 5}}, "cost.accumulator", "expected a text; got 5"),
        ({"cost": {"accumulator": "flaot16"}}, "cost.accumulator", "flaot16"),
        ({"search": {"count": 2}}, "search.count", "a grid is run as a whole"),
        ({"axes": {"x": {"low": 1.0, "high": 2.0, "log": "no"}}}, "axes.x", "true or false"),
    ],
)
def test_what_would_be_ignored_or_misread_is_refused(
    fields: dict[str, object], key: str, problem: str
) -> None:
    given = {"task": study_tasks.square, "axes": {"x": [0.5]}, **fields}
    with pytest.raises(StudyError, match=problem) as caught:
        Study(**given).check()  # type: ignore[arg-type]
    assert ".".join(caught.value.keys) == key


def test_a_default_that_its_own_annotation_refuses_is_told() -> None:
    def task(*, format: study.FormatName = "mxpf4") -> dict[str, float]:
        return {"loss": 1.0}

    with pytest.raises(StudyError, match=r"task: .*did you mean the block format 'mxfp4'"):
        Study(task, {"format": ["e4m3"]}).check()


def test_an_axis_of_numbers_may_have_a_range_of_whole_ends() -> None:
    s = Study(study_tasks.square, {"x": {"low": 1, "high": 2, "count": 5}})
    assert [c.axes["x"] for c in s.grid()] == [1.0, 1.25, 1.5, 1.75, 2.0]
    drawn = [Range(0, 3).drawn(i / 100) for i in range(100)]
    assert [drawn.count(k) for k in range(4)] == [25, 25, 25, 25]


# ---- costs ---------------------------------------------------------------------------------------


def test_operands_that_are_left_alone_count_as_float32() -> None:
    def task(*, x: study.FormatOrNone = "none", w: study.FormatOrNone = "none") -> dict[str, float]:
        return {"loss": 1.0}

    axes = {"x": ["none", "mxfp4"], "w": ["none", "mxfp4"]}
    plain = Study(task, axes)
    assert [c.facts for c in plain.grid()] == [{}] * 4  # "none" may be what the task has instead
    counted = plain.replace(cost={"operands": ["x", "w"]})
    assert [c.facts["bits"] for c in counted.grid()] == [32.0, 18.125, 18.125, 4.25]
    energies = [c.facts["multiplier_energy"] for c in counted.grid()]
    assert energies[0] > energies[1] == energies[2] > energies[3]


def test_an_axis_of_accumulators_changes_the_adder() -> None:
    def task(
        *, format: study.FormatName, accumulator: study.AccumulatorName = "float32"
    ) -> dict[str, float]:
        return {"loss": 1.0}

    s = Study(task, {"format": ["e4m3"], "accumulator": ["float32", "float16", "h100_fp8"]})
    wide, narrow, unit = (c.facts["adder_energy"] for c in s.grid())
    assert wide > narrow
    assert math.isnan(unit)


def test_refinement_costs_what_its_factors_cost() -> None:
    s = Study("refinement", {"format": ["float8_e4m3fn", "float16"]})
    assert [c.facts["bits"] for c in s.grid()] == [8.0, 16.0]


# ---- searches ------------------------------------------------------------------------------------


def seeds(*, x: int, seed: int = 0, steps: int = 1) -> dict[str, float]:
    """Best at x = 2 in the mean; a lucky seed makes x = 0 look best."""
    return {"loss": abs(x - 2.0) - 5.0 * (x == 0 and seed == 1)}


@pytest.mark.parametrize("method", ["random", "sobol", "halving", "optuna"])
def test_a_search_runs_all_replicates_and_goes_by_their_mean(method: str, tmp_path: Path) -> None:
    if method == "optuna":
        pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowp[optuna]'")
    s = Study(
        seeds,
        {"x": [0, 1, 2, 3, 4], "seed": [0, 1, 2], "steps": [1, 2]},
        search={"method": method, "count": 5, "budget": "steps" if "g" in method else ""},
    )
    frame = s.run(tmp_path / "o").frame()
    assert (frame.groupby(["x", "steps"]).seed.nunique() == 3).all()
    if method == "halving":
        means = frame[frame.steps == 2].groupby("x").loss.mean()
        assert means.idxmin() == 2
        assert 0 not in means.index or means[0] > means[2]


def test_check_counts_what_runs(tmp_path: Path) -> None:
    axes = {"x": [0, 1, 2, 3], "steps": [1, 2, 3]}
    for search in (
        {"method": "random", "count": 400},
        {"method": "halving", "budget": "steps"},
        {"method": "halving", "budget": "steps", "count": 2},
        {},
    ):
        s = Study(seeds, axes, search=search)
        assert s.check() == len(s.run(tmp_path / str(len(list(tmp_path.iterdir())))).rows())


def test_a_random_search_of_a_huge_space_looks_at_no_more_than_it_runs() -> None:
    def many(*, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> dict[str, float]:
        return {"loss": 0.0}

    s = Study(many, {n: list(range(20)) for n in "abcdefg"}, search={"method": "sobol", "count": 5})
    start = time.monotonic()
    assert s.check() == 5
    assert time.monotonic() - start < 5


def test_a_constraint_on_the_budget_is_refused_before_anything_runs(tmp_path: Path) -> None:
    s = Study(
        seeds,
        {"x": [0, 1, 2], "steps": [1, 2]},
        search={"method": "halving", "budget": "steps"},
        constraints=["steps < 2"],
    )
    with pytest.raises(StudyError, match="leave out steps = 2 of the budget"):
        s.run(tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_batch_that_asks_twice_for_one_configuration_runs_it_once(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowp[optuna]'")
    log = tmp_path / "log"
    s = Study(
        study_tasks.slow,
        {"x": [0, 1, 2]},
        settings={"log": str(log), "seconds": 0.0},
        search={"method": "optuna", "count": 12},
    )
    s.run(tmp_path / "o")
    assert sorted(log.read_text().split()) == ["0", "1", "2"]


# ---- own modules ---------------------------------------------------------------------------------

OWN = "def f(*, x: int) -> dict[str, float]:\n    return {'loss': x * 1.0}\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_module_is_read_anew_and_its_rows_are_others(
    workers: int, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    s = Study("own:f", {"x": [1, 2]}, folder=str(tmp_path))
    assert losses(s.run(tmp_path / "o", workers=workers)) == [1.0, 2.0]
    (tmp_path / "own.py").write_text(OWN.replace("1.0", "10.0"))
    assert losses(s.replace().run(tmp_path / "o", workers=workers)) == [10.0, 20.0]


def test_modules_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for name, factor in (("a", "1.0"), ("b", "10.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text(OWN.replace("1.0", factor))
    found = [
        losses(Study("own:f", {"x": [1]}, folder=str(tmp_path / n)).run(tmp_path / n / "o"))
        for n in ("a", "b")
    ]
    assert found == [[1.0], [10.0]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("x = y", "NameError"), ("def f(", "SyntaxError"), ("g = 1", "has no function 'f'")],
)
def test_a_module_that_fails_is_told_at_the_task(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(StudyError, match=problem) as caught:
        Study("own:f", {"x": [1]}, folder=str(tmp_path)).check()
    assert caught.value.keys == ("task",)


def test_functions_that_differ_in_what_they_close_over_are_different(tmp_path: Path) -> None:
    def make(factor: float) -> Callable[..., dict[str, float]]:
        def scaled(*, x: int) -> dict[str, float]:
            return {"loss": factor * x}

        return scaled

    for factor in (1.0, 10.0):
        assert losses(Study(make(factor), {"x": [1]}).run(tmp_path / "o")) == [factor]
    for factor in ("1.0", "10.0"):  # no source to look at
        found: dict[str, Callable[..., dict[str, float]]] = {}
        exec(OWN.replace("1.0", factor), found)
        assert losses(Study(found["f"], {"x": [1]}).run(tmp_path / "p")) == [float(factor)]


def test_what_is_no_function_is_no_task() -> None:
    with pytest.raises(StudyError, match="a task is a function, or a name of one"):
        Study(object(), {"x": [1]}).check()


# ---- odd tasks -----------------------------------------------------------------------------------


def leaves(*, x: int) -> dict[str, float]:
    if x == 1:
        sys.exit(3)
    return {"loss": float(x)}


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def unspeakable(*, x: int) -> dict[str, float]:
    if x == 1:
        raise UnspeakableError
    return {"loss": float(x)}


@pytest.mark.parametrize("task", [leaves, unspeakable])
def test_a_task_that_leaves_or_fails_without_words_is_a_row(
    task: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    store = Study(task, {"x": [0, 1, 2]}).run(tmp_path / "o")
    assert [row["status"] for row in store.rows()] == ["done", "failed", "done"]


def test_series_may_have_any_name(tmp_path: Path) -> None:
    def task(*, x: int) -> Result:
        return Result({"loss": 1.0}, {n: [1.0, 2.0] for n in ("file", "allow_pickle", "a b", "é")})

    store = Study(task, {"x": [0]}).run(tmp_path / "o")
    assert sorted(store.series(store.rows()[0]["hash"])) == ["a b", "allow_pickle", "file", "é"]


@pytest.mark.parametrize("value", [2**53 + 1, 1j, "1", None])
def test_a_metric_that_float64_does_not_hold_is_refused(value: object, tmp_path: Path) -> None:
    def task(*, x: int) -> dict[str, float]:
        return {"loss": value}  # type: ignore[dict-item]

    row = Study(task, {"x": [0]}).run(tmp_path / "o").rows()[0]
    assert row["error"].startswith("TypeError: the metric 'loss' must be a number of float64")


def test_a_task_that_changes_the_folder_does_so_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away").mkdir()

    def task(*, x: int) -> Result:
        os.chdir("away")
        return Result({"loss": 1.0}, {"curve": [1.0]})

    store = Study(task, {"x": [0, 1]}).run("o")
    assert store.count() == {"done": 2}
    assert all(store.series(row["hash"]) for row in store.rows())


def test_a_metric_that_some_rows_lack_is_missing_there(tmp_path: Path) -> None:
    def task(*, x: int) -> dict[str, float]:
        return {"loss": 1.0} | ({"more": 2.0} if x == 0 else {})

    s = Study(task, {"x": [0, 1]}, objective="more", metrics=["more"])
    frame = s.run(tmp_path / "o").frame()
    assert frame.more.isna().tolist() == [False, True]
    assert "loss" in s.replace(metrics=[]).run(tmp_path / "o", limit=0).frame()


def test_a_limit_counts_configurations_not_attempts(tmp_path: Path) -> None:
    s = Study(study_tasks.fails, {"x": [1, 2, 3]})
    assert s.run(tmp_path / "o", limit=1).count() == {"failed": 1}


# ---- processes and files -------------------------------------------------------------------------


def test_threads_of_one_worker_take_turns(tmp_path: Path) -> None:
    pytest.importorskip(
        "distributed", reason="distributed is not installed: pip install 'lowp[dask]'"
    )
    from distributed import LocalCluster

    s = Study("study_tasks:draws", {"x": list(range(12))}, folder=str(TASKS))
    here = losses(s.run(tmp_path / "here"))
    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0") as cluster:
        assert losses(s.run(tmp_path / "dask", scheduler=cluster.scheduler_address)) == here


def test_workers_do_not_outlive_the_run_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "from lowp.study import Study\n"
        "def pids(*, x: int) -> dict[str, float]:\n"
        "    open(f'pid{os.getpid()}', 'w').close()\n"
        "    time.sleep(0.2)\n"
        "    return {'loss': 1.0}\n"
        "if __name__ == '__main__':\n"
        "    Study(pids, {'x': list(range(1000))}).run('o', workers=2)\n"
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("pid*"))) == 2)
    process.kill()
    process.wait()
    workers = [int(p.name[3:]) for p in tmp_path.glob("pid*")]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_results_in_a_folder_that_may_only_be_read_are_read(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1]})
    s.run(tmp_path / "o").close()
    (tmp_path / "o").chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(study.open(tmp_path / "o").rows()) == 1
    finally:
        (tmp_path / "o").chmod(stat.S_IRWXU)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1]})
    s.run(tmp_path / "o").close()
    (tmp_path / "o" / "rows.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(ValueError, match=r"rows.sqlite cannot be read: file is not a database"):
        study.open(tmp_path / "o").rows()


def test_files_are_told_from_the_folder_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "w.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "s.toml").write_text(
        'task = "error"\n[settings]\ndata = "w.npy"\n[axes]\nformat = "e4m3"\n'
    )
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    for workers in (1, 2):
        store = study.load("../s.toml").run(f"o{workers}", workers=workers)
        assert store.count() == {"done": 1}
    (tmp_path / "w.npy").unlink()
    with pytest.raises(ValueError, match=r"s.toml, line 3: settings.data: .*w.npy"):
        study.load("../s.toml")


def test_a_folder_holds_one_study(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1]}, name="one")
    s.run(tmp_path / "o")
    with pytest.raises(ValueError, match="holds the study 'one' of study_tasks:square; this"):
        s.replace(name="two").run(tmp_path / "o")


def test_a_study_of_a_script_says_how_to_go_on(tmp_path: Path) -> None:
    s = Study("__main__:gone", {"x": [1]})
    with pytest.raises(StudyError, match="is of a script or a notebook: run that again"):
        s.check()


def test_a_change_of_what_a_module_imports_from_beside_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from helper import factor\n\ndef f(*, x: int) -> dict[str, float]:\n"
        "    return {'loss': x * factor()}\n"
    )
    for factor in (1.0, 10.0):
        (tmp_path / "helper.py").write_text(f"def factor():\n    return {factor}\n")
        for workers in (1, 2):
            s = Study("own:f", {"x": [1, 2]}, folder=str(tmp_path))
            store = s.run(tmp_path / f"o{workers}", workers=workers)
            assert losses(store) == [factor, 2 * factor]


def test_a_cost_model_that_fails_or_gives_no_dict_is_told() -> None:
    def fails(x: str, w: str, accumulator: str) -> dict[str, float]:
        raise RuntimeError("no price")

    def number(x: str, w: str, accumulator: str) -> float:
        return 3.0

    def known(x: str, w: str, accumulator: str) -> dict[str, float]:
        return {"bits": 3.0}

    for model, problem in (
        (fails, "it fails for e4m3, e4m3: RuntimeError: no price"),
        (number, "expected a dict of numbers"),
        (known, "none called bits"),
    ):
        s = Study(study_tasks.formats, {"w": ["e4m3"]}, cost={"model": model})
        with pytest.raises(StudyError, match=problem) as caught:
            s.check()
        assert caught.value.keys == ("cost", "model")


def test_a_count_alone_is_integers(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.5], "seed": "{0..3}"})
    assert [c.axes["seed"] for c in s.grid()] == [0, 1, 2, 3]


def test_a_study_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "own_errors.toml").write_text('task = "error"\n[axes]\nformat = "e4m3"\n')
    assert study.load(tmp_path / "own_errors.toml").name == "own_errors"


def test_resuming_keeps_the_command_that_ran_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Study(study_tasks.square, {"x": [0.1, 0.2]})
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lowp", "study", "run", "my study.toml"])
    s.run(tmp_path / "o", limit=1)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lowp", "study", "resume", "o"])
    assert s.run(tmp_path / "o").command == "lowp study run 'my study.toml'"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('task = "error"\n[[axes]]\nformat = "e4m3"\n[[axes]]\nformat = "e99m1"\n', 5),
        ('task = "error"\nname = """\nformat = 1"""\n[axes]\nformat = "e99m1"\n', 5),
    ],
)
def test_the_line_is_that_of_the_table_and_not_of_a_text(
    text: str, line: int, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"s.toml, line {line}: axes.format"):
        study.load(tmp_path / "s.toml")


def test_a_table_without_the_words_of_a_template_needs_the_argument_itself() -> None:
    tables = [{"element": ["int4"], "block": [16]}, {"element": ["int4"]}]
    s = Study(study_tasks.formats, tables, derive={"w": "{element}/{block}/bfloat16"})
    with pytest.raises(StudyError, match="needs 'w': an axis or a setting"):
        s.check()
    other = Study(
        study_tasks.formats,
        [tables[0], {"w": ["e4m3"]}],
        derive={"w": "{element}/{block}/bfloat16"},
        constraints=["block > 8"],
    )
    assert [c.arguments["w"] for c in other.grid()] == ["int4/16/bfloat16", "e4m3"]


def test_stores_with_different_metrics_are_not_equal(tmp_path: Path) -> None:
    s = Study(study_tasks.square, {"x": [0.1]})
    a, b = s.run(tmp_path / "a"), s.replace(metrics=["loss"]).run(tmp_path / "b")
    assert study.compare(a, a).equal
    assert not study.compare(a, b).equal
    assert study.compare(a, b).other_metrics == ("negative",)


# ---- tasks that read files -----------------------------------------------------------------------


def test_errors_of_a_rewritten_file_are_its_own(tmp_path: Path) -> None:
    def run(name: str, x: object) -> float:
        np.save(tmp_path / "new.npy", x)
        (tmp_path / "new.npy").replace(tmp_path / name)
        return error(format="mxfp4", data=str(tmp_path / name)).metrics["relative_mse"]

    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((64, 64)), rng.standard_t(2, (64, 64))
    found = [run("same.npy", first), run("same.npy", second)]
    assert found == [run("first.npy", first), run("second.npy", second)]
    assert found[0] != found[1]


def test_a_rewritten_matrix_is_solved_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    for diagonal in (2.0, 4.0):
        np.save(path, np.diag([1.0, diagonal]))
        assert refinement(format="float16", matrix=path).metrics["kappa"] == diagonal
