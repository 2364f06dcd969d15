"""Tensors from files: .safetensors, .npy, .npz and PyTorch's .pt, .pth, .bin.

    with lowp.readers.open_tensors("model.safetensors") as file:
        for name in file.names:
            ...

No file can run code: numpy reads with pickles off, and a PyTorch file's pickle is interpreted by a
small machine that knows tensors and nothing else. A malformed file gets a ValueError that names
the file and the problem. Neither torch nor ml_dtypes nor safetensors needs to be installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._readers_core import (
    CHUNK,
    Bytes,
    Stored,
    TensorFile,
    brief,
    check_shape,
    item_size,
    map_file,
    note_of,
    refuse,
)
from ._readers_numpy import open_npy, open_npz
from ._readers_torch import open_torch

__all__ = ["CHUNK", "SUFFIXES", "TensorFile", "find_model", "open_tensors"]

#: The format's own limit of its JSON header. Source: safetensors, format description.
_MAX_HEADER = 100_000_000

#: Element types of safetensors; None where elements are packed into parts of bytes.
_SAFETENSORS: dict[str, str | None] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": None,
    "F6_E3M2": None,
    "F4": None,
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
#: Bits of the elements that are packed.
PACKED_BITS = {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
#: The element types of safetensors by the words of this module.
SAFETENSORS_WORDS = {dtype or word: word for word, dtype in _SAFETENSORS.items()}


def open_tensors(path: str | os.PathLike[str]) -> TensorFile:
    """The tensors of a file, chosen by its suffix (see `SUFFIXES`); nothing is loaded yet.

    Integers, booleans, complex numbers and packed 4- and 6-bit elements are listed in
    `TensorFile.skipped` with the reason. ValueError: unknown suffix or malformed file.
    OSError: no such file.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        refuse(path, f"unknown suffix {path.suffix!r}; lowp reads {', '.join(_READERS)}")
    return reader(path)


def find_model(name: str) -> Path:
    """The file that `name` means: a path, or `package:NAME` for the model file that an installed
    Python package carries (`package:NAME/PART` picks those whose path contains PART).

    The package is not imported. .safetensors files go before the others. ValueError where there is
    no such package, no model file in it, or more than one.
    """
    if not name.startswith("package:"):
        return Path(name)
    package, _, part = name.removeprefix("package:").partition("/")
    files = [f for f in _package_files(package) if f.suffix in SUFFIXES and part in f.as_posix()]
    best = [f for f in files if f.suffix == ".safetensors"] or files
    if not best:
        raise ValueError(f"{name}: the package has no such model file ({', '.join(SUFFIXES)})")
    if len(best) > 1:
        found = ", ".join(f.name for f in best[:8])
        raise ValueError(f"{name}: the package has several ({found}); name one: {package}/PART")
    return best[0]


def _package_files(package: str) -> list[Path]:
    try:
        files = importlib.metadata.files(package) or []
        found = [Path(str(f.locate())) for f in files]
    except (importlib.metadata.PackageNotFoundError, ValueError):
        found = []
    if not any(f.suffix in SUFFIXES for f in found):
        found += _folder_files(package)
    if not found:
        raise ValueError(f"package:{package}: no installed package has this name; pip install it")
    return [f for f in found if f.is_file()]


def _folder_files(package: str) -> list[Path]:
    # Only a plain top-level name: find_spec would import the parents of a dotted one.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = (spec.submodule_search_locations or []) if spec else []
    return [file for folder in folders for file in sorted(Path(folder).rglob("*"))]


# ---- safetensors: 8 bytes of length, a JSON header, the tensors' bytes without gaps --------------


def open_safetensors(path: Path) -> TensorFile:
    """The tensors of a safetensors file of any suffix; errors are those of `open_tensors`."""
    raw = map_file(path)
    if raw.size < 8:
        refuse(path, f"is cut off: {raw.size} bytes, the header's length alone takes 8")
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    if length > _MAX_HEADER:
        refuse(path, f"header length {length} is over the format's limit of {_MAX_HEADER} bytes")
    if length > raw.size - 8:
        refuse(path, f"is cut off: header length {length}, but {raw.size - 8} bytes follow")
    header, metadata = _parse_header(path, raw[8 : 8 + length].tobytes())
    data = raw[8 + length :]
    placed = [_stored(path, name, entry, data) for name, entry in header.items()]
    _check_layout(path, [(tensor.name, *span) for tensor, span in placed], data.size)
    return TensorFile(path, [tensor for tensor, _ in placed], metadata)


def _parse_header(path: Path, text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The entries of tensors, and the file's texts."""
    header = parse_json(path, text, "header")
    if not isinstance(header, dict):
        refuse(path, "header must be a JSON object of tensors")
    metadata = header.pop("__metadata__", {})
    texts = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if not texts:
        refuse(path, "__metadata__ must map texts to texts")
    return header, metadata


def parse_json(path: Path, text: bytes, what: str) -> Any:
    """What a JSON text holds; ValueError for anything else, keys that repeat, NaN and infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):
            raise ValueError("a key appears twice")
        return keys

    def constant(word: str) -> Any:
        raise ValueError(f"{word} is no JSON number")

    try:
        return json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
    except RecursionError:
        refuse(path, f"{what} is not valid: nested too deeply")
    except ValueError as error:
        refuse(path, f"{what} is not valid JSON: {str(error)[:200]}")


def _stored(path: Path, name: str, entry: Any, data: Bytes) -> tuple[Stored, tuple[int, int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        refuse(path, f"tensor {name!r} must have dtype, shape and data_offsets, and no more")
    word = entry["dtype"]
    if not isinstance(word, str) or word not in _SAFETENSORS:
        refuse(path, f"tensor {name!r}: unknown dtype {brief(word)}")
    shape = check_shape(path, name, entry["shape"])
    begin, end = _offsets(path, name, entry["data_offsets"], data.size)
    dtype = _SAFETENSORS[word]
    note = note_of(dtype) if dtype else f"{word} packs elements into parts of bytes"
    tensor = Stored(name, dtype or word, shape, note, lambda: data[begin:end])
    bits = PACKED_BITS.get(word) or 8 * item_size(tensor.dtype)
    if tensor.size * bits != 8 * (end - begin):
        refuse(
            path,
            f"tensor {name!r}: {tensor.size} elements of {word} do not fill the "
            f"{end - begin} bytes of its data_offsets",
        )
    return tensor, (begin, end)


def _offsets(path: Path, name: str, offsets: Any, available: int) -> tuple[int, int]:
    if not isinstance(offsets, list) or len(offsets) != 2 or {type(o) for o in offsets} != {int}:
        refuse(path, f"tensor {name!r}: data_offsets must be two integers")
    begin, end = offsets
    if not 0 <= begin <= end <= available:
        refuse(
            path,
            f"tensor {name!r}: data_offsets {brief(begin)}..{brief(end)} are outside the "
            f"{available} bytes of data; the file is cut off or damaged",
        )
    return begin, end


def _check_layout(path: Path, spans: list[tuple[str, int, int]], available: int) -> None:
    """The format leaves no gap and no overlap, so that nothing hides between tensors."""
    position = 0
    for name, begin, end in sorted(spans, key=lambda span: span[1:]):
        if begin < position:
            refuse(path, f"tensor {name!r} overlaps the one before it")
        if begin > position:
            refuse(path, f"{begin - position} bytes before tensor {name!r} belong to no tensor")
        position = end
    if position != available:
        refuse(path, f"{available - position} bytes after the last tensor belong to no tensor")


_READERS: dict[str, Callable[[Path], TensorFile]] = {
    ".safetensors": open_safetensors,
    ".npy": open_npy,
    ".npz": open_npz,
    ".pt": open_torch,
    ".pth": open_torch,
    ".bin": open_torch,
}
#: Suffixes that `open_tensors` reads.
SUFFIXES: tuple[str, ...] = tuple(_READERS)
