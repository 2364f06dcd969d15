"""What calls take: how a format may be given, and misspelt arguments, which are answered with the
name that was meant, as the verbs of `lowp._core` do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from sys import modules
from typing import Any, TypeAlias

import numpy as np

from lowp._core import Format

#: A scalar format: its name, itself, or a dtype whose name it has (np.float16, ml_dtypes.bfloat16).
FormatLike: TypeAlias = str | Format | np.dtype[Any] | type[np.generic]


def _suggesting(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, but TypeError with the nearest name for an argument that it does not have."""
    parameters = inspect.signature(function).parameters
    known = [p.name for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = frozenset(known)

    @wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        if not names.issuperset(given):
            word = next(word for word in given if word not in names)
            close = get_close_matches(word, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{name}() has no argument {word!r}{hint}")
        return function(*args, **given)

    return checked


def suggest_arguments(module: str) -> None:
    """Have all Python functions and constructors in a module's __all__ answer misspelt arguments.

    Those that take any keywords stay as they are.
    """
    public = vars(modules[module])
    for name in public["__all__"]:
        found = public.get(name)
        if inspect.isclass(found) and inspect.isfunction(vars(found).get("__init__")):
            if _is_closed(found.__init__):
                setattr(found, "__init__", _suggesting(found.__init__, name))  # noqa: B010
        elif inspect.isfunction(found) and _is_closed(found):
            public[name] = _suggesting(found, name)
            public[name].__module__ = module  # where it is found, for pickle


def _is_closed(function: Callable[..., Any]) -> bool:
    """Whether it takes no other keywords than its own, and was not seen before."""
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD not in kinds and not hasattr(function, "__wrapped__")
