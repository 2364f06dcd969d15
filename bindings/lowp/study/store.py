"""The results of a study: one folder with its file, its rows in SQLite, and series beside them.

A row is written when its configuration is done, in one transaction: a run that is killed leaves
all rows that were done, each once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shlex
import sqlite3
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

import lowp
from lowp.study._file import from_dict, to_toml
from lowp.study._parts import Configuration
from lowp.study._study import Study

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcome", "Store", "open"]

DONE, FAILED = "done", "failed"
#: Counts changes of the tables.
_LAYOUT = 1
_SCHEMA = """
create table if not exists rows (
    hash text primary key, number integer not null, status text not null, axes text not null,
    facts text not null, metrics text not null, error text not null, seconds real not null,
    attempts integer not null, current integer not null);
create table if not exists notes (name text primary key, value text not null);
"""
_PACKAGES = ("numpy", "scipy", "torch", "transformers", "scikit-learn")


@dataclass(frozen=True)
class Outcome:
    """What came of a configuration: its numbers and series, or an error."""

    metrics: Mapping[str, float]
    series: Mapping[str, NDArray[Any]]
    seconds: float
    error: str = ""
    #: The task is for the next run of the study to go on with.
    is_paused: bool = False

    @property
    def status(self) -> str:
        """The word for it in the store."""
        return FAILED if self.error else DONE


class Store:
    """The folder of a study's results; `lowp.study.open` gives it for a folder that is there."""

    def __init__(self, path: str | Path, study: Study | None = None) -> None:
        self.path = Path(path)
        self._folder = self.path.absolute()  # wherever a task goes
        self._file = self._folder / "study.toml"
        if study is None:
            if not self._file.is_file() or not (self._folder / "rows.sqlite").is_file():
                raise ValueError(f"{self.path}: no results of a study; run one with this folder")
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.study = study

    @cached_property
    def study(self) -> Study:
        """The study, as it was run last."""
        text = self._file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
        data.setdefault("name", self.note("name") or self._folder.stem)
        return from_dict(data, self.note("folder"), text)

    @cached_property
    def _rows(self) -> sqlite3.Connection:
        path = self._folder / "rows.sqlite"
        try:
            rows = sqlite3.connect(path, timeout=60, isolation_level=None)
            # a transaction costs no wait for the disk; a crash of the machine may lose the last
            rows.execute("pragma journal_mode = wal")
            rows.execute("pragma synchronous = normal")
        except sqlite3.OperationalError:  # a folder that may only be read
            rows = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        (layout,) = rows.execute("pragma user_version").fetchone()
        if layout == 0:
            rows.executescript(_SCHEMA)
            rows.execute(f"pragma user_version = {_LAYOUT}")
        elif layout != _LAYOUT:
            raise ValueError(
                f"{self.path}: written by another version of lowp (layout {layout}, this one has "
                f"{_LAYOUT}); read it with that one, or run the study in a new folder"
            )
        return rows

    def close(self) -> None:
        """Close the file; the store opens it again when it is asked."""
        if "_rows" in self.__dict__:
            self._rows.close()
            del self.__dict__["_rows"]

    # ---- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """The right to add rows, which one process has at a time. ValueError: another has it."""
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ValueError(f"{self.path}: another run is adding to this study") from error
            self._check_same()
            part = self._file.with_suffix(".part")
            part.write_text(to_toml(self.study), encoding="utf-8")
            part.replace(self._file)
            for left in self._folder.glob("series/*.part"):
                left.unlink(missing_ok=True)
            self.set_note("folder", self.study.folder)
            self.set_note("name", self.study.name)  # of the file, where that gives none
            self.set_note("versions", json.dumps(_versions()))
            if "resume" not in sys.argv[1:3] or not self.command:
                self.set_note("command", _command())
            try:
                yield
            finally:  # a process that a task forked has the file open, too
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _check_same(self) -> None:
        """Refuse a folder that holds another study. ValueError."""
        if not self._file.is_file():
            return
        held = tomllib.loads(self._file.read_text(encoding="utf-8"))
        ours = self.study.name, self.study.task_name
        theirs = held.get("name", ours[0]), held.get("task")
        if theirs != ours:
            raise ValueError(
                f"{self.path}: holds the study {theirs[0]!r} of {theirs[1]}; this is {ours[0]!r} "
                f"of {ours[1]}: choose another folder (--out)"
            )

    def add(self, configuration: Configuration, outcome: Outcome) -> None:
        """Write what came of a configuration, in place of what came of it before."""
        if outcome.series:
            folder = self._folder / "series"
            folder.mkdir(exist_ok=True)
            part = folder / f"{configuration.hash}.{os.getpid()}.part"
            # as np.savez does, whose own arguments are no names of series
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, values in outcome.series.items():
                    with archive.open(f"{name}.npy", "w") as file:
                        np.lib.format.write_array(file, values, allow_pickle=False)
            part.replace(folder / f"{configuration.hash}.npz")
        row = (
            configuration.hash,
            configuration.number,
            outcome.status,
            json.dumps(configuration.axes),
            json.dumps(configuration.facts),
            json.dumps(dict(outcome.metrics)),
            outcome.error,
            outcome.seconds,
        )
        self._rows.execute(
            "insert into rows values (?, ?, ?, ?, ?, ?, ?, ?, 1, 1) on conflict (hash) do update "
            "set number = excluded.number, status = excluded.status, axes = excluded.axes, "
            "facts = excluded.facts, metrics = excluded.metrics, error = excluded.error, "
            "seconds = excluded.seconds, attempts = attempts + 1, current = 1",
            row,
        )

    def mark(self, batch: Sequence[Configuration], *, first: bool) -> None:
        """Have the rows of a batch stand where the study has them now. The first batch of a run
        hides the rows of all others: those of another version, of other settings, or of values
        that the study had before. They are kept for when they are asked for again.
        """
        places = [(c.number, json.dumps(c.axes), json.dumps(c.facts), c.hash) for c in batch]
        self._rows.execute("begin immediate")
        if first:
            self._rows.execute("update rows set current = 0")
        self._rows.executemany(
            "update rows set current = 1, number = ?, axes = ?, facts = ? where hash = ?", places
        )
        self._rows.execute("commit")

    def set_note(self, name: str, value: str) -> None:
        """Write a word about the study."""
        self._rows.execute("insert or replace into notes values (?, ?)", (name, value))

    # ---- reading ---------------------------------------------------------------------------------

    def note(self, name: str) -> str:
        """A word about the study; empty where it was not written."""
        found = self._rows.execute("select value from notes where name = ?", (name,)).fetchone()
        return found[0] if found else ""

    @property
    def command(self) -> str:
        """The command that ran the study last."""
        return self.note("command")

    def versions(self) -> dict[str, str]:
        """What the last run ran with: versions of packages, Python, system and processor."""
        return dict(json.loads(self.note("versions") or "{}"))

    def done(self) -> dict[str, dict[str, float]]:
        """The metrics of all that was ever done here, by hash."""
        found = self._rows.execute("select hash, metrics from rows where status = ?", (DONE,))
        return {key: json.loads(metrics) for key, metrics in found}

    def count(self) -> dict[str, int]:
        """The number of rows by status."""
        found = self._rows.execute(
            "select status, count(*) from rows where current group by status"
        )
        return dict(found.fetchall())

    def rows(self) -> list[dict[str, Any]]:
        """Every row as a dict: number, hash, status, axes, facts, metrics, seconds, error."""
        found = self._rows.execute(
            "select number, hash, status, axes, facts, metrics, seconds, error from rows "
            "where current order by number, hash"
        )
        shown = {*self.metrics}
        rows = []
        for number, key, status, axes, facts, metrics, seconds, error in found:
            row = {"number": number, "hash": key, "status": status, **json.loads(axes)}
            # where names meet, an axis is what was asked for, and a metric what was measured
            measured = {k: v for k, v in json.loads(metrics).items() if k in shown}
            rest = {**json.loads(facts), **measured}
            row |= {k: v for k, v in rest.items() if k not in row}
            rows.append({**row, "seconds": seconds, "error": error})
        return rows

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the study shows: its own list, or all that any row has."""
        if self.study.metrics:
            chosen = self.study.objective, *self.study.metrics
            return tuple(dict.fromkeys(name for name in chosen if name))
        found = self._rows.execute("select metrics from rows where current order by number, hash")
        return tuple(dict.fromkeys(name for (text,) in found for name in json.loads(text)))

    @property
    def objective(self) -> str:
        """The metric that the study goes by. ValueError: nothing was measured."""
        names = self.metrics
        if not names:
            raise ValueError(f"{self.path}: no configuration is done, so there is no metric")
        return self.study.objective or names[0]

    def frame(self) -> pd.DataFrame:
        """All rows as a table of pandas: number, hash, status, the axes, the facts and costs, the
        metrics, seconds and error.
        """
        import pandas as pd

        columns = ["number", "hash", "status", *self.study.axis_names]
        frame = pd.DataFrame(self.rows())
        rest = [c for c in frame.columns if c not in (*columns, "seconds", "error")]
        return frame.reindex(columns=[*columns, *rest, "seconds", "error"])

    def series(self, hash: str) -> dict[str, NDArray[np.float64]]:
        """The arrays of a row, such as its loss curve; none where it has none."""
        path = self._folder / "series" / f"{hash}.npz"
        if not path.exists():
            return {}
        with np.load(path) as found:
            return {name: np.asarray(found[name], np.float64) for name in found.files}


def open(directory: str | Path) -> Store:
    """The results in a folder. ValueError: there are none."""
    return Store(directory)


def _command() -> str:
    program = Path(sys.argv[0]).name
    words = ["python -m lowp" if program == "__main__.py" else program, *sys.argv[1:]]
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def _versions() -> dict[str, str]:
    found = {"lowp": lowp.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {
        **found,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
