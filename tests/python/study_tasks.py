"""Tasks of the tests: what fails, what kills its process, what takes its time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from lowp.study import FormatName, Result
from lowp.study.parameters import Paused


def square(*, x: float = 0.0, y: int = 0, seed: int = 0) -> dict[str, float]:
    """A function with its least value at x = 0.3, y = 2."""
    noise = 1e-3 * np.random.default_rng(seed).standard_normal()
    return {"loss": (x - 0.3) ** 2 + (y - 2) ** 2 + float(noise), "negative": -x}


def fails(*, x: int) -> dict[str, float]:
    if x % 3 == 1:
        raise ArithmeticError(f"no result at {x}")
    return {"loss": float(x)}


def fails_once(*, x: int, folder: str) -> dict[str, float]:
    mark = Path(folder) / f"tried{x}"
    if x % 2 and not mark.exists():
        mark.touch()
        raise ArithmeticError("not yet")
    return {"loss": float(x)}


def dies(*, x: int) -> dict[str, float]:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"loss": float(x)}


def pauses(*, x: int, folder: str) -> dict[str, float]:
    """Done when it is begun for the third time."""
    begun = len(list(Path(folder).iterdir()))
    (Path(folder) / str(begun)).touch()
    if begun < 2:
        raise Paused(f"step {50 * begun} of 100")
    return {"loss": float(x)}


def stays(mark: Path) -> None:
    """Ends when it is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark.touch()
    time.sleep(600)


def slow(*, x: int, seconds: float = 0.01, log: str = "") -> Result:
    time.sleep(seconds)
    if log:
        with open(log, "a") as file:  # noqa: PTH123 - one write of one line is whole
            file.write(f"{x}\n")
    return Result({"loss": float(x)}, {"curve": np.arange(x % 5 + 1.0) + x})


def learns(*, rate: float, steps: int = 1, seed: int = 0) -> Result:
    """A loss that falls with the steps, best at a rate of 0.5."""
    curve = (abs(rate - 0.5) + 1 / np.arange(1, steps + 1)) * (1 + 0.01 * seed)
    return Result({"loss": float(curve[-1])}, {"loss": curve})


def formats(*, w: FormatName, x: FormatName = "float32") -> dict[str, float]:
    return {"loss": float(len(w) + len(x))}


def odd(*, kind: str) -> object:
    results: dict[str, object] = {
        "text": {"loss": "low"},
        "nothing": None,
        "empty": {},
        "nan": {"loss": float("nan")},
        "infinite": {"loss": float("inf")},
        "square": Result({"loss": 1.0}, {"map": np.zeros((2, 2))}),
    }
    return results[kind]


def positional(x, /):  # type: ignore[no-untyped-def]
    return {"loss": x}


def threads(*, x: int) -> dict[str, float]:
    import lowp

    return {"threads": float(lowp.get_threads())}


def draws(*, x: int) -> dict[str, float]:
    """What a library's global generator gives after it was seeded, some time later."""
    np.random.seed(x)
    time.sleep(0.01)
    return {"loss": float(np.random.random())}
