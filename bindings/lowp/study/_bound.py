"""A study and its task: the configurations one by one, what they cost, what they are known by."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lowp
from lowp import _targets
from lowp.study import cost, tasks
from lowp.study._parts import Configuration, at, hint, not_one_of
from lowp.study._space import Constraint, Range, StudyError, products, template_fields
from lowp.study.parameters import Parameter, parameters_of

if TYPE_CHECKING:
    from lowp.study._study import Study

__all__ = ["Bound"]

_COSTS = ("multiplier_area", "multiplier_energy", "adder_area", "adder_energy")
#: What is known of a configuration whose task takes formats.
FACTS = ("bits", "exponent_bits", "mantissa_bits", *_COSTS)


class Bound:
    """A study whose axes, settings and constraints fit its task. StudyError: they do not."""

    def __init__(self, study: Study) -> None:
        self.study = study
        with at(["task"]):
            self.function = tasks.resolve(study.task, study.folder)
            self.parameters = parameters_of(self.function)
            self.identity = [
                tasks.name_of(study.task),
                tasks.digest(study.task, self.function),
                lowp.__version__,
            ]
        self._checked: dict[Any, Any] = {}
        self._prints: dict[Any, str] = {}
        self._known_facts: dict[Any, dict[str, Any]] = {}
        with tasks.inside(study.folder):
            self.fixed = self._fixed()
        self._check_axes()
        self._check_metrics()
        self.operands = self._operands()
        self.constraints = [self._constraint(text) for text in study.constraints]

    # ---- what fits the task ----------------------------------------------------------------------

    def _fixed(self) -> dict[str, Any]:
        """Defaults and settings."""
        found = {}
        for name, p in self.parameters.items():
            if p.default is not inspect.Parameter.empty:
                with at(["task"]):
                    found[name] = p.checked(p.default)
        for name, value in self.study.settings.items():
            found[name] = self.value(name, value, ["settings", name])
        return found

    def _check_axes(self) -> None:
        study = self.study
        for name, text in study.derive.items():
            self.parameter(name, ["derive", name])
            for word in template_fields(text):
                if word not in study.axis_names:
                    known = hint(
                        study.axis_names, word, f"; the axes are {', '.join(study.axis_names)}"
                    )
                    problem = f"{text!r} asks for {word!r}, which is no axis{known}"
                    raise StudyError(["derive", name], problem)
        used = {word for text in study.derive.values() for word in template_fields(text)}
        for place, table in enumerate(study.axes):
            made = {n for n, text in study.derive.items() if set(template_fields(text)) <= {*table}}
            for name in table:
                if name not in used:
                    self.parameter(name, ["axes", name], place)
                for other, names in (("settings", study.settings), ("derive", made)):
                    if name in names:
                        raise StudyError(["axes", name], f"{name!r} is in {other}, too", place)
            for name in self.parameters:
                if name not in self.fixed and name not in table and name not in made:
                    problem = f"the task {study.task_name!r} needs {name!r}: an axis or a setting"
                    raise StudyError(["axes"], problem, place)
        repeated = {*study.axis_names, *self.parameters, "seed"}
        for name in study.replicates:
            if name not in repeated:
                raise StudyError(["replicates"], not_one_of(study.axis_names, name))
        for name in study.scenarios:
            if name not in study.axis_names:
                raise StudyError(["scenarios"], not_one_of(study.axis_names, name))
            if name in study.replicates:
                raise StudyError(["scenarios"], f"{name!r} is in replicates, too")

    def _check_metrics(self) -> None:
        """Refuse names that the task does not measure; of own tasks its first result tells."""
        known = tasks.metrics_of(self.study.task)
        asked = [("objective", self.study.objective)] if self.study.objective else []
        for key, name in (*(("metrics", name) for name in self.study.metrics), *asked):
            if known and name not in known:
                raise StudyError([key], not_one_of(known, name))

    def _operands(self) -> tuple[str, ...]:
        """The parameters whose formats count."""
        wanted = self.study.cost.operands
        for name in wanted:
            if not self.parameter(name, ["cost", "operands"]).is_format:
                raise StudyError(["cost", "operands"], f"{name!r} takes no format")
        accumulator = self.study.cost.accumulator
        if accumulator and accumulator not in self.parameters:
            with at(["cost", "accumulator"]):
                lowp.accumulator(accumulator)
        given = {*self.study.settings, *self.study.derive, *self.study.axis_names}
        found = [
            name
            for name, p in self.parameters.items()
            if p.is_format and not p.takes_none and (name in given or not p.has_default)
        ]
        return tuple(wanted or found)

    def _constraint(self, text: str) -> tuple[Constraint, bool]:
        """A constraint, and whether it needs facts."""
        with at(["constraints"]):
            found = Constraint(text)
        known = {*self.parameters, *self.study.axis_names}
        unknown = found.names - known
        for name in unknown:
            if name not in FACTS and self.study.cost.model == "proxies":
                problem = f"{text!r}: {not_one_of((*FACTS, *sorted(known)), name)}"
                raise StudyError(["constraints"], problem)
        return found, bool(unknown)

    def parameter(self, name: str, keys: Sequence[str], place: int = -1) -> Parameter:
        """The task's parameter of a name. StudyError: it has none."""
        if name not in self.parameters:
            known = hint([*self.parameters], name, f"; it has {', '.join(self.parameters)}")
            problem = f"the task {self.study.task_name!r} has no parameter {name!r}{known}"
            raise StudyError(keys, problem, place)
        return self.parameters[name]

    def value(self, name: str, value: Any, keys: Sequence[str]) -> Any:
        """A value as the task takes it. StudyError: it does not."""
        parameter = self.parameter(name, keys)
        if not isinstance(value, str | int | float | bool):
            with at(keys):
                return parameter.checked(value)
        key = name, type(value), value
        if key not in self._checked:
            with at(keys):
                self._checked[key] = parameter.checked(value)
        return self._checked[key]

    # ---- configurations --------------------------------------------------------------------------

    def values(self, place: int) -> dict[str, Sequence[Any] | Range]:
        """The axes of a table; ranges of parameters that take numbers hold no integers alone."""
        found: dict[str, Sequence[Any] | Range] = {}
        for name, values in self.study.axes[place].items():
            is_real = name in self.parameters and self.parameters[name].annotation is float
            if isinstance(values, Range) and is_real:
                values = Range(float(values.low), float(values.high), values.count, values.log)
            found[name] = values
        return found

    def grid(self) -> Iterator[Configuration]:
        """See Study.grid."""
        with tasks.inside(self.study.folder):
            found = list(self._grid())
        yield from found

    def _grid(self) -> Iterator[Configuration]:
        number, seen = 0, set()
        for place in range(len(self.study.axes)):
            lists = {}
            for name, values in self.values(place).items():
                with at(["axes", name]):
                    lists[name] = values.values() if isinstance(values, Range) else values
            for axes in products(lists):
                found = self._configuration(axes, number, place)
                if found is not None and found.hash not in seen:
                    seen.add(found.hash)
                    number += 1
                    yield found

    def configuration(
        self, axes: Mapping[str, Any], number: int = 0, place: int = -1
    ) -> Configuration | None:
        """The configuration at these values of the axes; None where a constraint leaves it out.

        StudyError: a value that the task does not take, as a format that is impossible.
        """
        with tasks.inside(self.study.folder):
            return self._configuration(axes, number, place)

    def _configuration(
        self, axes: Mapping[str, Any], number: int, place: int
    ) -> Configuration | None:
        derived = _derived(self.study.derive, axes)
        names = {**self.fixed, **axes, **derived}
        if not self._allowed(names, of_facts=False):
            return None
        arguments = dict(self.fixed)
        try:
            for name, value in axes.items():
                if name in self.parameters:
                    arguments[name] = self.value(name, value, ["axes", name])
            for name, value in derived.items():
                arguments[name] = self.value(name, value, ["derive", name])
        except StudyError as error:
            in_templates = {w for text in self.study.derive.values() for w in template_fields(text)}
            is_both = error.keys[0] == "axes" and error.keys[-1] in in_templates
            more = "; it is a parameter of the task: rename it if only derive needs it"
            raise StudyError(error.keys, error.problem + more * is_both, place) from error
        facts = self._facts(arguments)
        if not self._allowed({**names, **facts, **arguments}, of_facts=True):
            return None
        # of an axis that only another table has, what this one uses
        known = {**axes, **arguments}
        shown = {name: known[name] for name in self.study.axis_names if name in known}
        return Configuration(number, shown, arguments, facts, self._hash(arguments))

    def _allowed(self, names: Mapping[str, Any], *, of_facts: bool) -> bool:
        """Whether the constraints hold; one over an axis that a table lacks is not asked there."""
        with at(["constraints"]):
            return all(
                constraint.holds(names)
                for constraint, needs_facts in self.constraints
                if needs_facts == of_facts
                and not (constraint.names - names.keys()) & {*self.study.axis_names}
            )

    # ---- facts -----------------------------------------------------------------------------------

    def _facts(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Bits and costs of the formats among the arguments; nothing where there are none."""
        if not self.operands:
            return {}
        operands = tuple(
            "float32" if arguments[name] == "none" else arguments[name] for name in self.operands
        )
        wanted = self.study.cost.accumulator or "accumulator"
        accumulator = arguments.get(wanted, self.study.cost.accumulator or "float32")
        key = operands, "float32" if accumulator == "none" else accumulator
        if key not in self._known_facts:
            self._known_facts[key] = self._found_facts(*key)
        return self._known_facts[key]

    def _found_facts(self, operands: tuple[str, ...], accumulator: str) -> dict[str, Any]:
        sizes = [cost.bits(operand) for operand in operands]
        facts: dict[str, Any] = {"bits": sum(sizes) / len(sizes)}
        target = _targets.resolve(operands[0])
        element = target.element if isinstance(target, lowp.BlockFormat) else target
        if isinstance(element, lowp.Format):
            facts["exponent_bits"] = element.exponent_bits
            facts["mantissa_bits"] = element.mantissa_bits
        model = self.study.cost.model
        if model == "none":
            return facts
        x, w = (operands * 2)[:2]
        if model == "proxies":
            return facts | cost.proxies(x, w, accumulator)
        with at(["cost", "model"]):
            function = tasks.resolve(model, self.study.folder)
            try:
                found = function(x, w, accumulator)
            except Exception as error:
                raise ValueError(
                    f"it fails for {x}, {w}: {type(error).__name__}: {error}"
                ) from error
            if not isinstance(found, Mapping) or {*facts} & {*found}:
                names = ", ".join(facts)
                raise ValueError(
                    f"expected a dict of numbers, none called {names}; got {found!r:.80}"
                )
            return facts | {name: float(value) for name, value in found.items()}

    # ---- hashes ----------------------------------------------------------------------------------

    def _hash(self, arguments: Mapping[str, Any]) -> str:
        content = []
        for name, value in arguments.items():
            kind = self.parameters[name].kind
            if kind is not None and kind.fingerprint is not None:
                if (name, value) not in self._prints:
                    table = "settings" if name in self.study.settings else "axes"
                    with at([table, name]):
                        self._prints[name, value] = kind.fingerprint(value)
                content.append([name, self._prints[name, value]])
        text = json.dumps([*self.identity, sorted(arguments.items()), sorted(content)])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @cached_property
    def replicates(self) -> frozenset[str]:
        """The axes that only repeat."""
        return frozenset(self.study.replicates) & frozenset(self.study.axis_names)


def _derived(derive: Mapping[str, str], axes: Mapping[str, Any]) -> dict[str, str]:
    """The templates whose words are all there, filled in."""
    found = {}
    for name, template in derive.items():
        words = template_fields(template)
        if all(word in axes for word in words):
            found[name] = template
            for word in words:
                found[name] = found[name].replace(f"{{{word}}}", str(axes[word]))
    return found
