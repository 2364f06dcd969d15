"""The installed package is whole: version, typing, headers for get_include(), and nothing else.

Run with the interpreter of the environment that lowp was installed into.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import files, requires, version
from pathlib import Path


def problems(root: Path) -> list[str]:
    import lowp

    stated = re.search(r"project\(lowp VERSION ([0-9.]+)", (root / "CMakeLists.txt").read_text())
    headers = sorted(p.relative_to(root) for p in (root / "include").rglob("*.hpp"))
    installed = [Path(str(f)) for f in files("lowp") or []]
    home = Path(lowp.__file__).parent
    found = []
    if root.resolve() in home.resolve().parents and ".venv" not in home.parts:
        found.append(f"imported from the source tree: {home}")
    if not stated or not stated[1] == version("lowp") == lowp.__version__:
        found.append(f"versions differ: {stated}, {version('lowp')}, {lowp.__version__}")
    found += [f"not installed: {h}" for h in headers if not (home / h).is_file()]
    found += [f"not installed: {f}" for f in ("py.typed", "_core.pyi") if not (home / f).is_file()]
    include = getattr(lowp, "get_include", None)
    if include is None or not (Path(include()) / "lowp" / "lowp.hpp").is_file():
        found.append("lowp.get_include() does not lead to lowp/lowp.hpp")
    top = {f.parts[0] for f in installed} - {"lowp", "..", f"lowp-{version('lowp')}.dist-info"}
    found += [f"installed outside of lowp/: {t}" for t in sorted(top)]
    needed = [r for r in requires("lowp") or [] if "extra ==" not in r]
    if [re.match(r"[\w-]+", r)[0] for r in needed] != ["numpy"]:  # type: ignore[index]
        found.append(f"needs more than numpy: {needed}")
    return found


def main() -> int:
    errors = problems(Path(sys.argv[1]))
    for error in errors:
        print(error)
    print(f"installed package: {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
