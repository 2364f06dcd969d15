"""The tasks that come with the library, and how a study names one of its own.

Each is a function with keyword-only parameters in a module of its name; a module is imported when
its task is used, so that measuring errors needs no PyTorch.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

__all__ = ["NAMES", "Task", "digest", "metrics_of", "name_of", "portable", "resolve"]

Task: TypeAlias = Callable[..., Any]

#: The tasks by name, and what each is for.
NAMES = {
    "error": "quantization error of random data, or of the tensors of a file",
    "training": "a training run of a small network: regression, digits, or a GPT over bytes",
    "evaluation": "a sentence transformer after training, in formats: agreement with float32",
    "refinement": "iterative refinement of a linear system with factors in a format",
}


@contextmanager
def inside(folder: str) -> Iterator[None]:
    """In the folder of a study's file, where it has one here: names of files are told from there;
    and in the same folder after it as before.
    """
    before = Path.cwd()
    try:
        if folder and Path(folder).is_dir():
            os.chdir(folder)
        yield
    finally:
        os.chdir(before)


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
    if name == "__main__" and not hasattr(sys.modules[name], function):
        raise ValueError(f"task {task!r} is of a script or a notebook: run that again to go on")
    module = _module(task, name, folder)
    found = getattr(module, function, None)  # type: ignore[assignment]
    if not isinstance(found, FunctionType):
        near = get_close_matches(function, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"task {task!r}: module {name} has no function {function!r}{hint}")
    return found


def _module(task: str, name: str, folder: str) -> ModuleType:
    path = Path(folder or ".").resolve() / f"{name}.py"
    try:
        if folder and path.is_file():
            return _of_files(path, tuple((p, p.read_bytes()) for p in _files(path)))
        return import_module(name)
    except Exception as error:
        raise ValueError(f"task {task!r}: {type(error).__name__}: {error}") from error


def _files(path: Path) -> list[Path]:
    """A module's file and those beside it that it imports, one after the other."""
    found = [path]
    for file in found:
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            beside = [path.parent / f"{name.partition('.')[0]}.py" for name in names]
            found += [p for p in dict.fromkeys(beside) if p.is_file() and p not in found]
    return found


@lru_cache(32)
def _of_files(path: Path, contents: tuple[tuple[Path, bytes], ...]) -> ModuleType:
    """The module of files' contents, apart from others of its name: it is called name@digest."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    for file, _ in contents[1:]:  # read anew, too
        sys.modules.pop(file.stem, None)
    digest = hashlib.sha256(b"\0".join(content for _, content in contents)).hexdigest()[:12]
    unique = f"{path.stem}@{digest}"
    spec = spec_from_file_location(unique, path)
    assert spec is not None
    module = sys.modules[unique] = module_from_spec(spec)
    try:
        exec(compile(contents[0][1], path, "exec"), vars(module))
    except BaseException:
        del sys.modules[unique]
        raise
    vars(module)["__files__"] = tuple(file for file, _ in contents)
    return module


def name_of(task: str | Task) -> str:
    """What `resolve` takes, for a function: "module:function"."""
    return task if isinstance(task, str) else f"{task.__module__}:{task.__qualname__}"


def metrics_of(task: str | Task) -> tuple[str, ...]:
    """The metrics that a task of the library may give; none of own ones, whose results tell."""
    if not isinstance(task, str) or ":" in task:
        return ()
    found: tuple[str, ...] = import_module(f"lowp.study.tasks.{task}").METRICS
    return found


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
    beside = [sys.modules.get(file.stem) for file in vars(module)["__files__"][1:]]
    own = [m for m in (module, *beside) if m is not None]
    for m in own:
        cloudpickle.register_pickle_by_value(m)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        for m in own:
            cloudpickle.unregister_pickle_by_value(m)


def digest(task: str | Task, function: Task) -> str:
    """What else than its name a task's results depend on: of own functions, their source, or the
    whole file beside the study's with those that it imports from there, defaults, and what they
    close over.

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
