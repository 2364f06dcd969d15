"""Studies on every runner: the same rows in one process, a pool and Dask; nothing lost or doubled
when a run is killed, interrupted, or loses a worker.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

for package in ("pandas", "scipy", "simpleeval", "threadpoolctl", "tomli_w"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'lowp[study]'")

import study_tasks  # noqa: E402
from lowp import study  # noqa: E402
from lowp.study import Study  # noqa: E402
from lowp.study._executors import Workers  # noqa: E402

TASKS = Path(__file__).parent

FILE = """name = "some"
task = "study_tasks:slow"
[settings]
seconds = {seconds}
log = "{log}"
[axes]
x = {{ low = 0, high = {last}, count = {count} }}
"""


def rows(store: study.Store) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in store.rows()]


def errors_of_formats() -> Study:
    return Study(
        "error",
        {
            "format": ["e{2..4}m{1..3}", "mxfp4", "nvfp4/rounding=stochastic_a"],
            "data": ["gaussian", "student_t3"],
            "hadamard": [0, 32],
        },
        settings={"count": 8192, "histogram": True},
    )


def test_the_same_study_gives_the_same_rows_and_series_in_a_pool(tmp_path: Path) -> None:
    here = errors_of_formats().run(tmp_path / "here")
    pool = errors_of_formats().run(tmp_path / "pool", workers=2)
    assert len(rows(here)) == 44
    assert rows(pool) == rows(here)
    for row in here.rows():
        one, other = here.series(row["hash"]), pool.series(row["hash"])
        assert one.keys() == other.keys() == {"histogram"}
        assert one["histogram"].tolist() == other["histogram"].tolist()


def test_the_same_study_gives_the_same_rows_on_two_workers_of_dask(tmp_path: Path) -> None:
    pytest.importorskip(
        "distributed", reason="distributed is not installed: pip install 'lowp[dask]'"
    )
    from distributed import LocalCluster

    here = errors_of_formats().run(tmp_path / "here")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        there = errors_of_formats().run(tmp_path / "dask", scheduler=cluster.scheduler_address)
    assert rows(there) == rows(here)
    alone = errors_of_formats().run(tmp_path / "local", runner="dask", workers=1, limit=3)
    assert rows(alone) == rows(here)[:3]


def test_a_scheduler_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowp.study._executors._CONNECT", "0.3s")
    pytest.importorskip(
        "distributed", reason="distributed is not installed: pip install 'lowp[dask]'"
    )
    with pytest.raises(ValueError, match="no Dask scheduler at 'tcp:"):
        errors_of_formats().run(tmp_path / "o", scheduler="tcp://127.0.0.1:9")


def test_the_configuration_that_kills_its_worker_is_found_and_the_rest_is_done(
    tmp_path: Path,
) -> None:
    s = Study("study_tasks:dies", {"x": list(range(12))}, folder=str(TASKS))
    store = s.run(tmp_path / "o", workers=2)
    assert store.count() == {"done": 11, "failed": 1}
    (bad,) = [row for row in store.rows() if row["status"] == "failed"]
    assert bad["x"] == 3
    assert bad["error"] == "the process that ran it died: killed, or out of memory"


def test_a_worker_that_dies_while_another_starts_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SpawnProcess.start

    def slowly(process: SpawnProcess) -> None:
        time.sleep(0.5)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", slowly)
    s = Study("study_tasks:dies", {"x": [2, 3, 4, 5]}, folder=str(TASKS))
    store = s.run(tmp_path / "o", workers=2)
    assert store.count() == {"done": 3, "failed": 1}


def test_an_interrupt_while_workers_start_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = SpawnProcess.start, []

    def interrupted(process: SpawnProcess) -> None:
        if started:
            raise KeyboardInterrupt
        start(process)
        started.append(process)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    s = Study("study_tasks:slow", {"x": [0, 1]}, folder=str(TASKS))
    with pytest.raises(KeyboardInterrupt):
        s.run(tmp_path / "o", workers=2)
    assert [process.is_alive() for process in started] == [False]


def test_a_task_that_cannot_travel_leaves_no_workers(tmp_path: Path) -> None:
    before, lock = set(multiprocessing.active_children()), threading.Lock()

    def locked(*, x: int) -> dict[str, float]:
        with lock:
            return {"loss": float(x)}

    with pytest.raises(TypeError, match="cannot pickle"):
        Study(locked, {"x": [0, 1]}).run(tmp_path / "o", workers=2)
    assert set(multiprocessing.active_children()) <= before


def test_workers_that_do_not_end_when_asked_to_share_one_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowp.study._executors._GRACE", 1.0)
    before = set(multiprocessing.active_children())
    workers = Workers(3)
    for number in range(3):
        workers.submit(study_tasks.stays, tmp_path / str(number))
    wait_for(lambda: len(list(tmp_path.iterdir())) == 3)
    begun = time.monotonic()
    workers.shutdown(wait=False)
    assert time.monotonic() - begun < 2.5
    assert set(multiprocessing.active_children()) <= before
    workers.shutdown(wait=False)
    workers.shutdown()


def test_a_callback_that_runs_out_does_not_end_a_run_as_if_it_were_complete(
    tmp_path: Path,
) -> None:
    words = iter(["first"])
    counts = study.Counts(lambda _: None, lambda *_: print(next(words)))
    s = Study("study_tasks:slow", {"x": [0, 1, 2]}, folder=str(TASKS))
    with pytest.raises(StopIteration):
        s.run(tmp_path / "o", counts=counts)


def write(folder: Path, count: int, seconds: float) -> tuple[Path, Path]:
    file, log = folder / "some.toml", folder / "log"
    file.write_text(FILE.format(seconds=seconds, log=log, last=count - 1, count=count))
    return file, log


def begin(file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lowp", "study", "run", str(file), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{TASKS}"}
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell's background jobs ignore Ctrl-C, and hand that down
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_points_and_resumed_nothing_is_lost_or_doubled(
    workers: int, tmp_path: Path
) -> None:
    pytest.importorskip("typer", reason="typer is not installed: pip install 'lowp[cli]'")
    count, chance = 120, random.Random(workers)
    file, log = write(tmp_path, count, 0.01)
    out = tmp_path / "o"
    kills, done = 0, 0
    while True:
        before = len(lines(log))
        process = begin(file, out, "--workers", str(workers))
        more = chance.randint(1, 18)
        wait_for(lambda: len(lines(log)) >= before + more or process.poll() is not None)  # noqa: B023
        if process.poll() is not None:
            break
        time.sleep(chance.random() * 0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        store = study.open(out)
        found = store.done()
        store.close()
        assert len(found) >= done  # what was written stays
        done = len(found)
    assert process.returncode == 0, process.communicate()[1]
    process.communicate()
    assert kills >= 5
    store = study.open(out)
    assert store.count() == {"done": count}
    assert [row["x"] for row in store.rows()] == list(range(count))
    assert all(store.series(row["hash"])["curve"].tolist() for row in store.rows())
    # only what was under way when it was killed ran again
    again = sum(n - 1 for n in Counter(lines(log)).values())
    assert again <= kills * workers
    uninterrupted = study.load(file).run(tmp_path / "whole")
    assert rows(store) == rows(uninterrupted)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_what_is_done_and_says_how_to_go_on(
    workers: int, tmp_path: Path
) -> None:
    pytest.importorskip("typer", reason="typer is not installed: pip install 'lowp[cli]'")
    file, log = write(tmp_path, 1000, 0.02)
    process = begin(file, tmp_path / "o", "--workers", str(workers))
    wait_for(lambda: len(lines(log)) >= 10)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert f"lowp study resume {tmp_path / 'o'}" in told.replace("\n", " ")
    store = study.open(tmp_path / "o")
    done = len(store.done())
    assert done >= 5
    store.close()
    more = study.open(tmp_path / "o").study.run(tmp_path / "o", limit=3)
    assert more.count() == {"done": done + 3}


def test_a_folder_is_written_by_one_run_at_a_time(tmp_path: Path) -> None:
    s = Study("study_tasks:slow", {"x": [0]}, folder=str(TASKS))
    store = study.Store(tmp_path / "o", s)
    with store.writing(), pytest.raises(ValueError, match="another run is adding to this study"):
        s.run(tmp_path / "o")
    s.run(tmp_path / "o")


def test_tasks_run_on_one_thread_and_settings_come_back(tmp_path: Path) -> None:
    import lowp

    lowp.set_threads(2)
    try:
        s = Study("study_tasks:threads", {"x": [0]}, folder=str(TASKS))
        assert s.run(tmp_path / "o").rows()[0]["threads"] == 1
        assert lowp.get_threads() == 2
    finally:
        lowp.set_threads(0)


SCRIPT = """
from lowp.study import Study

def twice(*, x: int) -> dict[str, float]:
    return {"y": 2.0 * x}

def main():
    store = Study(twice, {"x": [1, 2, 3]}).run("o", workers=2)
    print([row["y"] for row in store.rows()])

"""


def test_functions_of_scripts_and_of_no_module_run_in_a_pool(tmp_path: Path) -> None:
    guarded = SCRIPT + "if __name__ == '__main__':\n    main()\n"
    (tmp_path / "script.py").write_text(guarded)
    for command in (["script.py"], ["-c", SCRIPT + "main()"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[2.0, 4.0, 6.0]\n"


def test_a_script_that_its_workers_would_run_again_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + "main()\n")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: worker processes do not start; a script that runs")
