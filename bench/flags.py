"""What the headers alone reach, by compiler and flags, and how long they take to compile.

python bench/flags.py [folder of liblowp_dispatch.a]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAGS = ("-O2", "-O3", "-O3 -mavx2 -mfma -mbmi2", "-O3 -march=native")


def measure(compiler: str, flags: str, *more: str) -> tuple[float, str]:
    """Seconds of the compiler, and 10^9 values a second."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "program")
        command = [compiler, "-std=c++20", *flags.split(), "-pthread", f"-I{ROOT / 'include'}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, str(ROOT / "bench/flags.cpp"), *more, "-o", program], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rate = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return seconds, rate.strip()


def main() -> None:
    print("| compiler, flags | 10^9 values a second | seconds to compile |\n| --- | --- | --- |")
    for compiler in ("g++", "clang++"):
        for flags in FLAGS:
            seconds, rate = measure(compiler, flags)
            print(f"| `{compiler} {flags}` | {rate} | {seconds:.0f} |", flush=True)
    for folder in sys.argv[1:]:
        library = str(Path(folder) / "liblowp_dispatch.a")
        seconds, rate = measure("g++", "-O2 -DWITH_DISPATCH", library)
        print(f"| `g++ -O2`, `lowp::dispatch` | {rate} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
