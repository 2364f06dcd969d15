"""What a task's parameters may be, and what it returns: annotations that a study is checked against
before anything runs.

A task is a function with keyword-only parameters. Their annotations say what values they take:
int, float, str, bool, Literal[...], and the kinds of names below.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

import lowp
from lowp import _targets
from lowp.study._parts import hint

__all__ = [
    "AccumulatorName",
    "DataFile",
    "FormatName",
    "FormatOrNone",
    "Kind",
    "Parameter",
    "Paused",
    "RecipeName",
    "Result",
    "RoundingName",
    "is_file",
    "parameters_of",
    "print_of_file",
]

Plain: TypeAlias = str | int | float | bool


@dataclass(frozen=True)
class Result:
    """What a task found: numbers by name, and arrays of one dimension such as loss curves.

    NaN and infinity are numbers like others: a diverged run has an infinite loss.
    """

    metrics: Mapping[str, float]
    series: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Paused(Exception):  # noqa: N818 - it is no error
    """Raised by a task that is not done, and goes on where it was when the study is run again."""


@dataclass(frozen=True)
class Kind:
    """What a text means: `check` raises ValueError for one that means nothing.

    `fingerprint` gives what else a result depends on, as the content of a file does.
    """

    name: str
    check: Callable[[str], Any]
    fingerprint: Callable[[str], str] | None = None


def _format_or_none(name: str) -> Any:
    return None if name == "none" else _targets.resolve(name)


def _rounding(name: str) -> None:
    if name != "default" and name not in lowp.ROUNDINGS:
        known = hint(lowp.ROUNDINGS, name, f"; there are {', '.join(lowp.ROUNDINGS)}")
        raise ValueError(f"unknown rounding {name!r}{known}")


def _recipe(name: str) -> None:
    """A preset, "float32", or a file of a recipe; without PyTorch no recipe can be told."""
    from lowp.torch import Recipe, recipes

    if name == "float32":
        return
    if Path(name).suffix in (".toml", ".json"):
        if not Path(name).is_file():
            raise ValueError(f"there is no recipe file {name!r}")
        text = Path(name).read_text(encoding="utf-8")
        Recipe.from_toml(text) if name.endswith(".toml") else Recipe.from_json(text)
        return
    recipes.get(name)


def _recipe_content(name: str) -> str:
    return _digest(Path(name)) if Path(name).suffix in (".toml", ".json") else ""


def _data(name: str) -> None:
    from lowp.readers import find_model

    try:
        find_model(name)
    except OSError as error:
        raise ValueError(str(error)) from error


def is_file(name: str) -> bool:
    """Whether a source of data is a file: it has a folder, a suffix, or is package:NAME."""
    return name.startswith("package:") or "/" in name or bool(Path(name).suffix)


def print_of_file(name: str) -> str:
    """The digest of a file's content, for `Kind.fingerprint`."""
    from lowp.readers import find_model

    return _digest(find_model(name))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


#: The name of a format or block format.
FormatName = Annotated[str, Kind("the name of a format", _targets.resolve)]
#: The same, or "none": the task leaves those numbers as they are.
FormatOrNone = Annotated[str, Kind("the name of a format, or 'none'", _format_or_none)]
#: The name of an accumulator of `lowp.matmul`.
AccumulatorName = Annotated[str, Kind("the name of an accumulator", lowp.accumulator)]
#: The name of a rounding, or "default": the nearest with ties to even, or as the format says.
RoundingName = Annotated[str, Kind("the name of a rounding, or 'default'", _rounding)]
#: The name of a recipe of `lowp.torch.recipes`, "float32", or a recipe's .toml or .json file.
RecipeName = Annotated[str, Kind("the name of a recipe", _recipe, _recipe_content)]
#: A file of tensors that `lowp error` reads, or package:NAME. Results depend on what is in it.
DataFile = Annotated[str, Kind("a file of tensors", _data, print_of_file)]

_PLAIN = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a task: its name, annotation and default (Parameter.empty: none)."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def kind(self) -> Kind | None:
        """The kind of its names, if it takes names."""
        return _kind(self.annotation)

    @property
    def has_default(self) -> bool:
        """Whether a study may leave it out."""
        return self.default is not inspect.Parameter.empty

    @property
    def takes_none(self) -> bool:
        """Whether "none" is a value that means no format."""
        return self.kind is _kind(FormatOrNone)

    @property
    def is_format(self) -> bool:
        """Whether its values are names of formats."""
        return self.kind in (_kind(FormatName), _kind(FormatOrNone))

    def __str__(self) -> str:
        text = f"{self.name}: {expected(self.annotation)}"
        return f"{text}; {self.default!r}" if self.has_default else text

    def checked(self, value: Any) -> Any:
        """The value, integers as floats where it takes numbers. ValueError says what it takes."""
        return _checked(self.annotation, value)


def parameters_of(task: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a task by name. ValueError: one that no keyword can name."""
    try:
        hints = get_type_hints(task, include_extras=True)
    except NameError as error:
        raise ValueError(f"an annotation of {task.__name__} is unknown: {error}") from error
    found = {}
    for p in inspect.signature(task).parameters.values():
        if p.kind is p.VAR_KEYWORD or p.kind is p.VAR_POSITIONAL or p.kind is p.POSITIONAL_ONLY:
            raise ValueError(
                f"a task's parameters have names that a study can use; {task.__name__} has {p}"
            )
        found[p.name] = Parameter(p.name, hints.get(p.name, Any), p.default)
    return found


def expected(annotation: Any) -> str:
    """An annotation in words."""
    kind = _kind(annotation)
    if kind is not None:
        return kind.name
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(word) for word in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(expected(part) for part in get_args(annotation))
    return _PLAIN.get(annotation, "a text, a number, or true or false")


def _kind(annotation: Any) -> Kind | None:
    kinds = [a for a in getattr(annotation, "__metadata__", ()) if isinstance(a, Kind)]
    return kinds[0] if kinds else None


def _checked(annotation: Any, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    kind = _kind(annotation)
    if kind is not None:
        if not isinstance(value, str):
            raise ValueError(f"expected {kind.name}; got {value!r}")
        kind.check(value)
        return value
    if get_origin(annotation) is Literal:
        return _word(get_args(annotation), value)
    if get_origin(annotation) in (Union, types.UnionType):
        return _first_that_takes(get_args(annotation), value, annotation)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = annotation if annotation in _PLAIN else None
    fits = isinstance(value, tuple(_PLAIN)) if wanted is None else type(value) is wanted
    if not fits:
        raise ValueError(f"expected {expected(annotation)}; got {value!r:.80}")
    return value


def _word(words: tuple[Any, ...], value: Any) -> Any:
    if any(value == word and type(value) is type(word) for word in words):
        return value
    listed = ", ".join(map(repr, words))
    raise ValueError(f"expected one of {listed}; got {value!r:.80}{hint(words, value)}")


def _first_that_takes(parts: tuple[Any, ...], value: Any, annotation: Any) -> Any:
    for part in parts:
        with contextlib.suppress(ValueError):
            return _checked(part, value)
    raise ValueError(f"expected {expected(annotation)}; got {value!r:.80}")
