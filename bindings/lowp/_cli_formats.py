"""What the commands formats, info, values and convert show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
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


def formats_data() -> list[dict[str, Any]]:
    """The registered formats with their sources."""
    sources = lowp.format_sources()
    return [
        describe(target) | {"name": name, "source": sources.get(name, "")}
        for name, target in lowp.formats().items()
    ]


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
    return table("Formats", columns, rows, left=3)


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
    return table(None, columns, [_convert_row(row) for row in rows], left=4)


def _convert_row(row: dict[str, Any]) -> list[str | Text]:
    f = lowp.format(row["format"])
    bits = coloured_bits(row["code"], f)
    errors = [f"{row['absolute_error']:.4g}", f"{row['relative_error']:.4g}"]
    return [number(row["input"]), row["format"], bits, row["hex"], number(row["value"]), *errors]
