"""numpy's .npy and .npz, and the zip archive that .npz and PyTorch's files are.

Members of an archive that are only stored are memory-mapped; compressed ones are inflated one at a
time, within a limit that keeps zip bombs out.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ._readers_core import KINDS, Bytes, Stored, TensorFile, check_shape, map_file, note_of, refuse

#: numpy itself refuses longer headers unless told otherwise.
_HEADER = 1 << 16
#: A member may inflate to this many bytes, or else to `_MAX_RATIO` times its size in the file.
_SMALL = 1 << 24
_MAX_RATIO = 100


class Archive:
    """The members of a zip file, checked on opening: no encryption, doubles, overlaps or bombs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = map_file(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._list():
            self._add(member)
        packed = sum(member.compress_size for member in self._members.values())
        if packed > self._bytes.size:
            refuse(path, "members of the zip archive overlap")

    def _list(self) -> list[zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return [member for member in archive.infolist() if not member.is_dir()]
        # zipfile lets nearly any exception out of a damaged directory.
        except Exception as error:
            refuse(self.path, f"is not a readable zip archive: {str(error)[:200]}")

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        if name in self._members:
            refuse(self.path, f"two members of the zip archive are named {name!r}")
        if member.flag_bits & 1:
            refuse(self.path, f"member {name!r} is encrypted; decrypt it first")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = member.compress_type
            refuse(self.path, f"member {name!r} has compression method {method}, not deflate")
        if member.file_size > max(_SMALL, _MAX_RATIO * member.compress_size):
            refuse(
                self.path,
                f"member {name!r} would inflate from {member.compress_size} to {member.file_size} "
                f"bytes, over {_MAX_RATIO} times; save it uncompressed if that is meant",
            )
        self._members[name] = member

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member when inflated."""
        return self._members[name].file_size

    def is_stored(self, name: str) -> bool:
        return self._members[name].compress_type == zipfile.ZIP_STORED

    def raw(self, name: str) -> Bytes:
        """All bytes of a member: mapped where stored, else inflated and checked by its CRC."""
        if self.is_stored(name):
            return self._mapped(name)
        return np.frombuffer(self._inflate(name, self.size(name)), np.uint8)

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a member, or all of them."""
        if self.is_stored(name):
            return self._mapped(name)[:count].tobytes()
        return self._inflate(name, min(count, self.size(name)))

    def _inflate(self, name: str, count: int) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as stream:
                data = stream.read(count)
        except Exception as error:
            refuse(self.path, f"member {name!r} does not inflate: {str(error)[:200]}")
        if len(data) != count:
            refuse(self.path, f"member {name!r} is cut off: {len(data)} of {count} bytes")
        return data

    def _mapped(self, name: str) -> Bytes:
        # The local header repeats the name and has extra fields of its own length. Source: APPNOTE
        # 4.3.7: signature (4 bytes), ..., length of name at 26, of extra fields at 28, then both.
        member = self._members[name]
        start = member.header_offset
        header = self._bytes[start : start + 30].tobytes() if start >= 0 else b""
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            refuse(self.path, f"member {name!r} has no local header; the archive is damaged")
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start += 30 + name_length + extra_length
        end = start + member.file_size
        if member.compress_size != member.file_size or end > self._bytes.size:
            refuse(self.path, f"member {name!r} reaches beyond the end of the file; it is cut off")
        return self._bytes[start:end]


def open_npy(path: Path) -> TensorFile:
    """The one array of a .npy file, under the file's name without its suffix."""
    raw = map_file(path)
    head = raw[:_HEADER].tobytes()
    return TensorFile(path, [_array(path, path.stem, head, raw.size, lambda: raw)])


def open_npz(path: Path) -> TensorFile:
    """The arrays of a .npz file under their names; members that are no .npy are listed only."""
    archive = Archive(path)
    return TensorFile(path, [_member(archive, name) for name in archive.names])


def _member(archive: Archive, name: str) -> Stored:
    size = archive.size(name)
    if not name.endswith(".npy"):
        return Stored(name, "bytes", (size,), "the member is no .npy array")
    head = archive.head(name, _HEADER)
    short = name.removesuffix(".npy")
    return _array(archive.path, short, head, size, lambda: archive.raw(name))


def _array(path: Path, name: str, head: bytes, size: int, raw: Any) -> Stored:
    """The array that starts with the bytes `head` and takes `size` bytes in all."""
    shape, is_fortran, dtype, offset = _header(path, name, head)
    shape = check_shape(path, name, shape)
    word, note = _describe(dtype)
    tensor = Stored(name, word, shape, note, raw, offset, storage=dtype.str)
    if dtype.hasobject:
        return tensor
    if tensor.size * dtype.itemsize != size - offset:
        refuse(
            path,
            f"array {name!r} needs {tensor.size * dtype.itemsize} bytes for shape "
            f"{shape} of {word}, but {size - offset} follow its header",
        )
    if not is_fortran:
        return tensor
    strides = [1]
    for n in shape[:-1]:
        strides.append(strides[-1] * n)
    return Stored(name, word, shape, note, raw, offset, tuple(strides[: len(shape)]), dtype.str)


def _header(path: Path, name: str, head: bytes) -> tuple[Any, bool, np.dtype[Any], int]:
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"version {version} of the .npy format is not read")
    # numpy evaluates the header's literal and lets any error of the parser out.
    except Exception as error:
        problem = " ".join(str(error).split())[:200]
        refuse(path, f"array {name!r} has no valid .npy header: {problem or type(error).__name__}")
    return *header, stream.tell()


def _describe(dtype: np.dtype[Any]) -> tuple[str, str]:
    """The word of lowp for a numpy type, and why it is not read (empty: it is)."""
    if dtype.hasobject:
        return "object", "holds Python objects; reading them could run code"
    if dtype.name in KINDS:
        return dtype.name, note_of(dtype.name)
    if dtype.kind == "V" and dtype.fields is None:
        note = "raw bytes without a type (numpy writes bfloat16 so); save it as .safetensors"
        return dtype.str[1:], note
    return str(dtype)[:40], "is not float64, float32 or float16"
