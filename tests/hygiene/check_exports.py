"""A Python module's own symbols are its entry and what headers define weakly, no library's.

Where the compiler takes libstdc++ from an archive and a module exports it, libraries that are
loaded later take its locale variables for theirs, and a stream of another release of libstdc++
looks up the wrong facet: `import lowp` made PyTorch crash so.
"""

from __future__ import annotations

import subprocess
import sys

#: Functions and data with one definition; weak ones are of headers (W, V, u) and the same anywhere.
STRONG = frozenset("TDBRGSAi")


def main() -> int:
    nm, *modules = sys.argv[1:]
    errors = 0
    for path in modules:
        command = [nm, "-D", "--defined-only", path]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        symbols = [line.split()[-2:] for line in lines.splitlines()]
        strong = [name for kind, name in symbols if kind in STRONG]
        foreign = [name for name in strong if not name.startswith("PyInit_")]
        foreign += [name for kind, name in symbols if kind == "u" and name.endswith("2idE")]
        errors += len(foreign)
        for name in foreign[:10]:
            print(f"{path}: exports {name}")
        print(f"{path}: {len(symbols)} symbols, {len(foreign)} of a library")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
