"""What lowp.torch takes for a format, and what it answers to words it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from lowp.torch import recipes  # noqa: E402

STUDY = Path(__file__).resolve().parents[2] / "docs" / "examples" / "train_gpt.py"
DTYPES = [
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float16",
    "bfloat16",
]
X = [0.1, 2.0, 700.0]


@pytest.mark.parametrize("name", DTYPES)
def test_a_dtype_is_the_format_of_its_name(name: str) -> None:
    x, dtype = torch.tensor(X), getattr(torch, name)
    want = lt.quantize(x, name)
    assert torch.equal(lt.quantize(x, dtype).view(torch.int32), want.view(torch.int32))
    codes = lt.encode(x, dtype)
    assert torch.equal(codes, lt.encode(x, name))
    assert torch.equal(lt.decode(codes, dtype).view(torch.int32), want.view(torch.int32))
    assert lt.Quantizer(dtype) == lt.Quantizer(name)
    assert lt.Layer(x=dtype) == lt.Layer(x=name)


def test_a_dtype_is_a_format_in_compiled_code() -> None:
    compiled = torch.compile(
        lambda x: lt.quantize(x, torch.float8_e5m2), fullgraph=True, backend="eager"
    )
    x = torch.tensor(X)
    assert torch.equal(compiled(x), lt.quantize(x, "float8_e5m2"))


@pytest.mark.parametrize(
    "given", [3, None, [1], torch.int32, torch.bool, torch.float4_e2m1fn_x2, object()]
)
def test_what_is_no_format_is_a_type_error_that_says_what_is(given: Any) -> None:
    for call in (lt.quantize, lt.encode):
        with pytest.raises(TypeError, match=r"must be a Format, a dtype or a name|is no format"):
            call(torch.tensor(X), given)
    with pytest.raises(TypeError, match="float8_e4m3fn"):
        lt.Quantizer(given)


def test_verbs_take_the_fields_of_a_quantizer() -> None:
    x = torch.tensor(X, requires_grad=True)
    options = {"rounding": "toward_zero", "saturation": "finite"}
    q = lt.Quantizer("float8_e4m3fn", gradient="clipped", **options)
    y = lt.quantize(x, q)
    y.sum().backward()
    assert torch.equal(y, lt.quantize(x, "float8_e4m3fn", **options))
    assert x.grad.tolist() == [1.0, 1.0, 0.0]
    codes = lt.encode(x.detach(), q)
    assert torch.equal(lt.decode(codes, q), y)
    rows = torch.randn(32, 4)
    assert torch.equal(
        lt.quantize(rows, lt.Quantizer("mxfp4", axis=0)), lt.quantize(rows, "mxfp4", axis=0)
    )
    product = lt.matmul(rows.T, rows, a_format=lt.Quantizer("mxfp4"))
    assert torch.equal(product, lt.matmul(rows.T, rows, a_format="mxfp4"))


def test_verbs_refuse_what_a_quantizer_says_twice_or_needs_a_layer_for() -> None:
    x = torch.tensor(X)
    with pytest.raises(TypeError, match="give no others"):
        lt.quantize(x, lt.Quantizer("int4"), rounding="toward_zero")
    with pytest.raises(ValueError, match="delayed"):
        lt.quantize(x, lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed()))
    with pytest.raises(ValueError, match="blocks of 32"):
        lt.quantize(x, lt.Quantizer("mxfp4", ragged="refuse"))
    with pytest.raises(ValueError, match="blocks of 32"):
        lt.encode(x, lt.Quantizer("mxfp4", ragged="refuse"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lt.Layer(dgrad_y="mxfp4"), "Layer.* 'dgrad_y'; did you mean 'dgrad_dy'"),
        (lambda: lt.Layer.of(dgrad_y="mxfp4"), "did you mean 'dgrad_dy'"),
        (lambda: lt.Recipe(patern={}), "did you mean 'patterns'"),
        (lambda: recipes.bf16().replace(seeds=2), "did you mean 'seed'"),
        (lambda: lt.Hadamard(sings="none"), "did you mean 'signs'"),
        (lambda: recipes.nvfp4(bf16=()), "nvfp4.* 'bf16'; did you mean 'bfloat16'"),
        (lambda: recipes.get("nvfp4", bf16=()), "did you mean 'bfloat16'"),
        (lambda: lt.quantize(torch.tensor(X), "int4", axs=0), "did you mean 'axis'"),
        (lambda: lt.convert(torch.nn.Linear(2, 2), recipes.bf16(), rang=1), "mean 'rank'"),
    ],
)
def test_misspelt_arguments_are_answered_with_the_near_one(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_misspelt_block_formats_are_answered_with_the_near_one() -> None:
    with pytest.raises(ValueError, match="among block formats: mxfp4"):
        lt.Layer(x="mxpf4")


def test_tables_print_names_as_they_are() -> None:
    layer = lt.Layer(x="mxfp4")
    plan = lt.Recipe(layer, patterns={"[ab]": layer, ":eyes:": None}, name="[red]r", source="[u]s")
    printed = str(plan.replace(keep=["[cd]"]))
    assert all(word in printed for word in ("[ab]", ":eyes:", "[red]r", "[u]s", "[cd]"))


def test_formats_of_lowp_and_dtypes_of_numpy_are_formats() -> None:
    x = torch.tensor(X)
    for given in (lowp.format("float16"), np.float16, np.dtype("float16")):
        assert torch.equal(lt.quantize(x, given), lt.quantize(x, "float16"))
    assert torch.equal(lt.quantize(x, lowp.block_format("mxfp4")), lt.quantize(x, "mxfp4"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipes", "mxfp"], "there are: float32; bf16; mxfp8; mxfp8, floor;"),
        (["--steps", "0"], "at least 1; got '0'"),
        (["--seeds", "-1"], "at least 1"),
    ],
)
def test_the_study_refuses_what_it_does_not_know(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, STUDY, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
