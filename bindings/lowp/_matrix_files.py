"""Reads matrices of numbers from Matrix Market files and from .npy, as dense float64 or float32.

Matrix Market is read here, so that NumPy is enough; what is wrong in a file is told with its line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BANNER = "%%MatrixMarket matrix"
_LAYOUTS = ("coordinate", "array")
_FIELDS = ("real", "double", "integer", "pattern")
_SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")
#: Dense matrices of more entries are refused before memory is asked for.
_MAX_ENTRIES = 2**28


def read(path: str | Path) -> Array:
    """The matrix of a file: Matrix Market (.mtx, .mtx.gz) or NumPy's .npy.

    Matrix Market gives float64 (rows, columns): layouts coordinate (entries that are missing are 0,
    repeated ones are added up) and array; fields real, integer and pattern (ones); symmetries
    general, symmetric, skew-symmetric and hermitian, whose other half is filled in. .npy gives its
    float32 or float64 of any shape; float16 and integers become float64, those beyond 2**53 are
    refused. NaN and infinity are read as they are. ValueError names file and line of what is wrong:
    a broken header, a complex field, an index out of range, too few or too many entries, more than
    2**28 entries. OSError: the file cannot be opened.
    Source: Boisvert, Pozo, Remington, The Matrix Market Exchange Formats, NISTIR 5935, 1996.
    """
    where = Path(path)
    if where.suffix == ".npy":
        return _numpy_file(where)
    if where.suffix == ".mtx":
        with where.open(encoding="utf-8", errors="replace") as lines:
            return _Reader(where.name, lines).read()
    if where.suffixes[-2:] == [".mtx", ".gz"]:
        try:
            with gzip.open(where, "rt", encoding="utf-8", errors="replace") as lines:
                return _Reader(where.name, lines).read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{where.name}: the file is cut off or no gzip ({error})") from error
    raise ValueError(f"cannot read {where.name!r}: the name must end in .mtx, .mtx.gz or .npy")


def _numpy_file(path: Path) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path.name}: not a .npy file of numbers ({error})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path.name}: an archive of arrays, not a .npy file; load it yourself")
    if array.dtype in (np.float32, np.float64):
        return np.asarray(array)
    if array.dtype.kind in "iu":
        exact = array.astype(np.float64)
        if array.size and max(abs(int(array.max())), abs(int(array.min()))) > 2**53:
            raise ValueError(f"{path.name}: integers beyond 2**53, which float64 does not hold")
        return np.asarray(exact)
    if array.dtype.kind == "f" and array.dtype.itemsize == 2:
        return np.asarray(array.astype(np.float64))
    kinds = "float16, float32, float64 or integers"
    raise ValueError(f"{path.name}: must hold {kinds}; got {array.dtype}")


@dataclass(frozen=True)
class _Header:
    layout: str
    field: str
    symmetry: str
    rows: int
    columns: int
    #: Lines of entries that must follow.
    count: int


class _Reader:
    """One Matrix Market file, and the line it is at."""

    def __init__(self, name: str, lines: IO[str]) -> None:
        self.name, self.lines, self.number = name, lines, 0

    def read(self) -> Array:
        header = self._header()
        matrix = np.zeros((header.rows, header.columns))
        entries = self._entries()
        fill = _fill_coordinates if header.layout == "coordinate" else _fill_columns
        seen = fill(self, header, entries, matrix)
        if seen < header.count:
            self.fail(f"the file ends after {seen} of {header.count} entries")
        if next(entries, None) is not None:
            self.fail(f"there are more than the {header.count} entries that the header states")
        return matrix

    def fail(self, what: str) -> NoReturn:
        raise ValueError(f"{self.name}, line {self.number}: {what}")

    def number_of(self, text: str, kind: Any, what: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            self.fail(f"{what} must be a number; got {text!r}")

    def _header(self) -> _Header:
        first = self.lines.readline().split()
        self.number = 1
        if " ".join(first[:2]).lower() != _BANNER.lower() or len(first) != 5:
            self.fail(f"must be '{_BANNER} LAYOUT FIELD SYMMETRY'; got {' '.join(first)!r:.60}")
        layout, field, symmetry = (word.lower() for word in first[2:])
        known = ((layout, _LAYOUTS), (field, _FIELDS), (symmetry, _SYMMETRIES))
        for word, words in known:
            if word not in words:
                hint = "; take real and imaginary part apart" if word == "complex" else ""
                self.fail(f"{word!r} is not one of {', '.join(words)}{hint}")
        if layout == "array" and field == "pattern":
            self.fail("the field pattern has no layout array")
        return self._sizes(layout, field, symmetry)

    def _sizes(self, layout: str, field: str, symmetry: str) -> _Header:
        sizes = [self.number_of(s, int, "a size") for s in next(self._entries(), [])]
        if len(sizes) != (3 if layout == "coordinate" else 2) or min(sizes, default=0) < 0:
            self.fail(f"the sizes of layout {layout} are missing or wrong; got {sizes}")
        rows, columns = sizes[:2]
        if symmetry != "general" and rows != columns:
            self.fail(f"a {symmetry} matrix must be square; got {rows} x {columns}")
        if rows * columns > _MAX_ENTRIES:
            self.fail(f"{rows} x {columns} entries are more than 2**28: too many for a dense one")
        diagonal = 0 if symmetry == "skew-symmetric" else rows
        half = rows * (rows - 1) // 2 + diagonal
        dense = rows * columns if symmetry == "general" else half
        return _Header(layout, field, symmetry, rows, columns, sizes[2] if sizes[2:] else dense)

    def _entries(self) -> Iterator[list[str]]:
        """The words of the lines that hold some; comments and empty lines are passed over."""
        for line in self.lines:
            self.number += 1
            words = line.split()
            if words and not words[0].startswith("%"):
                yield words


def _value(reader: _Reader, header: _Header, word: str) -> float:
    """An entry, which float64 must hold where the file says integer."""
    if header.field != "integer":
        return float(reader.number_of(word, float, "a value"))
    value = reader.number_of(word, int, "an integer")
    if abs(value) > 2**53:
        reader.fail(f"{value} is beyond 2**53, where float64 does not hold every integer")
    return float(value)


def _mirrored(header: _Header, matrix: Array, i: int, j: int, value: float) -> None:
    if i != j and header.symmetry != "general":
        matrix[j, i] += -value if header.symmetry == "skew-symmetric" else value


def _fill_coordinates(
    reader: _Reader, header: _Header, entries: Iterator[list[str]], matrix: Array
) -> int:
    width = 2 if header.field == "pattern" else 3
    for seen in range(header.count):
        words = next(entries, None)
        if words is None:
            return seen
        if len(words) != width:
            reader.fail(f"an entry has {width} words; got {len(words)}")
        i, j = (reader.number_of(word, int, "an index") - 1 for word in words[:2])
        if not (0 <= i < header.rows and 0 <= j < header.columns):
            size = f"{header.rows} x {header.columns}"
            reader.fail(f"entry ({i + 1}, {j + 1}) is outside of the {size} matrix")
        if header.symmetry != "general" and j > i:
            reader.fail(
                f"entry ({i + 1}, {j + 1}) is above the diagonal; a file holds only the lower half "
                f"of a {header.symmetry} matrix"
            )
        if header.symmetry == "skew-symmetric" and i == j:
            reader.fail(f"entry ({i + 1}, {j + 1}) is on the diagonal, where a skew matrix is zero")
        value = 1.0 if width == 2 else _value(reader, header, words[2])
        matrix[i, j] += value
        _mirrored(header, matrix, i, j, value)
    return header.count


def _fill_columns(
    reader: _Reader, header: _Header, entries: Iterator[list[str]], matrix: Array
) -> int:
    seen = 0
    for j in range(header.columns):
        skipped = {"general": 0, "skew-symmetric": j + 1}.get(header.symmetry, j)
        for i in range(skipped, header.rows):
            words = next(entries, None)
            if words is None:
                return seen
            if len(words) != 1:
                reader.fail(f"an entry has 1 word; got {len(words)}")
            value = _value(reader, header, words[0])
            matrix[i, j] += value
            _mirrored(header, matrix, i, j, value)
            seen += 1
    return seen
