"""Recipes as mappings, TOML, JSON and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from lowp.torch.recipe import (
    PRODUCTS,
    QUANTIZED,
    Delayed,
    Hadamard,
    KSort,
    Layer,
    Quantizer,
    Recipe,
    Smooth,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TRANSFORMS: dict[str, Any] = {"hadamard": Hadamard, "smooth": Smooth, "k_sort": KSort}
_KINDS = {kind: name for name, kind in _TRANSFORMS.items()}


# ---- to plain data -------------------------------------------------------------------------------


def _changed(value: Any) -> dict[str, Any]:
    """The fields that are not as usual."""
    result = {}
    for f in fields(value):
        if not f.init:
            continue
        usual = f.default_factory() if f.default_factory is not MISSING else f.default
        if getattr(value, f.name) != usual:
            result[f.name] = getattr(value, f.name)
    return result


def _plain_quantizer(q: Quantizer) -> Any:
    found = _changed(q)
    if q.scaling is not None:
        found["scaling"] = {"kind": "delayed", **_changed(q.scaling)}
    return q.format if set(found) == {"format"} else found


def _plain_layer(layer: Layer | None) -> Any:
    if layer is None:
        return "keep"
    result = {}
    for key, value in _changed(layer).items():
        if isinstance(value, Quantizer):
            result[key] = _plain_quantizer(value)
        elif isinstance(value, str):
            result[key] = value
        else:
            result[key] = {"kind": _KINDS[type(value)], **_changed(value)}
    return result


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """See Recipe.to_dict."""
    result: dict[str, Any] = {"name": recipe.name}
    for key in ("source", "seed"):
        if getattr(recipe, key):
            result[key] = getattr(recipe, key)
    if recipe.keep:
        result["keep"] = list(recipe.keep)
    for key in ("master_weights", "all_reduce"):
        q = getattr(recipe, key)
        if q is not None:
            result[key] = _plain_quantizer(q)
    state = recipe.optimizer_state
    if isinstance(state, Mapping):
        result["optimizer_state"] = {
            "kind": "by_name",
            "names": {key: _plain_quantizer(q) for key, q in state.items()},
        }
    elif state is not None:
        result["optimizer_state"] = _plain_quantizer(state)
    result["layer"] = _plain_layer(recipe.layer)
    for key in ("types", "patterns"):
        layers = getattr(recipe, key)
        if layers:
            result[key] = {name: _plain_layer(layer) for name, layer in layers.items()}
    return result


# ---- from plain data -----------------------------------------------------------------------------


def _build(kind: Any, data: Mapping[str, Any], what: str) -> Any:
    known = [f.name for f in fields(kind)]
    for key in data:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{what} has no field {key!r}; {hint}")
    try:
        return kind(**data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from error


def _kind(data: Any, kinds: Mapping[str, Any], what: str) -> tuple[Any, dict[str, Any]]:
    if not isinstance(data, Mapping) or data.get("kind") not in kinds:
        raise ValueError(f"{what} must have a kind of {', '.join(kinds)}; got {data!r:.80}")
    return kinds[data["kind"]], {key: value for key, value in data.items() if key != "kind"}


def _quantizer(data: Any, what: str) -> Any:
    if not isinstance(data, Mapping):
        return data
    found = dict(data)
    if "scaling" in found:
        kind, rest = _kind(found["scaling"], {"delayed": Delayed}, f"{what}.scaling")
        found["scaling"] = _build(kind, rest, f"{what}.scaling")
    return _build(Quantizer, found, what)


def _layer(data: Any, what: str) -> Layer | None:
    if data == "keep":
        return None
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be a table of roles or 'keep'; got {data!r:.60}")
    found = dict(data)
    for key, value in data.items():
        if key in QUANTIZED:
            found[key] = _quantizer(value, f"{what}.{key}")
        elif key.endswith("_transform"):
            kind, rest = _kind(value, _TRANSFORMS, f"{what}.{key}")
            found[key] = _build(kind, rest, f"{what}.{key}")
    layer: Layer = _build(Layer, found, what)
    return layer


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """See Recipe.from_dict."""
    found = dict(data)
    if "layer" in found:
        found["layer"] = _layer(found["layer"], "layer")
    for key in ("types", "patterns"):
        if key in found:
            layers = found[key]
            found[key] = {name: _layer(value, f"{key}.{name}") for name, value in layers.items()}
    for key in ("master_weights", "all_reduce"):
        if key in found:
            found[key] = _quantizer(found[key], key)
    state = found.get("optimizer_state")
    if isinstance(state, Mapping) and state.get("kind") == "by_name":
        names = state.get("names", {})
        found["optimizer_state"] = {
            key: _quantizer(value, f"optimizer_state.{key}") for key, value in names.items()
        }
    elif state is not None:
        found["optimizer_state"] = _quantizer(state, "optimizer_state")
    recipe: Recipe = _build(Recipe, found, "recipe")
    return recipe


# ---- texts ---------------------------------------------------------------------------------------


def to_toml(recipe: Recipe) -> str:
    """See Recipe.to_toml."""
    import tomli_w

    return str(tomli_w.dumps(to_dict(recipe)))


def from_toml(text: str) -> Recipe:
    """See Recipe.from_toml."""
    return from_dict(tomllib.loads(text))


def to_json(recipe: Recipe) -> str:
    """See Recipe.to_json."""
    return json.dumps(to_dict(recipe), indent=2)


def from_json(text: str) -> Recipe:
    """See Recipe.from_json."""
    return from_dict(json.loads(text))


def to_table(recipe: Recipe) -> str:
    """See Recipe.__str__."""
    from rich.console import Console
    from rich.table import Table

    columns: dict[str, Layer | None] = {"linear, conv": recipe.layer}
    columns |= {**recipe.types, **recipe.patterns}
    table = Table(title=f"{recipe.name}, seed {recipe.seed}", caption=recipe.source or None)
    table.add_column("role")
    for name in columns:
        table.add_column(name, overflow="fold")
    roles = [
        *QUANTIZED,
        *(f"{p}_{part}" for part in ("accumulator", "transform") for p in PRODUCTS),
        "backward_from",
    ]
    for role in roles:
        cells = [None if layer is None else _changed(layer).get(role) for layer in columns.values()]
        if any(cell is not None for cell in cells):
            table.add_row(role, *("" if cell is None else str(cell) for cell in cells))
    # patterns such as "[ab]" and ":0:" are no markup
    console = Console(width=100, force_terminal=False, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
        for key in ("master_weights", "optimizer_state", "all_reduce"):
            if getattr(recipe, key) is not None:
                console.print(f"{key}: {getattr(recipe, key)}")
        if recipe.keep:
            console.print(f"kept as they are: {', '.join(recipe.keep)}")
    return captured.get()
