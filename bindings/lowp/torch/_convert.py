"""convert and restore: a model's modules in the formats of a recipe, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import nn

from lowp.torch import _recurrent  # noqa: F401 - it adds its modules to those known
from lowp.torch._attending import FUSED, Attending, Slow, attends
from lowp.torch._attention import AttentionState
from lowp.torch._modules import Converted, kind_of, put, take_away
from lowp.torch._state import LayerState
from lowp.torch.recipe import Layer, Recipe

__all__ = ["Report", "Row", "convert", "converted", "layers", "restore"]

_PRODUCTS = ("linear", "conv", "attention", "recurrent")


@dataclass(frozen=True)
class Row:
    """One module of a report. state: "converted", "kept", or "plain" where nothing is asked."""

    name: str
    module: str
    kind: str
    state: str
    reason: str
    layer: Layer | None = None


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
        for head in ("module", "class", "kind", "state", "why"):
            table.add_column(head, overflow="fold")
        for row in self.rows:
            table.add_row(row.name or "(model)", row.module, row.kind, row.state, row.reason)
        console = Console(width=100, force_terminal=False)
        with console.capture() as captured:
            console.print(table, markup=False)
        return captured.get()


# ---- names ---------------------------------------------------------------------------------------


def _fits(name: str, pattern: str) -> bool:
    """A pattern of fnmatch, a whole name, everything below it, or a part between dots."""
    return (
        fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") or pattern in name.split(".")
    )


def _blocks(model: nn.Module) -> list[str]:
    """Names of the members of the model's longest list of modules that have products."""
    lists = [
        [f"{name}.{key}" if name else key for key in module._modules]
        for name, module in model.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential))
    ]
    return max(lists, key=len, default=[])


def _end(names: list[str], where: str, count: int) -> list[str]:
    return names[:count] if where == "first" else names[max(len(names) - count, 0) :]


def _kept_names(
    model: nn.Module, names: list[str], products: list[str], what: str, keep: str
) -> list[str]:
    """The modules that one entry of Recipe's patterns or keep means; ValueError for none."""
    head, _, number = keep.rpartition(":")
    if head in ("first", "last", "first_blocks", "last_blocks"):
        if not number.isdigit():
            raise ValueError(f"Recipe: {what} must be like 'last:2'; got {keep!r}")
        where, _, blocks = head.partition("_")
        if not blocks:
            ends = _end(products, where, int(number))
            return [name for name in names if any(f"{name}.".startswith(f"{e}.") for e in ends)]
        found = _end(_blocks(model), where, int(number))
        return [name for name in names if any(_fits(name, block) for block in found)]
    found = [name for name in names if _fits(name, keep)]
    if not found:
        _no_match(what, keep, names)
    return found


def _no_match(what: str, pattern: str, names: list[str]) -> None:
    near = get_close_matches(pattern, names, 3, 0.4)
    hint = f"near: {', '.join(near)}" if near else f"there are: {', '.join(names[:8])}"
    raise ValueError(f"Recipe: {what} {pattern!r} matches no module; {hint}")


# ---- plan ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A module to be converted: what it becomes, and the kinds of its products by their names."""

    sibling: type[Converted]
    parts: dict[str, str]


def _places(named: dict[str, nn.Module]) -> dict[str, _Place]:
    """Every module that a recipe may ask for, and the model itself, which attends for the rest."""
    places = {}
    for name, module in named.items():
        found = kind_of(module)
        if found is None and (attends(module) or not name) and not isinstance(module, FUSED):
            found = "attention", Attending
        if found is None:
            continue
        kind, sibling = found
        inside = sibling.parts(module)
        parts = {f"{name}.{part}".lstrip("."): k for part, k in inside.items()} or {name: kind}
        places[name] = _Place(sibling, parts)
    return places


def _asked(places: dict[str, _Place], recipe: Recipe) -> dict[str, _Place]:
    """Without attention, which no recipe gets that does not name it: models call it in passing."""
    if "attention" in recipe.types:
        return places
    kept = {
        name: _Place(p.sibling, {n: k for n, k in p.parts.items() if k != "attention"})
        for name, p in places.items()
    }
    return {name: p for name, p in kept.items() if p.parts}


def _choose(
    model: nn.Module, recipe: Recipe, places: dict[str, _Place]
) -> dict[str, tuple[Layer | None, str]]:
    """Layer and reason of every product, or module without one, by name."""
    kinds = {name: kind for place in places.values() for name, kind in place.parts.items()}
    names = list(kinds)
    products = [
        name
        for name, place in places.items()
        if place.sibling is not Attending and not set(_PRODUCTS).isdisjoint(place.parts.values())
    ]
    chosen = {name: (recipe.layer_of(kind), f"kind {kind}") for name, kind in kinds.items()}
    for pattern, layer in recipe.patterns.items():
        found = _kept_names(model, names, products, "pattern", pattern)
        chosen |= dict.fromkeys(found, (layer, f"pattern {pattern}"))
    for keep in recipe.keep:
        for name in _kept_names(model, names, products, "keep", keep):
            chosen[name] = (None, f"keep {keep}")
    return chosen


def _rank() -> int:
    distributed = torch.distributed
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if ready else 0


def convert(model: nn.Module, recipe: Recipe, *, rank: int | None = None) -> Report:
    """The model in place in the recipe's formats, and a report of what was done to which module.

    Parameters stay the same objects under the same names; each converted module gets a child
    `lowp`, whose buffers (numbers of calls, delayed scales) are in the state_dict only where the
    recipe draws random bits or delays scales; a state_dict without them still loads. rank: of the
    process, for random bits of its own; None: that of torch.distributed, else 0.

    ValueError: a model that is converted already, names that match no module.
    """
    if any(isinstance(module, Converted) for module in model.modules()):
        raise ValueError("convert: the model is converted already; call restore(model) first")
    named = dict(model.named_modules())
    every = _places(named)
    # what is inside modules comes after them all, so that their numbers do not depend on it
    inside = [part for place in every.values() for part in place.parts if part not in named]
    numbers = {name: number for number, name in enumerate([*named, *inside])}
    at = {"seed": recipe.seed, "rank": _rank() if rank is None else rank}
    places = _asked(every, recipe)
    chosen = _choose(model, recipe, places)
    rows: list[Row] = []
    for name, module in named.items():
        if name in places:
            rows += _convert_one(name, module, places[name], chosen, numbers, at)
        elif list(module.parameters(recurse=False)):
            rows.append(Row(name, type(module).__name__, "", "kept", "of no known kind"))
    _shield(named, places)
    return Report(recipe, tuple(rows))


def _shield(named: dict[str, nn.Module], places: dict[str, _Place]) -> None:
    """Attention that was not asked for, kept from what catches it for the modules around it."""
    for name, module in named.items():
        inside = list(module.modules())
        if isinstance(module, FUSED) and any(isinstance(m, Converted) for m in inside):
            put(module, Slow, None)
        place = places.get(name)
        attends = place is not None and issubclass(place.sibling, Attending)
        if place is None or not attends or isinstance(module, Converted):
            continue
        if any(isinstance(named.get(above), Attending) for above in _above(name)):
            put(module, place.sibling, None)


def _above(name: str) -> list[str]:
    """The names of the modules that a module is in: "" and so on."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts))]


def _convert_one(
    name: str,
    module: nn.Module,
    place: _Place,
    chosen: dict[str, tuple[Layer | None, str]],
    numbers: dict[str, int],
    at: dict[str, int],
) -> list[Row]:
    """The module converted where anything in it is asked for, and its rows of the report."""
    rows, states = [], {}
    title = type(module).__name__
    for part, kind in place.parts.items():
        layer, reason = chosen[part]
        state = "kept" if layer is None else "plain" if layer.is_plain else "converted"
        if layer is not None and not layer.is_plain:
            made = AttentionState if kind == "attention" else LayerState
            states[part] = made(layer, name=part, number=numbers[part], **at)
        rows.append(Row(part, title, kind, state, reason, layer if part in states else None))
    if name in states:
        put(module, place.sibling, states[name])
    elif states:
        short = {part.removeprefix(f"{name}."): s for part, s in states.items()}
        put(module, place.sibling, nn.ModuleDict(short))
    return rows


def layers(model: nn.Module) -> dict[str, LayerState]:
    """The state of every converted module or product inside one, by its name."""
    return {
        ".".join(part for part in name.split(".") if part != "lowp"): module
        for name, module in model.named_modules()
        if isinstance(module, LayerState)
    }


def restore(model: nn.Module) -> None:
    """The model with the classes and children from before convert; parameters keep their values."""
    for module in list(model.modules()):
        if isinstance(module, Converted):
            take_away(module)  # type: ignore[arg-type]


@contextlib.contextmanager
def converted(model: nn.Module, recipe: Recipe) -> Iterator[Report]:
    """A model converted for the length of a with block."""
    report = convert(model, recipe)
    try:
        yield report
    finally:
        restore(model)
