"""Writes the generated tables of the documentation, or checks that they are up to date.

python docs/tables.py [--check]. A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lowp
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FILES = ["README.md", "docs/formats.md", "docs/rounding.md", "docs/blocks.md"]
FILES += ["docs/products.md"]
if find_spec("torch"):  # the table of recipes needs PyTorch
    FILES.append("docs/torch_recipes.md")
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def number(x: float) -> str:
    return f"{x:.6g}"


def layout(f: lowp.Format) -> str:
    if f.is_twos_complement:
        return f"{f.bits}-bit two's complement"
    sign = "S " if f.is_signed else ""
    return f"{sign}E{f.exponent_bits} M{f.mantissa_bits}"


def specials(f: lowp.Format) -> str:
    parts = ["infinity"] if f.has_inf else []
    if f.has_nan:
        parts.append("NaN")
    if not f.has_zero:
        parts.append("no zero")
    return ", ".join(parts) or "numbers only"


def formats() -> str:
    sources = lowp.format_sources()
    rows = [
        [
            f"`{name}`",
            str(f.bits),
            layout(f),
            str(f.bias),
            number(f.max),
            number(f.min_normal),
            number(f.min_subnormal),
            specials(f),
            sources[name],
        ]
        for name, f in lowp.formats().items()
    ]
    head = [
        "name",
        "bits",
        "layout",
        "bias",
        "largest",
        "smallest normal",
        "smallest",
        "has",
        "source",
    ]
    return markdown(head, rows)


def short_formats() -> str:
    rows = [
        [f"`{name}`", str(f.bits), layout(f), number(f.max), number(f.min_subnormal), specials(f)]
        for name, f in lowp.formats().items()
    ]
    return markdown(["name", "bits", "layout", "largest", "smallest", "has"], rows)


def saturations() -> str:
    """What 1000 and infinity become with an infinity, with NaN only, and with neither."""
    kinds = ["float8_e4m3", "float8_e4m3fn", "float4_e2m1fn"]
    rows = []
    for mode in lowp.ROUNDINGS:
        for saturation in lowp.SATURATIONS:
            cells = []
            for name in kinds:
                for x in (1000.0, -1000.0, float("inf")):
                    y = lowp.quantize(x, name, rounding=mode, saturation=saturation)
                    cells.append(number(y))
            rows.append([f"`{mode}`", f"`{saturation}`", *cells])
    head = ["rounding", "saturation"] + [
        f"{kind} of {x}" for kind in ("e4m3", "e4m3fn", "e2m1fn") for x in ("1000", "-1000", "inf")
    ]
    return markdown(head, rows)


def ties() -> str:
    """Inexact values of float4_e2m1fn: 0, 0.5, 1, 1.5, 2, 3, 4, 6."""
    inputs = [0.2, 0.25, 0.75, 2.4, 2.5, 2.6, 3.5, 5.0, -2.5, -0.2]
    deterministic = [mode for mode in lowp.ROUNDINGS if not mode.startswith("stochastic")]
    rows = [
        [f"`{mode}`", *(number(lowp.quantize(x, "float4_e2m1fn", rounding=mode)) for x in inputs)]
        for mode in deterministic
    ]
    return markdown(["rounding", *(number(x) for x in inputs)], rows)


def edges() -> str:
    """Zeros, negatives and tiny values where formats lack a sign, a -0 or a zero."""
    names = ["float8_e4m3fn", "float8_e4m3fnuz", "ue5m3", "float8_e8m0fnu", "int4"]
    inputs = [("0", 0.0), ("-0", -0.0), ("-1e-9", -1e-9), ("-3", -3.0), ("1e-60", 1e-60)]
    inputs += [("-infinity", float("-inf")), ("NaN", float("nan"))]
    rows = []
    for label, x in inputs:
        for saturation in ("none", "finite"):
            values = [number(lowp.quantize(x, n, saturation=saturation)) for n in names]
            rows.append([label, f"`{saturation}`", *values])
    return markdown(["input", "saturation", *(f"`{n}`" for n in names)], rows)


#: What each scale rule does, in words.
RULES = {
    "floor": "2^(floor(log2 t) - emax): OCP's; the largest value may be cut off",
    "ceil": "2^(ceil(log2 t) - emax): never cut off",
    "even": "as floor, of t rounded to the element's significant bits",
    "rceil": "2^ceil(log2(t / M)): the smallest power of two that cuts nothing off",
    "amax": "t / M",
    "mse": "the least squared error over all scale codes (of up to 8 bits; else as shrink)",
    "shrink": "the least error to the power of 2.4 over t / M times 1, 0.992, ... 0.208",
    "four_six": "t / M or 1.5 times that, whichever has the smaller squared error",
    "mean_abs": "2 mean\\|x\\| / M",
    "std": "2.92247856 rms(x) / M, made for E2M1",
    "three_quarters": "as floor, and elements are scaled by 4/3 of it: nothing is cut off",
}


def gaussian() -> np.ndarray:
    return lowp.quality.samples_of("gaussian", 2**18).astype(np.float32)


def rules() -> str:
    """Every rule, its words, and its error on Gaussian data in MXFP4 and with E4M3 scales."""
    x = gaussian()
    rows = []
    for rule in lowp.SCALE_RULES:
        errors = [lowp.error(x, f"{block}/{rule}").relative_mse for block in ("mxfp4", "nvfp4")]
        rows.append([f"`{rule}`", RULES[rule], *(f"{error:.4f}" for error in errors)])
    return markdown(["rule", "ideal scale", "mxfp4 relMSE", "nvfp4 relMSE"], rows)


def block_row(name: str, block: lowp.BlockFormat) -> list[str]:
    element = block.element.name if isinstance(block.element, lowp.Format) else "codebook"
    shape = "x".join(map(str, block.shape)) if isinstance(block.shape, tuple) else str(block.shape)
    outer = block.fields["outer"]
    scale = block.scale.name + ("" if outer == "none" else f", one float32 a {outer}")
    tensor = lowp.encode(np.zeros((4096, 4096), np.float32), block)
    return [
        f"`{name}`",
        element,
        shape,
        scale,
        f"`{block.rule}`",
        f"{tensor.bits_per_value:.4g}",
        lowp.block_format_sources()[name],
    ]


def presets() -> str:
    rows = [block_row(name, block) for name, block in lowp.block_formats().items()]
    return markdown(["name", "element", "block", "scale", "rule", "bits a value", "source"], rows)


def short_presets() -> str:
    x = gaussian()
    rows = [
        [
            *block_row(name, block)[:4],
            block_row(name, block)[5],
            f"{lowp.error(x.reshape(512, 512), block).sqnr_db:.1f} dB",
        ]
        for name, block in lowp.block_formats().items()
    ]
    return markdown(
        ["name", "element", "block", "scale", "bits a value", "SQNR of Gaussian data"], rows
    )


def accumulators() -> str:
    """The matrix units and what they are made of."""
    rows = []
    for name, (unit, inputs, source) in lowp.accumulators().items():
        f = unit.fields
        kinds = inputs.replace("float8_e4m3fn float8_e5m2", "FP8").replace(" ", ", ")
        result = "float32" if f["result"] == "float32" else f"`{f['result']}`"
        mode = "nearest" if f["result_rounding"].startswith("nearest") else "truncated"
        groups = f" in groups of {f['group']}" if f["group"] != "1" else ""
        chunk = f"each {f['chunk']} from zero, added in float32" if f["chunk"] != "0" else ""
        how = {"together": "", "apart": "products apart", "halves": "even and odd k apart"}
        notes = "; ".join(x for x in (chunk, how[f["alignment"]]) if x)
        rows.append(
            [
                f"`{name}`",
                kinds,
                f["terms"] + groups,
                f["fraction_bits"],
                f"{result}, {mode}",
                notes,
                source,
            ]
        )
    head = ["name", "factors", "terms", "fraction bits", "result", "", "source"]
    return markdown(head, rows)


def operand(quantizer: Any) -> str:
    """A format's name; of a codebook only how many values it has."""
    if quantizer is None:
        return "as it is"
    name = re.sub(r"{[^}]*}", lambda m: f"{m[0].count(',') + 1} levels", quantizer.format)
    rest = [quantizer.rounding or ""]
    rest += [f"delayed, {quantizer.scaling.history} steps"] if quantizer.scaling else []
    rest += [quantizer.gradient] if quantizer.gradient == "clipped" else []
    return ", ".join([f"`{name}`", *filter(None, rest)])


def recipes() -> str:
    """What each recipe does to the operands of a layer, as it is without arguments."""
    from lowp.torch import recipes

    rows = []
    for name in recipes.names():
        recipe = recipes.get(name)
        layer = recipe.layer
        turns = {p: getattr(layer, f"{p}_transform") for p in ("forward", "dgrad", "wgrad")}
        hadamard = [f"{p} {t.size}, signs {t.signs}" for p, t in turns.items() if t is not None]
        x, w, dy = (operand(q) for q in (layer.x, layer.w, layer.dgrad_dy))
        back = layer.backward_from
        rows.append([f"`{name}`", x, w, dy, back, "; ".join(hadamard), recipe.source])
    head = ["name", "x", "w", "dy", "backward from", "Hadamard", "source"]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "accumulators": accumulators,
    "recipes": recipes,
    "formats": formats,
    "short_formats": short_formats,
    "saturations": saturations,
    "ties": ties,
    "edges": edges,
    "rules": rules,
    "presets": presets,
    "short_presets": short_presets,
}


def main() -> int:
    stale = []
    for name in FILES:
        path = ROOT / name
        old = path.read_text()
        new = PLACE.sub(lambda m: m[1] + TABLES[m[2]]() + m[3], old)
        if new != old:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(new)
    verb = "out of date" if "--check" in sys.argv else "written"
    print(f"{verb}: {', '.join(stale)}" if stale else "tables are up to date")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
