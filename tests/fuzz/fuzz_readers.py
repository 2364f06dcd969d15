"""Fuzz target of lowp.readers: a damaged file gives tensors or a ValueError, and nothing else.

    python tests/fuzz/fuzz_readers.py [libFuzzer options]      with atheris, until it is stopped
    python tests/fuzz/fuzz_readers.py                          without: mutations of the corpus

The first byte of an input picks the kind of file, the rest is the file. pytest runs a part of the
same mutations (test_readers.py).
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lowp import readers

SUFFIXES = (".safetensors", ".npy", ".npz", ".pt")
_ELEMENTS = 1 << 16


# ---- a small corpus: every part of every kind of file --------------------------------------------


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    """A .safetensors file; `header` is what json.dumps takes, or the header's bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class Name(str):
    """MODULE.NAME as a global of a pickle."""

    __slots__ = ()


class Call:
    """A call that a pickle makes when it is loaded."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = Name(name), arguments


class Storage:
    """A storage of a file of torch.save."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.identity = ("storage", Name(kind), key, "cpu", count)


def pickled(value: Any) -> bytes:
    """The pickle opcodes that build `value`, without the frame around a whole pickle."""
    if isinstance(value, Name):
        module, _, name = value.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if isinstance(value, Call):
        return pickled(value.name) + pickled(value.arguments) + b"R"
    if isinstance(value, Storage):
        return pickled(value.identity) + b"Q"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, bool) or value is None:
        return {True: b"\x88", False: b"\x89", None: b"N"}[value]
    if isinstance(value, int):
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
    if isinstance(value, tuple | list):
        start, end = (b"(", b"t") if isinstance(value, tuple) else (b"](", b"e")
        return start + b"".join(map(pickled, value)) + end
    if isinstance(value, dict):
        return b"}(" + b"".join(pickled(k) + pickled(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


def tensor(storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], at: int = 0) -> Call:
    """A tensor as torch.save writes it."""
    hooks = Call("collections.OrderedDict")
    return Call("torch._utils._rebuild_tensor_v2", storage, at, shape, strides, False, hooks)


def torch_file(root: Any, storages: dict[str, bytes], **members: bytes) -> bytes:
    """A file of torch.save; `root` may be the bytes of data.pkl."""
    pickle = root if isinstance(root, bytes) else b"\x80\x02" + pickled(root) + b"."
    files = {"data.pkl": pickle, "byteorder": b"little", "version": b"3\n"} | members
    files |= {f"data/{key}": data for key, data in storages.items()}
    return zip_file({f"archive/{name}": data for name, data in files.items()})


def zip_file(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npy_file(array: np.ndarray[Any, Any]) -> bytes:
    """A .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def corpus() -> list[bytes]:
    """Small valid files, each behind the byte that picks its kind."""
    data = np.arange(6, dtype="<f4")
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
        "c": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [26, 28]},
        "d": {"dtype": "I64", "shape": [0], "data_offsets": [28, 28]},
    }
    npy = npy_file(data.reshape(2, 3))
    members = {"x.npy": npy, "y.npy": npy_file(np.asfortranarray(data.reshape(3, 2)))}
    weights = {
        "layer": {"weight": tensor(Storage("torch.FloatStorage", "0", 6), (3, 2), (1, 3))},
        "steps": [1, True, None, ("text", 2)],
        "half": tensor(Storage("torch.BFloat16Storage", "1", 2), (2,), (1,)),
    }
    return [
        b"\x00" + safetensors_file(header, data.tobytes() + bytes(4)),
        b"\x01" + npy,
        b"\x01" + npy_file(np.ones((2, 2), ">f8")),
        b"\x02" + zip_file(members),
        b"\x02" + zip_file(members, zipfile.ZIP_DEFLATED),
        b"\x03" + torch_file(weights, {"0": data.tobytes(), "1": bytes(4)}),
    ]


# ---- the target ----------------------------------------------------------------------------------


def read_all(path: Path) -> int:
    """Reads what can be read of a file and returns the number of tensors; ValueError passes."""
    with readers.open_tensors(path) as file:
        for name in file.names:
            if name not in file.skipped and file.size(name) <= _ELEMENTS:
                values = file.load(name)
                assert values.shape == file.shapes[name]
                assert sum(chunk.size for chunk in file.chunks(name, 1000)) == values.size
        return len(file)


def check(data: bytes, folder: Path) -> None:
    """The property: a ValueError that names the file, or tensors."""
    path = folder / ("input" + SUFFIXES[data[0] % len(SUFFIXES)] if data else "input.npy")
    path.write_bytes(data[1:])
    try:
        read_all(path)
    except ValueError as error:
        if not str(error).startswith(str(path)):
            raise AssertionError(f"the message does not name the file: {error}") from error


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged files: bytes changed, cut out, repeated, or numbers made huge."""
    source = random.Random(seed)
    files = corpus()
    huge = [b"\xff" * 8, b"\x00" * 8, struct.pack("<q", 2**62), b"99999999999", b"-1", b"NaN"]
    for _ in range(count):
        data = bytearray(source.choice(files))
        for _ in range(source.randint(1, 4)):
            at, length = source.randrange(1, len(data) + 1), source.randint(1, 16)
            change = source.randrange(5)
            if change == 0:
                data[at : at + 1] = source.randbytes(1)
            elif change == 1:
                del data[at : at + length]
            elif change == 2:
                data[at:at] = data[at : at + length]
            elif change == 3:
                data[at : at + length] = source.choice(huge)
            else:
                del data[source.randrange(1, len(data) + 1) :]
        yield bytes(data)


def run_mutations(count: int, seed: int = 0) -> None:
    """Check every mutation; AssertionError or any other exception names a bug."""
    with tempfile.TemporaryDirectory() as folder:
        for data in mutations(count, seed):
            check_or_show(data, Path(folder))


def check_or_show(data: bytes, folder: Path) -> None:
    """`check`, with the input in the message of what goes wrong."""
    try:
        check(data, folder)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}; input: {data!r}") from error


def main() -> None:
    """Run atheris where it is installed, else a fixed number of mutations."""
    try:
        import atheris
    except ModuleNotFoundError:
        run_mutations(20000)
        print("20000 passed, 0 failed")
        return
    folder = tempfile.TemporaryDirectory()
    seeds = Path(folder.name, "corpus")
    seeds.mkdir()
    for i, data in enumerate(corpus()):
        seeds.joinpath(str(i)).write_bytes(data)
    atheris.instrument_all()
    atheris.Setup([*sys.argv, str(seeds)], lambda data: check(data, Path(folder.name)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
