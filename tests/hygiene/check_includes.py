"""The include graph of include/lowp is the one below, and each boundary is kept.

A header may include what its row names and whatever those may include.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# One header a row; `detail/lanes` is the only one that may name xsimd.
ALLOWED: dict[str, set[str]] = {
    "format": set(),
    "rounding": set(),
    "random": set(),
    "pack": set(),
    "detail/check": set(),
    "detail/scalar_lanes": set(),
    "detail/lanes": {"detail/scalar_lanes"},
    "detail/eight_doubles": set(),
    "detail/environment": set(),
    "detail/stores": set(),
    "detail/threads": set(),
    "formats": {"format"},
    "spec": {"format", "rounding"},
    "detail/plan": {"format", "rounding", "detail/lanes", "detail/check"},
    "detail/line_kernel": {"detail/plan"},
    "detail/sum_kernel": {"detail/line_kernel"},
    "detail/kernel": {"detail/sum_kernel"},
    "codec": {"detail/environment", "detail/kernel", "random"},
    "codebook": {"rounding"},
    "scale": {"format"},
    "block_format": {"codebook", "format", "formats", "rounding", "scale"},
    "block_presets": {"block_format", "formats"},
    "block_formats": {"block_presets"},
    "detail/block_kernel": {"block_format", "codec", "detail/kernel", "scale"},
    "detail/hadamard_loops": {"detail/lanes"},
    "detail/fused_loops": {"codec", "detail/block_kernel", "detail/stores"},
    "detail/power_2_4": {"detail/eight_doubles"},
    "detail/block_loops": {"detail/fused_loops", "detail/hadamard_loops", "detail/power_2_4"},
    "detail/loops": {"codec", "detail/block_loops"},
    "detail/odd_kernel": {"detail/plan"},
    "detail/arithmetic_loops": {"codec", "detail/odd_kernel"},
    "accumulator": {"formats", "rounding"},
    "accumulator_names": {"accumulator"},
    "detail/product_kernel": {"accumulator", "detail/kernel"},
    "detail/product_loops": {"codec", "detail/product_kernel"},
    "detail/kulisch_sum": {"detail/wide"},
    "detail/operands": {"detail/product_loops"},
    "detail/product_choice": {"accumulator", "detail/operands", "detail/product_loops"},
    "detail/product_rows": {"accumulator", "arithmetic_array"},
    "detail/product_engine": {
        "array",
        "detail/kulisch_sum",
        "detail/operands",
        "detail/product_choice",
        "detail/product_rows",
    },
    "gemm": {"array", "detail/product_engine"},
    "array": {"detail/loops", "detail/environment", "detail/threads"},
    "detail/block_elements": {"block_format", "detail/block_kernel", "detail/loops"},
    "detail/block_panels": {
        "block_format",
        "detail/block_kernel",
        "detail/environment",
        "detail/stores",
        "detail/threads",
    },
    "detail/block_statistics": {"detail/block_loops", "detail/block_panels"},
    "detail/block_search": {"block_format", "codec", "detail/block_kernel", "detail/power_2_4"},
    "detail/block_engine": {
        "array",
        "detail/block_elements",
        "detail/block_search",
        "detail/block_statistics",
        "pack",
    },
    "block": {"array", "block_format", "detail/block_engine", "pack"},
    "hadamard": {"array"},
    "detail/wide": {"codec", "detail/kernel", "format", "rounding"},
    "arithmetic": {"codec", "detail/wide"},
    "arithmetic_array": {"arithmetic", "array", "detail/arithmetic_loops"},
    "detail/elementary_functions": set(),
    "detail/elementary_libm": {"detail/elementary_functions"},
    "detail/elementary_wide": {"detail/wide"},
    "detail/elementary_asymptote": {"detail/elementary_functions", "detail/elementary_wide"},
    "detail/elementary_precise": {"detail/elementary_functions", "detail/elementary_wide"},
    "elementary": {
        "array",
        "detail/elementary_asymptote",
        "detail/elementary_libm",
        "detail/elementary_precise",
    },
    "statistics": {"arithmetic"},
    "minifloat": {"statistics"},
    "halves": {"array", "block", "formats", "minifloat"},
    "real": {"formats", "minifloat", "random"},
    "literals": {"formats", "minifloat"},
    "shadowed": {"format"},
    "eigen_scalar": {"minifloat", "real", "shadowed"},
    "linalg/scalars": {"eigen_scalar"},
    "linalg/products": {"linalg/scalars"},
    "linalg/factors": {"linalg/scalars"},
    "linalg/modelled": {"gemm", "linalg/products"},
    "linalg/orthogonal": {"linalg/factors", "linalg/products"},
    "linalg/krylov": {"linalg/factors", "linalg/products"},
    "linalg/refinement": {"linalg/krylov"},
    "linalg": {"linalg/orthogonal", "linalg/refinement"},
    "eigen": {"array", "minifloat"},
    "dot": {"arithmetic"},
    "dispatch": {"array", "block", "gemm", "formats"},
    "cuda": {"format", "random", "rounding"},
    "cuda_block": {"block_format", "cuda", "cuda_hadamard"},
    "cuda_delayed": {"block_format", "cuda", "scale"},
    "cuda_hadamard": {"cuda", "random"},
    "cuda_product": {"accumulator", "cuda"},
    "cuda_statistics": {"block_format", "cuda"},
}
MAP = "lowp"  # includes every header but these:
NOT_IN_MAP = {"lowp", "spec", "dispatch", "eigen", "eigen_scalar", "linalg", "elementary"}
NOT_IN_MAP |= {"cuda", "cuda_block", "cuda_delayed"}
NOT_IN_MAP |= {"cuda_hadamard", "cuda_product", "cuda_statistics"}

LANES = r"include/lowp/detail/lanes\.hpp"
CONTROL = r"include/lowp/detail/(lanes|environment)\.hpp|(bench|tests)/.*"
# (what, a pattern of the text, where it is allowed)
BOUNDARIES = [
    ("xsimd", r"#\s*include\s*<xsimd/", LANES),
    ("Python", r"#\s*include\s*<(pybind11/|Python\.h)", r"bindings/.*"),
    ("the CPU", r"<cpuid\.h>|__builtin_cpu_|getauxval", r"(src|bench)/.*"),
    ("intrinsics", r"#\s*include\s*<(\w*mmintrin|immintrin|arm_neon)\.h>", CONTROL),
    ("the definition", r"#\s*include\s*[<\"]lowp/spec\.hpp", r"(tests|bindings|bench|docs)/.*"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]lowp/([\w/]+)\.hpp[>"]', re.MULTILINE)
SOURCES = ("*.hpp", "*.cpp")


def reachable(header: str) -> set[str]:
    """Every header that `header` may include, by its row and the rows of those."""
    found: set[str] = set()
    todo = list(ALLOWED[header])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += ALLOWED[name]
    return found


def graph_errors(include: Path) -> Iterator[str]:
    files = {p.relative_to(include).with_suffix("").as_posix(): p for p in include.rglob("*.hpp")}
    for name, path in sorted(files.items()):
        text = path.read_text()
        used = set(INCLUDE.findall(text))
        if "#pragma once" not in text:
            yield f"{name}.hpp: no #pragma once"
        if name == MAP:
            for missing in sorted(set(files) - used - NOT_IN_MAP):
                if not missing.startswith(("detail/", "linalg/")):
                    yield f"{name}.hpp: does not include {missing}.hpp"
        elif name not in ALLOWED:
            yield f"{name}.hpp: has no row in the table of {Path(__file__).name}"
        else:
            for extra in sorted(used - reachable(name)):
                yield f"{name}.hpp: must not include {extra}.hpp"


def boundary_errors(root: Path) -> Iterator[str]:
    folders = ("include", "src", "bindings", "tests", "bench", "docs")
    paths = [p for f in folders for kind in SOURCES for p in (root / f).rglob(kind)]
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        text = path.read_text()
        for what, pattern, where in BOUNDARIES:
            if re.search(pattern, text) and not re.fullmatch(where, name):
                yield f"{name}: only {where} may know {what}"


def main() -> int:
    root = Path(sys.argv[1])
    errors = [*graph_errors(root / "include" / "lowp"), *boundary_errors(root)]
    for error in errors:
        print(error)
    print(f"include graph: {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
