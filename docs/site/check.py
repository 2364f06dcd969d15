"""Looks through the finished site: its links lead somewhere, and nothing needs a network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.needed: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.needed.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.needed.append(given["src"])


def complaints(site: Path, names: set[str]) -> list[str]:
    """What is wrong, a line each. names: what must have an entry."""
    # Copied files are pages of others.
    paths = [path for path in site.rglob("*.html") if "_downloads" not in path.parts]
    pages = {path: Page(path) for path in paths}
    entries = {anchor for page in pages.values() for anchor in page.anchors}
    found = [f"{name} is public and has no entry" for name in names - entries]
    for path, page in pages.items():
        where = path.relative_to(site)
        for link in page.links + page.needed:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.needed and parts.scheme != "data":
                    found.append(f"{where} needs {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{where}: no {link}")
            elif parts.fragment and target in pages:
                is_there = unquote(parts.fragment) in pages[target].anchors
                found += [] if is_there else [f"{where}: no such place: {link}"]
    return sorted(set(found))
