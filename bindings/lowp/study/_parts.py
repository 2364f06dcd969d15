"""What a study is made of besides its task and axes: the search, the cost, and configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lowp.study._space import StudyError

__all__ = ["Configuration", "Cost", "Search", "at", "built", "hint", "not_one_of"]

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

    method: "grid" is all of them; "random" and "sobol" are `count` different ones; "halving" runs
    all, or `count` random ones, with the first value of the axis `budget` (steps, say), and the
    best share `keep` of them with the next, and so on; "optuna" has Optuna's tree-structured Parzen
    estimator propose `count` of them, `batch` at a time, pruned by the median over the values of
    `budget` where there is one. A study's replicates are not searched: each choice runs with all of
    them, and its score is their mean. seed: of all random choices. What is chosen depends on
    results alone, so it is the same on any runner and after a restart.
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
                problem = f"expected an integer of {least} or more; got {value!r}"
                raise StudyError(["search", name], problem)
        if self.method in ("random", "sobol", "optuna") and self.count == 0:
            raise StudyError(["search"], f"{self.method} needs a count of configurations")
        if self.method == "grid" and self.count:
            raise StudyError(["search", "count"], "a grid is run as a whole; say method = 'random'")
        if not isinstance(self.budget, str):
            raise StudyError(["search", "budget"], f"expected an axis; got {self.budget!r}")
        if self.method == "halving" and not self.budget:
            raise StudyError(["search"], 'halving needs a budget: the name of an axis, as "steps"')
        if self.budget and self.method not in ("halving", "optuna"):
            raise StudyError(["search", "budget"], f"{self.method} takes none")
        if not (isinstance(self.keep, int | float) and 0 < self.keep < 1):
            raise StudyError(["search", "keep"], f"expected 0 < keep < 1; got {self.keep!r}")


@dataclass(frozen=True)
class Cost:
    """What configurations cost. model: "proxies" (`lowp.study.cost.proxies`), "none", or a function
    or "module:function" of two operands' formats and the accumulator's name that returns numbers by
    name.

    operands: parameters of the task that hold formats: `bits` is the mean of all, the first two are
    multiplied, and "none" counts as float32. Without operands: those parameters that take a format
    (and not "none") and that the study sets or varies. accumulator: a format, or the parameter that
    names it; without it the task's parameter of that name, or float32.
    """

    model: Any = "proxies"
    operands: Sequence[str] = ()
    accumulator: str = ""

    def __post_init__(self) -> None:
        """A list from a file becomes a tuple. StudyError."""
        names: Any = self.operands
        accumulator: Any = self.accumulator
        is_list = isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)
        if not is_list:
            raise StudyError(["cost", "operands"], f"expected a list of texts; got {names!r:.60}")
        if not isinstance(accumulator, str):
            problem = f"expected a text; got {accumulator!r:.60}"
            raise StudyError(["cost", "accumulator"], problem)
        object.__setattr__(self, "operands", tuple(names))


@contextmanager
def at(keys: Sequence[str]) -> Iterator[None]:
    """What is refused inside is a StudyError at these keys."""
    try:
        yield
    except StudyError:
        raise
    except ModuleNotFoundError as error:
        raise StudyError(keys, f"this needs {error.name}, which is not installed") from error
    except (ValueError, TypeError, AttributeError, LookupError, OSError, ImportError) as error:
        raise StudyError(keys, str(error) or type(error).__name__) from error


def hint(words: Sequence[str], word: Any, otherwise: str = "") -> str:
    """'; did you mean ...?' with the nearest of the words, or what else there is to say."""
    near = get_close_matches(str(word), [str(w) for w in words], 1)
    return f"; did you mean {near[0]!r}?" if near else otherwise


def not_one_of(words: Sequence[str], word: Any) -> str:
    """What is expected instead of a word."""
    return f"expected one of {', '.join(words)}; got {word!r}{hint(words, word)}"


def built(kind: Any, data: Mapping[str, Any], key: str) -> Any:
    """A dataclass of a table's fields. StudyError: one that it does not have."""
    known = list(kind.__dataclass_fields__)
    for name in data:
        if name not in known:
            raise StudyError([key, name], not_one_of(known, name))
    return kind(**data)
