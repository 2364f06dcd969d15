"""convert and restore: a model's modules in the formats of a recipe, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from lowp.torch import _recurrent, recipes  # noqa: F401 - _recurrent adds its modules
from lowp.torch._attending import FUSED, Attending, MultiheadAttention, Slow, attends
from lowp.torch._attention import AttentionState
from lowp.torch._convolution import Geometry, _check_groups
from lowp.torch._modules import Converted, kind_of, put, refusal, take_away
from lowp.torch._report import Report, Row
from lowp.torch._state import LayerState
from lowp.torch.recipe import Layer, Recipe

__all__ = ["Report", "Row", "convert", "converted", "layers", "restore"]

_PRODUCTS = ("linear", "conv", "attention", "recurrent")


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
            found = [name for name in names if any(f"{name}.".startswith(f"{e}.") for e in ends)]
        else:
            ends = _end(_blocks(model), where, int(number))
            found = [name for name in names if any(_fits(name, block) for block in ends)]
        if not int(number):
            return found
    else:
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
    """A module to be converted: what it becomes, the kinds of its products by their names, and why
    it must not be converted, if so.
    """

    sibling: type[Converted]
    parts: dict[str, str]
    refused: str = ""


def _places(named: dict[str, nn.Module]) -> dict[str, _Place]:
    """Every module that a recipe may ask for, and the model itself, which attends for the rest."""
    places: dict[str, _Place] = {}
    for name, module in named.items():
        found = kind_of(module)
        if found is None and (attends(module) or not name) and not isinstance(module, FUSED):
            found = "attention", Attending
        if found is None:
            continue
        kind, sibling = found
        inside = sibling.parts(module)
        parts = {f"{name}.{part}".lstrip("."): k for part, k in inside.items()} or {name: kind}
        above = places.get(name.removesuffix(".out_proj"))
        inside_refused = above is not None and issubclass(above.sibling, MultiheadAttention)
        refused = refusal(module) or (above.refused if above and inside_refused else "")
        places[name] = _Place(sibling, parts, refused)
    return places


def _asked(places: dict[str, _Place], recipe: Recipe) -> dict[str, _Place]:
    """Without attention, which no recipe gets that does not name it: models call it in passing."""
    if "attention" in recipe.types:
        return places
    kept = {
        name: replace(p, parts={n: k for n, k in p.parts.items() if k != "attention"})
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


def _recipe(recipe: Any) -> Recipe:
    """The recipe itself, or the ready-made one of a name."""
    if isinstance(recipe, str):
        return recipes.get(recipe)
    if isinstance(recipe, Recipe):
        return recipe
    hint = f"got {recipe!r:.60}"
    if isinstance(recipe, Layer):
        hint = "got a Layer: pass Recipe(layer)"
    elif callable(recipe):
        name = getattr(recipe, "__name__", "recipe")
        hint = f"got the function {name}: call it, as {name}()"
    raise TypeError(f"convert: recipe must be a Recipe or the name of one in recipes; {hint}")


def convert(model: nn.Module, recipe: Recipe | str, *, rank: int | None = None) -> Report:
    """The model in place in the recipe's formats, and a report of what was done to which module.

    recipe: a Recipe, or the name of a ready-made one, as recipes.get takes it.

    Parameters stay the same objects under the same names; each converted module gets a child
    `lowp`, whose buffers (numbers of calls, delayed scales) are in the state_dict only where the
    recipe draws random bits or delays scales; a state_dict without them still loads. rank: of the
    process, for random bits of its own; None: that of torch.distributed, else 0.

    Random bits differ by the module's place in `model`: two models, or two parts of one, converted
    each by a call of its own draw the same bits from the same seed. Convert the whole at once, or
    with seeds of their own. Under DistributedDataParallel each rank keeps its own delayed scales,
    where `model` is what is wrapped: their names join its _ddp_params_and_buffers_to_ignore.

    Modules whose forward is not that of the class they are of, and those that are not initialized,
    are kept, as the report says.

    ValueError: a model that is converted already, names that match no module, a transform of a
    convolution in groups; the model is then as it was. TypeError: no recipe.
    """
    recipe = _recipe(recipe)
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
    states: dict[str, dict[str, LayerState]] = {}
    for name, module in named.items():
        if name in places:
            made = {
                part: _state(part, module, places[name], chosen[part][0], numbers[part], at)
                for part in places[name].parts
            }
            states[name] = {part: s for part, s in made.items() if s is not None}
            rows += _rows(name, module, places[name], chosen, states[name])
        rows += _rows_of_no_state(name, module, every.get(name), places.get(name))
    for name, found in states.items():
        _to_device_of(name, named, found)
        _put(name, named[name], places[name], found)
    _shield(named, places)
    _ignore_in_ddp(model)
    return Report(recipe, tuple(rows))


def _state(
    name: str,
    module: nn.Module,
    place: _Place,
    layer: Layer | None,
    number: int,
    at: dict[str, int],
) -> LayerState | None:
    """The state of a product, or of a module without one; None where nothing is to be done."""
    if layer is None or layer.is_plain or place.refused:
        return None
    kind = place.parts[name]
    made = AttentionState if kind == "attention" else LayerState
    state = made(layer, name=name, number=number, **at)
    if kind == "conv":
        _check_groups(Geometry((), (), (), (), module.groups), state)  # type: ignore[arg-type]
    return state


def _rows(
    name: str,
    module: nn.Module,
    place: _Place,
    chosen: dict[str, tuple[Layer | None, str]],
    states: dict[str, LayerState],
) -> Iterator[Row]:
    """The module's rows of the report."""
    for part, kind in place.parts.items():
        layer, reason = chosen[part]
        short = part.removeprefix(f"{name}.")
        shown = part.removesuffix(short) + place.sibling.one_of(module, short)
        if shown != part and chosen[shown][0] == layer:
            continue
        state = "kept" if layer is None else "plain" if layer.is_plain else "converted"
        if state == "converted" and place.refused:
            state, reason = "kept", place.refused
        yield Row(
            part, type(module).__name__, kind, state, reason, layer if part in states else None
        )


def _rows_of_no_state(
    name: str, module: nn.Module, place: _Place | None, asked: _Place | None
) -> Iterator[Row]:
    """Rows of what no recipe could have converted, or this one does not name: attention."""
    title = type(module).__name__
    if place is None and list(module.parameters(recurse=False)):
        yield Row(name, title, "", "kept", "of no known kind")
    if place is None or (not name and place.sibling is Attending):
        return  # the model itself may attend, but mostly does not
    for part in place.parts.keys() - (asked.parts.keys() if asked else set()):
        yield Row(part, title, place.parts[part], "kept", f"kind {place.parts[part]}")


def _to_device_of(name: str, named: dict[str, nn.Module], states: dict[str, LayerState]) -> None:
    """States where the module's parameters are, or those of the nearest module around it."""
    while (first := next(named[name].parameters(), None)) is None and name:
        name = name.rpartition(".")[0]
    if first is not None:
        for state in states.values():
            state.to(first.device)


def _put(name: str, module: nn.Module, place: _Place, states: dict[str, LayerState]) -> None:
    """The module converted where anything in it is asked for."""
    if name in states:
        put(module, place.sibling, states[name])
    elif states:
        short = {part.removeprefix(f"{name}."): s for part, s in states.items()}
        put(module, place.sibling, _Parts(short))


class _Parts(nn.ModuleDict):
    """States of products inside a module, which a loop over its children may call."""

    def forward(self, x: Any) -> Any:
        """x: no module is here for its result."""
        return x


def _shield(named: dict[str, nn.Module], places: dict[str, _Place]) -> None:
    """Attention that was not asked for, kept from what catches it for the modules around it."""
    for name, module in named.items():
        inside = list(module.modules())
        if isinstance(module, FUSED) and any(isinstance(m, Converted) for m in inside):
            put(module, Slow, None)
        place = places.get(name)
        heads = isinstance(module, nn.MultiheadAttention) and not isinstance(module, Converted)
        if heads and isinstance(module.out_proj, Converted):
            put(module, MultiheadAttention, None)
        attends = place is not None and issubclass(place.sibling, Attending)
        if place is None or not attends or isinstance(module, Converted):
            continue
        if any(isinstance(named.get(above), Attending) for above in _above(name)):
            put(module, place.sibling, None)


#: Where DistributedDataParallel looks for what it must not copy from rank 0.
_IGNORED = "_ddp_params_and_buffers_to_ignore"


def _delayed(model: nn.Module) -> list[str]:
    """Names of all buffers of delayed scaling."""
    return [
        f"{name}.{buffer}"
        for name, s in model.named_modules()
        if isinstance(s, LayerState)
        for buffer in s.delayed
    ]


def _ignore_in_ddp(model: nn.Module) -> None:
    names = _delayed(model)
    if names:
        setattr(model, _IGNORED, [*getattr(model, _IGNORED, []), *names])


def _above(name: str) -> list[str]:
    """The names of the modules that a module is in: "" and so on."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts))]


def layers(model: nn.Module) -> dict[str, LayerState]:
    """The state of every converted module or product inside one, by its name."""
    return {
        ".".join(part for part in name.split(".") if part != "lowp"): module
        for name, module in model.named_modules()
        if isinstance(module, LayerState)
    }


def restore(model: nn.Module) -> None:
    """The model with the classes and children from before convert; parameters keep their values."""
    mine = set(_delayed(model))
    ignored = getattr(model, _IGNORED, [])
    if mine.intersection(ignored):
        left = [name for name in ignored if name not in mine]
        setattr(model, _IGNORED, left) if left else delattr(model, _IGNORED)
    for module in list(model.modules()):
        if isinstance(module, Converted):
            take_away(module)  # type: ignore[arg-type]


@contextlib.contextmanager
def converted(model: nn.Module, recipe: Recipe | str) -> Iterator[Report]:
    """A model converted for the length of a with block."""
    report = convert(model, recipe)
    try:
        yield report
    finally:
        restore(model)
