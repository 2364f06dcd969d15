"""The tasks that come with the library, and how a study names one of its own.

Each is a function with keyword-only parameters in a module of its name; a module is imported when
its task is used, so that measuring errors needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["NAMES", "Task", "digest", "name_of", "resolve"]

Task: TypeAlias = Callable[..., Any]

#: The tasks by name, and what each is for.
NAMES = {
    "error": "quantization error of random data, or of the tensors of a file",
    "training": "a training run of a small network: regression, digits, or a GPT over bytes",
    "evaluation": "a sentence transformer after training, in formats: agreement with float32",
    "refinement": "iterative refinement of a linear system with factors in a format",
}


def resolve(task: str | Task, folder: str = "") -> Task:
    """The function of a task: its name, "module:function", or itself.

    folder: where modules are looked for first, such as that of the study's file. ValueError: there
    is none.
    """
    if callable(task):
        return task
    if ":" not in task:
        if task not in NAMES:
            near = get_close_matches(task, NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            raise ValueError(f"no task {task!r}; {hint}, and 'module:function' names one of yours")
        found: Task = getattr(import_module(f"lowp.study.tasks.{task}"), task)
        return found
    module, _, name = task.partition(":")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        function = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"task {task!r}: {error}") from error
    if not callable(function):
        raise ValueError(f"task {task!r}: module {module} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def name_of(task: str | Task) -> str:
    """What `resolve` takes, for a function: "module:function"."""
    return task if isinstance(task, str) else f"{task.__module__}:{task.__qualname__}"


def digest(task: str | Task, function: Task) -> str:
    """What else than its name a task's results depend on: of own functions, their source.

    Those of the library change with its version. Functions that they call are not looked at.
    """
    if isinstance(task, str) and ":" not in task:
        return ""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def folder_of(path: Path) -> str:
    """The folder of a study's file, for `resolve`."""
    return str(path.resolve().parent)
