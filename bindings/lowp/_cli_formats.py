"""What the commands formats, info, values and convert show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

import lowp

from ._cli_show import (
    MAX_TABLE,
    binary,
    coloured_bits,
    hexadecimal,
    layout,
    number,
    plain_lines,
    table,
)
from ._targets import block_limits, resolve

#: `lowp values` lists formats of at most this many bits unless told how many codes.
MAX_BITS = 16

_FIELDS = (
    "name",
    "bits",
    "exponent_bits",
    "mantissa_bits",
    "bias",
    "is_signed",
    "has_inf",
    "has_nan",
    "nan_codes",
    "has_neg_zero",
    "has_subnormals",
    "has_zero",
    "is_twos_complement",
    "precision",
    "emin",
    "emax",
    "max",
    "lowest",
    "min_normal",
    "min_subnormal",
    "epsilon",
    "finite_values",
)


def describe(target: lowp.Format) -> dict[str, Any]:
    """Every field and limit of a format."""
    return {field: getattr(target, field) for field in _FIELDS}


# ---- formats -------------------------------------------------------------------------------------


def formats_data() -> dict[str, list[dict[str, Any]]]:
    """The registered formats and block formats with their sources."""
    sources = lowp.format_sources()
    formats = [
        describe(target) | {"name": name, "source": sources.get(name, "")}
        for name, target in lowp.formats().items()
    ]
    blocks = [describe_blocks(target) for target in lowp.block_formats().values()]
    return {"formats": formats, "block_formats": blocks}


def formats_table() -> RenderableType:
    columns = ["name", "source", "specials", "bits", "E", "M", "bias"]
    columns += ["max", "min normal", "min subnormal"]
    sources = lowp.format_sources()
    rows = []
    for name, f in lowp.formats().items():
        texts = [name, sources.get(name, ""), _specials(f), str(f.bits)]
        fields = [str(f.exponent_bits), str(f.mantissa_bits), str(f.bias)]
        limits = [f"{f.max:.6g}", f"{f.min_normal:.6g}", f"{f.min_subnormal:.6g}"]
        rows.append([*texts, *fields, *limits])
    return Group(table("Formats", columns, rows, left=3), blocks_table())


def describe_blocks(target: lowp.BlockFormat) -> dict[str, Any]:
    """Every field of a block format, and what follows from them."""
    element, size = target.element, block_size(target)
    is_scalar = isinstance(element, lowp.Format)
    fields = target.fields
    return {
        "name": target.name,
        "element": element.name if isinstance(element, lowp.Format) else element.tolist(),
        "element_is_codebook": not is_scalar,
        "element_bits": target.element_bits,
        "element_max": target.element_max,
        "scale": target.scale.name,
        "shape": target.shape,
        "rule": target.rule,
        "bits_per_value": target.element_bits + target.scale.bits / size if size else None,
        "source": lowp.block_format_sources().get(target.name, ""),
        "fields": fields | {"outer_format": fields["outer_format"].name},
    }


def block_size(target: lowp.BlockFormat) -> int | None:
    """Elements of a block; None where it is as long as the tensor."""
    shape = target.shape
    if isinstance(shape, tuple):
        return shape[0] * shape[1]
    return None if isinstance(shape, str) else shape


def _bits_text(target: lowp.BlockFormat) -> str:
    """Bits a value; scales that a whole line or tensor shares are told apart."""
    size = block_size(target)
    if size is None:
        return f"{target.element_bits} + {target.scale.bits} a {target.shape}"
    return f"{target.element_bits + target.scale.bits / size:.4g}"


def _element_text(target: lowp.BlockFormat) -> str:
    element = target.element
    return element.name if isinstance(element, lowp.Format) else f"{len(element)} values"


def _shape_text(target: lowp.BlockFormat) -> str:
    shape = target.shape
    return f"{shape[0]} x {shape[1]}" if isinstance(shape, tuple) else str(shape)


def blocks_table() -> RenderableType:
    columns = ["name", "element", "scale", "block", "rule", "source", "bits a value"]
    sources = lowp.block_format_sources()
    rows = []
    for name, f in lowp.block_formats().items():
        texts = [name, _element_text(f), f.scale.name, _shape_text(f), f.rule]
        rows.append([*texts, sources.get(name, ""), _bits_text(f)])
    return table("Block formats", columns, rows, left=6)


def _specials(f: lowp.Format) -> str:
    words = ["inf"] * f.has_inf + ["NaN"] * f.has_nan
    return " ".join(words) or "none"


# ---- info ----------------------------------------------------------------------------------------


def special_codes(f: lowp.Format) -> list[tuple[str, int]]:
    """Codes worth knowing, from zero up to NaN; those that the format lacks are left out."""
    codes: list[tuple[str, int | None]] = [("zero", f.zero_code)]
    if f.has_neg_zero and f.is_signed and f.zero_code is not None:
        codes.append(("-0", 1 << (f.bits - 1)))
    codes += [(what, lowp.encode(value, f)) for what, value in _smallest(f)]
    if f.max >= 1.0 and float(lowp.quantize(1.0, f)) == 1.0:
        codes.append(("one", lowp.encode(1.0, f)))
    codes += [("largest", f.max_code), ("lowest", f.lowest_code)]
    codes += [("infinity", f.inf_code), ("NaN", f.nan_code)]
    return [(what, int(code)) for what, code in codes if code is not None]


def _smallest(f: lowp.Format) -> list[tuple[str, float]]:
    """The smallest positive values by name: fixed point has no normal numbers to tell apart."""
    if f.exponent_bits == 0:
        return [("smallest positive", f.min_subnormal)]
    subnormal = [("smallest subnormal", f.min_subnormal)] if f.min_subnormal < f.min_normal else []
    return [*subnormal, ("smallest normal", f.min_normal)]


def info_data(f: lowp.Format) -> dict[str, Any]:
    codes = {what: code_data(code, f) for what, code in special_codes(f)}
    return describe(f) | {"layout": str(layout(f)), "codes": codes}


def info_text(f: lowp.Format) -> RenderableType:
    source = lowp.format_sources().get(f.name, "")
    title = Text.assemble((f.name, "bold"), f"   {f.bits} bits   {source}")
    rows: list[list[str | Text]] = [
        [what, coloured_bits(code, f), hexadecimal(code, f), number(value_of(code, f))]
        for what, code in special_codes(f)
    ]
    return Group(
        title,
        Padding(layout(f), (1, 2)),
        Padding(_meaning(f), (0, 2, 1, 2)),
        table("Limits", ["what", "value"], _limits(f)),
        table("Codes", ["what", "bits", "hex", "value"], rows, left=3),
    )


def block_text(f: lowp.BlockFormat) -> RenderableType:
    """What a block format is made of, and every field."""
    source = lowp.block_format_sources().get(f.name, "")
    bits = _bits_text(f)
    title = Text.assemble((f.name, "bold"), f"   {bits} bits a value   {source}")
    parts = [
        ["element", _element_text(f), f"{f.element_bits} bits, largest {number(f.element_max)}"],
        ["scale", f.scale.name, f"{f.scale.bits} bits, {_sharing(f)}"],
        ["rule", f.rule, "how a block's scale follows from its elements"],
    ]
    if f.fields["outer"] != "none":
        what = f"one more scale of 32 bits a {f.fields['outer']}"
        parts.append(["outer scale", f.fields["outer_format"].name, what])
    shown = {key: value for key, value in f.fields.items() if key != "outer_format"}
    fields = [[key, v if isinstance(v, str) else number(v)] for key, v in shown.items()]
    return Group(
        title,
        table(None, ["part", "what", "meaning"], parts, left=3),
        table("Fields", ["field", "value"], fields, left=2),
    )


def _sharing(f: lowp.BlockFormat) -> str:
    shape = f.shape
    if isinstance(shape, tuple):
        return f"one a tile of {shape[0]} by {shape[1]}"
    return f"one a {shape}" if isinstance(shape, str) else f"one for {shape} values along an axis"


def _limits(f: lowp.Format) -> list[list[str]]:
    limits = [("largest", f.max), ("lowest", f.lowest), *_smallest(f)]
    limits.append(("distance of values" if f.exponent_bits == 0 else "epsilon", f.epsilon))
    rows = [[what, number(value)] for what, value in limits]
    if f.exponent_bits:
        rows += [["bits of precision", str(f.precision)], ["exponents", f"{f.emin} .. {f.emax}"]]
    return [*rows, ["finite values", str(f.finite_values)]]


def _meaning(f: lowp.Format) -> Text:
    """The value of a code as a formula, in the fields' letters."""
    if f.is_twos_complement:
        return Text(f"two's complement of {f.bits} bits, times 2^{f.emin - f.mantissa_bits}")
    sign = "(-1)^S * " if f.is_signed else ""
    fixed = f"{sign}M * 2^{f.emin - f.mantissa_bits}"
    if f.exponent_bits == 0:
        return Text(fixed)
    normal = f"{sign}{_fraction(f)}2^(E - {f.bias})" if f.bias else f"{sign}{_fraction(f)}2^E"
    if not f.has_zero:
        return Text(normal)
    low = fixed if f.has_subnormals and f.mantissa_bits else "0"
    return Text(f"E > 0: {normal}\nE = 0: {low}")


def _fraction(f: lowp.Format) -> str:
    return f"(1 + M / {1 << f.mantissa_bits}) * " if f.mantissa_bits else ""


# ---- values --------------------------------------------------------------------------------------


def value_of(code: int, f: lowp.Format) -> float:
    """Value of one code as float64."""
    return float(lowp.decode(np.array([code], np.uint64), f, dtype=np.float64)[0])


def code_data(code: int, f: lowp.Format) -> dict[str, Any]:
    """One code: the integer, its hexadecimal digits, its fields and its value."""
    texts = {"hex": hexadecimal(code, f), "binary": binary(code, f)}
    return {"code": code} | texts | {"value": value_of(code, f)}


def codes_to_list(f: lowp.Format, limit: int | None) -> range:
    """The codes that `lowp values` lists; ValueError for too many."""
    if limit is None and f.bits > MAX_BITS:
        raise ValueError(
            f"{f.name} has 2^{f.bits} codes; lowp values lists formats of at most {MAX_BITS} bits, "
            "or as many codes as --limit says"
        )
    count = 1 << f.bits
    return range(count if limit is None else min(limit, count))


def values_data(f: lowp.Format, limit: int | None) -> list[dict[str, Any]]:
    return [
        {"code": code, "hex": hexadecimal(code, f), "binary": binary(code, f), "value": value}
        for code, value in _decoded(f, limit)
    ]


def values_text(f: lowp.Format, limit: int | None) -> RenderableType:
    """A table of codes and values; plain lines, and so a str, where it would be long."""
    columns = ["bits", "hex", "value"]
    decoded = [(c, hexadecimal(c, f), number(value)) for c, value in _decoded(f, limit)]
    if len(decoded) > MAX_TABLE:
        return plain_lines(columns, ((binary(c, f), h, v) for c, h, v in decoded))
    rows: list[list[str | Text]] = [[coloured_bits(c, f), h, v] for c, h, v in decoded]
    return table(f"Values of {f.name}", columns, rows, left=2)


def _decoded(f: lowp.Format, limit: int | None) -> Iterator[tuple[int, float]]:
    codes = codes_to_list(f, limit)
    values = lowp.decode(np.arange(len(codes), dtype=np.uint64), f, dtype=np.float64)
    return zip(codes, values.tolist(), strict=True)


def codebook_data(values: NDArray[np.float64], limit: int | None) -> list[dict[str, Any]]:
    """The codes of a codebook: places in its sorted list of values."""
    bits = max(1, (len(values) - 1).bit_length())
    return [
        {
            "code": code,
            "hex": f"0x{code:0{(bits + 3) // 4}x}",
            "binary": f"{code:0{bits}b}",
            "value": float(value),
        }
        for code, value in enumerate(values[:limit])
    ]


def codebook_text(name: str, values: NDArray[np.float64], limit: int | None) -> RenderableType:
    data = codebook_data(values, limit)
    rows = [[row["binary"], row["hex"], number(row["value"])] for row in data]
    return table(f"Values of the elements of {name}", ["bits", "hex", "value"], rows, left=2)


# ---- convert -------------------------------------------------------------------------------------


def parse_number(text: str) -> float:
    """The float64 that `text` means: decimal (rounded to nearest), hexadecimal as 0x1.8p-3, inf,
    nan. ValueError for anything else, and for numbers that float64 cannot hold but as inf or 0.
    """
    word = text.strip().lower()
    try:
        value = float.fromhex(word) if "0x" in word else float(word)
    except OverflowError:
        value = math.inf
    except ValueError:
        raise ValueError(
            f"{text!r} is not a number; write 0.3, -1e-5, 0x1.8p-3, inf or nan "
            "(options are listed by --help)"
        ) from None
    digits = word.lstrip("+-").removeprefix("0x").partition("p" if "0x" in word else "e")[0]
    if math.isinf(value) and "inf" not in word:
        raise ValueError(f"{text} is beyond float64's largest number, 1.7976931348623157e+308")
    if value == 0 and digits.strip("0._"):
        raise ValueError(f"{text} is below float64's smallest number, 5e-324")
    return value


def convert_data(values: list[float], f: lowp.Format, **how: Any) -> list[dict[str, Any]]:
    """Each value as a code of `f`; ValueError where it is NaN and `f` has none."""
    if any(map(math.isnan, values)) and not f.has_nan:
        raise ValueError(f"nan cannot be converted: {f.name} has no NaN; leave one of them out")
    codes = lowp.encode(np.array(values, np.float64), f, **how)
    return [_converted(x, int(code), f) for x, code in zip(values, codes, strict=True)]


def convert_block_data(
    values: list[float], f: lowp.BlockFormat, **how: Any
) -> list[dict[str, Any]]:
    """The values as one row in blocks: each one's code, and the scale of its block."""
    tensor = lowp.encode(np.array(values, np.float64).reshape(1, -1), f, packed=False, **how)
    codes, results = tensor.element_codes().reshape(-1), tensor.decode().reshape(-1)
    largest = block_limits(tensor)[1].reshape(-1)
    element = f.element
    rows = []
    for x, code, q, top in zip(values, codes, results, largest, strict=True):
        if isinstance(element, lowp.Format):
            data = code_data(int(code), element)
        else:
            data = codebook_data(element, None)[int(code)]
        data |= {"value": float(q), "scale": float(top / f.element_max)}
        absolute, relative = _errors(x, float(q))
        errors = {"absolute_error": absolute, "relative_error": relative}
        rows.append({"input": x, "format": f.name} | data | errors)
    return rows


def _converted(x: float, code: int, f: lowp.Format) -> dict[str, Any]:
    data = code_data(code, f)
    absolute, relative = _errors(x, data["value"])
    errors = {"absolute_error": absolute, "relative_error": relative}
    return {"input": x, "format": f.name} | data | errors


def _errors(x: float, q: float) -> tuple[float, float]:
    """|q - x| and |q - x| / |x|, rounded once; NaN where either is NaN."""
    if math.isnan(x) or math.isnan(q):
        return math.nan, math.nan
    if x == q:
        return 0.0, 0.0
    if math.isinf(x) or math.isinf(q):
        return math.inf, math.inf
    difference = abs(Fraction(q) - Fraction(x))
    return float(difference), float(difference / abs(Fraction(x))) if x else math.inf


def convert_table(rows: list[dict[str, Any]]) -> RenderableType:
    columns = ["input", "format", "bits", "hex", "value", "absolute error", "relative error"]
    if has_scales := any("scale" in row for row in rows):
        columns.insert(4, "scale")
    return table(None, columns, [_convert_row(row, has_scales) for row in rows], left=4)


def _convert_row(row: dict[str, Any], has_scales: bool) -> list[str | Text]:
    target = resolve(row["format"])
    element = target.element if isinstance(target, lowp.BlockFormat) else target
    bits: str | Text = row["binary"]
    if isinstance(element, lowp.Format):
        bits = coloured_bits(row["code"], element)
    scale = [number(row["scale"]) if "scale" in row else ""] if has_scales else []
    errors = [f"{row['absolute_error']:.4g}", f"{row['relative_error']:.4g}"]
    parts = [number(row["input"]), row["format"], bits, row["hex"], *scale]
    return [*parts, number(row["value"]), *errors]
