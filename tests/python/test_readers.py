"""lowp.readers: what valid files give, and that no other file gives more than a ValueError."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest
from lowp import readers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

from fuzz_readers import (
    Call,
    Name,
    Storage,
    npy_file,
    pickled,
    run_mutations,
    safetensors_file,
    tensor,
    torch_file,
    zip_file,
)

DATA = np.arange(6, dtype=np.float32)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refused(path: Path, problem: str) -> None:
    """The file is refused with a message that names it and the problem."""
    with pytest.raises(ValueError, match=problem) as caught:
        readers.open_tensors(path)
    assert str(caught.value).startswith(str(path))


# ---- safetensors ---------------------------------------------------------------------------------


def test_a_file_of_the_safetensors_library_reads_back(tmp_path: Path) -> None:
    numpy_part = pytest.importorskip("safetensors.numpy")
    arrays = {"a": DATA.reshape(2, 3), "b": DATA.astype(np.float64), "i": np.arange(3)}
    path = tmp_path / "x.safetensors"
    numpy_part.save_file(arrays, path)
    with readers.open_tensors(path) as file:
        assert sorted(file.names) == ["a", "b", "i"]
        assert file.dtypes == {"a": "float32", "b": "float64", "i": "int64"}
        np.testing.assert_array_equal(file.load("a"), arrays["a"])
        assert file.load("b").dtype == np.float64
        assert "not floating point" in file.skipped["i"]


def test_bfloat16_and_8_bit_floats_are_decoded_without_torch_or_ml_dtypes(tmp_path: Path) -> None:
    half = struct.pack("<3H", 0x3F80, 0xC000, 0x7FC0)
    header = {
        "bf": entry("BF16", [3], 0, 6),
        "e4": entry("F8_E4M3", [2], 6, 8),
        "e5": entry("F8_E5M2", [2], 8, 10),
        "e8": entry("F8_E8M0", [1], 10, 11),
    }
    data = half + bytes([0x7E, 0x7F, 0x7B, 0xFC, 0x80])
    with readers.open_tensors(
        write(tmp_path, "x.safetensors", safetensors_file(header, data))
    ) as file:
        np.testing.assert_array_equal(file.load("bf"), np.float32([1, -2, math.nan]))
        np.testing.assert_array_equal(file.load("e4"), np.float32([448, math.nan]))
        np.testing.assert_array_equal(file.load("e5"), np.float32([57344, -math.inf]))
        np.testing.assert_array_equal(file.load("e8"), np.float32([2]))
        assert all(file.load(name).dtype == np.float32 for name in file.names)


def test_packed_elements_are_listed_and_refused_by_load(tmp_path: Path) -> None:
    header = {"four": entry("F4", [4], 0, 2)}
    path = write(tmp_path, "x.safetensors", safetensors_file(header, bytes(2)))
    with readers.open_tensors(path) as file:
        assert "packs" in file.skipped["four"]
        with pytest.raises(ValueError, match="cannot be read"):
            file.load("four")


def test_an_unaligned_tensor_a_scalar_and_an_empty_one_read_back(tmp_path: Path) -> None:
    header = {
        "byte": entry("U8", [1], 0, 1),
        "scalar": entry("F32", [], 1, 5),
        "empty": entry("F32", [0, 7], 5, 5),
    }
    data = b"\x00" + np.float32(1.5).tobytes()
    path = write(tmp_path, "x.safetensors", safetensors_file(header, data))
    with readers.open_tensors(path) as file:
        assert file.load("scalar").shape == ()
        assert file.load("scalar") == 1.5
        assert file.load("empty").shape == (0, 7)
        assert list(file.chunks("empty")) == []


BAD_SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "is empty"),
    "no room for the length": (b"\x01\x00", "cut off"),
    "huge header length": (struct.pack("<Q", 2**63) + b"{}", "over the format's limit"),
    "header beyond the end": (struct.pack("<Q", 99) + b"{}", "cut off"),
    "broken JSON": (safetensors_file(b"{"), "not valid JSON"),
    "no object": (safetensors_file(b"[]"), "must be a JSON object"),
    "no UTF-8": (safetensors_file(b'{"\xff": 1}'), "not valid JSON"),
    "JSON nested deeply": (safetensors_file(b'{"a":' + b"[" * 200_000), "not valid"),
    "endless number": (safetensors_file(b'{"a":' + b"9" * 9999 + b"}"), "not valid JSON"),
    "duplicate key": (safetensors_file(b'{"a":{},"a":{}}'), "appears twice"),
    "metadata of numbers": (safetensors_file({"__metadata__": {"a": 1}}), "__metadata__"),
    "missing field": (safetensors_file({"a": {"dtype": "F32"}}), "must have dtype"),
    "unknown dtype": (safetensors_file({"a": entry("F12", [1], 0, 0)}), "unknown dtype 'F12'"),
    "dtype no text": (safetensors_file({"a": entry([], [1], 0, 0)}), "unknown dtype"),  # type: ignore[arg-type]
    "NaN in the shape": (
        safetensors_file(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}'),
        "NaN is no JSON number",
    ),
    "fraction in the shape": (safetensors_file({"a": entry("F32", [1.0], 0, 4)}, bytes(4)), "1.0"),
    "bool in the shape": (safetensors_file({"a": entry("F32", [True], 0, 4)}, bytes(4)), "True"),
    "negative size": (safetensors_file({"a": entry("F32", [-1], 0, 0)}), "-1"),
    "size of many bits": (safetensors_file({"a": entry("F32", [2**70], 0, 0)}), "71 bits"),
    "product of many bits": (safetensors_file({"a": entry("F32", [2**40] * 2, 0, 0)}), "2.58"),
    "too many dimensions": (safetensors_file({"a": entry("F32", [1] * 33, 0, 4)}, bytes(4)), "32"),
    "offsets beyond the end": (safetensors_file({"a": entry("F32", [2], 0, 8)}, bytes(4)), "cut"),
    "offsets reversed": (safetensors_file({"a": entry("F32", [1], 4, 0)}, bytes(4)), "outside"),
    "offsets of text": (safetensors_file({"a": entry("F32", [1], "0", 4)}, bytes(4)), "integers"),
    "shape and bytes differ": (safetensors_file({"a": entry("F32", [2], 0, 4)}, bytes(4)), "fill"),
    "overlap": (
        safetensors_file({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)}, bytes(8)),
        "overlaps",
    ),
    "gap": (
        safetensors_file({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12)),
        "belong to no tensor",
    ),
    "bytes after the last": (safetensors_file({"a": entry("F32", [1], 0, 4)}, bytes(9)), "after"),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_a_malformed_safetensors_file_is_refused(case: str, tmp_path: Path) -> None:
    data, problem = BAD_SAFETENSORS[case]
    refused(write(tmp_path, "x.safetensors", data), problem)


# ---- numpy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f2", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_arrays_of_any_byte_and_memory_order_read_back(
    dtype: str, order: Any, tmp_path: Path
) -> None:
    array = np.asarray(DATA.reshape(2, 3), dtype, order=order)
    with readers.open_tensors(write(tmp_path, "name.npy", npy_file(array))) as file:
        assert file.names == ("name",)
        values = file.load("name")
        assert values.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(values, array)
        # Chunks are in C order whatever the file's order is.
        chunks = np.concatenate(list(file.chunks("name", 4)))
        np.testing.assert_array_equal(chunks, DATA)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_read_back_stored_or_compressed(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save(path, a=DATA, b=DATA.reshape(3, 2).T, n=np.arange(3))
    with readers.open_tensors(path) as file:
        assert file.names == ("a", "b", "n")
        np.testing.assert_array_equal(file.load("b"), DATA.reshape(3, 2).T)
        assert list(file.skipped) == ["n"]


def test_objects_structures_and_raw_bytes_of_numpy_are_listed_only(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    raw = np.zeros(2, "V2")
    np.savez(path, objects=np.array([{}], object), raw=raw, fields=np.zeros(1, "i4,f4"))
    with readers.open_tensors(path) as file:
        assert set(file.skipped) == {"objects", "raw", "fields"}
        assert "run code" in file.skipped["objects"]
        assert "safetensors" in file.skipped["raw"]


def npy_header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


BAD_NPY: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "is empty"),
    "another file": (b"hello, world, hello", "no valid .npy header"),
    "cut off in the header": (npy_file(DATA)[:50], "no valid .npy header"),
    "cut off in the data": (npy_file(DATA)[:-1], "but 23 follow"),
    "bytes after the array": (npy_file(DATA) + b"\x00", "but 25 follow"),
    "version 9": (b"\x93NUMPY\x09\x00" + bytes(80), "no valid .npy header"),
    "negative size": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}\n"),
        "integer >= 0",
    ),
    "size of many bits": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2**70,)}\n"),
        "no valid",
    ),
    "giant size": (
        npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**50},)}}\n"),
        "follow",
    ),
    "code in the header": (npy_header("__import__('os').abort()\n"), "no valid"),
    "nested deeply": (npy_header("(" * 9000 + "\n"), "no valid"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD_NPY)
def test_a_malformed_npy_file_is_refused(case: str, tmp_path: Path) -> None:
    data, problem = BAD_NPY[case]
    refused(write(tmp_path, "x.npy", data), problem)
    refused(write(tmp_path, "x.npz", zip_file({"a.npy": data}) if data else b""), ".")


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    bomb = zip_file({"a.npy": npy_file(np.zeros(1 << 23))}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 17
    refused(write(tmp_path, "x.npz", bomb), "would inflate")


def test_a_zip_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    data = zip_file({"a.npy": npy_file(DATA)}, zipfile.ZIP_DEFLATED)
    at = data.index(b"PK\x01\x02") + 24
    size = struct.unpack_from("<I", data, at)[0]
    for lie in (size + 4, 10 * size):
        forged = data[:at] + struct.pack("<I", lie) + data[at + 4 :]
        refused(write(tmp_path, "x.npz", forged), "a.npy|needs|inflate|cut off")


def test_encrypted_repeated_and_exotic_zip_members_are_refused(tmp_path: Path) -> None:
    plain = zip_file({"a.npy": npy_file(DATA)})
    at = plain.index(b"PK\x01\x02") + 8
    refused(write(tmp_path, "x.npz", plain[:at] + b"\x01" + plain[at + 1 :]), "encrypted")
    refused(write(tmp_path, "x.npz", zip_file({"a.npy": b""}, zipfile.ZIP_BZIP2)), "compression")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", b"")
    refused(write(tmp_path, "x.npz", stream.getvalue()), "two members")


# ---- PyTorch -------------------------------------------------------------------------------------


def weights(kind: str = "torch.FloatStorage", count: int = 6) -> Storage:
    return Storage(kind, "0", count)


def test_nested_state_dicts_give_names_joined_by_dots(tmp_path: Path) -> None:
    dense = tensor(weights(), (2, 3), (3, 1))
    root = {"model": {"a.weight": dense, "list": [dense, 3]}, "epoch": 7, "note": "text"}
    path = write(tmp_path, "x.pt", torch_file(root, {"0": DATA.tobytes()}))
    with readers.open_tensors(path) as file:
        assert file.names == ("model.a.weight", "model.list.0")
        np.testing.assert_array_equal(file.load("model.a.weight"), DATA.reshape(2, 3))


def test_views_with_strides_and_offsets_read_as_torch_shows_them(tmp_path: Path) -> None:
    root = {
        "transposed": tensor(weights(), (3, 2), (1, 3)),
        "column": tensor(weights(), (2,), (3,), 1),
        "scalar": tensor(weights(), (), (), 5),
        "expanded": tensor(weights(), (4, 6), (0, 1)),
    }
    path = write(tmp_path, "x.pth", torch_file(root, {"0": DATA.tobytes()}))
    with readers.open_tensors(path) as file:
        np.testing.assert_array_equal(file.load("transposed"), DATA.reshape(2, 3).T)
        flat = np.concatenate(list(file.chunks("transposed", 4)))
        np.testing.assert_array_equal(flat, DATA.reshape(2, 3).T.reshape(-1))
        np.testing.assert_array_equal(file.load("column"), [1, 4])
        assert file.load("scalar") == 5
        assert "repeats" in file.skipped["expanded"]


def test_parameters_old_tensors_and_untyped_storages_read_back(tmp_path: Path) -> None:
    hooks = Call("collections.OrderedDict")
    untyped = Storage("torch.storage.UntypedStorage", "1", 2)
    head: tuple[Any, ...] = (untyped, 0, (2,), (1,), False, hooks)
    v3 = Call("torch._utils._rebuild_tensor_v3", *head, Name("torch.float8_e5m2"), None)
    dense = tensor(weights(), (6,), (1,))
    root = {
        "parameter": Call("torch._utils._rebuild_parameter", dense, True, hooks),
        "old": Call("torch._utils._rebuild_tensor", weights(), 0, (6,), (1,)),
        "small": v3,
        "size": Call("torch.Size", (2, 3)),
    }
    path = write(tmp_path, "x.bin", torch_file(root, {"0": DATA.tobytes(), "1": b"\x3c\x7c"}))
    with readers.open_tensors(path) as file:
        assert file.names == ("parameter", "old", "small")
        np.testing.assert_array_equal(file.load("old"), DATA)
        np.testing.assert_array_equal(file.load("small"), np.float32([1, math.inf]))
        assert file.dtypes["small"] == "float8_e5m2"


def test_a_file_of_one_tensor_is_named_after_the_file(tmp_path: Path) -> None:
    root = tensor(weights(), (6,), (1,))
    path = write(tmp_path, "bias.pt", torch_file(root, {"0": DATA.tobytes()}))
    with readers.open_tensors(path) as file:
        assert file.names == ("bias",)


def test_python_protocol_4_pickles_read_back(tmp_path: Path) -> None:
    class Plain(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return None

    stream = io.BytesIO()
    Plain(stream, protocol=4).dump({"a": [1, 2.5, "x", b"y", (1, 2, 3, 4)], "b": {}})
    path = write(tmp_path, "x.pt", torch_file(stream.getvalue(), {}))
    with readers.open_tensors(path) as file:
        assert file.names == ()


class Evil:
    """What a pickle that attacks its reader looks like."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("should-not-exist"),))


def torch_bad(root: Any, size: int = 24, **members: bytes) -> bytes:
    return torch_file(root, {"0": bytes(size)}, **members)


LOOP = b"\x80\x02]q\x00h\x00a."
STACK_OF_TUPLES = b"\x80\x02)" + b"\x85" * 1_000_000 + b"."
WIDE = b"\x80\x02](" + b"Nq\x00" * 10 + b"e" + b"q\x01](" + b"h\x01" * 100_000 + b"eq\x02]("
WIDE += b"h\x02" * 100_000 + b"e."

WHOLE = tensor(Storage("torch.FloatStorage", "0", 6), (6,), (1,))

BAD_TORCH: dict[str, tuple[bytes, str]] = {
    "no zip": (b"hello", "is not a file of torch.save"),
    "before PyTorch 1.6": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "before 1.6"),
    "zip without data.pkl": (zip_file({"a/b": b""}), "no NAME/data.pkl"),
    "cut off": (torch_bad({"a": tensor(weights(), (6,), (1,))})[:-30], "not a readable zip"),
    "TorchScript": (torch_bad({}, **{"constants.pkl": b""}), "TorchScript"),
    "big-endian": (torch_bad({}, byteorder=b"big"), "big-endian"),
    "code": (torch_bad(pickle.dumps(Evil(), protocol=2)), "not a tensor; loading it could run"),
    "builtin": (torch_bad(Call("builtins.eval", "1")), "found builtins.eval"),
    "sparse": (torch_bad(Call("torch._utils._rebuild_sparse_tensor")), "_rebuild_sparse_tensor"),
    "protocol 0": (torch_bad(b"I1\n."), "opcode INT has no place"),
    "unknown opcode": (torch_bad(b"\x80\x02\xff."), "data.pkl"),
    "no end": (torch_bad(b"\x80\x02N"), "data.pkl"),
    "stack underflow": (torch_bad(b"\x80\x02\x85."), "data.pkl"),
    "no mark": (torch_bad(b"\x80\x02t."), "data.pkl"),
    "unknown memo": (torch_bad(b"\x80\x02h\x07."), "data.pkl"),
    "giant text": (torch_bad(b"\x80\x02\x8d" + b"\xff" * 7 + b"\x7f."), "data.pkl"),
    "giant memo index": (torch_bad(b"\x80\x02Nr\xff\xff\xff\xffNj\xff\xff\xff\xfe."), "data.pkl"),
    "call of a number": (torch_bad(b"\x80\x02K\x01)R."), "no function"),
    "missing arguments": (torch_bad(Call("torch._utils._rebuild_tensor_v2")), "data.pkl"),
    "list as key": (torch_bad(b"\x80\x02}]Ns."), "dict key"),
    "key of many bits": (torch_bad(b"\x80\x02}\x8a\xff" + b"\x7f" * 255 + b")s."), "2039 bits"),
    "name that is no text": (torch_bad(b"\x80\x04K\x01K\x02\x93."), "no text"),
    "key twice": (torch_bad(b"\x80\x02}(K\x01NK\x01Nu."), "appears twice"),
    "container in itself": (torch_bad(LOOP), "nest without end"),
    "containers that multiply": (torch_bad(WIDE), "nest without end"),
    "tuples nested deeply": (torch_bad(STACK_OF_TUPLES), "nest without end"),
    "no storage": (torch_file({"a": tensor(weights(), (6,), (1,))}, {}), "has no storage"),
    "storage too small": (torch_bad({"a": tensor(weights(), (6,), (1,))}, 20), "should take 24"),
    "shape beyond": (torch_bad({"a": tensor(weights(), (7,), (1,))}), "reaches to element 6"),
    "stride beyond": (torch_bad({"a": tensor(weights(), (2,), (6,))}), "reaches to element 6"),
    "offset beyond": (torch_bad({"a": tensor(weights(), (1,), (1,), 6)}), "reaches to"),
    "negative offset": (torch_bad({"a": tensor(weights(), (1,), (1,), -1)}), "-1"),
    "negative stride": (torch_bad({"a": tensor(weights(), (2,), (-1,), 1)}), "-1"),
    "text as size": (torch_bad({"a": tensor(weights(), ("6",), (1,))}), "'6'"),  # type: ignore[arg-type]
    "strides missing": (torch_bad({"a": tensor(weights(), (6,), ())}), "1 sizes but 0 strides"),
    "unknown storage": (torch_bad({"a": tensor(weights("torch.Q8"), (6,), (1,))}), "torch.Q8"),
    "size of many bits": (torch_bad({"a": tensor(weights(), (2**70,), (1,))}), "71 bits"),
    "names collide": (torch_bad({"a.b": WHOLE, "a": {"b": WHOLE}}), "two tensors are named 'a.b'"),
}


@pytest.mark.parametrize("case", BAD_TORCH)
def test_a_malformed_or_unsafe_torch_file_is_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, problem = BAD_TORCH[case]
    refused(write(tmp_path, "x.pt", data), problem)
    assert not Path("should-not-exist").exists()


def test_a_compressed_storage_is_refused(tmp_path: Path) -> None:
    stored = torch_bad({"a": tensor(weights(), (6,), (1,))})
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path = write(tmp_path, "x.pt", zip_file(members, zipfile.ZIP_DEFLATED))
    refused(path, "compressed")


def test_a_file_that_torch_itself_saved_reads_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    path = tmp_path / "x.pt"
    torch.save(arrays, path)
    with readers.open_tensors(path) as file:
        np.testing.assert_array_equal(file.load("a"), arrays["a"].numpy())
        np.testing.assert_array_equal(file.load("b"), np.ones(2, np.float32))


# ---- all kinds -----------------------------------------------------------------------------------


def test_random_damage_gives_tensors_or_a_value_error() -> None:
    run_mutations(3000, seed=20)


def test_the_chunks_of_a_tensor_are_its_values_in_order(tmp_path: Path) -> None:
    header = {"a": entry("BF16", [1000], 0, 2000)}
    codes = np.arange(1000, dtype="<u2")
    path = write(tmp_path, "x.safetensors", safetensors_file(header, codes.tobytes()))
    with readers.open_tensors(path) as file:
        for size in (1, 7, 999, 1000, 5000):
            chunks = list(file.chunks("a", size))
            assert [chunk.size for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
            np.testing.assert_array_equal(np.concatenate(chunks), lowp.decode(codes, "bfloat16"))
        with pytest.raises(ValueError, match="size 0"):
            next(file.chunks("a", 0))


def test_an_unknown_name_is_a_key_error(tmp_path: Path) -> None:
    with (
        readers.open_tensors(write(tmp_path, "x.npy", npy_file(DATA))) as file,
        pytest.raises(KeyError),
    ):
        file.load("y")


def test_an_unknown_suffix_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, "x.onnx", b"x"), "unknown suffix '.onnx'; lowp reads .safetensors")
    folder = tmp_path / "x.npy"
    folder.mkdir()
    refused(folder, "is a folder")
    with pytest.raises(FileNotFoundError):
        readers.open_tensors(tmp_path / "none.npy")


def test_a_model_in_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier_of_models"
    package.mkdir()
    write(package, "__init__.py", b"raise RuntimeError('imported')")
    model = write(package, "model.safetensors", safetensors_file({}))
    write(package, "other.bin", b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert readers.find_model("package:carrier_of_models") == model
    assert readers.find_model("package:carrier_of_models/other").name == "other.bin"
    assert readers.find_model("some/path.npy") == Path("some/path.npy")
    with pytest.raises(ValueError, match="no such model file"):
        readers.find_model("package:carrier_of_models/absent")
    with pytest.raises(ValueError, match="no installed package has this name"):
        readers.find_model("package:no_such_package_anywhere")
    write(package, "second.safetensors", safetensors_file({}))
    with pytest.raises(ValueError, match="several"):
        readers.find_model("package:carrier_of_models")


def test_the_corpus_of_the_fuzzer_is_valid(tmp_path: Path) -> None:
    import fuzz_readers

    for data in fuzz_readers.corpus():
        path = write(tmp_path, "x" + fuzz_readers.SUFFIXES[data[0]], data[1:])
        assert fuzz_readers.read_all(path) >= 1


def test_the_pickle_writer_of_the_tests_writes_what_python_reads() -> None:
    value = {"a": [1, True, None, ("x", -2)], "b": {"c": 3}}
    assert pickle.loads(b"\x80\x02" + pickled(value) + b".") == value
    assert json.loads(safetensors_file({"a": 1})[8:]) == {"a": 1}
