"""No weak function of an ISA's kernels can be linked into code for every machine.

The linker keeps one body of a weak (inline or template) function. Were one compiled for AVX-512
named like one that all call, an older machine would meet an illegal instruction. So the name of
each weak function in the object of an ISA must say that ISA. Weak data holds no instructions.
"""

from __future__ import annotations

import re
import subprocess
import sys

# lowp's own tag is isa::<name>, as a namespace or a type; xsimd's is the architecture type.
XSIMD_ARCHITECTURE = {"avx2": r"xsimd::(avx2|fma3<xsimd::avx2>)\b", "avx512": r"xsimd::avx512\w*"}


def weak_functions(nm: str, paths: list[str]) -> list[str]:
    command = [nm, "--demangle", "--defined-only", *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    matches = (re.match(r"[0-9a-f]*\s+W (.*)", line) for line in lines)
    return [match[1] for match in matches if match]


def main() -> int:
    nm, *objects = sys.argv[1:]
    errors = 0
    for isa, files in (argument.split("=", 1) for argument in objects):  # files: a list of cmake
        tag = re.compile(rf"\bisa::{isa}\b|{XSIMD_ARCHITECTURE[isa]}")
        functions = weak_functions(nm, files.split(";"))
        foreign = [name for name in functions if not tag.search(name)]
        errors += len(foreign)
        for name in foreign:
            print(f"{isa}: weak and not tagged: {name}")
        print(f"{isa}: {len(functions)} weak functions, {len(foreign)} without the tag")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
