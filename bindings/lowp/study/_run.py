"""Running a study: one loop over an executor, in this process, a pool of processes, or Dask.

A runner is a `concurrent.futures.Executor`; nothing else differs. Tasks are functions of their
arguments and run on one thread, so the rows are the same on any of them.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

import lowp
from lowp.study import tasks
from lowp.study._executors import RUNNERS, Here, lent, single_threaded_libraries
from lowp.study._parts import Configuration, not_one_of
from lowp.study._search import Metrics, Plan, plan_of
from lowp.study._space import StudyError
from lowp.study._study import RESERVED, Study
from lowp.study.parameters import Paused, Result
from lowp.study.store import Outcome, Store

__all__ = ["Counts", "execute", "run"]

#: Lines of a task's error that are kept.
_LINES = 12


# ---- in a worker ---------------------------------------------------------------------------------

#: Of several threads in one process, as Dask's workers may have: tasks draw random numbers of
#: libraries and set their threads, so one runs at a time.
_TURN = threading.Lock()


def execute(
    task: str | tasks.Task | bytes, folder: str, arguments: Mapping[str, Any], version: str
) -> Outcome:
    """The outcome of one configuration; whatever the task raises is one, too."""
    start = time.perf_counter()
    try:
        if version != lowp.__version__:
            raise RuntimeError(
                f"this worker has lowp {lowp.__version__}; the study is run by {version}"
            )
        # bytes were made by the process that asks
        named = pickle.loads(task) if isinstance(task, bytes) else task
        with _TURN, tasks.inside(folder), _one_thread():
            found = tasks.resolve(named, folder)(**arguments)
        metrics, series = _checked(found)
        return Outcome(metrics, series, time.perf_counter() - start)
    except (Exception, SystemExit) as error:
        lines = traceback.format_exception(error)[-_LINES:]
        first = lines[-1].strip().splitlines()[0]
        seconds = time.perf_counter() - start
        text = f"{first}\n\n{''.join(lines).strip()}"
        return Outcome({}, {}, seconds, text, isinstance(error, Paused))


def _checked(found: Any) -> tuple[dict[str, float], dict[str, np.ndarray[Any, Any]]]:
    """The metrics and series of what a task returned. TypeError: it returned something else."""
    result = found if isinstance(found, Result) else Result(found)
    if not isinstance(result.metrics, Mapping) or not result.metrics:
        raise TypeError(f"a task returns a dict of numbers by name, or a Result; got {found!r:.80}")
    metrics = {name: _number(name, value) for name, value in result.metrics.items()}
    series = {}
    for name, values in result.series.items():
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in "fiub":
            raise TypeError(
                f"the series {name!r} is numbers in one dimension; got shape {array.shape} of "
                f"{array.dtype}"
            )
        series[str(name)] = array.astype(np.float64)
    return metrics, series


def _number(name: Any, value: Any) -> float:
    if not isinstance(name, str) or name in RESERVED:
        raise TypeError(f"a metric's name is a text, none of {', '.join(RESERVED)}; got {name!r}")
    is_number = isinstance(value, int | float | np.bool_ | np.integer | np.floating)
    if not is_number or (isinstance(value, int | np.integer) and int(float(value)) != int(value)):
        raise TypeError(f"the metric {name!r} must be a number of float64; got {value!r:.80}")
    return float(value)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """lowp and PyTorch, where it is loaded, on one thread: PyTorch's sums depend on the number."""
    torch = sys.modules.get("torch")
    before = lowp.get_threads(), torch.get_num_threads() if torch else 0
    lowp.set_threads(1)
    if torch and before[1] != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        lowp.set_threads(before[0])
        if torch and before[1] != 1:
            torch.set_num_threads(before[1])


def _outcome(future: Future[Outcome]) -> Outcome:
    """What came back from a worker, or why nothing did. ConnectionError: the cluster is gone."""
    try:
        error = future.exception()
    except CancelledError:
        raise ConnectionError("the cluster was lost; what is done is kept: resume it") from None
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        return Outcome({}, {}, 0.0, "the process that ran it died: killed, or out of memory")
    return Outcome({}, {}, 0.0, f"{type(error).__name__}: {error}")


# ---- the loop ------------------------------------------------------------------------------------


class Counts:
    """How far a run is; `lowp study run` shows it."""

    def __init__(self, begin: Callable[[int], None], advance: Callable[[str, str], None]) -> None:
        #: Called with the number of configurations of a batch, before it is run.
        self.begin = begin
        #: Called with a configuration in words and "kept", "done" or "failed".
        self.advance = advance


_SILENT = Counts(lambda _: None, lambda _, __: None)


def run(
    study: Study,
    directory: str | Path | None = None,
    *,
    workers: int = 1,
    runner: str | None = None,
    scheduler: str = "",
    cluster: Mapping[str, Any] | None = None,
    limit: int | None = None,
    retries: int = 1,
    counts: Counts = _SILENT,
) -> Store:
    """Run a study's configurations that are not done yet and return its store.

    directory: of the store, "<name>.study" without it; what it has done with the same task,
    arguments and version of the library is kept, failures are tried again. workers: processes; with
    one, everything runs here. runner: "process", "pool" or "dask"; a scheduler ("local", an
    address, "slurm") means Dask, more than one worker a pool. cluster: options of Dask's
    LocalCluster or SLURMCluster. limit: at most this many configurations are run now. retries: how
    often a failing configuration is tried again; its error is a row, and the rest goes on.

    Tasks run on one thread each. Interrupted, by Ctrl-C too, it leaves what was done. ValueError:
    a study that cannot be run, or a folder that another process writes to.
    """
    runner = runner or ("dask" if scheduler else "process" if workers == 1 else "pool")
    if runner not in RUNNERS:
        raise ValueError(f"runner must be one of {', '.join(RUNNERS)}; got {runner!r}")
    for name, value, least in (("workers", workers, 1), ("retries", retries, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of {least} or more; got {value!r}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit must be an integer of 0 or more; got {limit!r}")
    study.check()
    store = Store(directory if directory is not None else f"{study.name}.study", study)
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.writing())
        stack.enter_context(single_threaded_libraries())
        executor, width = stack.enter_context(lent(runner, workers, scheduler, cluster or {}))
        _Loop(study, store, executor, width, counts, limit, retries).drive(plan_of(study))
    return store


def _next(plan: Plan, found: Sequence[Metrics] | None) -> Sequence[Configuration] | None:
    """The plan's next batch, by what was found in the one before; None at its end."""
    try:
        return next(plan) if found is None else plan.send(found)
    except StopIteration:
        return None


class _Loop:
    """Submits configurations, never many more than there are workers, and writes what comes."""

    def __init__(
        self,
        study: Study,
        store: Store,
        executor: Executor,
        width: int,
        counts: Counts,
        limit: int | None,
        retries: int,
    ) -> None:
        self.study, self.store, self.counts = study, store, counts
        self.executor = executor
        self.width = width
        self.left = limit
        self.retries = retries
        self.known = store.done()
        self.is_checked = False
        is_far = not isinstance(executor, Here)
        self.task = tasks.portable(study.task, study.folder) if is_far else study.bound.function
        self.attempts: dict[str, int] = {}
        self.running: dict[Future[Outcome], Configuration] = {}

    def drive(self, plan: Plan) -> None:
        """Batch after batch, each with the metrics of the one before."""
        first = True
        batch = _next(plan, None)
        while batch is not None:
            self.counts.begin(len(batch))
            self.store.mark(batch, first=first)
            if not self._run(batch):
                return
            first = False
            found = [self.known.get(c.hash) for c in batch]
            self._check_metrics(next(filter(None, found), None))
            batch = _next(plan, found)

    def _run(self, batch: Sequence[Configuration]) -> bool:
        """Whether the batch is complete; not so where the limit was reached."""
        for c in batch:
            if c.hash in self.known:
                self.counts.advance("", "kept")
        waiting = deque({c.hash: c for c in batch if c.hash not in self.known}.values())
        while waiting or self.running:
            self._submit(waiting)
            if not self.running:
                return False
            finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in finished:
                self._keep(self.running.pop(future), _outcome(future), waiting)
        return True

    def _submit(self, waiting: deque[Configuration]) -> None:
        """Keep the workers busy."""
        while waiting and self.left != 0 and len(self.running) < self.width:
            c = waiting.popleft()
            call = self.task, self.study.folder, dict(c.arguments), lowp.__version__
            self.running[self.executor.submit(execute, *call)] = c
            if self.left is not None:
                self.left -= 1

    def _keep(self, c: Configuration, outcome: Outcome, waiting: deque[Configuration]) -> None:
        tried = self.attempts[c.hash] = self.attempts.get(c.hash, 0) + 1
        if outcome.error and not outcome.is_paused and tried <= self.retries:
            if self.left is not None:
                self.left += 1
            waiting.appendleft(c)
            return
        self.store.add(c, outcome)
        words = ", ".join(str(value) for value in c.axes.values())
        self.counts.advance(words, outcome.status)
        if not outcome.error:
            self.known[c.hash] = dict(outcome.metrics)
            self._check_metrics(outcome.metrics)

    def _check_metrics(self, metrics: Mapping[str, float] | None) -> None:
        """Whether the task has what the study asks for, by the first result. StudyError."""
        if metrics is None or self.is_checked:
            return
        self.is_checked = True
        names = (("objective", n) for n in filter(None, [self.study.objective]))
        for key, name in (*(("metrics", n) for n in self.study.metrics), *names):
            if name not in metrics:
                raise StudyError([key], not_one_of(tuple(metrics), name))
