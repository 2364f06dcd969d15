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
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

__all__ = ["NAMES", "Task", "digest", "name_of", "portable", "resolve"]

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

    folder: where a module's file is looked for first, such as that of the study's file; it is read
    anew when it has changed. ValueError: there is none, or its module fails.
    """
    if isinstance(task, FunctionType):
        return task
    if not isinstance(task, str):
        raise ValueError(f"a task is a function, or a name of one; got {task!r:.80}")
    if ":" not in task:
        if task not in NAMES:
            near = get_close_matches(task, NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            raise ValueError(f"no task {task!r}; {hint}, and 'module:function' names one of yours")
        found: Task = getattr(import_module(f"lowp.study.tasks.{task}"), task)
        return found
    name, _, function = task.partition(":")
    module = _module(task, name, folder)
    found = getattr(module, function, None)  # type: ignore[assignment]
    if not isinstance(found, FunctionType):
        near = get_close_matches(function, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"task {task!r}: module {name} has no function {function!r}{hint}")
    return found


def _module(task: str, name: str, folder: str) -> ModuleType:
    path = Path(folder or ".") / f"{name}.py"
    try:
        if folder and path.is_file():
            return _of_file(path.resolve(), path.read_bytes())
        return import_module(name)
    except Exception as error:
        raise ValueError(f"task {task!r}: {type(error).__name__}: {error}") from error


@lru_cache(32)
def _of_file(path: Path, content: bytes) -> ModuleType:
    """The module of a file's content, apart from others of its name: it is called name@digest."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # for what it imports from beside it
    unique = f"{path.stem}@{hashlib.sha256(content).hexdigest()[:12]}"
    spec = spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[unique] = module_from_spec(spec)
    try:
        exec(compile(content, path, "exec"), vars(module))
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def name_of(task: str | Task) -> str:
    """What `resolve` takes, for a function: "module:function"."""
    return task if isinstance(task, str) else f"{task.__module__}:{task.__qualname__}"


def portable(task: str | Task, folder: str) -> str | bytes:
    """The task for another process: a name of the library's, or a function of one's own by value,
    so that it is the same function there whatever files and modules that process has.
    """
    if isinstance(task, str) and ":" not in task:
        return task
    import cloudpickle

    function = resolve(task, folder)
    if "@" not in (function.__module__ or ""):
        return bytes(cloudpickle.dumps(function))
    module = sys.modules[function.__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def digest(task: str | Task, function: Task) -> str:
    """What else than its name a task's results depend on: of own functions, their source, or the
    whole file beside the study's, defaults, and what they close over.

    Those of the library change with its version. Of other modules that they call nothing is seen.
    """
    if isinstance(task, str) and ":" not in task:
        return ""
    return hashlib.sha256("\n".join(_content(function)).encode()).hexdigest()


def _content(function: Any) -> list[str]:
    """Texts that tell two functions apart."""
    _, _, of_file = (function.__module__ or "").partition("@")
    try:
        source = of_file or inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(_code(function.__code__))
    found = [source, repr(function.__defaults__), repr(function.__kwdefaults__)]
    for cell in function.__closure__ or ():
        value = cell.cell_contents
        found += _content(value) if isinstance(value, FunctionType) else [repr(value)]
    return found


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = [_code(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, constants
