"""Builds the documentation as a website: python docs/site/build.py [FOLDER], build/site by default.

Warnings are errors: of Doxygen, of Sphinx, of links that lead nowhere, of what is public and not
documented. Needs what the extra [docs] brings and lowp installed; without Doxygen the headers are
left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import api
import check
from sphinx.cmd.build import main as sphinx
from stage import Stage

ROOT = Path(__file__).resolve().parents[2]


def doxygen(folder: Path) -> Path:
    """The folder with what Doxygen found in the headers."""
    xml = folder / "xml"
    shutil.rmtree(xml, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    settings = (ROOT / "docs/site/Doxyfile").read_text() + f"OUTPUT_DIRECTORY = {folder}\n"
    done = subprocess.run(
        ["doxygen", "-"], input=settings, text=True, cwd=ROOT, capture_output=True, check=False
    )
    # That is said of every specialization of a template of std.
    lines = done.stderr.splitlines()
    said = [line for line in lines if "Internal inconsistency: scope" not in line]
    if done.returncode or said:
        raise SystemExit("\n".join(said) or "doxygen failed")
    for path in xml.glob("*.xml"):
        # Sphinx's reader of C++ knows neither designated initializers nor lists over many lines.
        text = path.read_text()
        path.write_text(re.sub(r"<initializer>[^<]*\{.*?</initializer>", "", text, flags=re.DOTALL))
    return xml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "build/site")
    site = parser.parse_args().site.resolve()
    work = site.with_name(site.name + "-work")
    if (site / "objects.inv").exists():
        shutil.rmtree(site)  # an earlier site; of other folders nothing is removed
    elif site.exists() and any(site.iterdir()):
        raise SystemExit(f"{site} is not empty and no site: name another folder")

    stage = Stage(ROOT, work / "pages")
    xml = doxygen(work) if shutil.which("doxygen") else None
    python, names, notes = api.python_pages(stage)
    headers = api.cpp_pages(stage, xml) if xml else []
    notes += [] if xml else ["the API of C++ is left out: Doxygen is not installed"]
    stage.guides(names)
    stage.front({"API of Python": python, "API of C++": headers})
    stage.sweep()
    print(*notes, sep="\n", end="\n" if notes else "")

    # -E: pages that did not change are read again, or their warnings would be seen only once.
    options = ["-E", "-q", "-n", "-W", "--keep-going", "-c", str(ROOT / "docs/site")]
    options += ["-d", str(work / "doctrees"), "-D", f"breathe_projects.lowp={xml}"]
    code = sphinx([*options, str(work / "pages"), str(site)])
    found = check.complaints(site, names)
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(code or found))


if __name__ == "__main__":
    main()
