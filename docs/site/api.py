"""The pages of the API: of Python's modules and of the public headers.

What is public in Python is what `__all__` names, in modules without an underscore. An object that a
package and a module of it both name is documented on the package's page.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import unimported
from docstrings import markdown, native_members, signature_of, without_signature
from stage import Stage

#: Modules whose public part is what lowp names.
WITHIN_LOWP = {"lowp.elementary", "lowp.measures", "lowp.quality", "lowp.readers"}

#: The pages that lowp's own names are spread over. A name that none of them has is on the first.
TOPICS = {
    "Formats and codes": (
        "Format format formats format_sources finfo quantize encode decode pack unpack array "
        "FormatArray ROUNDINGS SATURATIONS random_bits GENERATORS set_threads get_threads isa isas "
        "get_include"
    ),
    "Blocks": (
        "BlockFormat block_format block_formats block_format_sources is_block_format SCALE_RULES "
        "COMPATS BlockTensor blocks_of DelayedScaling hadamard swizzle_scales unswizzle_scales"
    ),
    "Arithmetic and products": (
        "add sub mul div sqrt fma remainder minimum maximum minimum_number maximum_number "
        "dot matmul Accumulator accumulator accumulators"
    ),
    "Elementary functions": "",  # all of lowp.elementary
    "Errors and quality": "error Error Errors Meter code_histogram gmse capacity optimal_scale",
}

#: What the compiled module's constants are: docstrings they cannot have.
CONSTANTS = {
    "lowp.COMPATS": "Libraries whose edge behaviour block formats can have: `compat=`.",
    "lowp.GENERATORS": "Generators of random bits: `generator=`.",
    "lowp.ROUNDINGS": "Roundings: `rounding=`.",
    "lowp.SATURATIONS": "What overflow becomes: `saturation=`.",
    "lowp.SCALE_RULES": "Rules that find a block's scale: `BlockFormat(rule=...)`.",
}


# ---- Python --------------------------------------------------------------------------------------


def modules() -> tuple[dict[str, Any], list[str]]:
    """Name: public module, packages first; and why the source of some is read instead."""
    found: dict[str, Any] = {}
    missing: list[str] = []

    def visit(name: str) -> None:
        try:
            found[name] = import_module(name)
        except ImportError as error:
            found[name] = unimported.Module(name)
            missing.append(f"{name} is read from its source: {error}")
        # A function that has a module's name hides it.
        hidden = {f"{name}.{word}" for word in public(found[name])}
        for child in pkgutil.iter_modules(getattr(found[name], "__path__", [])):
            full = f"{name}.{child.name}"
            if not child.name.startswith("_") and full not in WITHIN_LOWP | hidden:
                visit(full)

    visit("lowp")
    return found, missing


def public(module: Any) -> dict[str, Any]:
    """Name: object of what a module offers, modules left out."""
    if isinstance(module, unimported.Module):
        return dict(module.public())
    own = [n for n, o in vars(module).items() if getattr(o, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    named = {name: getattr(module, name) for name in names if name != "__version__"}
    return {name: o for name, o in named.items() if not inspect.ismodule(o)}


def identity(o: Any) -> int:
    if isinstance(o, unimported.Source):
        return hash((ast.unparse(o.node), o.name))
    return id(inspect.unwrap(o)) if callable(o) else id(o)


def entries(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Module: full name, the first under which it is offered: object."""
    first: dict[int, str] = {}
    return {
        module: {
            first.setdefault(identity(o), f"{module}.{name}"): o
            for name, o in public(content).items()
        }
        for module, content in found.items()
    }


def is_class(o: Any) -> bool:
    return o.is_class if isinstance(o, unimported.Source) else inspect.isclass(o)


def summary(o: Any, name: str) -> str:
    """The first sentence of a docstring, for a table."""
    if isinstance(o, unimported.Source):
        text = o.doc
    else:
        text = inspect.getdoc(o) or "" if callable(o) else CONSTANTS.get(name, "")
    words = "\n".join(without_signature(text.splitlines()))
    sentence = re.split(r"(?<=[^.][.?!])\s|\n\n", words, maxsplit=1)[0].removesuffix(":")
    return markdown(" ".join(sentence.split())).strip().replace("|", r"\|")


def directive(name: str, o: Any) -> str:
    """The entry of an object."""
    if isinstance(o, unimported.Source):
        return o.directive()
    told = signature_of(name)
    if inspect.isclass(o) and told:
        return f".. autoclass:: {name}{told}\n\n{native_members(name)}"
    if inspect.isclass(o):
        return f".. autoclass:: {name}\n   :members:\n   :undoc-members:\n"
    if callable(o):
        return f".. autofunction:: {name}{told}\n"
    if name in CONSTANTS:
        local = name.removeprefix("lowp.")
        told = f"\n   .. docstring::\n\n      {CONSTANTS[name]}\n"
        return f".. py:data:: {local}\n   :module: lowp\n   :value: {o!r}\n{told}"
    words = isinstance(o, tuple) and all(isinstance(word, str) for word in o)
    return f".. autodata:: {name}\n" + ("" if words else "   :no-value:\n")


def python_page(title: str, opening: str, named: dict[str, Any], own: str) -> str:
    """A page: title, opening, a table of what there is, and an entry for each."""
    rows = [f"   | {{py:obj}}`~{name}` | {summary(o, name)} |" for name, o in named.items()]
    table = [".. docstring::", "   :as-it-is:", "", "   | | |", "   | --- | --- |", *rows, ""]
    here = {name: o for name, o in named.items() if name.rpartition(".")[0] == own}
    order = sorted(here, key=lambda name: (not is_class(here[name]), not callable(here[name])))
    bodies = [directive(name, here[name]) for name in order]
    line = "=" * len(title)
    return "\n".join([title, line, "", opening, *(table if named else []), *bodies])


def opening_of_module(name: str, module: Any) -> str:
    if not isinstance(module, unimported.Module):
        return f".. automodule:: {name}\n   :no-members:\n"
    told = "".join(f"      {line}".rstrip() + "\n" for line in module.doc.splitlines())
    return f".. py:module:: {name}\n\n.. docstring::\n\n{told}"


def children(pages: list[str]) -> str:
    """The pages below a page."""
    links = "".join(f"   /{page}\n" for page in pages)
    return f".. toctree::\n   :maxdepth: 1\n\n{links}\n" if pages else ""


def topic_of(name: str) -> str:
    word = name.removeprefix("lowp.")
    if word in import_module("lowp.elementary").__all__:
        return "Elementary functions"
    return next((t for t, words in TOPICS.items() if word in words.split()), next(iter(TOPICS)))


def python_pages(stage: Stage) -> tuple[list[str], set[str], list[str]]:
    """Writes them; (pages of the first level, every name that has an entry, notes)."""
    found, notes = modules()
    everything = entries(found)
    pages = []
    for topic in TOPICS:
        named = {n: o for n, o in everything["lowp"].items() if topic_of(n) == topic}
        opening = ".. currentmodule:: lowp\n" if pages else opening_of_module("lowp", found["lowp"])
        pages.append(f"api/python/{topic.lower().replace(' ', '_')}")
        stage.write(
            f"{pages[-1]}.rst", python_page(f"lowp: {topic.lower()}", opening, named, "lowp")
        )
    for module in list(found)[1:]:
        below = [f"api/python/{name}" for name in found if name.rpartition(".")[0] == module]
        opening = opening_of_module(module, found[module]) + "\n" + children(below)
        stage.write(
            f"api/python/{module}.rst", python_page(module, opening, everything[module], module)
        )
        if module.count(".") == 1:
            pages.append(f"api/python/{module}")
    return pages, {name for named in everything.values() for name in named}, notes


# ---- C++ -----------------------------------------------------------------------------------------


#: What of a header is shown: all but what is private.
SECTIONS = (
    "briefdescription detaileddescription innerclass innernamespace enum typedef var func friend "
    + " ".join(
        f"public-{kind}" for kind in ("type", "attrib", "static-attrib", "func", "static-func")
    )
)


def opening_of(header: Path) -> str:
    """The comment that a header opens with."""
    lines = []
    for line in header.read_text().splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].removeprefix(" "))
    return "\n".join(lines)


def concepts(xml: Path) -> dict[str, list[str]]:
    """Header: its concepts, which Breathe does not show with the file."""
    found: dict[str, list[str]] = {}
    for path in sorted(xml.glob("concept*.xml")):
        compound = ElementTree.parse(path).getroot().find("compounddef")
        if compound is not None:
            place = compound.find("location").attrib["file"]  # type: ignore[union-attr]
            found.setdefault(place, []).append(compound.findtext("compoundname", ""))
    return found


def header_page(header: str, opening: str, named: list[str], is_empty: bool) -> str:
    opening = "".join(f"   {line}\n" for line in markdown(opening).splitlines())
    parts = [header, "=" * len(header), "", f"``#include <lowp/{header}>``", ""]
    parts += [".. docstring::", "   :as-it-is:", "", opening]
    parts += [f".. doxygenconcept:: {name}\n" for name in named]
    if not is_empty:
        parts += [f".. doxygenfile:: {Path(header).name}", f"   :sections: {SECTIONS}", ""]
    return "\n".join(parts)


def cpp_pages(stage: Stage, xml: Path) -> list[str]:
    """Writes a page a public header; the first, the map, with the others below it."""
    folder = stage.root / "include/lowp"
    named = concepts(xml)
    headers = [*sorted(folder.glob("*.hpp")), *sorted(folder.glob("linalg/*.hpp"))]
    names = [str(path.relative_to(folder)) for path in headers]
    below = [f"api/cpp/{name.removesuffix('.hpp')}" for name in names if name != "lowp.hpp"]
    for path, header in zip(headers, names, strict=True):
        content = ElementTree.parse(xml / f"{path.name.replace('_', '__').replace('.', '_8')}.xml")
        is_empty = not content.findall(".//innernamespace") and not content.findall(".//innerclass")
        page = header_page(header, opening_of(path), named.get(f"lowp/{header}", []), is_empty)
        page += children(below) if header == "lowp.hpp" else ""
        stage.write(f"api/cpp/{header.removesuffix('.hpp')}.rst", page)
    return ["api/cpp/lowp"]
