"""What runs a study's tasks: this process, processes of this machine, or Dask's workers.

Each is a `concurrent.futures.Executor`, lent for a run and given back whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

__all__ = ["RUNNERS", "Here", "lent", "single_threaded_libraries"]

RUNNERS = ("process", "pool", "dask")
#: What keeps libraries on one thread, from before they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: How long a scheduler has to answer.
_CONNECT = "10s"
#: Seconds that a worker has to end when it is asked to.
_GRACE = 3.0


@contextlib.contextmanager
def lent(
    runner: str, workers: int, scheduler: str, options: Mapping[str, Any]
) -> Iterator[tuple[Executor, int]]:
    """The executor of a runner, and how many tasks it has at a time. After an error, what still
    runs is ended.
    """
    with contextlib.ExitStack() as stack:
        executor: Executor
        if runner == "dask":
            executor, width = stack.enter_context(_dask(workers, scheduler, options))
        elif runner == "pool":
            executor, width = Workers(workers), workers
        else:
            executor, width = Here(), 1
        stack.callback(executor.shutdown, wait=False)
        yield executor, width
        executor.shutdown()


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextlib.contextmanager
def single_threaded_libraries() -> Iterator[None]:
    """One thread for NumPy's and SciPy's libraries here, and for those that workers load."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin_worker() -> None:
    """What a worker process does first: Ctrl-C is the business of the process that waits for it,
    and where that is gone, the worker goes, too.
    """
    import signal
    from multiprocessing import parent_process
    from multiprocessing.connection import wait as wait_for

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Workers(Executor):
    """Processes, each in a pool of its own: one that dies takes along only what it ran, and a pool
    of several may hang where one of them dies while another starts.
    """

    def __init__(self, count: int) -> None:
        # each with what it does or did last
        self._last: dict[ProcessPoolExecutor, Future[Any]] = {}
        try:
            for _ in range(count):
                pool = self._another()
                self._last[pool] = pool.submit(int)
            for future in self._last.values():
                future.result()
        except BaseException as error:
            self.shutdown(wait=False)  # those that did start; Ctrl-C may come before all have
            if not isinstance(error, BrokenProcessPool):
                raise
            raise RuntimeError(
                "worker processes do not start; a script that runs a study with several workers "
                "does so under `if __name__ == '__main__':`, as they read it, too"
            ) from None

    def _another(self) -> ProcessPoolExecutor:
        """A pool more, known from before its process starts."""
        # spawn: a fork would copy the threads' locks of the libraries that are loaded here
        pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin_worker)
        self._last[pool] = Future()
        return pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """For a worker that has nothing to do: there is one."""
        pool = next(pool for pool, last in self._last.items() if last.done())
        try:
            future = pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:  # it died
            pool.shutdown()
            del self._last[pool]
            pool = self._another()
            future = pool.submit(fn, *args, **kwargs)
        self._last[pool] = future
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Without wait, what still runs is ended. A second time there is nothing left to do."""
        if not wait:
            processes = [p for pool in self._last for p in (pool._processes or {}).values()]
            for process in processes:
                process.terminate()
            end = time.monotonic() + _GRACE
            for process in processes:
                process.join(max(0.0, end - time.monotonic()))
                process.kill()
        for pool in self._last:
            pool.shutdown(cancel_futures=cancel_futures)
        self._last.clear()


@contextlib.contextmanager
def _dask(
    workers: int, scheduler: str, options: Mapping[str, Any]
) -> Iterator[tuple[Executor, int]]:
    """Dask's executor: of a scheduler's address, of Slurm, or of a cluster on this machine."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ValueError("this runner needs Dask: pip install 'lowp[dask]'") from error
    with contextlib.ExitStack() as stack:
        if scheduler in ("", "local"):
            given = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
            cluster = LocalCluster(n_workers=workers, **{**given, **options})
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        elif scheduler == "slurm":
            if shutil.which("sbatch") is None:
                raise ValueError("there is no sbatch here: run where Slurm's jobs are sent from")
            try:
                from dask_jobqueue import SLURMCluster
            except ModuleNotFoundError as error:
                raise ValueError("Slurm needs dask-jobqueue: pip install 'lowp[dask]'") from error
            cluster = SLURMCluster(**{"cores": 1, "processes": 1, "memory": "4GB", **options})
            cluster.scale(workers)
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        else:
            try:
                client = stack.enter_context(Client(scheduler, timeout=_CONNECT))
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"no Dask scheduler at {scheduler!r} ({error}); give an address such as "
                    "tcp://host:8786, 'local' or 'slurm'"
                ) from error
        # some are ready when a worker asks
        width = 3 * max(workers, len(client.ncores()))
        yield client.get_executor(pure=False, retries=0), width
