"""The values of axes and their products: patterns of names, ranges of numbers, constraints."""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

__all__ = ["Constraint", "Range", "StudyError", "axis_values", "expand", "template_fields"]

_CHOICE = re.compile(r"\{(?:(-?\d+)\.\.(-?\d+)(?:\.\.([1-9]\d*))?|([^{},]*\|[^{},]*))\}")
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
#: Names that one pattern may make: a slip such as e{1..99999} is refused, not run.
_MOST = 100_000


class StudyError(ValueError):
    """What is wrong with a study, and at which of its keys, such as ("axes", "format")."""

    def __init__(self, keys: Sequence[str], problem: str, place: int = -1) -> None:
        super().__init__(f"{'.'.join(keys)}: {problem}" if keys else problem)
        self.keys = tuple(keys)
        self.problem = problem
        #: Which of several tables of axes; -1 where that is not known.
        self.place = place

    def __reduce__(self) -> Any:
        return type(self), (self.keys, self.problem, self.place)


def expand(pattern: str) -> list[str]:
    """All names of a pattern: {2..5} counts, {8..64..8} counts in steps, {a|b} are alternatives.

    The first brace varies slowest; a pattern without braces is itself. Codebooks such as
    {-1,-0.5,0.5,1} have commas and stay. ValueError: a range that ends before it begins, too many.
    """
    choices, rest = [], []
    end = 0
    for found in _CHOICE.finditer(pattern):
        rest.append(pattern[end : found.start()])
        end = found.end()
        choices.append(_choices(pattern, found))
    rest.append(pattern[end:])
    count = math.prod(map(len, choices))
    if count > _MOST:
        raise ValueError(f"{pattern!r} makes {count} names; the limit is {_MOST}")
    return [
        "".join(itertools.chain(*zip(rest, picked, strict=False), rest[len(picked) :]))
        for picked in itertools.product(*choices)
    ]


def _choices(pattern: str, found: re.Match[str]) -> list[str]:
    low, high, step, words = found.groups()
    if words is not None:
        return words.split("|")
    if int(high) < int(low):
        raise ValueError(f"{found[0]} in {pattern!r} ends before it begins")
    return [str(i) for i in range(int(low), int(high) + 1, int(step or 1))]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high: `count` of them in a grid, any of them in a random search.

    log: evenly in the logarithm, for what is above zero. Ranges of two integers hold integers.
    """

    low: float
    high: float
    count: int = 0
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no range. ValueError."""
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} of a range must be a number; got {value!r}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range has low < high; got {self.low!r} and {self.high!r}")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise ValueError(
                f"count of a range must be an integer of 0 or more; got {self.count!r}"
            )
        if not isinstance(self.log, bool):
            raise ValueError(f"log of a range is true or false; got {self.log!r}")
        if self.count == 1:
            raise ValueError("a range has a count of at least 2, its ends; got 1")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0; got {self.low!r}")

    @property
    def is_whole(self) -> bool:
        """Whether it holds integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> int | float:
        """The number at a share of the way, 0 to 1."""
        if self.log:
            value = math.exp((1 - share) * math.log(self.low) + share * math.log(self.high))
        else:
            value = (1 - share) * self.low + share * self.high
        return round(value) if self.is_whole else min(max(value, self.low), self.high)

    def drawn(self, share: float) -> int | float:
        """A random number of a random share: integers are equally likely, but for logarithms."""
        if self.is_whole and not self.log:
            many = int(self.high) - int(self.low) + 1
            return int(self.low) + min(int(share * many), many - 1)
        return self.at(share)

    def values(self) -> list[int | float]:
        """The `count` numbers of a grid. ValueError: no count."""
        if self.count == 0:
            raise ValueError(
                "a grid needs a count of this range's numbers: add count = 5, or search at random"
            )
        inner = (self.at(i / (self.count - 1)) for i in range(1, self.count - 1))
        return list(dict.fromkeys([self.low, *inner, self.high]))


def axis_values(given: Any) -> list[Any] | Range:
    """What an axis holds: a list's values with patterns expanded, or a range. ValueError.

    A text that is a count alone, "{0..3}", is integers.

    given: a list, one value, or a mapping with the fields of Range. Values that repeat count once.
    """
    if isinstance(given, Range):
        return given
    if isinstance(given, Mapping):
        unknown = set(given) - {"low", "high", "count", "log"}
        if unknown or not {"low", "high"} <= set(given):
            raise ValueError(
                "a range has low and high, and may have count and log; got "
                + ", ".join(given or ["nothing"])
            )
        return Range(**given)
    if isinstance(given, str) or not isinstance(given, Sequence):
        given = [given]
    values: list[Any] = []
    for value in given:
        if isinstance(value, str):
            names = expand(value)
            values += map(int, names) if _CHOICE.fullmatch(value) and ".." in value else names
        elif isinstance(value, bool | int | float):
            values.append(value)
        else:
            raise ValueError(f"expected texts, numbers, true or false; got {value!r:.60}")
    if not values:
        raise ValueError("an axis needs at least one value; got none")
    # True == 1 and 1 == 1.0 are different values here
    return list({(type(value), value): value for value in values}.values())


def template_fields(template: str) -> list[str]:
    """Names of axes that a template such as "{element}/{block}" asks for."""
    return list(dict.fromkeys(_FIELD.findall(template)))


class Constraint:
    """An expression such as "bits <= 8 and block != 64" that configurations must fulfil.

    Python's operators and comparisons, numbers and texts, over the names of axes, settings, facts
    and costs; no assignments; the functions abs, min, max, log2, startswith. A cost that is not
    known is NaN, which no comparison but != holds of. ValueError: no expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        try:
            tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError) as error:
            says = error.msg if isinstance(error, SyntaxError) else str(error)
            hint = "; == compares" if re.search(r"[^<>=!]=[^=]", text) else ""
            raise ValueError(f"{text!r} is no expression: {says}{hint}") from error
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        #: What it asks for.
        self.names = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and id(node) not in called
        }

    @cached_property
    def _parsed(self) -> Any:
        return _evaluator({}).parse(self.text)

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Whether it is fulfilled. ValueError: it cannot be told."""
        try:
            found = _evaluator(names).eval(self.text, previously_parsed=self._parsed)
        except Exception as error:
            known = ", ".join(sorted(names))
            raise ValueError(f"{self.text!r}: {error}; the names are {known}") from error
        if not isinstance(found, bool):
            raise ValueError(f"{self.text!r} must be true or false; got {found!r}")
        return found


def _evaluator(names: Mapping[str, Any]) -> Any:
    from simpleeval import SimpleEval

    functions = {
        "abs": abs,
        "min": min,
        "max": max,
        "log2": math.log2,
        "startswith": str.startswith,
    }
    return SimpleEval(names=names, functions=functions)


def products(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of values, the last axis varying fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
