"""What a module offers, read from its source: for modules whose libraries are not installed.

`lowp.torch` and `lowp.jax` need PyTorch and JAX, without which the site should still be whole.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import lowp

ROOT = Path(lowp.__file__).parents[1]


@dataclass(frozen=True)
class Source:
    """A function, class or constant as its file has it."""

    name: str
    node: ast.stmt

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef)

    @property
    def doc(self) -> str:
        documented = isinstance(self.node, (ast.ClassDef, ast.FunctionDef))
        return ast.get_docstring(self.node) or "" if documented else ""

    def directive(self, indent: str = "") -> str:
        """The entry: signature, docstring, and those of public methods."""
        node = self.node
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            return f"{indent}.. py:data:: {self.name}\n"
        is_member = bool(indent)
        kind = "class" if self.is_class else "method" if is_member else "function"
        head = f"{indent}.. py:{kind}:: {self.name}{_signature(node, is_member)}\n"
        if "property" in _decorators(node):
            head = f"{indent}.. py:property:: {self.name}\n"
        inside = indent + "   "
        told = "".join(f"{inside}   {line}".rstrip() + "\n" for line in self.doc.splitlines())
        members = [
            Source(inner.name, inner).directive(inside)
            for inner in (node.body if isinstance(node, ast.ClassDef) else [])
            if isinstance(inner, ast.FunctionDef)
            and not inner.name.startswith("_")
            and f"{inner.name}.setter" not in _decorators(inner)
        ]
        return "\n".join([head, f"{inside}.. docstring::\n", told, *members])


def _decorators(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def _signature(node: ast.ClassDef | ast.FunctionDef, is_member: bool) -> str:
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        if is_member and arguments.args:
            arguments.args = arguments.args[1:]
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"({ast.unparse(arguments)}){result}"
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            inner.returns = None
            return _signature(inner, True)
    fields = [ast.unparse(inner) for inner in node.body if isinstance(inner, ast.AnnAssign)]
    return f"({', '.join(fields)})"


class Module:
    """A module's docstring and what its `__all__` names, whatever file of lowp that is from."""

    def __init__(self, name: str) -> None:
        path = ROOT.joinpath(*name.split("."))
        self.is_package = path.is_dir()
        self.__path__ = [str(path)] if self.is_package else []
        self.path = path / "__init__.py" if self.is_package else path.with_suffix(".py")
        self.tree = ast.parse(self.path.read_text())
        self.doc = ast.get_docstring(self.tree) or ""

    def public(self) -> dict[str, Source]:
        names: list[str] = []
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
        found = {name: self.find(name) for name in names}
        return {name: source for name, source in found.items() if source is not None}

    def find(self, name: str) -> Source | None:
        """Where the module has a name from; None for a module."""
        for node in self.tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return Source(name, node)
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            )
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return Source(name, node)
            if isinstance(node, ast.ImportFrom) and name in [
                a.asname or a.name for a in node.names
            ]:
                home = node.module or ""
                is_module = (ROOT.joinpath(*home.split(".")) / f"{name}.py").exists()
                return None if is_module or not home.startswith("lowp") else Module(home).find(name)
        return None
