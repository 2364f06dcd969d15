"""Study: which task, over which axes, under which constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowp.study import tasks
from lowp.study._bound import Bound
from lowp.study._parts import Configuration, Cost, Search, at, built, not_one_of
from lowp.study._space import Range, StudyError, axis_values
from lowp.study.parameters import Parameter

if TYPE_CHECKING:
    from lowp.study.store import Store

__all__ = ["RESERVED", "Study"]

GOALS = ("minimize", "maximize")
#: Columns of every row; no axis and no metric has such a name.
RESERVED = ("number", "hash", "status", "seconds", "error")


@dataclass(frozen=True)
class Study:
    """A task over a space of configurations.

    task: a name of `lowp.study.tasks.NAMES`, "module:function", or a function. axes: values by
    name, or several such tables, whose products are joined: lists with patterns as "e{2..5}m3", or
    ranges {"low": ..., "high": ..., "count": ..., "log": ...}. An axis is a parameter of the task
    or part of a template in `derive`, {"format": "{element}/{block}"}. settings: arguments that all
    configurations share. constraints: see `Constraint`; one over an axis that a table lacks is not
    asked there. metrics: those that results show, all without it; objective: what search and
    reports go by, the first metric without it, and goal. replicates: axes that only repeat, such as
    seeds. scenarios: axes that are conditions and no choices, such as the data or the model:
    reports look for the best within each. StudyError (a ValueError) says what is wrong and where;
    the task's parameters are compared when configurations are made, before anything runs.
    """

    task: Any
    axes: Any
    name: str = "study"
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    derive: Mapping[str, str] = field(default_factory=dict)
    constraints: Sequence[str] = ()
    metrics: Sequence[str] = ()
    objective: str | None = None
    goal: str = "minimize"
    replicates: Sequence[str] = ("seed",)
    scenarios: Sequence[str] = ()
    search: Search = field(default_factory=Search)
    cost: Cost = field(default_factory=Cost)
    #: Where modules of own tasks are looked for first.
    folder: str = ""
    #: The text of the file that it is from.
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Bring the fields into one shape. StudyError."""
        if not isinstance(self.name, str) or not self.name or set("/\\\0") & set(self.name):
            raise StudyError(["name"], f"expected a name for a folder; got {self.name!r}")
        if self.goal not in GOALS:
            raise StudyError(["goal"], not_one_of(GOALS, self.goal))
        for key, kind in (("search", Search), ("cost", Cost)):
            if isinstance(getattr(self, key), Mapping):
                object.__setattr__(self, key, built(kind, getattr(self, key), key))
        for key in ("constraints", "metrics", "replicates", "scenarios"):
            value = getattr(self, key)
            if isinstance(value, str) or not all(isinstance(x, str) for x in value):
                raise StudyError([key], f"expected a list of texts; got {value!r:.60}")
            object.__setattr__(self, key, tuple(value))
        for name, text in self.derive.items():
            if not isinstance(text, str):
                raise StudyError(["derive", name], f"expected a text; got {text!r:.60}")
        object.__setattr__(self, "axes", self._axes())
        if self.search.budget:
            self._check_budget()

    def _axes(self) -> tuple[dict[str, Any], ...]:
        tables = self.axes if isinstance(self.axes, list | tuple) else [self.axes]
        if not tables or not all(isinstance(table, Mapping) and table for table in tables):
            raise StudyError(["axes"], "expected a table of axes, such as format = ['e4m3fn']")
        found = []
        for place, table in enumerate(tables):
            values = {}
            for name, given in table.items():
                if name in RESERVED:
                    raise StudyError(["axes", name], "every row has a column of this name", place)
                try:
                    with at(["axes", name]):
                        values[name] = axis_values(given)
                except StudyError as error:
                    raise StudyError(error.keys, error.problem, place) from error
            found.append(values)
        return tuple(found)

    def _check_budget(self) -> None:
        name = self.search.budget
        for place, table in enumerate(self.axes):
            if name not in table:
                raise StudyError(["search", "budget"], not_one_of(list(table), name))
            values = table[name]
            problem = ""
            if isinstance(values, Range) or any(isinstance(v, bool | str) for v in values):
                problem = "a budget's values are a list of numbers"
            elif list(values) != sorted(values):
                problem = f"a budget's values rise; got {values!r}"
            elif values != self.axes[0][name]:
                problem = f"the tables of axes differ in the budget {name!r}"
            if problem:
                raise StudyError(["axes", name], problem, place)

    def replace(self, **changes: Any) -> Study:
        """The study with other fields."""
        return replace(self, **{"source": "", **changes})

    def run(self, directory: str | Path | None = None, **options: Any) -> Store:
        """Run it; directory and options are those of `lowp.study.run`."""
        from lowp.study._run import run

        return run(self, directory, **options)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """All axes, in the order in which they were given."""
        return tuple(dict.fromkeys(name for table in self.axes for name in table))

    @property
    def task_name(self) -> str:
        """The task as a text."""
        return tasks.name_of(self.task)

    @cached_property
    def bound(self) -> Bound:
        """The study with its task. StudyError: they do not fit."""
        return Bound(self)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The task's parameters by name. StudyError."""
        return self.bound.parameters

    def grid(self) -> Iterator[Configuration]:
        """All configurations of the tables' products, each once, in order. StudyError."""
        return self.bound.grid()

    def check(self) -> int:
        """The number of configurations that a run makes, for Optuna the most. StudyError: what is
        wrong; of random searches every value of an axis is tried.
        """
        from lowp.study._search import size_of

        return size_of(self)
