"""How the command line shows numbers, codes, tables and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

import lowp

#: Colours of the fields of a code; three that differ for colour-blind eyes too.
SIGN, EXPONENT, MANTISSA = "bold magenta", "bold cyan", "bold yellow"
#: Characters a line where the output is no terminal: tables in files are not to be cut.
_FILE_WIDTH = 160
#: rich measures all rows of a table before it draws one: above this, lines are plain text.
MAX_TABLE = 2048


def output() -> Console:
    """The console of results (standard output)."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


def messages() -> Console:
    """The console of progress and errors (standard error)."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def json_text(data: Any) -> str:
    """`data` as JSON; NaN and infinities, which JSON lacks, become the texts nan, inf, -inf."""
    return json.dumps(_plain(data), indent=2, allow_nan=False)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data


def number(value: float) -> str:
    """The shortest text that reads back as the same float64: 448, 0.001953125, 1e-07."""
    text = repr(float(value))
    return text.removesuffix(".0")


def decibel(value: float) -> str:
    """One decimal; exact results and infinite errors have infinite decibels."""
    return f"{value:.1f}" if math.isfinite(value) else str(value)


def hexadecimal(code: int, target: lowp.Format) -> str:
    """The code as 0x and all its digits."""
    return f"0x{code:0{(target.bits + 3) // 4}x}"


def binary(code: int, target: lowp.Format) -> str:
    """The code's bits in its fields: `S EEEE MMM`; fields of no bits are left out."""
    digits = f"{code:0{target.bits}b}"
    fields = []
    for width in _widths(target):
        fields.append(digits[:width])
        digits = digits[width:]
    return " ".join(field for field in fields if field)


def coloured_bits(code: int, target: lowp.Format) -> Text:
    """`binary` with a colour a field."""
    return _coloured(binary(code, target).split(" "), target)


def layout(target: lowp.Format) -> Text:
    """The fields as letters: `S EEEE MMM`."""
    letters = [letter * width for letter, width in zip("SEM", _widths(target), strict=True)]
    return _coloured([field for field in letters if field], target)


def _widths(target: lowp.Format) -> tuple[int, int, int]:
    return int(target.is_signed), target.exponent_bits, target.mantissa_bits


def _coloured(fields: Sequence[str], target: lowp.Format) -> Text:
    styles = zip((SIGN, EXPONENT, MANTISSA), _widths(target), strict=True)
    used = [style for style, width in styles if width]
    text = Text()
    for i, (field, style) in enumerate(zip(fields, used, strict=True)):
        text.append(" " if i else "").append(field, style)
    return text


LONGEST_NAME = 19  # of the registered formats: float8_e4m3b11fnuz


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    left: int = 1,
) -> RenderableType:
    """A table whose first `left` columns are texts and the others numbers, aligned right."""
    rows = list(rows)
    drawn = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for i, column in enumerate(columns):
        # Where the terminal is narrow, long texts are folded; numbers and names stay whole.
        text = i < left
        justify: Literal["left", "right"] = "left" if text else "right"
        longest = max((len(row[i]) for row in rows), default=0)
        folds = text and longest > LONGEST_NAME
        drawn.add_column(column, justify=justify, overflow="fold", no_wrap=not folds)
    for row in rows:
        drawn.add_row(*[cell if isinstance(cell, Text) else Text(cell) for cell in row])
    # A title of the table itself would be folded to the table's width.
    return Group(Text(title, "bold"), drawn) if title else drawn


def plain_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same as text without colours, for more rows than a table takes."""
    cells = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
