"""Study: which task, over which axes, under which constraints; its configurations one by one."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lowp
from lowp.study import cost as _cost
from lowp.study import tasks
from lowp.study._parts import Configuration, Cost, Search, at, built, not_one_of
from lowp.study._space import Constraint, Range, StudyError, axis_values, products, template_fields
from lowp.study.parameters import Parameter, parameters_of

if TYPE_CHECKING:
    from lowp.study.store import Store

__all__ = ["Configuration", "Cost", "Search", "Study"]

GOALS = ("minimize", "maximize")
_COSTS = ("multiplier_area", "multiplier_energy", "adder_area", "adder_energy")
#: What is known of a configuration whose task takes formats.
FACTS = ("bits", "exponent_bits", "mantissa_bits", *_COSTS)


@dataclass(frozen=True)
class Study:
    """A task over a space of configurations.

    task: a name of `lowp.study.tasks.NAMES`, "module:function", or a function. axes: values by
    name, or several such tables, whose products are joined: lists with patterns as "e{2..5}m3", or
    ranges {"low": ..., "high": ..., "count": ..., "log": ...}. An axis is a parameter of the task
    or part of a template in `derive`, {"format": "{element}/{block}"}. settings: arguments that all
    configurations share. constraints: see `Constraint`. metrics: those to keep, all without it;
    objective: what search and reports go by, the first metric without it, and goal. replicates:
    axes that only repeat, such as seeds. StudyError (a ValueError) says what is wrong and where;
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
        for key in ("constraints", "metrics", "replicates"):
            value = getattr(self, key)
            if isinstance(value, str) or not all(isinstance(x, str) for x in value):
                raise StudyError([key], f"expected a list of texts; got {value!r:.60}")
            object.__setattr__(self, key, tuple(value))
        object.__setattr__(self, "axes", self._axes())
        if self.search.budget:
            self._check_budget()

    def _axes(self) -> tuple[dict[str, Any], ...]:
        tables = self.axes if isinstance(self.axes, list | tuple) else [self.axes]
        if not tables or not all(isinstance(table, Mapping) and table for table in tables):
            raise StudyError(["axes"], "expected a table of axes, such as format = ['e4m3fn']")
        found = []
        for table in tables:
            values = {}
            for name, given in table.items():
                with at(["axes", name]):
                    values[name] = axis_values(given)
            found.append(values)
        return tuple(found)

    def _check_budget(self) -> None:
        name = self.search.budget
        for table in self.axes:
            if name not in table:
                raise StudyError(["search", "budget"], f"expected an axis; got {name!r}")
            values = table[name]
            if isinstance(values, Range) or any(isinstance(v, bool | str) for v in values):
                raise StudyError(["axes", name], "a budget's values are a list of numbers")
            if list(values) != sorted(values):
                raise StudyError(["axes", name], f"a budget's values rise; got {values!r}")

    def replace(self, **changes: Any) -> Study:
        """The study with other fields."""
        return replace(self, **{"source": "", **changes})

    def run(self, directory: str | Path | None = None, **options: Any) -> Store:
        """Run it; directory and options are those of `lowp.study.run`."""
        from lowp.study._run import run

        return run(self, directory, **options)

    # ---- names -----------------------------------------------------------------------------------

    @property
    def axis_names(self) -> tuple[str, ...]:
        """All axes, in the order in which they were given."""
        return tuple(dict.fromkeys(name for table in self.axes for name in table))

    @property
    def task_name(self) -> str:
        """The task as a text."""
        return tasks.name_of(self.task)

    @cached_property
    def function(self) -> tasks.Task:
        """The task's function. StudyError: there is none."""
        with at(["task"]):
            return tasks.resolve(self.task, self.folder)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The task's parameters by name. StudyError."""
        with at(["task"]):
            return parameters_of(self.function)

    # ---- checks against the task -----------------------------------------------------------------

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Defaults and settings, checked. StudyError: what the task does not take or lacks."""
        given = {}
        for name, p in self.parameters.items():
            if p.default is not inspect.Parameter.empty:
                given[name] = p.default
        for name, value in self.settings.items():
            given[name] = self._value(name, value, ["settings", name])
        used = {x for text in self.derive.values() for x in template_fields(text)}
        for name, text in self.derive.items():
            self._parameter(name, ["derive", name])
            for word in template_fields(text):
                if word not in self.axis_names:
                    problem = f"{text!r} asks for {not_one_of(self.axis_names, word)}"
                    raise StudyError(["derive", name], problem)
        for table in self.axes:
            for name in table:
                if name not in used:
                    self._parameter(name, ["axes", name])
            missing = [
                name
                for name in self.parameters
                if name not in given and name not in table and name not in self.derive
            ]
            if missing:
                problem = f"the task {self.task_name!r} needs {missing[0]!r}: an axis or a setting"
                raise StudyError(["axes"], problem)
        for name in (*self.cost.operands,):
            self._parameter(name, ["cost", "operands"])
        return given

    def _parameter(self, name: str, keys: Sequence[str]) -> Parameter:
        if name not in self.parameters:
            near = get_close_matches(name, self.parameters, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.parameters)}"
            raise StudyError(keys, f"the task {self.task_name!r} has no parameter {name!r}; {hint}")
        return self.parameters[name]

    def _value(self, name: str, value: Any, keys: Sequence[str]) -> Any:
        known = self._checked.get((name, type(value), value))
        if known is None:
            parameter = self._parameter(name, keys)
            with at(keys):
                known = (parameter.checked(value),)
            self._checked[name, type(value), value] = known
        return known[0]

    @cached_property
    def _checked(self) -> dict[Any, tuple[Any]]:
        return {}

    @cached_property
    def _constraints(self) -> list[tuple[Constraint, bool]]:
        """The constraints, and whether they need facts. StudyError: unknown names."""
        known = {*self.parameters, *self.axis_names}
        found = []
        for text in self.constraints:
            try:
                tree = ast.parse(text.strip(), mode="eval")
            except SyntaxError as error:
                raise StudyError(
                    ["constraints"], f"{text!r} is no expression: {error.msg}"
                ) from error
            called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
            names = {
                n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called
            }
            for name in names - known:
                if name not in FACTS and self.cost.model == "proxies":
                    words = (*FACTS, *sorted(known))
                    raise StudyError(["constraints"], f"{text!r}: {not_one_of(words, name)}")
            found.append((Constraint(text.strip()), bool(names - known)))
        return sorted(found, key=lambda pair: pair[1])

    # ---- configurations --------------------------------------------------------------------------

    def configuration(self, axes: Mapping[str, Any], number: int = 0) -> Configuration | None:
        """The configuration at these values of the axes; None where a constraint leaves it out.

        StudyError: a value that the task does not take, as a format that is impossible.
        """
        arguments = dict(self._settings)
        named = {name: value for name, value in axes.items() if name in self.parameters}
        derived = {}
        for name, template in self.derive.items():
            words = template_fields(template)
            if all(word in axes for word in words):
                text = template
                for word in words:
                    text = text.replace(f"{{{word}}}", str(axes[word]))
                derived[name] = text
        names = {**arguments, **axes, **derived}
        if not all(
            self._holds(c, names) for c, needs_facts in self._constraints if not needs_facts
        ):
            return None
        for name, value in named.items():
            arguments[name] = self._value(name, value, ["axes", name])
        for name, value in derived.items():
            arguments[name] = self._value(name, value, ["derive", name])
        facts = self._facts(arguments)
        names |= {**facts, **arguments}
        if not all(self._holds(c, names) for c, needs_facts in self._constraints if needs_facts):
            return None
        # of an axis that only another table has, what this one uses
        known = {**axes, **arguments}
        shown = {name: known[name] for name in self.axis_names if name in known}
        return Configuration(number, shown, arguments, facts, self._hash(arguments))

    def grid(self) -> Iterator[Configuration]:
        """All configurations of the tables' products, each once, in order. StudyError."""
        number, seen = 0, set()
        for table in self.axes:
            lists = {}
            for name, values in table.items():
                with at(["axes", name]):
                    lists[name] = values.values() if isinstance(values, Range) else values
            for axes in products(lists):
                found = self.configuration(axes, number)
                if found is not None and found.hash not in seen:
                    seen.add(found.hash)
                    number += 1
                    yield found

    def check(self) -> int:
        """The number of configurations of the grid, or of the search; all of them are possible.

        StudyError: what is wrong; ranges without a count are tried at both ends.
        """
        if self.search.method in ("grid", "halving"):
            count = sum(1 for _ in self.grid())
            if count == 0:
                raise StudyError(["constraints"], "no configuration is left")
            return min(count, self.search.count or count)
        for table in self.axes:
            for axes in products(
                {n: [v.low, v.high] if isinstance(v, Range) else v for n, v in table.items()}
            ):
                self.configuration(axes)
        return self.search.count

    def _holds(self, constraint: Constraint, names: Mapping[str, Any]) -> bool:
        with at(["constraints"]):
            return constraint.holds(names)

    # ---- facts -----------------------------------------------------------------------------------

    def _facts(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Bits and costs of the formats among the arguments; nothing where there are none."""
        wanted = self.cost.operands or [n for n, p in self.parameters.items() if p.is_format]
        key = tuple(arguments[n] for n in wanted if arguments.get(n, "none") != "none")
        accumulator = arguments.get(self.cost.accumulator, self.cost.accumulator)
        if not key:
            return {}
        if (key, accumulator) not in self._known_facts:
            self._known_facts[key, accumulator] = self._found_facts(key, accumulator)
        return self._known_facts[key, accumulator]

    @cached_property
    def _known_facts(self) -> dict[Any, dict[str, Any]]:
        return {}

    def _found_facts(self, operands: tuple[str, ...], accumulator: str) -> dict[str, Any]:
        sizes = [_cost.bits(operand) for operand in operands]
        facts: dict[str, Any] = {"bits": sum(sizes) / len(sizes)}
        target = lowp.block_format(operands[0]) if lowp.is_block_format(operands[0]) else None
        element = target.element if target is not None else lowp.format(operands[0])
        if isinstance(element, lowp.Format):
            facts["exponent_bits"] = element.exponent_bits
            facts["mantissa_bits"] = element.mantissa_bits
        if self.cost.model == "none":
            return facts
        x, w = (operands * 2)[:2]
        if self.cost.model == "proxies":
            return facts | _cost.proxies(x, w, accumulator)
        with at(["cost", "model"]):
            model = tasks.resolve(self.cost.model, self.folder)
            return facts | {name: float(value) for name, value in model(x, w, accumulator).items()}

    def _hash(self, arguments: Mapping[str, Any]) -> str:
        content = []
        for name, value in arguments.items():
            kind = self.parameters[name].kind
            if kind is not None and kind.fingerprint is not None:
                if (name, value) not in self._prints:
                    self._prints[name, value] = kind.fingerprint(value)
                content.append([name, self._prints[name, value]])
        ordered = sorted(arguments.items())
        text = json.dumps([*self._identity, ordered, sorted(content)])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @cached_property
    def _prints(self) -> dict[Any, str]:
        return {}

    @cached_property
    def _identity(self) -> tuple[str, str, str]:
        return self.task_name, tasks.digest(self.task, self.function), lowp.__version__
