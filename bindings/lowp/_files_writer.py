"""The writer of safetensors files: sizes are known before data, so the header goes first."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import pack_lines
from ._block_tensor import BlockTensor
from ._code_tensor import CodeTensor
from ._files_layout import KEY, VERSION, Blocks, Codes, Layout, Part, Plain, blocks_of_tensor
from ._readers_core import KINDS, brief, refuse
from .readers import SAFETENSORS_WORDS

Array = NDArray[Any]
PathLike = str | os.PathLike[str]
Tensor = BlockTensor | CodeTensor | Array


def layout_of(tensor: Tensor, name: str = "") -> Layout:
    if isinstance(tensor, BlockTensor):
        return blocks_of_tensor(tensor)
    if isinstance(tensor, CodeTensor):
        return tensor.layout()
    if tensor.dtype.name not in KINDS or tensor.dtype.name not in SAFETENSORS_WORDS:
        raise TypeError(f"tensor {name!r}: safetensors has no type for {tensor.dtype}")
    return Plain(tensor.dtype.name, tensor.shape)


class Writer:
    """A safetensors file that is written tensor by tensor, for models larger than memory.

        with lowp.files.Writer("model.safetensors", layouts) as writer:
            for name in layouts:
                writer.write(name, ...)

    layouts: what will come, by name: `Plain`, `Codes` or `Blocks`; sizes follow, so the header goes
    first. Tensors come in any order, and one in pieces along its first axis. The file appears under
    its name when the block ends well and all is there; ValueError where not. Otherwise nothing is
    left behind, and a file that was there before stays.
    """

    def __init__(
        self,
        path: PathLike,
        layouts: Mapping[str, Layout],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._layouts = dict(layouts)
        self._parts = _all_parts(self.path, self._layouts)
        header, self._offsets = _header(self.path, self._layouts, self._parts, metadata or {})
        self._header = struct.pack("<Q", len(header)) + header
        self._written = dict.fromkeys(self._parts, 0)
        self._file: BinaryIO | None = None
        self._temporary = self.path.with_name(f".{self.path.name[:60]}.{secrets.token_hex(6)}.tmp")

    @property
    def nbytes(self) -> int:
        """Bytes of the whole file."""
        return len(self._header) + sum(part.nbytes for part in self._parts.values())

    def __enter__(self) -> Writer:
        _check_target(self.path)
        try:
            self._file = self._temporary.open("xb")
            self._file.write(self._header)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def write(self, name: str, tensor: BlockTensor | CodeTensor | ArrayLike) -> None:
        """Write a tensor, or its next rows. KeyError: no such name. ValueError: more than was
        announced; TypeError: something else than was announced.
        """
        layout = self._layouts[name]
        if isinstance(layout, Blocks):
            self._write_blocks(name, layout, tensor)
        elif isinstance(layout, Codes):
            self._write_codes(name, layout, tensor)
        else:
            values = tensor.codes if isinstance(tensor, CodeTensor) else np.asarray(tensor)
            self._write_plain(name, layout, values)

    def append(self, part: str, data: NDArray[np.uint8]) -> None:
        """The next bytes of a part, such as `w` or `w.scales`, as they are to lie in the file."""
        view = np.ascontiguousarray(data).reshape(-1)
        done, whole = self._written[part], self._parts[part].nbytes
        if done + len(view) > whole:
            raise ValueError(f"{self.path}: {part!r} has {whole} bytes; got {done + len(view)}")
        if self._file is None:
            raise ValueError(f"{self.path}: the file is not open: use Writer in a with statement")
        self._file.seek(len(self._header) + self._offsets[part] + done)
        self._file.write(view.data)
        self._written[part] = done + len(view)

    def _write_plain(self, name: str, layout: Plain, values: Array) -> None:
        storage = np.dtype(KINDS[layout.dtype].storage)
        if KINDS[layout.dtype].code_format and values.dtype.name == layout.dtype:
            values = values.view(storage)  # of ml_dtypes, which has little-endian types only
        if values.dtype.newbyteorder("<") != storage.newbyteorder("<"):
            raise TypeError(f"tensor {name!r} must be {layout.dtype}; got {values.dtype}")
        self._append_array(name, values, storage)

    def _write_codes(self, name: str, layout: Codes, tensor: Any) -> None:
        if not isinstance(tensor, CodeTensor) or tensor.format != layout.format:
            raise TypeError(f"tensor {name!r} must be a CodeTensor in {layout.format}")
        codes = tensor.codes
        if layout.packed and layout.format.name not in KINDS:
            codes = pack_lines(codes, layout.format.bits)
        self._append_array(name, codes, codes.dtype)

    def _write_blocks(self, name: str, layout: Blocks, tensor: Any) -> None:
        like = (layout.format, layout.packed)
        if not isinstance(tensor, BlockTensor) or (tensor.format, tensor.packed) != like:
            what = "packed" if layout.packed else "unpacked"
            raise TypeError(f"tensor {name!r} must be an {what} BlockTensor in {layout.format}")
        self._append_array(name, tensor.codes, tensor.codes.dtype)
        self._append_array(f"{name}.scales", tensor.scales, tensor.scales.dtype)
        if tensor.outer_scale.size:
            part = f"{name}.outer_scale"
            exact = tensor.outer_scale.astype(self._parts[part].dtype)
            if not np.array_equal(exact, tensor.outer_scale, equal_nan=True):
                raise ValueError(f"tensor {name!r}: an outer scale is no {exact.dtype}")
            # One scale may stand for those of all lines.
            count = layout.outer_count() if tensor.shape == layout.shape else exact.size
            self._append_array(part, np.broadcast_to(exact, count), exact.dtype)

    def _append_array(self, part: str, values: Array, storage: np.dtype[Any]) -> None:
        little = np.ascontiguousarray(values, dtype=storage.newbyteorder("<"))
        self.append(part, little.reshape(-1).view(np.uint8))

    def _finish(self) -> None:
        for part, done in self._written.items():
            whole = self._parts[part].nbytes
            if done != whole:
                raise ValueError(f"{self.path}: {part!r} is not complete: {done} of {whole} bytes")
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self.path)
        _sync_folder(self.path.parent)

    def _discard(self) -> None:
        if self._file is not None:
            # Closing flushes, which fails again where the disk is full.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        self._temporary.unlink(missing_ok=True)


def _check_target(path: Path) -> None:
    """Refuse what a rename would destroy or could not replace."""
    if not path.parent.is_dir():
        refuse(path, f"there is no folder {path.parent} to write to")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        refuse(path, "is a folder or a device; name a file")


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _all_parts(path: Path, layouts: Mapping[str, Layout]) -> dict[str, Part]:
    owners: dict[str, str] = {}
    parts: dict[str, Part] = {}
    for name, layout in layouts.items():
        for part, what in layout.parts(name).items():
            if part == "__metadata__":
                refuse(path, "no tensor can be named '__metadata__' in a safetensors file")
            if part in parts:
                refuse(
                    path,
                    f"{owners[part]!r} and {name!r} both need the name {part!r}; rename one",
                )
            if what.dtype not in SAFETENSORS_WORDS:
                refuse(path, f"tensor {name!r}: safetensors has no type for {what.dtype}")
            parts[part], owners[part] = what, name
    return parts


def _header(
    path: Path,
    layouts: Mapping[str, Layout],
    parts: Mapping[str, Part],
    metadata: Mapping[str, str],
) -> tuple[bytes, dict[str, int]]:
    """The JSON header, and where each part begins behind it."""
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str) or key == KEY:
            refuse(path, f"metadata must be texts by names other than {KEY!r}; got {brief(key)}")
    records = {n: record for n, layout in sorted(layouts.items()) if (record := layout.record())}
    texts = dict(metadata)
    if records:
        texts[KEY] = json.dumps({"version": VERSION, "tensors": records}, separators=(",", ":"))
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    offsets: dict[str, int] = {}
    place = 0
    # Wide elements first, so that each is aligned: the order of the safetensors library.
    for name, part in sorted(parts.items(), key=lambda item: (-_alignment(item[1]), item[0])):
        offsets[name], end = place, place + part.nbytes
        word, shape = SAFETENSORS_WORDS[part.dtype], list(part.shape)
        header[name] = {"dtype": word, "shape": shape, "data_offsets": [place, end]}
        place = end
    try:
        encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        refuse(path, f"a name is no valid text: {error}")
    return encoded + b" " * (-len(encoded) % 8), offsets


def _alignment(part: Part) -> int:
    return np.dtype(KINDS[part.dtype].storage).itemsize if part.dtype in KINDS else 1
