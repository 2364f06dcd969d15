"""What a study is made of besides its task and axes: the search, the cost, and configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lowp.study._space import StudyError

__all__ = ["Configuration", "Cost", "Search", "at", "built", "not_one_of"]

METHODS = ("grid", "random", "sobol", "halving", "optuna")


@dataclass(frozen=True)
class Configuration:
    """One call of the task: its place, its values of the axes, all arguments, what they cost."""

    number: int
    axes: Mapping[str, Any]
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]
    #: Of the task, its arguments, the files they name, and the version of the library.
    hash: str


@dataclass(frozen=True)
class Search:
    """Which configurations of the space are run.

    method: "grid" is all of them; "random" and "sobol" are `count` of them; "halving" runs all, or
    `count` random ones, with the first value of the axis `budget` (steps, say), and the best share
    `keep` of them with the next, and so on; "optuna" has Optuna's tree-structured Parzen estimator
    propose `count` of them, `batch` at a time, pruned by the median over the values of `budget`
    where there is one. seed: of all random choices. The choice depends on results alone, so it is
    the same on any runner and after a restart.
    """

    method: str = "grid"
    count: int = 0
    seed: int = 0
    budget: str = ""
    keep: float = 1 / 3
    batch: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be searched. StudyError."""
        if self.method not in METHODS:
            raise StudyError(["search", "method"], not_one_of(METHODS, self.method))
        for name, least in (("count", 0), ("seed", 0), ("batch", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise StudyError(
                    ["search", name], f"expected an integer of {least} or more; got {value!r}"
                )
        if self.method in ("random", "sobol", "optuna") and self.count == 0:
            raise StudyError(["search"], f"{self.method} needs a count of configurations")
        if self.method == "halving" and not self.budget:
            raise StudyError(["search"], 'halving needs a budget: the name of an axis, as "steps"')
        if self.budget and self.method not in ("halving", "optuna"):
            raise StudyError(["search", "budget"], f"{self.method} takes none")
        if not (isinstance(self.keep, int | float) and 0 < self.keep < 1):
            raise StudyError(["search", "keep"], f"expected 0 < keep < 1; got {self.keep!r}")


@dataclass(frozen=True)
class Cost:
    """What configurations cost. model: "proxies" (`lowp.study.cost.proxies`), "none", or a function
    or "module:function" of the operands' formats and the accumulator's name that returns numbers by
    name. operands: parameters of the task that hold formats; without them all that do count for
    `bits`, and the first two are multiplied. accumulator: a format, or the parameter that names it.
    """

    model: Any = "proxies"
    operands: Sequence[str] = ()
    accumulator: str = "float32"

    def __post_init__(self) -> None:
        """A list from a file becomes a tuple."""
        object.__setattr__(self, "operands", tuple(self.operands))


@contextmanager
def at(keys: Sequence[str]) -> Iterator[None]:
    """What is refused inside is a StudyError at these keys."""
    try:
        yield
    except StudyError:
        raise
    except ModuleNotFoundError as error:
        raise StudyError(keys, f"this needs {error.name}, which is not installed") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise StudyError(keys, str(error)) from error


def not_one_of(words: Sequence[str], word: Any) -> str:
    near = get_close_matches(str(word), words, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected one of {', '.join(words)}; got {word!r}{hint}"


def built(kind: Any, data: Mapping[str, Any], key: str) -> Any:
    known = list(kind.__dataclass_fields__)
    for name in data:
        if name not in known:
            raise StudyError([key, name], not_one_of(known, name))
    return kind(**data)
