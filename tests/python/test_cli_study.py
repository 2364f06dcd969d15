"""`lowp study`: every command, what it prints, its exit codes, what it refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

for package in ("typer", "rich", "pandas", "scipy", "simpleeval", "threadpoolctl", "tomli_w"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lowp[study]'")

from lowp import _cli_app, study  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

TASKS = Path(__file__).parent
ERRORS = """name = "errors"
task = "error"
[settings]
count = 1024
[axes]
format = ["e4m3", "e5m2", "mxfp4"]
data = ["gaussian", "laplace"]
"""
FAILS = """task = "study_tasks:fails"
[axes]
x = [0, 1, 2, 4]
"""


def run(*arguments: str) -> tuple[int, str, str]:
    try:
        runner = CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    except TypeError:
        runner = CliRunner()
    result = runner.invoke(_cli_app.app, ["study", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TASKS))
    (tmp_path / "errors.toml").write_text(ERRORS)
    (tmp_path / "fails.toml").write_text(FAILS)
    return tmp_path


def test_run_prints_the_best_and_where_the_results_are(folder: Path) -> None:
    code, out, err = run("run", "errors.toml", "--workers", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:4] == ["format", "data", "relative_mse", "bits"]
    assert lines[3].split()[0] == "e4m3"
    assert lines[-1].startswith("6 done now in ")
    assert "0 kept of earlier runs, 0 failed; results in errors.study" in lines[-1]
    assert study.open(folder / "errors.study").count() == {"done": 6}


def test_a_second_run_and_resume_keep_what_is_done(folder: Path) -> None:
    run("run", "errors.toml", "--workers", "1", "--limit", "2", "--out", "o")
    code, out, _ = run("run", "errors.toml", "--workers", "1", "--limit", "3", "--out", "o")
    assert code == 0
    assert "3 done now" in out
    assert "2 kept" in out
    code, out, _ = run("resume", "o", "--workers", "1")
    assert code == 0
    assert "1 done now" in out
    assert "5 kept" in out


def test_check_counts_and_runs_nothing(folder: Path) -> None:
    code, out, _ = run("check", "errors.toml")
    assert (code, out) == (0, "errors: 6 configurations of error (format 3, data 2)\n")
    data = json.loads(run("check", "errors.toml", "--json")[1])
    assert data["configurations"] == 6
    assert [p.name for p in folder.iterdir() if p.is_dir()] == []


def test_check_counts_an_axis_over_all_tables_together(folder: Path) -> None:
    tables = [f'[[axes]]\nformat = ["{f}"]\nmagnitude = {m}\n' for f, m in
              (("e4m3", "[1, 2]"), ("e5m2", "[1]"), ("e4m3", "[3, 4]"))]  # fmt: skip
    (folder / "tables.toml").write_text('task = "error"\n' + "".join(tables))
    code, out, _ = run("check", "tables.toml")
    of = "5 configurations of error (3 tables of axes: format 2, magnitude 4)"
    assert (code, out) == (0, f"tables: {of}\n")
    assert json.loads(run("check", "tables.toml", "--json")[1])["axes"]["format"] == [1, 1, 1]
    ranges = "low = 1.0\nhigh = 2.0\n"
    search = '[search]\nmethod = "random"\ncount = 3\n'
    head = 'task = "error"\n[axes]\nformat = ["e4m3"]\n'
    (folder / "any.toml").write_text(f"{head}[axes.magnitude]\n{ranges}{search}")
    assert "magnitude any" in run("check", "any.toml")[1]


def test_a_study_without_a_name_has_that_of_its_file(folder: Path) -> None:
    (folder / "nameless.toml").write_text(ERRORS.partition("\n")[2])
    assert run("run", "nameless.toml", "--workers", "1", "--out", "o")[0] == 0
    assert study.open("o").study.name == "nameless"
    assert run("report", "o")[0] == 0
    assert "<title>nameless" in (folder / "o" / "report.html").read_text()
    assert run("resume", "o")[0] == 0
    assert study.open("o").study.name == "nameless"


def test_show_refuses_a_table_of_no_rows(folder: Path) -> None:
    run("run", "errors.toml", "--workers", "1")
    code, _, error = run("show", "errors.study", "--best", "0")
    assert code == 2
    assert "--best" in error


def test_tasks_lists_tasks_and_their_parameters(folder: Path) -> None:
    out = run("tasks")[1]
    assert all(name in out for name in study.tasks.NAMES)
    code, out, _ = run("tasks", "error")
    assert code == 0
    assert "format: the name of a format\n" in out
    assert "count: an integer; 1048576\n" in out
    assert (
        json.loads(run("tasks", "error", "--json")[1])["format"] == "format: the name of a format"
    )
    assert run("tasks", "study_tasks:slow")[0] == 0


def test_show_and_export_give_every_row(folder: Path) -> None:
    run("run", "errors.toml", "--workers", "1")
    out = run("show", "errors.study", "--best", "2")[1]
    assert "the best 2 of 6 by relative_mse" in out
    rows = json.loads(run("show", "errors.study", "--json")[1])
    assert [row["format"] for row in rows] == ["e4m3", "e4m3", "e5m2", "e5m2", "mxfp4", "mxfp4"]
    table = list(csv.DictReader(io.StringIO(run("export", "errors.study", "--csv", "-")[1])))
    assert [row["relative_mse"] for row in table] == [repr(row["relative_mse"]) for row in rows]
    assert run("export", "errors.study", "--csv", "rows.csv")[0] == 0
    assert len((folder / "rows.csv").read_text().splitlines()) == 7


def test_show_has_the_best_of_each_scenario_and_averages_replicates(folder: Path) -> None:
    text = ERRORS.replace("errors", "cases").replace(
        "[settings]", 'scenarios = ["data"]\n[settings]'
    )
    (folder / "cases.toml").write_text(text + "seed = [0, 1]\n")
    out = run("run", "cases.toml", "--workers", "1")[1]
    assert out.splitlines()[1].split()[:2] == ["data", "format"]
    out = run("show", "cases.study", "--best", "2")[1]
    table = [line.split() for line in out.splitlines()[3:5]]
    assert [row[:2] for row in table] == [["gaussian", "e4m3"], ["laplace", "e4m3"]]
    assert "the best 1 of each of 2 scenarios, of 6 configurations, by" in out
    assert "mean ± half of the range over seed" in out
    frame = study.open(folder / "cases.study").frame()
    best = frame[(frame["format"] == "e4m3") & (frame["data"] == "gaussian")]
    objective = study.open(folder / "cases.study").objective
    mean, spread = best[objective].mean(), (best[objective].max() - best[objective].min()) / 2
    assert table[0][2:5] == [f"{mean:.4g}", "±", f"{spread:.2g}"]
    assert len(json.loads(run("show", "cases.study", "--json")[1])) == 12


def test_failures_are_listed_and_the_exit_code_says_so(folder: Path) -> None:
    code, out, _ = run("run", "fails.toml", "--workers", "1")
    assert code == 1
    assert "failed: 1: ArithmeticError: no result at 1" in out
    assert "2 done now" in out
    assert "2 failed" in out
    assert "failed: 4" in run("show", "fails.study")[1]


def test_compare_finds_what_differs(folder: Path) -> None:
    run("run", "errors.toml", "--workers", "1", "--out", "a")
    run("run", "errors.toml", "--workers", "2", "--out", "b")
    code, out, _ = run("compare", "a", "b")
    assert code == 0
    assert out.startswith("6 of 6 configurations agree in relative_mse, ")
    (folder / "errors.toml").write_text(ERRORS.replace("1024", "2048"))
    run("run", "errors.toml", "--workers", "1", "--out", "c")
    code, out, _ = run("compare", "a", "c", "--worst", "3")
    assert code == 1
    assert out.startswith("0 of 6 configurations agree")
    data: dict[str, Any] = json.loads(run("compare", "a", "c", "--json")[1])
    assert data["pairs"] == 6
    assert data["different"]


def test_report_writes_a_page(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    run("run", "errors.toml", "--workers", "1")
    code, out, _ = run("report", "errors.study")
    assert code == 0
    assert out == "report: errors.study/report.html\n"
    assert "<html" in (folder / "errors.study" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["run", "none.toml"],
            "none.toml: No such file or directory: give the TOML file of a study",
        ),
        (["show", "none"], "none: no results of a study; run one with this folder"),
        (["resume", "none"], "none: no results of a study; run one with this folder"),
        (["compare", "none", "none"], "none: no results of a study"),
        (["export", "errors.study", "--csv", "no/rows.csv"], "there is no folder no to write to"),
        (["tasks", "eror"], "no task 'eror'; did you mean 'error'"),
        (["run", "errors.toml", "--scheduler", "slurms"], "no Dask scheduler at 'slurms'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], problem: str, folder: Path
) -> None:
    if "--scheduler" in arguments:
        pytest.importorskip("distributed")
    run("run", "errors.toml", "--workers", "1")
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("lowp: ")
    assert err.count("\n") == 1
    assert problem in err
