"""Entry point of the `lowp` command: finds the command line's own packages, or says what to do."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line on `sys.argv` and exit: 0 done, 2 bad input, 130 interrupted."""
    try:
        from ._cli_app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich"):
            raise
        print(
            f"lowp: the command line needs {error.name}, which is not installed; "
            "pip install lowp[cli]",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        app()
    except BrokenPipeError:
        # The reader of a pipe (head) left: nothing to say, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
