"""Markdown tables of what the benchmarks measured, as ratios within one run.

python bench/report.py build/bench_quantize.json build/bench_codes.json build/peers.json: what
`make bench` and `make bench-python` wrote; rates are 10^9 values a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SIZES = {1 << 10: "2^10", 1 << 16: "2^16", 1 << 25: "2^25"}


def rates(path: str) -> dict[tuple[str, int], float]:
    """(benchmark, size) -> 10^9 values a second; of repetitions the median."""
    found = {}
    for row in json.loads(Path(path).read_text())["benchmarks"]:
        if row.get("aggregate_name", "median") == "median" and "items_per_second" in row:
            name, size = row["run_name"].rsplit("/", 1)
            found[name, int(size)] = row["items_per_second"] / 1e9
    return found


def cell(rate: float, limit: float | None) -> str:
    return f"{rate:.2f}" if limit is None else f"{rate:.2f} ({rate / limit:.2f})"


def against_limits(measured: dict[tuple[str, int], float]) -> str:
    """Rates, and in brackets the ratio to the scale loop of the same size and carrier."""
    names = dict.fromkeys(name for name, _ in measured)
    lines = ["| benchmark | " + " | ".join(SIZES.values()) + " |", "| --- " * 4 + "|"]
    for name in names:
        carrier = "float64" if "float64" in name else "float32"
        cells = [cell(measured[name, n], measured.get((f"scale/{carrier}", n))) for n in SIZES]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def against_peers(path: str) -> str:
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for row in json.loads(Path(path).read_text())["benchmarks"]:
        info: dict[str, Any] = row["extra_info"]
        if "gvalues_per_s" in info:
            key = (row["params"]["task"], SIZES[row["params"]["size"]])
            rows.setdefault(key, {})[row["params"]["library"]] = info["gvalues_per_s"]
    lines = ["| task | values | lowp | peers: G/s (lowp is faster by) |", "| --- " * 4 + "|"]
    for (task, size), found in rows.items():
        own = found.pop("lowp")
        peers = ", ".join(f"{name} {rate:.4f} ({own / rate:,.0f})" for name, rate in found.items())
        lines.append(f"| {task} | {size} | {own:.2f} | {peers} |")
    return "\n".join(lines)


def main() -> None:
    *native, peers = sys.argv[1:]
    measured: dict[tuple[str, int], float] = {}
    for path in native:
        measured |= rates(path)
    print(against_limits(measured), "", against_peers(peers), sep="\n")


if __name__ == "__main__":
    main()
