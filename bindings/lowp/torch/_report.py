"""What convert did to which module, as rows and as a table."""

from __future__ import annotations

from dataclasses import dataclass

from lowp.torch.recipe import Layer, Recipe

__all__ = ["Report", "Row"]


@dataclass(frozen=True)
class Row:
    """One module of a report. state: "converted", "kept", or "plain" where nothing is asked."""

    name: str
    module: str
    kind: str
    state: str
    reason: str
    layer: Layer | None = None

    @property
    def formats(self) -> str:
        """Those of x and w in short; "-" is one left as it is."""
        if self.layer is None:
            return ""
        return " / ".join("-" if q is None else q.format for q in (self.layer.x, self.layer.w))


@dataclass(frozen=True)
class Report:
    """What convert did: one Row a module that has parameters or a kind; str() is a table."""

    recipe: Recipe
    rows: tuple[Row, ...]

    @property
    def converted(self) -> tuple[str, ...]:
        """Names of the modules that compute in other formats now."""
        return tuple(row.name for row in self.rows if row.state == "converted")

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the modules left as they were."""
        return tuple(row.name for row in self.rows if row.state != "converted")

    def __str__(self) -> str:
        """A table of all rows."""
        from rich.console import Console
        from rich.table import Table

        table = Table(
            title=f"{self.recipe.name}: {len(self.converted)} of {len(self.rows)} modules"
        )
        for head in ("module", "class", "kind", "state", "x / w", "why"):
            table.add_column(head, overflow="fold")
        for row in self.rows:
            name = row.name or "(model)"
            table.add_row(name, row.module, row.kind, row.state, row.formats, row.reason)
        console = Console(width=100, force_terminal=False)
        with console.capture() as captured:
            console.print(table, markup=False)
        return captured.get()
