"""What all commands share: bad input as one line, JSON or a table."""

from __future__ import annotations

import functools
import sqlite3
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import RenderableType

from . import _cli_show

P = ParamSpec("P")
R = TypeVar("R")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

#: Where packages come from that a command may lack.
_STUDY = (
    "pandas", "scipy", "simpleeval", "threadpoolctl", "jinja2", "tomli_w", "cloudpickle",
)  # fmt: skip
_EXTRAS = {
    **dict.fromkeys(_STUDY, "study"),
    "matplotlib": "cli",
    "torch": "torch",
}


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command with bad input as one line and exit code 2, and Ctrl-C as exit code 130."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            raise
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(error.name or "")
            hint = f"; pip install 'lowp[{extra}]'" if extra else ""
            _cli_show.messages().print(f"lowp: {error}{hint}", markup=False)
            raise typer.Exit(2) from None
        except (ValueError, TypeError, OSError, sqlite3.Error) as error:
            _cli_show.messages().print(f"lowp: {error}", markup=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


def show(data: Callable[[], Any], text: Callable[[], RenderableType], as_json: bool) -> None:
    """Print the data as JSON, or the text."""
    shown = _cli_show.json_text(data()) if as_json else text()
    if isinstance(shown, str):
        sys.stdout.write(shown + "\n")
    else:
        _cli_show.output().print(shown)
