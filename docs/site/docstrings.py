"""A Sphinx extension: docstrings are Markdown, the compiled module has its stub's signatures.

Docstrings are written to be read as text. Outside of code they use no Markdown but backticks and
lists, so that every other sign with a meaning, as in 2**-bits, stands for itself.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import lowp
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.utils import new_document
from lowp import elementary
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.nodes import make_refnode

#: Where the compiled module's signatures are, and those that all elementary functions have.
STUBS = [Path(lowp.__file__).with_name(name) for name in ("_core.pyi", "elementary.py")]
CODE_OR_SIGN = re.compile(r"(`+.+?`+)|([*_<\[|~$])", re.DOTALL)


def markdown(text: str) -> str:
    """A docstring as Markdown: signs outside of code are escaped, indented paragraphs stay code."""
    text = re.sub(r":\n(?= {4}\S)", ":\n\n", text)
    parts = re.split(r"((?:^(?: {4}.*)?\n)+)", text + "\n", flags=re.MULTILINE)
    return "".join(part if part[:4].strip(" \n") == "" else _prose(part) for part in parts)


def _prose(text: str) -> str:
    escaped = CODE_OR_SIGN.sub(lambda found: found[1] or "\\" + found[2], text)
    escaped = re.sub(r"^([+#>])(?=\s)", r"\\\1", escaped, flags=re.MULTILINE)
    # What is said of an argument, as in "x: floats", begins a line after a finished sentence.
    escaped = re.sub(r"(?<=[.;:)])\n(?=[\w, \\]+: )", "\\\\\n", escaped)
    return re.sub(r"\bdocs/(\w+)\.md\b", r"[docs/\1.md](/\1.md)", escaped)


class Docstring(Directive):
    """The content, a docstring, read by MyST; with :as-it-is: it is Markdown already."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"as-it-is": directives.flag}  # type: ignore[misc]

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        document = new_document("docstring", self.state.document.settings)
        MystParser().parse(text if "as-it-is" in self.options else markdown(text), document)
        for block in document.findall(nodes.literal_block):
            block["language"] = "pycon" if block.astext().startswith(">>>") else "text"
        return list(document.children)


def in_a_directive(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if any(line.strip() for line in lines):
        lines[:] = without_signature(lines)
        lines[:] = [".. docstring::", "", *("   " + line for line in lines), ""]


# ---- signatures of the compiled module -----------------------------------------------------------


def without_signature(lines: list[str]) -> list[str]:
    """A docstring without the signature that pybind11 puts first, and the one that help() reads."""
    if lines and re.match(r"\w+\(.*\) -> ", lines[0]):
        lines = lines[2:]
    if "--" in lines[:2]:
        lines = lines[3:]
    return lines


@lru_cache(maxsize=1)
def declarations() -> dict[str, list[ast.FunctionDef]]:
    """Name, that of the class before a method's: its declarations in the stub."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for node in [node for stub in STUBS for node in ast.parse(stub.read_text()).body]:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for inner in inside:
            if isinstance(inner, ast.FunctionDef):
                found.setdefault(prefix + inner.name, []).append(inner)
    return found


def union(types: list[ast.expr | None]) -> ast.expr | None:
    """The types that an argument has in the overloads, with bars between; Any says nothing more."""
    words: list[str] = []
    for node in types:
        words += [
            w for w in (ast.unparse(node) if node else "").split(" | ") if w and w not in words
        ]
    if len(words) > 1 and "Any" in words:
        words.remove("Any")
    words.sort(key="None".__eq__)
    return ast.parse(" | ".join(words), mode="eval").body if words else None


def merged(overloads: list[ast.FunctionDef]) -> tuple[str, str]:
    """(arguments, result) of a function: the last overload, with the types of all."""
    last = copy.deepcopy(overloads[-1])
    for group in ("posonlyargs", "args", "kwonlyargs"):
        for i, argument in enumerate(getattr(last.args, group)):
            argument.annotation = union([getattr(f.args, group)[i].annotation for f in overloads])
    everything = last.args.posonlyargs or last.args.args
    if everything and everything[0].arg == "self":
        del everything[0]
    result = union([f.returns for f in overloads])
    return f"({ast.unparse(last.args)})", ast.unparse(result) if result else "None"


def signature_of(name: str) -> str:
    """The signature of what the compiled module has; empty for other functions and classes."""
    local = name.removeprefix("lowp.")
    if local in elementary.__all__:
        operands = inspect.signature(getattr(elementary, local)).parameters
        kind = "Binary" if "y" in operands else "Unary"
        return " -> ".join(merged(declarations()[f"{kind}.__call__"]))
    if getattr(getattr(lowp, local, None), "__module__", "") != "lowp._core":
        return ""
    if f"{local}.__init__" in declarations():
        return merged(declarations()[f"{local}.__init__"])[0]
    return " -> ".join(merged(declarations()[local])) if local in declarations() else ""


def native_members(name: str) -> str:
    """The directives of the methods and properties of a class of the compiled module."""
    holder = getattr(lowp, name.removeprefix("lowp."))
    found = []
    for full, overloads in declarations().items():
        owner, _, member = full.rpartition(".")
        if owner != holder.__name__ or member.startswith("_"):
            continue
        arguments, result = merged(overloads)
        if any(ast.unparse(d) == "property" for d in overloads[0].decorator_list):
            head = f"   .. py:property:: {member}\n      :type: {result}\n"
        else:
            head = f"   .. py:method:: {member}{arguments} -> {result}\n"
        lines = without_signature((inspect.getdoc(getattr(holder, member)) or "").splitlines())
        told = "".join(f"         {line}".rstrip() + "\n" for line in lines)
        found.append(f"{head}\n      .. docstring::\n\n{told}")
    return "\n".join(found)


# ---- references ----------------------------------------------------------------------------------


def under_its_public_name(app: Any, env: Any, node: Any, contents: Any) -> Any:
    """A type as signatures name it, by its home, as the one public object of that name."""
    word = node.get("reftarget", "").rpartition(".")[2]
    domain = env.domains.python_domain
    found = [name for name in domain.objects if name.rpartition(".")[2] == word]
    if node.get("refdomain") != "py" or node.get("reftype") != "class" or len(found) != 1:
        return None
    place = domain.objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, contents)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("docstring", Docstring)
    app.connect("autodoc-process-docstring", in_a_directive)
    app.connect("missing-reference", under_its_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
