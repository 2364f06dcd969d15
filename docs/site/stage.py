"""Puts the site's pages together in one folder, each under the name that its address will have.

docs/*.md are pages as they are, and stay plain Markdown to be read where the code is. Here their
relative links are turned to what the site has in place of the file: another page, the page of a
header or of the examples, or else a copy of the file. docs/README.md is the front page; its lists
of links are the table of contents, so that a page which it does not name is refused by Sphinx.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

LINK = re.compile(r"(!?\[(?:[^\[\]`]|`[^`]*`)*\]\()([^)#\s]*)(#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
#: Pages that are not in docs, and those whose name on the site is another.
PAGES = {
    "docs/README.md": "index.md",
    "README.md": "index.md",
    "bench/README.md": "speed.md",
    "bench": "speed.md",
    "CHANGELOG.md": "changes.md",
    "docs/examples": "examples.md",
    "docs/studies": "studies/index.md",
    "docs/studies/README.md": "studies/index.md",
}
LANGUAGES = {".py": "python", ".cpp": "cpp", ".toml": "toml", ".sh": "sh"}


class Stage:
    """The folder of pages."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.written: set[Path] = set()

    def write(self, page: str, content: str | bytes) -> None:
        path = self.folder / page
        self.written.add(path)
        data = content.encode() if isinstance(content, str) else content
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def sweep(self) -> None:
        """Removes what an earlier run left and this one did not write."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.written:
                path.unlink()

    # ---- links -----------------------------------------------------------------------------------

    def page_of(self, file: str) -> tuple[str, str]:
        """(page, anchor) that stands for a file or folder; files that have none are copied."""
        if file in PAGES:
            return PAGES[file], ""
        path = Path(file)
        if file.startswith("docs/") and path.suffix == ".md":
            return file.removeprefix("docs/"), ""
        if file.startswith("docs/examples/"):
            return "examples.md", "#" + re.sub(r"[^\w-]", "", path.name.lower())
        header = "api/cpp/" + file.removeprefix("include/lowp/").replace(".hpp", ".rst")
        if self.folder / header in self.written:
            return header, ""
        if not (self.root / file).is_file():
            raise SystemExit(f"a link leads to {file}, which is neither a page nor a file")
        self.write(f"files/{file}", (self.root / file).read_bytes())
        return f"files/{file}", ""

    def relinked(self, text: str, source: str) -> str:
        """The text of a page of the repository, its relative links turned to those of the site."""
        own_page, _ = self.page_of(source)

        def turned(found: re.Match[str]) -> str:
            before, target, anchor = found[1], found[2], found[3] or ""
            if not target or re.match(r"[a-z]+:", target):
                return found[0]
            file = os.path.normpath(Path(source).parent / target)
            page, own_anchor = self.page_of(file)
            path = os.path.relpath(page, Path(own_page).parent)
            return f"{before}{path}{own_anchor or anchor})"

        parts = FENCED.split(text)
        parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
        return "".join(parts)

    # ---- pages -----------------------------------------------------------------------------------

    def guides(self, names: set[str]) -> None:
        """Every Markdown page that is for users. names: what the API documents."""
        for path in sorted((self.root / "docs").rglob("*.md")):
            source = str(path.relative_to(self.root))
            if source != "docs/README.md" and not source.startswith("docs/site/"):
                self.page(source, names)
        index = self.folder / "studies/index.md"
        if index in self.written:
            index.write_text(index.read_text() + "\n" + _toctree("Studies", ["*"]))
        self.page("bench/README.md", names)
        self.page("CHANGELOG.md", names)
        self.examples()

    def page(self, source: str, names: set[str]) -> None:
        """A page as it is, but for its links; `lowp.name` becomes one to the API."""

        def linked(found: re.Match[str]) -> str:
            return f"{{py:obj}}{found[0]}" if found[1] in names else found[0]

        text = self.relinked((self.root / source).read_text(), source)
        parts = FENCED.split(text)
        parts[::2] = [re.sub(r"(?<![\[`])`(lowp[.\w]+)`(?![\]`])", linked, p) for p in parts[::2]]
        self.write(self.page_of(source)[0], "".join(parts))

    def front(self, generated: dict[str, list[str]]) -> None:
        """docs/README.md, with a table of contents a heading. generated: caption and pages."""
        text = self.relinked((self.root / "docs/README.md").read_text(), "docs/README.md")
        text = re.sub(r"\[[\w./]+\]\(", "[](", text)  # the page's title instead of the file's name
        sections = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
        contents = []
        for caption, body in zip(sections[1::2], sections[2::2], strict=True):
            links = [link[2] for link in LINK.finditer(body) if not re.match(r"[a-z]+:|$", link[2])]
            pages = [link for link in dict.fromkeys(links) if not link.startswith("files/")]
            contents.append(_toctree(caption, pages + generated.pop(caption, [])))
        contents += [_toctree(caption, pages) for caption, pages in generated.items() if pages]
        self.write("index.md", text + "\n" + "\n".join(contents))

    def examples(self) -> None:
        """One page with the examples' sources."""
        parts = ["# Examples\n\nPairs of .cpp and .py print the same.\n"]
        for path in sorted((self.root / "docs/examples").iterdir()):
            if path.suffix in LANGUAGES:
                parts.append(f"({re.sub(r'[^a-z0-9_-]', '', path.name.lower())})=\n")
                parts.append(f"## {path.name}\n")
                parts.append(f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n")
        self.write("examples.md", "\n".join(parts))


def _toctree(caption: str, pages: list[str]) -> str:
    lines = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{lines}\n```\n"
