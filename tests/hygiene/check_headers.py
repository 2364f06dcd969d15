"""Every header compiles alone, with xsimd and without; -ffast-math is refused with lowp's words."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
WARNINGS += ["-Wconversion", "-Wsign-conversion"]
BOOST = "boost/multiprecision/cpp_bin_float.hpp"
NEEDING_BOOST = ("lowp/elementary.hpp", "lowp/detail/elementary_precise.hpp")
VARIANTS = {"": [], "without xsimd": ["-DLOWP_NO_XSIMD"]}
REFUSAL = "lowp needs IEEE arithmetic"


def compile_alone(compiler: str, include: Path, header: str, flags: list[str]) -> str:
    """The compiler's complaints about a source that includes only `header`; empty: none."""
    command = [compiler, "-std=c++20", "-fsyntax-only", f"-I{include}", *flags, "-x", "c++", "-"]
    # Twice: a header that defines something it must not shows as a redefinition.
    source = f"#include <{header}>\n" * 2
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode != 0 else ""


def main() -> int:
    include, compiler, eigen = Path(sys.argv[1]) / "include", sys.argv[2], sys.argv[3:]
    headers = sorted(p.relative_to(include).as_posix() for p in include.rglob("*.hpp"))
    if not eigen:
        needing = [h for h in headers if h.startswith(("lowp/eigen", "lowp/linalg"))]
        print(f"left out, no Eigen: {', '.join(needing)}")
        headers = [h for h in headers if h not in needing]
    if compile_alone(compiler, include, BOOST, []):
        print(f"left out, no Boost: {', '.join(NEEDING_BOOST)}")
        headers = [h for h in headers if h not in NEEDING_BOOST]
    system = [f"-isystem{folder}" for folder in eigen]
    jobs = [(h, what, flags) for h in headers for what, flags in VARIANTS.items()]
    with ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
        complaints = pool.map(
            lambda job: compile_alone(compiler, include, job[0], WARNINGS + system + job[2]),
            jobs,
        )
        errors = [
            f"{header} {what}:\n{complaint}"
            for (header, what, _), complaint in zip(jobs, complaints, strict=True)
            if complaint
        ]
    errors += [
        f"{flag} is not refused"
        for flag in ("-ffast-math", "-ffinite-math-only")
        if REFUSAL not in compile_alone(compiler, include, "lowp/format.hpp", [flag])
    ]
    for error in errors:
        print(error)
    print(f"{len(headers)} headers alone, {len(VARIANTS)} ways each: {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
