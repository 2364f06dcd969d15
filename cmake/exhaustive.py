"""Runs the exhaustive tests case by case until a time budget is spent; a later run goes on.

A case that has passed is remembered by its program's checksum, so it runs again only when the
program has changed. What was not run is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def case_names(program: Path) -> list[str]:
    command = [str(program), "--list-test-cases", "--no-intro"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [s for s in map(str.strip, lines) if s and not s.startswith(("[doctest]", "====="))]


def run_case(program: Path, case: str, memory: Path, deadline: float) -> str:
    """What became of it: passed, known (passed before), failed or skipped (out of time)."""
    digest = hashlib.sha256(program.read_bytes() + case.encode()).hexdigest()[:24]
    stamp = memory / digest
    if stamp.exists():
        return "known"
    left = deadline - time.monotonic()
    if left <= 1:
        return "skipped"
    # A filter takes commas as separators and ? as any character.
    pattern = re.sub(r"[,\"*\\]", "?", case)
    command = [str(program), f"--test-case={pattern}", "--no-intro"]
    started = time.monotonic()
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=left)
    except subprocess.TimeoutExpired:
        return "skipped"
    if result.returncode != 0:
        print(result.stdout, result.stderr, sep="\n")
        return "failed"
    stamp.write_text(f"{program.name}: {case}\n")
    print(f"passed in {time.monotonic() - started:6.1f} s  {program.name}: {case}", flush=True)
    return "passed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, help="the folder that has exhaustive.txt")
    parser.add_argument("--budget", type=float, default=240, help="seconds in all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    deadline = time.monotonic() + options.budget
    memory = options.build / "exhaustive"
    memory.mkdir(exist_ok=True)
    programs = [Path(p) for p in (options.build / "exhaustive.txt").read_text().split()]
    jobs = [(program, case) for program in programs for case in case_names(program)]
    if not jobs:
        print("there are no exhaustive tests")
        return 0
    with ThreadPoolExecutor(options.jobs) as pool:
        ends = list(pool.map(lambda job: run_case(*job, memory, deadline), jobs))

    for (program, case), end in zip(jobs, ends, strict=True):
        if end in ("failed", "skipped"):
            print(f"{end}: {program.name}: {case}")
    count = Counter(ends)
    passed = count["passed"] + count["known"]
    print(f"exhaustive: {count['known']} had passed before, {count['skipped']} out of time")
    print(f"{passed} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
