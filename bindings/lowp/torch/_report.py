"""What convert did to which module, as rows and as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

from lowp.torch.recipe import QUANTIZED, Layer, Recipe

__all__ = ["Report", "Row"]

#: A module that has no other than these is not in formats of few bits: a recipe keeps it in one.
_WIDE = ("bfloat16", "float16", "float32", "float64")


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
        """Names of the modules left alone."""
        return tuple(row.name for row in self.rows if row.state != "converted")

    @property
    def headline(self) -> str:
        """How many modules are in the recipe's formats, and how many are kept, in what."""
        recipe = self.recipe
        own = (recipe.layer, *recipe.types.values())
        kept = Counter(
            _wide(row.layer) if row.layer and row.layer not in own else ""
            for row in self.rows
            if row.state == "converted"
        )
        parts = [f"{kept.pop('', 0)} of {len(self.rows)} modules in its formats"]
        parts += [f"{count} kept in {format}" for format, count in kept.items()]
        parts += [f"{len(self.kept)} left alone"] if self.kept else []
        return f"{recipe.name}: {', '.join(parts)}"

    def __str__(self) -> str:
        """A table of all rows under the headline."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=self.headline)
        for head in ("module", "class", "kind", "state", "x / w", "why"):
            table.add_column(head, overflow="fold")
        for row in self.rows:
            name = row.name or "(model)"
            table.add_row(name, row.module, row.kind, row.state, row.formats, row.reason)
        console = Console(width=100, force_terminal=False)
        with console.capture() as captured:
            console.print(table, markup=False)
        return captured.get()


def _wide(layer: Layer) -> str:
    """The format of 16 bits or more that is all a layer has; "" where it does something else."""
    plain = (getattr(layer, f.name) == f.default for f in fields(layer) if f.name not in QUANTIZED)
    formats = {q.format for role in QUANTIZED if (q := getattr(layer, role)) is not None}
    return " and ".join(sorted(formats)) if all(plain) and formats <= {*_WIDE} else ""
