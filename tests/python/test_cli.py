"""The command line: what each command prints, its JSON, its exit codes and its messages."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from lowp import _cli_app, _cli_error, _cli_formats, _cli_show, _targets, readers
from typer.testing import CliRunner


def runner() -> CliRunner:
    """A runner that keeps standard error apart, as it does of itself since click 8.2."""
    try:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    except TypeError:
        return CliRunner()


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = runner().invoke(_cli_app.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def run_json(*arguments: str) -> Any:
    """The JSON of a command that must succeed."""

    def no_constant(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out, parse_constant=no_constant)


def fails(*arguments: str) -> str:
    """The one line of a command that must be refused with exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    assert err.startswith("lowp: ")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three tensors of floats, one of integers."""
    path = tmp_path / "model.npz"
    source = np.random.default_rng(3)
    np.savez(
        path,
        **{
            "large.weight": source.standard_normal((40, 50)).astype(np.float32),
            "small.weight": (source.standard_normal(200) * 1e-3).astype(np.float32),
            "wide.bias": np.array([1000.0, 1.0, 0.0, math.nan, math.inf], np.float64),
            "steps": np.arange(4),
        },
    )
    return path


# ---- formats, info, values -----------------------------------------------------------------------


def test_version_prints_the_version_of_the_package() -> None:
    assert run("--version") == (0, f"lowp {lowp.__version__}\n", "")


def test_formats_lists_every_registered_format_once() -> None:
    code, out, _ = run("formats")
    assert code == 0
    data = run_json("formats")["formats"]
    assert [entry["name"] for entry in data] == list(lowp.formats())
    for entry in data:
        assert entry["name"] in out
        assert entry["bits"] == lowp.format(entry["name"]).bits
        assert entry["source"]


def test_formats_lists_every_block_format_with_its_bits_a_value() -> None:
    code, out, _ = run("formats")
    assert code == 0
    data = run_json("formats")["block_formats"]
    assert [entry["name"] for entry in data] == list(lowp.block_formats())
    x = np.ones((128, 1024), np.float32)
    for entry in data:
        assert entry["name"] in out
        assert entry["source"] in out
        if entry["bits_per_value"] is not None:
            bits = lowp.encode(x, entry["name"]).bits_per_value
            assert entry["bits_per_value"] == pytest.approx(bits, abs=0.001)
    assert next(e for e in data if e["name"] == "mxfp4")["bits_per_value"] == 4.25


def test_tables_in_files_are_not_cut_at_80_columns() -> None:
    assert "…" not in run("formats")[1]


def test_info_draws_the_bits_and_the_special_codes() -> None:
    code, out, _ = run("info", "e4m3fn")
    assert code == 0
    for text in ("float8_e4m3fn", "S EEEE MMM", "0 1111 110", "448", "0x7f", "nan"):
        assert text in out
    data = run_json("info", "float8_e4m3fn")
    assert data["layout"] == "S EEEE MMM"
    assert data["codes"]["largest"] == {
        "code": 0x7E,
        "hex": "0x7e",
        "binary": "0 1111 110",
        "value": 448.0,
    }


@pytest.mark.parametrize("name", list(lowp.formats()))
def test_info_of_every_format_shows_codes_that_decode_to_what_they_are_called(name: str) -> None:
    f = lowp.format(name)
    assert run("info", name)[0] == 0
    codes = run_json("info", name)["codes"]
    assert codes["largest"]["value"] == f.max
    assert codes["lowest"]["value"] == f.lowest
    smallest = "smallest normal" if f.exponent_bits else "smallest positive"
    assert codes[smallest]["value"] == f.min_normal
    assert ("NaN" in codes) == f.has_nan
    assert ("infinity" in codes) == f.has_inf
    assert ("zero" in codes) == f.has_zero


@pytest.mark.parametrize("name", [*lowp.block_formats(), "mxfp4/rceil/16", "{-1,0,1}/8/ue5m3/amax"])
def test_info_of_block_formats_shows_every_field(name: str) -> None:
    block = lowp.block_format(name)
    code, out, _ = run("info", name)
    assert code == 0
    assert block.scale.name in out
    data = run_json("info", name)
    assert data["name"] == block.name
    assert set(data["fields"]) == set(block.fields)
    for field in block.fields:
        assert field in out or field == "outer_format"


def test_values_of_a_block_format_are_those_of_its_elements() -> None:
    assert run_json("values", "mxfp4") == run_json("values", "float4_e2m1fn")
    data = run_json("values", "nf4")
    assert [row["value"] for row in data] == lowp.block_format("nf4").element.tolist()
    assert (data[15]["hex"], data[15]["binary"]) == ("0xf", "1111")
    assert len(run_json("values", "nf4", "--limit", "3")) == 3
    assert "elements of nf4" in run("values", "nf4")[1]


def test_values_lists_every_code_of_a_small_format_in_order() -> None:
    data = run_json("values", "float4_e2m1fn")
    assert [entry["code"] for entry in data] == list(range(16))
    assert [entry["value"] for entry in data[:8]] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    code, out, _ = run("values", "float4_e2m1fn")
    assert code == 0
    assert "1 11 1" in out


def test_values_of_16_bits_are_plain_lines_one_a_code() -> None:
    code, out, _ = run("values", "bfloat16")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 1 + 65536
    assert lines[1 + 0x3F80].split() == ["0", "01111111", "0000000", "0x3f80", "1"]


def test_values_of_wide_formats_need_a_limit() -> None:
    assert "--limit" in fails("values", "float32")
    assert len(run_json("values", "float32", "--limit", "3")) == 3


def test_the_special_values_are_texts_in_json() -> None:
    values = [entry["value"] for entry in run_json("values", "float8_e5m2")]
    assert values[0x7C:0x80] == ["inf", "nan", "nan", "nan"]
    assert values[0xFC] == "-inf"


# ---- convert -------------------------------------------------------------------------------------


def test_convert_takes_several_values_and_formats() -> None:
    rows = run_json("convert", "0.3", "-0x1.8p-3", "--to", "e4m3fn", "--to", "float4_e2m1fn")
    got = [(row["input"], row["format"], row["hex"], row["value"]) for row in rows]
    assert got == [
        (0.3, "float8_e4m3fn", "0x2a", 0.3125),
        (-0.1875, "float8_e4m3fn", "0xa4", -0.1875),
        (0.3, "float4_e2m1fn", "0x1", 0.5),
        (-0.1875, "float4_e2m1fn", "0x8", 0.0),
    ]
    assert rows[0]["absolute_error"] == pytest.approx(0.0125)
    assert rows[0]["relative_error"] == pytest.approx(0.0125 / 0.3)


def test_convert_takes_negative_numbers_infinities_and_nan() -> None:
    rows = run_json("convert", "-1", "-inf", "inf", "nan", "-0.0", "--to", "float8_e5m2")
    assert [row["hex"] for row in rows[:3]] == ["0xbc", "0xfc", "0x7c"]
    assert rows[3]["value"] == "nan"
    assert rows[4]["hex"] == "0x80"


def test_convert_takes_float64_input_exactly() -> None:
    # 1 + 2^-8 + 2^-40 is above the tie of bfloat16; as a float32 it would be the tie, and go down.
    (row,) = run_json("convert", "0x1.01000000010p0", "--to", "bfloat16")
    assert row["value"] == 1.0078125


def test_convert_uses_rounding_and_saturation() -> None:
    (up,) = run_json("convert", "1.01", "--to", "e4m3fn", "--rounding", "toward_positive")
    assert up["value"] == 1.125
    (kept,) = run_json("convert", "1e9", "--to", "e4m3fn", "--saturation", "finite")
    assert kept["value"] == 448


def test_convert_draws_bits_in_fields() -> None:
    assert "0 0101 010" in run("convert", "0.3", "--to", "e4m3fn")[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("abc", "is not a number"),
        ("--roundnig", "there is no option --roundnig; did you mean --rounding?"),
        ("-to", "there is no option -to; did you mean --to?"),
        ("--qqq=3", "there is no option --qqq; --help lists them"),
        ("-x", "is not a number"),
        ("1e999", "beyond float64's largest"),
        ("0x1p5000", "beyond float64's largest"),
        ("1e-999", "below float64's smallest"),
        ("", "is not a number"),
    ],
)
def test_convert_refuses_what_is_no_float64(text: str, problem: str) -> None:
    assert problem in fails("convert", text, "--to", "bfloat16")


def test_a_misspelt_option_is_told_wherever_it_stands() -> None:
    wrong = ("--satuation", "finite")
    for arguments in ((*wrong, "0.3", "--to", "e4m3fn"), ("0.3", "--to", "e4m3fn", *wrong)):
        assert "did you mean --saturation?" in fails("convert", *arguments)
    assert "did you mean --to?" in fails("convert", "0.3", "--tp=e4m3fn", "--to", "e5m2")
    numbers = ("-inf", "-.5", "-1e-5", "-0x1p-3")
    rows = run_json("convert", *numbers, "--to", "float64")
    assert [row["value"] for row in rows] == ["-inf", -0.5, -1e-5, -0.125]


@pytest.mark.parametrize("text", ["0", "-0", "0x0p0", "0e5", "0.000", "5e-324", "1.7e308"])
def test_zero_and_the_ends_of_float64_are_numbers(text: str) -> None:
    value = _cli_formats.parse_number(text)
    assert value == (float.fromhex(text) if "x" in text else float(text))


def test_unknown_words_are_refused_with_the_nearest() -> None:
    assert "float8_e4m3fn" in fails("convert", "1", "--to", "flot8_e4m3fn")
    assert "toward_zero" in fails("convert", "1", "--to", "e4m3fn", "--rounding", "toward_zer")
    assert "finite" in fails("convert", "1", "--to", "e4m3fn", "--saturation", "finit")
    assert "float8_e5m2" in fails("info", "float8_e5m")


def test_nan_into_a_format_without_nan_is_refused() -> None:
    assert "float4_e2m1fn has no NaN" in fails("convert", "nan", "--to", "float4_e2m1fn")


@pytest.mark.parametrize("name", lowp.block_formats())
def test_convert_takes_the_numbers_as_one_row_of_blocks(name: str) -> None:
    numbers = ["0.3", "5", "-2", "1e-3"]
    rows = run_json("convert", *numbers, "--to", name)
    x = np.array([[float(n) for n in numbers]])
    tensor = lowp.encode(x, name)
    assert [row["value"] for row in rows] == tensor.decode()[0].tolist()
    assert [row["code"] for row in rows] == tensor.element_codes()[0].tolist()
    outer = tensor.outer_scale[0] if tensor.outer_scale.size else 1.0
    assert rows[0]["scale"] == pytest.approx(tensor.scale_values()[0, 0] * outer, rel=1e-12)


def test_convert_shows_scales_beside_scalar_formats_without() -> None:
    code, out, err = run("convert", "0.3", "--to", "mxfp4", "--to", "e4m3fn")
    assert code == 0, err
    assert "scale" in out
    assert "scale" not in run("convert", "0.3", "--to", "e4m3fn")[1]
    assert run_json("convert", "nan", "1", "--to", "mxfp4")[0]["value"] == "nan"
    assert "saturate" in fails("convert", "1", "--to", "mxfp4", "--saturation", "propagate")
    assert "finite" in fails("convert", "1", "--to", "mxfp4", "--saturation", "finit")


# ---- error ---------------------------------------------------------------------------------------


def test_error_measures_each_tensor_as_lowp_error_does(model: Path) -> None:
    report = run_json("error", str(model), "--format", "float8_e4m3fn")
    (section,) = report["formats"]
    with readers.open_tensors(model) as file:
        for row in section["tensors"]:
            e = lowp.error(file.load(row["tensor"]), "float8_e4m3fn", saturation="finite")
            assert row["sqnr_db"] == e.sqnr_db
            assert row["flushed"] == e.flushed
            assert row["clipped"] == e.clipped
            assert (row["nan_count"], row["inf_count"]) == (e.nan_count, e.inf_count)
    assert [row["tensor"] for row in section["tensors"]] == [
        "large.weight",
        "small.weight",
        "wide.bias",
    ]
    assert section["total"]["count"] == 2205
    assert "not floating point" in report["skipped"]["steps"]
    assert report["interrupted"] is False


def test_error_shows_the_worst_tensors_and_a_total_a_format(model: Path) -> None:
    code, out, _ = run("error", str(model), "--worst", "1", "--format", "e4m3fn")
    assert code == 0
    assert "worst 1 of 3 tensors" in out
    assert "small.weight" in out
    assert "large.weight" not in out
    assert "total of 3 tensors" in out
    assert "not measured: steps" in out
    assert "large.weight" in run("error", str(model), "--all")[1]


def test_error_compares_four_formats_where_none_is_named(model: Path) -> None:
    report = run_json("error", str(model))
    assert [f["format"] for f in report["formats"]] == list(_cli_error.DEFAULT_FORMATS)


@pytest.mark.parametrize("name", lowp.block_formats())
def test_error_measures_block_formats_as_lowp_error_does(name: str, model: Path) -> None:
    (section,) = run_json("error", str(model), "--format", name)["formats"]
    bits = []
    with readers.open_tensors(model) as file:
        for row in section["tensors"]:
            x = file.load(row["tensor"])
            x = x.reshape(1, -1) if x.ndim == 1 else x
            e = lowp.error(x, name)
            assert str(row["sqnr_db"]) == str(e.sqnr_db)
            assert (row["flushed"], row["clipped"]) == (e.flushed, e.clipped)
            assert row["code_entropy"] == e.code_entropy
            assert row["bits_per_value"] == lowp.encode(x, name).bits_per_value
            bits.append(row["bits_per_value"] * x.size)
    assert section["bits_per_value"] == pytest.approx(sum(bits) / 2205)


def test_error_shows_scalar_and_block_formats_in_one_table(model: Path) -> None:
    how = ("--format", "mxfp4", "--format", "e4m3fn", "--format", "nf4")
    code, out, err = run("error", str(model), *how, "--scale", "tensor")
    assert code == 0, err
    total = out[out.index("total of") :]
    assert "block formats with their own" in total
    for text in ("mxfp4", "float8_e4m3fn", "nf4"):
        assert text in total
    assert "saturate" in fails("error", str(model), *how, "--saturation", "none")
    assert "mxfp5" in fails("error", str(model), "--format", "mxfp5")


def test_slabs_of_a_large_tensor_give_the_measures_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(1).standard_normal((300, 60)).astype(np.float32))
    formats = ("--format", "mxfp4", "--format", "nvfp4_16x16", "--format", "deepseek_128x128")
    whole = run_json("error", str(path), *formats)["formats"]
    monkeypatch.setattr(_targets, "_SLAB", 1000)
    for before, after in zip(whole, run_json("error", str(path), *formats)["formats"], strict=True):
        assert after["total"]["sqnr_db"] == pytest.approx(before["total"]["sqnr_db"], rel=1e-12)
        assert after["total"]["clipped"] == before["total"]["clipped"]


def test_pictures_of_block_formats_are_in_units_of_their_scales(
    model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "x.png"
    plot = ("--plot", str(picture), "--exclude", "wide*")
    assert run("error", str(model), "--format", "mxfp4", "--format", "nvfp4", *plot)[0] == 0
    assert picture.stat().st_size > 10_000
    mixed = ("--format", "mxfp4", "--format", "e4m3fn")
    assert "--scale tensor" in fails("error", str(model), *mixed, *plot)
    assert run("error", str(model), *mixed, *plot, "--scale", "tensor")[0] == 0
    assert "codebooks" in fails("error", str(model), "--format", "nf4", *plot)


def test_include_exclude_and_min_size_choose_tensors(model: Path) -> None:
    def names(*options: str) -> list[str]:
        report = run_json("error", str(model), "--format", "e5m2", *options)
        return [row["tensor"] for row in report["formats"][0]["tensors"]]

    assert names("--include", "*.weight") == ["large.weight", "small.weight"]
    assert names("--include", "*.weight", "--exclude", "small*") == ["large.weight"]
    assert names("--min-size", "201") == ["large.weight"]
    assert "no tensor to measure" in fails("error", str(model), "--include", "absent*")


def test_scale_tensor_keeps_every_value_within_the_format(model: Path) -> None:
    plain = run_json("error", str(model), "--format", "float4_e2m1fn")["formats"][0]
    scaled = run_json("error", str(model), "--format", "float4_e2m1fn", "--scale", "tensor")
    (section,) = scaled["formats"]
    assert section["total"]["clipped"] == 0
    assert section["total"]["sqnr_db"] > plain["total"]["sqnr_db"]
    small = next(row for row in section["tensors"] if row["tensor"] == "small.weight")
    with readers.open_tensors(model) as file:
        amax = float(np.abs(file.load("small.weight")).max())
    assert small["scale"] == pytest.approx(amax / 6, rel=1e-6)
    assert small["scale"] * 6 >= amax


@pytest.mark.parametrize("largest", [1e-44, 1e-30, 0.1, 1.0, 3.3e38])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float4_e2m1fn", "bfloat16", "int8"])
def test_a_scale_is_a_float32_that_brings_amax_just_within_max(largest: float, name: str) -> None:
    f = lowp.format(name)
    x = np.array([largest, -largest / 3], np.float32)
    (scale,) = _cli_error.tensor_scales([x], [f])
    assert float(np.float32(scale)) == scale
    assert np.abs(x / np.float32(scale)).max() <= f.max


def test_zeros_and_empty_tensors_have_scale_one() -> None:
    f = lowp.format("float4_e2m1fn")
    for x in (np.zeros(3, np.float32), np.array([], np.float32), np.float32([math.nan])):
        assert _cli_error.tensor_scales([x], [f]) == [1.0]


def test_csv_json_and_plot_files_are_written(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, data, picture = tmp_path / "e.csv", tmp_path / "e.json", tmp_path / "e.png"
    files = ("--csv", str(table), "--json-file", str(data), "--plot", str(picture))
    code, _, err = run("error", str(model), "--format", "e4m3fn", "--format", "e5m2", *files)
    assert code == 0, err
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    report = json.loads(data.read_text())
    tensors = [row for section in report["formats"] for row in section["tensors"]]
    assert [float(row["sqnr_db"]) for row in rows] == [float(t["sqnr_db"]) for t in tensors]
    assert [row["shape"] for row in rows[:3]] == ["40x50", "200", "5"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scale", ["none", "tensor"])
def test_every_named_format_can_be_measured_and_drawn(
    scale: str, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    options = [option for name in lowp.formats() for option in ("--format", name)]
    picture = tmp_path / "all.png"
    wide = ("--exclude", "wide*") if scale == "tensor" else ()
    result = run("error", str(model), *options, "--scale", scale, "--plot", str(picture), *wide)
    assert result[0] == 0, result[2]
    assert picture.stat().st_size > 10_000


def test_stochastic_rounding_gives_the_same_report_for_the_same_seed(model: Path) -> None:
    how = ("error", str(model), "--format", "float4_e2m1fn", "--rounding", "stochastic_a")
    assert run_json(*how, "--seed", "7") == run_json(*how, "--seed", "7")
    assert run_json(*how, "--seed", "7") != run_json(*how, "--seed", "8")


def test_bad_files_and_options_of_error_are_one_line(model: Path, tmp_path: Path) -> None:
    assert "No such file" in fails("error", str(tmp_path / "absent.safetensors"))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\xff" * 20)
    assert "bad.safetensors" in fails("error", str(bad))
    assert "no installed package" in fails("error", "package:no_such_package_anywhere")
    assert "scale" in fails("error", str(model), "--scale", "row")
    assert "absent" in fails("error", str(model), "--csv", str(tmp_path / "absent" / "x.csv"))
    assert ".png" in fails("error", str(model), "--plot", str(tmp_path / "x.bmp"))


def test_an_interrupt_prints_the_complete_tensors_and_exits_with_130(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _cli_error._measure_tensor

    def interrupted(file: Any, name: str, *rest: Any) -> None:
        if name == "small.weight":
            raise KeyboardInterrupt
        real(file, name, *rest)

    monkeypatch.setattr(_cli_error, "_measure_tensor", interrupted)
    code, out, err = run("error", str(model), "--format", "e4m3fn")
    assert code == 130
    assert "interrupted after 1 tensor " in out
    assert "large.weight" in out
    assert "interrupted" in err


# ---- the program ---------------------------------------------------------------------------------


def program(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lowp", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def test_python_m_lowp_is_the_command_line() -> None:
    process = program("convert", "0.3", "--to", "e4m3fn", "--json")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)[0]["hex"] == "0x2a"


def test_ctrl_c_ends_the_program_with_130_and_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    arrays = {f"t{i:03}": np.ones(1 << 20, np.float32) for i in range(40)}
    np.savez(path, **arrays)
    options = [o for name in list(lowp.formats())[1:] for o in ("--format", name)]
    process = program("error", str(path), *options * 20)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    # A machine may be so fast that all is done before the signal.
    assert process.returncode in (0, 130), (process.returncode, err)
    assert process.returncode == 0 or "interrupted" in out


def test_a_reader_that_leaves_the_pipe_gets_no_traceback() -> None:
    process = program("values", "float16")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.wait(timeout=60)


def test_without_the_packages_of_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('none', name='typer')\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    process = program("formats", env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "pip install lowp[cli]" in err
    assert "Traceback" not in err


def test_importing_lowp_imports_neither_the_command_line_nor_matplotlib() -> None:
    code = "import lowp, sys; print({'typer', 'rich', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(448.0, "448"), (0.001953125, "0.001953125"), (-0.0, "-0"), (1e-7, "1e-07"), (1e22, "1e+22")],
)
def test_numbers_are_the_shortest_texts_that_read_back(value: float, text: str) -> None:
    assert _cli_show.number(value) == text
    assert float(text) == value


def test_only_none_reads_as_zero_percent_and_only_all_as_a_hundred() -> None:
    from lowp.measures import percent

    assert percent(0.0) == "0 %"
    assert percent(1e-9) == "< 0.001 %"
    assert percent(0.5) == "50 %"
    assert percent(0.99999) == "> 99.9 %"
    assert percent(1.0) == "100 %"
    assert percent(math.nan) == "unknown"


# ---- the documentation ---------------------------------------------------------------------------


def documented() -> list[list[tuple[str, str]]]:
    """The commands of docs/cli.md with the outputs that it says, those of a block together."""
    text = Path(__file__).resolve().parents[2].joinpath("docs", "cli.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```console\n")[1:]]
    return [
        [(part.partition("\n")[0], part.partition("\n")[2]) for part in block.split("$ lowp ")[1:]]
        for block in blocks
    ]


def absent(package: str) -> bool:
    try:
        readers.find_model(package)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("block", documented(), ids=lambda block: block[0][0][:40])
def test_every_command_of_the_documentation_prints_what_it_says(
    block: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, said in block:
        arguments = shlex.split(command)
        packages = [word for word in arguments if word.startswith("package:")]
        if missing := [word for word in packages if absent(word)]:
            pytest.skip(f"{missing} is not installed")
        code, out, err = run(*arguments)
        assert code == 0, err
        lines = [line.rstrip() for line in out.strip("\n").splitlines()]
        assert "\n".join(lines).strip("\n") == said.strip("\n")
