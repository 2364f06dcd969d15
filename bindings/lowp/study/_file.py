"""Studies as TOML files; what is wrong with one is told with its line and its key."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lowp.study._parts import Cost, Search, hint
from lowp.study._space import Range, StudyError
from lowp.study._study import Study

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["load", "to_toml"]

#: The keys of a file are the fields of Study, but for the file's folder and text.
_KEYS = tuple(f.name for f in fields(Study) if f.name not in ("folder", "source"))
_TABLES = ("settings", "derive", "search", "cost")


def load(path: str | Path) -> Study:
    """The study of a TOML file, compared with its task: nothing in it is run.

    Modules of own tasks are looked for beside the file first. ValueError names the file, the line,
    the key, what was expected and what was found.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: give the TOML file of a study") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8: {error.reason}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    data.setdefault("name", path.stem)
    try:
        study = from_dict(data, str(path.resolve().parent), text)
        study.check()
    except StudyError as error:
        line = line_of(text, error.keys, error.place)
        where = f"{path}, line {line}" if line else f"{path}"
        raise ValueError(f"{where}: {error}") from error
    return study


def from_dict(data: Mapping[str, Any], folder: str = "", source: str = "") -> Study:
    """The study of a file's content. StudyError: keys that it does not have."""
    for key in data:
        if key not in _KEYS:
            known = hint(_KEYS, key, f"; a study has {', '.join(_KEYS)}")
            raise StudyError([key], f"no such key{known}")
    for key in ("task", "axes"):
        if key not in data:
            raise StudyError([], f"the study has no {key!r}")
    for key in _TABLES:
        if not isinstance(data.get(key, {}), Mapping):
            raise StudyError([key], f"expected a table; got {data[key]!r:.60}")
    for key in ("name", "description", "task", "objective", "goal"):
        if not isinstance(data.get(key, ""), str):
            raise StudyError([key], f"expected a text; got {data[key]!r:.60}")
    for key in ("constraints", "metrics", "replicates", "scenarios"):
        if not isinstance(data.get(key, []), list):
            raise StudyError([key], f"expected a list of texts; got {data[key]!r:.60}")
    return Study(**data, folder=folder, source=source)


def to_dict(study: Study) -> dict[str, Any]:
    """What a file of the study holds: fields that are not as usual."""
    usual = Study(task="error", axes={"x": [0]})
    found: dict[str, Any] = {"name": study.name, "task": study.task_name}
    for key in _KEYS[2:]:
        value = getattr(study, key)
        if key in ("task", "axes", "search", "cost") or value == getattr(usual, key):
            continue
        found[key] = list(value) if isinstance(value, tuple) else value
    for key, kind in (("search", Search), ("cost", Cost)):
        changed = _changed(getattr(study, key), kind())
        if changed:
            found[key] = changed
    tables = [{name: _plain_axis(values) for name, values in table.items()} for table in study.axes]
    found["axes"] = tables[0] if len(tables) == 1 else tables
    return found


def to_toml(study: Study) -> str:
    """The text of a file of the study: the one it is from, or one with axes written out."""
    if study.source:
        return study.source
    import tomli_w

    return str(tomli_w.dumps(to_dict(study)))


def _changed(value: Any, usual: Any) -> dict[str, Any]:
    found = {}
    for f in fields(value):
        item = getattr(value, f.name)
        if item != getattr(usual, f.name):
            is_function = callable(item)
            found[f.name] = f"{item.__module__}:{item.__qualname__}" if is_function else item
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _plain_axis(values: Sequence[Any] | Range) -> Any:
    if isinstance(values, Range):
        return {f.name: getattr(values, f.name) for f in fields(values)}
    return list(values)


# ---- lines ---------------------------------------------------------------------------------------

_HEADER = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_WORD = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"^\s*({_WORD}(?:\s*\.\s*{_WORD})*)\s*=")
_LONG = re.compile(r'"""|\'\'\'')
_INLINE = re.compile(r"[{,]\s*([\w-]+)\s*=")


def line_of(text: str, keys: Sequence[str], place: int = -1) -> int:
    """The line, from 1, of the longest part of a key that the text has; 0 for none.

    place: which of several tables of one name, as [[axes]]; the first that has the key without it.
    """
    best, depth, seen, quoted = 0, 0, -1, ""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        was_quoted, quoted = quoted, _quotes(line, quoted)
        if was_quoted:
            continue
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _parts(header[1])
            seen += table == ("axes",)
            names = [table]
        elif key and table == ("axes",) and place >= 0 and seen != place:
            continue
        elif key:
            path = (*table, *_parts(key[1]))
            names = [path, *((*path, inner) for inner in _INLINE.findall(line[key.end() :]))]
        else:
            continue
        for name in names:
            if len(name) > depth and tuple(keys[: len(name)]) == name:
                best, depth = number, len(name)
    return best


def _quotes(line: str, quoted: str) -> str:
    """The quotes of the text of several lines that is open after a line; none where none is."""
    for mark in _LONG.findall(line):
        if not quoted or mark == quoted:
            quoted = "" if quoted else mark
    return quoted


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in key.split("."))
