"""What running a study costs: its own overhead, 1,000 error configurations, a pool's scaling.

python bench/study.py [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from lowp.study import Study

EMPTY = 2000
#: Formats by bits, four distributions, two roundings: 1,000 configurations and a few more.
ERRORS = Study(
    "error",
    {
        "format": ["e{2..5}m{1..7}", "mxfp4/{16|32|64}/{floor|ceil|rceil|even}", "nvfp4/{16|32}",
                   "fp4_ue5m3_{16|32}", "mxfp{6_e2m3|6_e3m2|8_e4m3|8_e5m2}/{floor|rceil}"],
        "data": ["gaussian", "laplace", "student_t{3..5}"],
        "rounding": ["nearest_ties_to_even", "toward_zero", "stochastic_a", "to_odd"],
    },
    search={"method": "random", "count": 1000},
)  # fmt: skip


def nothing(*, x: int) -> dict[str, float]:
    """A task that takes no time."""
    return {"x": float(x)}


def busy(*, x: int) -> dict[str, float]:
    """A task that keeps a core busy for some 20 ms and touches no memory."""
    total = 0
    for i in range(400_000):
        total += i ^ x
    return {"total": float(total)}


def seconds(study: Study, workers: int) -> float:
    """Of a run into a fresh folder, the start of its processes included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = study.run(Path(folder) / "o", workers=workers)
        found = time.perf_counter() - start
        assert store.count() == {"done": study.check()}
        store.close()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers
    empty = Study("study:nothing", {"x": list(range(EMPTY))}, folder=str(Path(__file__).parent))
    for count in (1, workers):
        took = seconds(empty, count)
        print(f"{EMPTY} empty configurations, {count} processes: {1e3 * took / EMPTY:.2f} ms each")
    one, many = (seconds(ERRORS, count) for count in (1, workers))
    print(f"1000 error configurations of 2^20 values: {one:.1f} s; {workers} workers {many:.1f} s")
    work = empty.replace(task="study:busy", axes={"x": list(range(600))})
    one, many = (seconds(work, count) for count in (1, workers))
    print(f"600 busy ones: {one:.1f} s; {workers} processes {many:.1f} s: {one / many:.2f} times")


if __name__ == "__main__":
    main()
