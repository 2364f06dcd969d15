"""`lowp study`: run studies, go on with them, look at results, compare and report them."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from . import _cli_show
from ._cli_common import Json, guarded, show

app = typer.Typer(
    name="study",
    help="Design-space studies: many configurations of a task, resumable, with a report.",
    no_args_is_help=True,
)

#: Seconds between lines of progress where there is no terminal.
_PACE = 30.0

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The file of a study.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of its results.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes; as many as there are cores without it.", show_default=False
    ),
]
Scheduler = Annotated[
    str,
    typer.Option(
        help="Run on Dask: an address as tcp://host:8786, 'local' for workers on this machine, "
        "'slurm' for jobs."
    ),
]
Limit = Annotated[int | None, typer.Option(min=0, help="Run at most so many configurations now.")]
Retries = Annotated[int, typer.Option(min=0, help="How often a failing one is tried again.")]


@app.command("run")
@guarded
def run_command(
    file: StudyFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; NAME.study without it.", show_default=False),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = "",
    limit: Limit = None,
    retries: Retries = 1,
) -> None:
    """Run a study; what its folder has done is kept, what failed is tried again."""
    from lowp import study

    _run(study.load(file), out, workers, scheduler, limit, retries)


@app.command("resume")
@guarded
def resume_command(
    folder: Folder,
    workers: Workers = None,
    scheduler: Scheduler = "",
    limit: Limit = None,
    retries: Retries = 1,
) -> None:
    """Go on with the study of a folder, as it was run last."""
    from lowp import study

    found = study.open(folder)
    asked = found.study
    found.close()
    _run(asked, folder, workers, scheduler, limit, retries)


@app.command("check")
@guarded
def check_command(file: StudyFile, as_json: Json = False) -> None:
    """Compare a study's file with its task and count its configurations; nothing is run."""
    from lowp import study

    found = study.load(file)
    data: dict[str, Any] = {
        "name": found.name,
        "task": found.task_name,
        "configurations": found.check(),
        "axes": {name: _count(found, name) for name in found.axis_names},
        "search": found.search.method,
    }
    sizes = ", ".join(f"{name} {_size(found, name)}" for name in found.axis_names)
    if len(found.axes) > 1:
        sizes = f"{len(found.axes)} tables of axes: {sizes}"
    plural = "" if data["configurations"] == 1 else "s"
    what = f"configuration{plural} of {data['task']} ({sizes})"
    text = f"{data['name']}: {data['configurations']} {what}"
    show(lambda: data, lambda: Text(text), as_json)


@app.command("tasks")
@guarded
def tasks_command(
    name: Annotated[str | None, typer.Argument(help="One task, with its parameters.")] = None,
    as_json: Json = False,
) -> None:
    """List the tasks, or the parameters of one."""
    from lowp.study import tasks
    from lowp.study.parameters import parameters_of

    if name is None:
        show(
            lambda: dict(tasks.NAMES),
            lambda: _cli_show.table(
                None, ["task", "what it runs"], list(tasks.NAMES.items()), left=2
            ),
            as_json,
        )
        return
    function = tasks.resolve(name, str(Path.cwd()))
    known = parameters_of(function)
    show(
        lambda: {p.name: str(p) for p in known.values()},
        lambda: Group(
            Text("\n".join(str(p) for p in known.values())),
            Text("\n" + (function.__doc__ or "").strip()),
        ),
        as_json,
    )


@app.command("show")
@guarded
def show_command(
    folder: Folder,
    best: Annotated[
        int,
        typer.Option(min=1, help="Rows of the table, shared among scenarios, one each at least."),
    ] = 20,
    as_json: Json = False,
) -> None:
    """The best configurations of a study, by its objective, replicates averaged, each scenario its
    own, and the failed ones; as JSON all rows.
    """
    from lowp import study

    store = study.open(folder)
    show(store.rows, lambda: _results(store, best), as_json)


@app.command("export")
@guarded
def export_command(
    folder: Folder,
    csv: Annotated[Path, typer.Option("--csv", help="File to write; - is standard output.")],
) -> None:
    """Write all rows of a study as CSV."""
    from lowp import study

    frame = study.open(folder).frame()
    if str(csv) == "-":
        frame.to_csv(sys.stdout, index=False)
        return
    if not csv.parent.is_dir():
        raise ValueError(f"{csv}: there is no folder {csv.parent} to write to")
    frame.to_csv(csv, index=False)


@app.command("compare")
@guarded
def compare_command(
    first: Annotated[Path, typer.Argument(metavar="FOLDER")],
    second: Annotated[Path, typer.Argument(metavar="FOLDER")],
    worst: Annotated[int, typer.Option(min=0, help="Rows that differ most.")] = 20,
    as_json: Json = False,
) -> None:
    """Compare the results of two studies, configuration by configuration; exit code 1 where any
    differs.
    """
    from lowp import study

    found = study.compare(study.open(first), study.open(second))
    show(lambda: _comparison_data(found), lambda: _comparison(found, worst), as_json)
    if not found.equal:
        raise typer.Exit(1)


@app.command("report")
@guarded
def report_command(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(help="Folder of page and figures; that of the study without it.")
    ] = None,
) -> None:
    """Write report.html, one page that needs nothing else, and its figures as PNG."""
    from lowp import study

    path = study.report(study.open(folder), out)
    _cli_show.output().print(f"report: {path}", markup=False, soft_wrap=True)


# ---- running -------------------------------------------------------------------------------------


def _run(
    asked: Any,
    out: Path | None,
    workers: int | None,
    scheduler: str,
    limit: int | None,
    retries: int,
) -> None:
    from lowp import study

    folder = out if out is not None else Path(f"{asked.name}.study")
    begun = time.perf_counter()
    tally = {"kept": 0, "done": 0, "failed": 0}
    try:
        with _progress(asked, tally) as counts:
            store = study.run(
                asked,
                folder,
                workers=workers or os.cpu_count() or 1,
                scheduler=scheduler,
                limit=limit,
                retries=retries,
                counts=counts,
            )
    except KeyboardInterrupt:
        done = tally["kept"] + tally["done"]
        _cli_show.messages().print(
            f"lowp: interrupted; {done} configurations are done: lowp study resume {folder}",
            markup=False,
        )
        raise
    seconds = time.perf_counter() - begun
    console = _cli_show.output()
    console.print(_results(store, 10))
    console.print(
        f"{tally['done']} done now in {seconds:.1f} s, {tally['kept']} kept of earlier runs, "
        f"{tally['failed']} failed; results in {folder}; for a page: lowp study report {folder}",
        markup=False,
        soft_wrap=True,
    )
    if tally["failed"]:
        raise typer.Exit(1)


@contextmanager
def _progress(asked: Any, tally: dict[str, int]) -> Iterator[Any]:
    """On standard error, a bar with the time left, or lines where that is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from lowp import study

    console = _cli_show.messages()
    columns = (
        TextColumn(asked.name, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=0)
        state = {"total": 0, "last": time.monotonic()}

        def begin(count: int) -> None:
            state["total"] += count
            bar.update(task, total=state["total"])

        def advance(words: str, status: str) -> None:
            tally[status] += 1
            failed = f"{tally['failed']} failed; " if tally["failed"] else ""
            bar.update(task, advance=1, description=f"{failed}{words}"[:60])
            if not console.is_terminal and time.monotonic() - state["last"] > _PACE:
                state["last"] = time.monotonic()
                console.print(f"{sum(tally.values())} of {state['total']}; {failed}", markup=False)

        yield study.Counts(begin, advance)


def _results(store: Any, count: int) -> RenderableType:
    """A table of the best configurations, of each scenario its own, and the errors of those that
    failed.
    """
    from lowp.study._summary import summary

    shown: list[RenderableType] = []
    found = summary(store)
    if len(found.configurations):
        shown += _best(found, count)
    bad = [row for row in store.rows() if row["status"] == "failed"]
    for row in bad[:5]:
        axes_text = ", ".join(str(row[name]) for name in store.study.axis_names if name in row)
        shown.append(Text(f"failed: {axes_text}: {row['error'].splitlines()[0]}"))
    if len(bad) > 5:
        shown.append(Text(f"and {len(bad) - 5} more that failed"))
    return Group(*shown) if shown else Text("nothing is done yet")


def _best(found: Any, count: int) -> list[RenderableType]:
    """The table, scenarios first, and what it is of; count: its rows, one a scenario at least."""
    from lowp.study._scenarios import scenarios

    parts = [scenario.summary for scenario in scenarios(found)] or [found]
    each = -(-count // len(parts))
    # What is one value, or one within every scenario, tells nothing apart.
    varying = [n for n in found.axes if any(n in part.axes for part in parts)]
    axes = [*found.scenarios, *varying] or list(found.constants)
    bits = ["bits"] if "bits" in found.configurations and found.objective != "bits" else []
    metrics = [m for m in found.metrics if m not in (found.objective, "bits", *axes)]
    metrics = metrics[: min(5, max(10 - len(axes), 1))]
    numbers = [n for n in (found.objective, *bits, *metrics) if n in found.configurations]
    rows = [
        [*(_cell(row.get(n, found.constants.get(n))) for n in axes),
         *(_mean(row[n], row[f"{n}.spread"]) for n in numbers)]
        for part in parts for row in part.configurations.head(each).to_dict("records")
    ]  # fmt: skip
    shown: list[RenderableType] = [_cli_show.table(None, [*axes, *numbers], rows, left=len(axes))]
    total = len(found.configurations)
    if len(parts) > 1:
        of = f"each of {len(parts)} scenarios, of {total} configurations,"
        shown.append(Text(f"the best {each} of {of} by {found.objective}"))
    elif total > count:
        shown.append(Text(f"the best {count} of {total} by {found.objective}"))
    if found.replicates:
        shown.append(Text(f"mean ± half of the range over {', '.join(found.replicates)}"))
    return shown


def _mean(value: float, spread: float) -> str:
    return f"{_cell(value)} ± {spread:.2g}" if math.isfinite(value) and spread > 0 else _cell(value)


def _comparison_data(found: Any) -> dict[str, Any]:
    frames = {"different": found.frame, "only_first": found.only_a, "only_second": found.only_b}
    tables = {name: frame.to_dict("records") for name, frame in frames.items()}
    return {"pairs": found.pairs, "same": found.same, **tables}


def _comparison(found: Any, worst: int) -> RenderableType:
    """How many rows agree, and those that differ most."""
    text = f"{found.same} of {found.pairs} configurations agree in {', '.join(found.metrics)}"
    alone = f"; {len(found.only_a)} are of the first alone, {len(found.only_b)} of the second"
    shown: list[RenderableType] = [Text(text + alone)]
    if found.other_metrics:
        shown.append(Text(f"of one alone: {', '.join(found.other_metrics)}"))
    if worst and len(found.frame):
        frame = found.frame.sort_values(
            "relative", ascending=False, kind="stable", na_position="first"
        ).head(worst)
        names = [*found.axes, "metric", "a", "b", "relative"]
        rows = [[_cell(row[name]) for name in names] for row in frame.to_dict("records")]
        shown.append(_cli_show.table(None, names, rows, left=len(found.axes) + 1))
    return Group(*shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(found: Any, name: str) -> Any:
    sizes = [table[name] for table in found.axes if name in table]
    values = [len(v) if hasattr(v, "__len__") else v.count for v in sizes]
    return values[0] if len(values) == 1 else values


def _size(found: Any, name: str) -> Any:
    """How many values an axis has, those of all tables together; "any" of a range without count."""
    parts = [table[name] for table in found.axes if name in table]
    if not all(hasattr(v, "__len__") or v.count for v in parts):
        return "any"
    lists = [v if hasattr(v, "__len__") else v.values() for v in parts]
    return len({x for values in lists for x in values})
