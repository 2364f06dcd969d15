"""What lives in which format: the plan of a simulated training, as data.

A `Quantizer` puts one tensor on the grid of a format, a `Layer` says so for every role of a layer's
three products, a `Recipe` gives layers to the modules of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import lowp
from lowp._arguments import suggest_arguments
from lowp.torch._given import choose, format_name, found_format, whole
from lowp.torch._scaling import Delayed, Hadamard, KSort, Smooth, Transform

__all__ = ["KINDS", "Delayed", "Hadamard", "KSort", "Layer", "Quantizer", "Recipe", "Smooth"]

#: The kinds of modules that a recipe tells apart.
KINDS = (
    "linear",
    "conv",
    "attention",
    "recurrent",
    "embedding",
    "norm",
    "activation",
)

_GRADIENTS = ("straight_through", "clipped")


# ---- one tensor ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantizer:
    """How one tensor is put on the grid of a format.

    format: a name, lowp.Format, lowp.BlockFormat or a dtype that is one (torch.float8_e4m3fn), kept
    as its name. rounding, saturation, random_bits: those of lowp.quantize; of a block format they
    become part of the name. scaling: None, the format's own, found anew at each call; or
    Delayed(...), for a scalar format, which then gets one float32 scale a tensor. gradient: how the
    derivative passes, "straight_through" or "clipped" (zero where the value was beyond the largest
    of its format or block). axis: where blocks lie; None is the axis that the product sums over, in
    other roles the last. ragged: "allow" a short last block or "refuse" it. ValueError and
    TypeError say what is wrong.
    """

    format: str
    rounding: str | None = None
    saturation: str | None = None
    random_bits: int | None = None
    scaling: Delayed | None = None
    gradient: str = "straight_through"
    axis: int | None = None
    ragged: str = "allow"
    #: Whether it draws random bits.
    is_stochastic: bool = field(init=False, repr=False, compare=False, default=False)
    #: Whether its blocks are tiles of two axes.
    has_tiles: bool = field(init=False, repr=False, compare=False, default=False)
    #: Values of a block along its axis; 0 where the format does not say.
    block_length: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        """Check the fields and bring the format into its one spelling."""
        choose("Quantizer: gradient", self.gradient, _GRADIENTS)
        choose("Quantizer: ragged", self.ragged, ("allow", "refuse"))
        if self.scaling is not None and not isinstance(self.scaling, Delayed):
            raise TypeError(f"Quantizer: scaling must be None or Delayed(); got {self.scaling!r}")
        if self.axis is not None:
            whole("Quantizer: axis", self.axis, -64, 64)
        found = found_format(format_name(self.format))
        if isinstance(found, lowp.BlockFormat):
            self._fold_into_block(found)
            return
        self._set(format=found.name, is_stochastic=(self.rounding or "").startswith("stochastic"))
        # Words and ranges are checked by the verb itself.
        lowp.quantize(
            1.0,
            found,
            rounding=self.rounding,
            saturation=self.saturation,
            random_bits=self.random_bits,
        )

    def _fold_into_block(self, block: lowp.BlockFormat) -> None:
        if self.scaling is not None:
            raise ValueError(
                f"Quantizer: delayed scaling is of one scale a tensor: give the element's format, "
                f"as 'float8_e4m3fn'; got {block.name}"
            )
        if self.saturation not in (None, "finite"):
            raise ValueError(
                f"Quantizer: elements of block formats saturate; got saturation {self.saturation!r}"
            )
        given = {"rounding": self.rounding, "random_bits": self.random_bits}
        block = block.replace(**{key: value for key, value in given.items() if value is not None})
        modes = (str(block.fields[key]) for key in ("rounding", "scale_rounding"))
        self._set(
            format=block.name,
            rounding=None,
            random_bits=None,
            saturation=None,
            is_stochastic=any(mode.startswith("stochastic") for mode in modes),
            has_tiles=isinstance(block.shape, tuple),
            block_length=block.shape if isinstance(block.shape, int) else 0,
        )

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        """The format, and what is not as usual."""
        extra = [
            f"{f.name}={value}"
            for f in fields(self)[1:]
            if f.init and (value := getattr(self, f.name)) != f.default
        ]
        return ", ".join([self.format, *extra])


def as_quantizer(value: Any, what: str) -> Quantizer | None:
    """A Quantizer from what a user may write for one: a format, a Quantizer, None."""
    if value is None or isinstance(value, Quantizer):
        return value
    try:
        return Quantizer(value)
    except TypeError as error:
        raise TypeError(f"{what} must be a format, a Quantizer or None: {error}") from error
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


# ---- one layer -----------------------------------------------------------------------------------

QUANTIZED = ("x", "w", "output", "bias", "dgrad_dy", "dgrad_w", "wgrad_x", "wgrad_dy")
#: The roles of each product's operands, first and second.
OPERANDS = {
    "forward": ("x", "w"),
    "dgrad": ("dgrad_dy", "dgrad_w"),
    "wgrad": ("wgrad_x", "wgrad_dy"),
}
PRODUCTS = tuple(OPERANDS)


def _has_wide_scales(q: Quantizer) -> bool:
    """Whether values are multiplied by scales that are found and need be no powers of two."""
    found = found_format(q.format)
    if not isinstance(found, lowp.BlockFormat):
        return q.scaling is not None
    fields = found.fields
    is_wide = fields["power_of_two"] == "none" and fields["statistic"] != "none"
    return fields["outer"] != "none" or (is_wide and found.scale.mantissa_bits > 0)


@dataclass(frozen=True)
class Layer:
    """Formats of every role of a layer y = x w^T + bias; None leaves a role as it is.

    x, w, output, bias: the forward pass. dgrad_dy, dgrad_w: the operands of dx = dy w. wgrad_x,
    wgrad_dy: those of dw = dy^T x. Each operand is quantized from the original tensor, along the
    axis that its product sums over. forward_accumulator, dgrad_accumulator, wgrad_accumulator: the
    name of a lowp accumulator that makes the product exactly so (slow), or None, PyTorch's product.
    forward_transform, dgrad_transform, wgrad_transform: what is done to both operands before.

    backward_from: what the operands of dx and dw are made from: "original" tensors, or the
    "forward" pass's operands, after their transform (a Hadamard or none) and format. Then None
    leaves them as they were forward, and dx and dw are taken back out of the transform: the
    derivative of what the forward pass computed, roundings straight through.

    Roles take a format, its name or a Quantizer. Layers without products (norms, activations,
    embeddings) use x, w, bias and output, and dgrad_dy for the gradient that arrives; of
    attention, x and w are the two operands of both of its products.
    """

    x: Quantizer | None = None
    w: Quantizer | None = None
    output: Quantizer | None = None
    bias: Quantizer | None = None
    dgrad_dy: Quantizer | None = None
    dgrad_w: Quantizer | None = None
    wgrad_x: Quantizer | None = None
    wgrad_dy: Quantizer | None = None
    forward_accumulator: str | None = None
    dgrad_accumulator: str | None = None
    wgrad_accumulator: str | None = None
    forward_transform: Transform | None = None
    dgrad_transform: Transform | None = None
    wgrad_transform: Transform | None = None
    backward_from: str = "original"

    def __post_init__(self) -> None:
        """Bring every role into its one spelling."""
        choose("Layer: backward_from", self.backward_from, ("original", "forward"))
        if self.backward_from == "forward" and isinstance(self.forward_transform, Smooth | KSort):
            raise ValueError(
                f"Layer: backward_from='forward' undoes a Hadamard transform or none; "
                f"got {self.forward_transform}"
            )
        for role in QUANTIZED:
            value = as_quantizer(getattr(self, role), f"Layer: {role}")
            object.__setattr__(self, role, value)
        for product in PRODUCTS:
            self._check_product(product)

    def _check_product(self, product: str) -> None:
        name = f"{product}_accumulator"
        given = getattr(self, name)
        if given is not None:
            object.__setattr__(self, name, lowp.accumulator(given).name)
            self._check_scales(product, given)
        transform = getattr(self, f"{product}_transform")
        if transform is not None and not isinstance(transform, Transform):
            raise TypeError(
                f"Layer: {product}_transform must be Hadamard, Smooth, KSort or None; "
                f"got {transform!r}"
            )

    def _check_scales(self, product: str, accumulator: Any) -> None:
        """Refuse scales that only a unit which gets them apart from the values can multiply by."""
        if lowp.accumulator(accumulator).group == 1:
            return
        for role in [r for r in QUANTIZED if r.startswith(f"{product}_")] or ["x", "w"]:
            q = getattr(self, role)
            if q is not None and _has_wide_scales(q):
                raise ValueError(
                    f"Layer: {product}_accumulator {accumulator} sums groups of products exactly, "
                    f"for which a layer's values, scales included, must have few bits; {role} in "
                    f"{q} has scales that are no powers of two: give it mxfp4, or multiply by "
                    "lowp.matmul, whose a_format and b_format keep scales apart"
                )

    @classmethod
    def of(
        cls,
        x: Any = None,
        w: Any = None,
        dy: Any = None,
        *,
        accumulator: Any = None,
        transform: Transform | None = None,
        **roles: Any,
    ) -> Layer:
        """The same format for a tensor in both products it takes part in.

        x: forward and weight gradient; w: forward and input gradient; dy: both gradients.
        accumulator, transform: of all three products. roles: single fields, which win.
        """
        given: dict[str, Any] = {"x": x, "wgrad_x": x, "w": w, "dgrad_w": w}
        given |= {"dgrad_dy": dy, "wgrad_dy": dy}
        given |= {f"{p}_accumulator": accumulator for p in PRODUCTS}
        given |= {f"{p}_transform": transform for p in PRODUCTS}
        return cls(**{**given, **roles})

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return self == Layer()

    @property
    def draws(self) -> bool:
        """Whether it uses random bits anywhere."""
        quantizers = (getattr(self, role) for role in QUANTIZED)
        transforms = (getattr(self, f"{p}_transform") for p in PRODUCTS)
        fresh = any(isinstance(t, Hadamard) and t.signs == "fresh" for t in transforms)
        return fresh or any(q is not None and q.is_stochastic for q in quantizers)

    def __str__(self) -> str:
        """The roles that are not plain, one a line."""
        lines = [
            f"{f.name} = {getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        ]
        return "\n".join(lines) or "plain"


# ---- one model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """Layers for the modules of a model, and the formats of what an optimizer keeps.

    layer: what linear layers and convolutions get. types: a Layer, or None to leave them alone, by
    kind of module (KINDS). patterns: the same by the module's name, written as in keep; the last
    that fits wins, and all win over types. keep: names of modules to leave alone: as in fnmatch
    ("blocks.0.*"), a part between dots ("lm_head"), "first:N" and "last:N" of the modules with
    products, "first_blocks:N" and "last_blocks:N" of the model's longest list of modules.

    master_weights: the format that weights stay in after each step of the optimizer.
    optimizer_state: the format of its tensors, or a mapping from their names. all_reduce: the
    format that gradients cross the network in. seed: of all random bits. name, source: what it is.
    """

    layer: Layer = field(default_factory=Layer)
    types: Mapping[str, Layer | None] = field(default_factory=dict)
    patterns: Mapping[str, Layer | None] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    master_weights: Quantizer | None = None
    optimizer_state: Quantizer | Mapping[str, Quantizer] | None = None
    all_reduce: Quantizer | None = None
    seed: int = 0
    name: str = "custom"
    source: str = ""

    def __post_init__(self) -> None:
        """Check the fields; mappings become read-only."""
        if not isinstance(self.layer, Layer):
            raise TypeError(f"Recipe: layer must be a Layer; got {self.layer!r:.60}")
        whole("Recipe: seed", self.seed, 0, 2**32 - 1)
        given: Any = self.keep
        if isinstance(given, str):
            raise TypeError(f"Recipe: keep must be a list of names; got {given!r}")
        object.__setattr__(self, "keep", tuple(self.keep))
        for key in self.types:
            choose("Recipe: types", key, KINDS)
        for what in ("types", "patterns"):
            for key, layer in getattr(self, what).items():
                if layer is not None and not isinstance(layer, Layer):
                    raise TypeError(f"Recipe: {what}[{key!r}] must be a Layer or None")
            object.__setattr__(self, what, MappingProxyType(dict(getattr(self, what))))
        for role in ("master_weights", "all_reduce"):
            object.__setattr__(self, role, as_quantizer(getattr(self, role), f"Recipe: {role}"))
        object.__setattr__(self, "optimizer_state", self._state())

    def _state(self) -> Quantizer | Mapping[str, Quantizer] | None:
        given: Any = self.optimizer_state
        if not isinstance(given, Mapping):
            return as_quantizer(given, "Recipe: optimizer_state")
        found = {
            key: as_quantizer(q, f"Recipe: optimizer_state[{key!r}]") for key, q in given.items()
        }
        return MappingProxyType({key: q for key, q in found.items() if q is not None})

    def __hash__(self) -> int:
        """By its name: recipes are compared by all of it."""
        return hash((self.name, self.seed, self.layer))

    def __reduce__(self) -> tuple[Any, ...]:
        """Read-only mappings do not pickle."""
        from lowp.torch._recipe_files import from_dict

        return from_dict, (self.to_dict(),)

    def layer_of(self, kind: str) -> Layer | None:
        """What modules of a kind get where no pattern says otherwise."""
        return self.types.get(kind, self.layer if kind in ("linear", "conv") else None)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with other fields."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, mappings, strings and numbers: what TOML and JSON hold."""
        from lowp.torch._recipe_files import to_dict

        return to_dict(self)

    def to_toml(self) -> str:
        """The recipe as TOML; from_toml reads it back, equal."""
        from lowp.torch._recipe_files import to_toml

        return to_toml(self)

    def to_json(self) -> str:
        """The recipe as JSON; from_json reads it back, equal."""
        from lowp.torch._recipe_files import to_json

        return to_json(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recipe:
        """The recipe that to_dict gave; ValueError names a field that there is not."""
        from lowp.torch._recipe_files import from_dict

        return from_dict(data)

    @staticmethod
    def from_toml(text: str) -> Recipe:
        """The recipe of a TOML text; ValueError says what it lacks."""
        from lowp.torch._recipe_files import from_toml

        return from_toml(text)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """The recipe of a JSON text; ValueError says what it lacks."""
        from lowp.torch._recipe_files import from_json

        return from_json(text)

    def __str__(self) -> str:
        """A table: roles in rows, kinds and patterns in columns."""
        from lowp.torch._recipe_files import to_table

        return to_table(self)


suggest_arguments(__name__)
