"""Writes what the studies found into their pages, from the rows beside them, or checks the pages.

python docs/studies/verdicts.py [--check] [NAME ...]. A study NAME is NAME.toml (what is run),
NAME.csv (its rows: `lowp study export`), NAME.py (`tables`: texts by name, made of the rows) and
NAME.md, where a text stands between `<!-- found: TEXT -->` and `<!-- end -->`. Texts that NAME.py
lists in FITTED are of iterative fits: a check lets another SciPy or processor change last digits.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parent
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
PLACE = re.compile(r"(<!-- found: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def names() -> list[str]:
    """The studies that have a page and rows."""
    return sorted(p.stem for p in FOLDER.glob("*.csv") if p.with_suffix(".md").exists())


def rows(name: str) -> pd.DataFrame:
    """The rows of a study."""
    return pd.read_csv(FOLDER / f"{name}.csv", keep_default_na=False, na_values=["nan", ""])


def page(name: str) -> str:
    """The page with its texts as the rows have them now."""
    beside = [str(FOLDER), str(FOLDER.parent / "examples")]
    sys.path[:0] = beside
    module = import_module(name)
    for folder in beside:
        sys.path.remove(folder)
    found: dict[str, str] = module.tables(rows(name))
    fitted: set[str] = getattr(module, "FITTED", set())

    def text(place: re.Match[str]) -> str:
        new = f"{place[1]}{found[place[2]].rstrip()}\n{place[3]}"
        return place[0] if place[2] in fitted and is_near(place[0], new) else new

    return PLACE.sub(text, (FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def is_near(old: str, new: str) -> bool:
    """Whether two texts differ in the last digits of numbers alone, by up to 2 %."""
    numbers = [[float(x) for x in NUMBER.findall(text)] for text in (old, new)]
    same = NUMBER.sub("#", old) == NUMBER.sub("#", new)
    return same and all(
        abs(a - b) <= 0.02 * max(abs(a), abs(b)) for a, b in zip(*numbers, strict=True)
    )


def markdown(frame: pd.DataFrame) -> str:
    """A table, numbers with four digits; what the frame is indexed by is the first columns."""
    if frame.index.names != [None]:
        frame = frame.reset_index()

    def cell(x: object) -> str:
        if isinstance(x, float):
            return "" if x != x else f"{x:.4g}"
        return str(x).replace("|", "\\|")

    lines = [[str(c) for c in frame.columns], ["---"] * len(frame.columns)]
    lines += [[cell(x) for x in row] for row in frame.itertuples(index=False)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def interval(differences: pd.Series[float]) -> str:
    """Their mean and half its 95 % interval (Student's t), and how many there are."""
    from scipy import stats

    n = len(differences)
    if n < 2:
        return ""
    half = stats.t.ppf(0.975, n - 1) * differences.std() / n**0.5
    return f"{differences.mean():+.4f} ± {half:.4f} ({n})"


def main() -> int:
    """Write the pages, or say which are not up to date."""
    check = "--check" in sys.argv
    chosen = [a for a in sys.argv[1:] if a != "--check"] or names()
    stale = []
    for name in chosen:
        path, text = FOLDER / f"{name}.md", page(name)
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run docs/studies/verdicts.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
