"""lowp against its peers from Python: Gvalues/s and ratios, measured in one run, interleaved.

python bench/compare.py [--size 2**25] [--json FILE]. Peers that are not installed are left out with
a note. One thread; every repetition of a row takes its turn, so a change of clock meets all alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lowp
import numpy as np

REPETITIONS = 5
LONGEST = 2.0  # seconds: slower peers get a part of the array


@dataclass
class Row:
    """One contender: what runs on `x` and how fast it went."""

    name: str
    run: Callable[[Any], Any]
    x: Any
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Gvalues/s by the median."""
        return float(self.x.size / np.median(self.times) / 1e9)


def shortened(run: Callable[[Any], Any], x: Any) -> Any:
    """As much of x as `run` does in about LONGEST seconds, judged by a small part."""
    part = x[: 1 << 12]
    run(part)
    start = time.perf_counter()
    run(part)
    whole = (time.perf_counter() - start) * x.size / part.size
    return x if whole < LONGEST else x[: max(part.size, int(x.size * LONGEST / whole))]


def measure(rows: list[Row]) -> None:
    for _ in range(REPETITIONS):
        for row in rows:
            repeat = max(1, (1 << 18) // row.x.size)
            start = time.perf_counter()
            for _ in range(repeat):
                row.run(row.x)
            row.times.append((time.perf_counter() - start) / repeat)


def peers_of(task: str) -> dict[str, Callable[[Any], Any]]:
    """The peers that can do a task and are installed."""
    found: dict[str, Callable[[Any], Any]] = {}
    try:
        import ml_dtypes

        e4m3 = ml_dtypes.float8_e4m3fn
        found |= {
            "quantize": {"ml_dtypes": lambda x: x.astype(e4m3).astype(np.float32)},
            "encode": {"ml_dtypes": lambda x: x.astype(e4m3)},
            "decode": {"ml_dtypes": lambda c: c.view(e4m3).astype(np.float32)},
        }.get(task, {})
    except ImportError:
        print("ml_dtypes is not installed: left out")
    if task == "quantize float16":
        found["NumPy"] = lambda x: x.astype(np.float16).astype(np.float32)
    if task in ("quantize", "stochastic"):
        found |= gfloat_peer(task) | pychop_peer(task)
    return found


def gfloat_peer(task: str) -> dict[str, Callable[[Any], Any]]:
    try:
        import gfloat
        from gfloat.formats import format_info_ocp_e4m3
    except ImportError:
        print("gfloat is not installed: left out")
        return {}
    if task == "stochastic":
        mode = gfloat.RoundMode.StochasticFastest
        return {
            "gfloat": lambda x: gfloat.round_ndarray(
                format_info_ocp_e4m3,
                x,
                mode,
                srbits=np.random.randint(0, 1 << 16, x.shape),
                srnumbits=16,
            )
        }
    return {"gfloat": lambda x: gfloat.round_ndarray(format_info_ocp_e4m3, x)}


def pychop_peer(task: str) -> dict[str, Callable[[Any], Any]]:
    try:
        import pychop
    except ImportError:
        print("pychop is not installed: left out")
        return {}
    chop = pychop.Chop(exp_bits=4, sig_bits=3, rmode=5 if task == "stochastic" else 1)
    return {"pychop": chop}


def lowp_task(task: str) -> Callable[[Any], Any]:
    f = lowp.format("float16" if task == "quantize float16" else "float8_e4m3fn")
    if task == "encode":
        return lambda x: lowp.encode(x, f, threads=1)
    if task == "decode":
        return lambda c: lowp.decode(c, f, threads=1)
    if task == "stochastic":
        return lambda x: lowp.quantize(x, f, rounding="stochastic_a", threads=1)
    return lambda x: lowp.quantize(x, f, threads=1)


def compare(task: str, size: int) -> list[dict[str, Any]]:
    """The rows of a task, lowp's first."""
    x: Any = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    if task == "decode":
        x = lowp.encode(x, "float8_e4m3fn")
    contenders = {"lowp": lowp_task(task), **peers_of(task)}
    rows = [Row(name, run, shortened(run, x)) for name, run in contenders.items()]
    measure(rows)
    return [
        {
            "task": task,
            "size": size,
            "library": row.name,
            "gvalues_per_s": row.rate,
            "lowp_is_faster": rows[0].rate / row.rate,
        }
        for row in rows
    ]


def call_overhead() -> float:
    """Seconds of quantize on 16 values with a Format at hand: the fastest of many."""
    x = np.ones(16, np.float32)
    f = lowp.format("float8_e4m3fn")
    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        for _ in range(100):
            lowp.quantize(x, f)
        best = min(best, (time.perf_counter() - start) / 100)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, action="append", help="values; may be repeated")
    parser.add_argument("--json", help="file to write the rows to")
    arguments = parser.parse_args()
    sizes = arguments.size or [1 << 10, 1 << 16, 1 << 25]
    print(
        f"lowp {lowp.__version__}, {lowp.isa()}, NumPy {np.__version__}, one thread, float8_e4m3fn"
    )
    print(f"16 values: {call_overhead() * 1e9:.0f} ns a call")
    all_rows = []
    for task in ("quantize", "quantize float16", "stochastic", "encode", "decode"):
        for size in sizes:
            for row in compare(task, size):
                all_rows.append(row)
                print(
                    f"{task:17} n = {size:9,} {row['library']:10} {row['gvalues_per_s']:9.4f} "
                    f"Gvalues/s   lowp is {row['lowp_is_faster']:10,.1f} times as fast"
                )
    if arguments.json:
        with open(arguments.json, "w") as file:  # noqa: PTH123
            json.dump(all_rows, file, indent=1)


if __name__ == "__main__":
    main()
