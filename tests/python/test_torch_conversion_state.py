"""What converted modules remember, and what convert takes, refuses and reports."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import recipes  # noqa: E402
from torch import nn  # noqa: E402

Tensor = Any
DELAYED = lt.Layer(
    x=lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(history=3)),
    dgrad_dy="mxfp4/rounding=stochastic_a",
)
IGNORED = "_ddp_params_and_buffers_to_ignore"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- buffers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", ["bfloat16", "half", "double"])
def test_scales_and_histories_stay_float32_in_a_model_of_another_dtype(cast: str) -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    lt.convert(model, lt.Recipe(DELAYED))
    model(normal(4, 16) * 3.3)
    before = copy.deepcopy(dict(model[0].lowp.named_buffers()))
    getattr(model, cast)()
    assert model[0].weight.dtype != torch.float32
    for name, buffer in model[0].lowp.named_buffers():
        assert buffer.dtype == before[name].dtype
        assert torch.equal(buffer, before[name])
    assert model.to("meta")[0].lowp.x_scale.dtype == torch.float32


def test_buffers_start_anew_when_they_leave_the_meta_device() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(16, 8))
    lt.convert(model, lt.Recipe(DELAYED))
    assert model[0].lowp.calls.is_meta
    model.bfloat16().to_empty(device="cpu")
    state = model[0].lowp
    assert state.calls == 0
    assert state.calls.dtype == torch.int64
    assert torch.equal(state.x_history, torch.zeros(3))
    assert torch.equal(state.x_scale, torch.ones(()))


def test_what_a_module_without_parameters_remembers_is_where_the_model_is() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(16, 8), nn.Sequential(nn.GELU()))
    plan = lt.Layer(x=DELAYED.x, dgrad_dy=DELAYED.dgrad_dy)
    lt.convert(model, lt.Recipe(types={"activation": plan}))
    assert all(buffer.is_meta for buffer in model[1][0].lowp.buffers())
    alone = nn.GELU()
    lt.convert(alone, lt.Recipe(types={"activation": plan}))
    assert alone(normal(4, 16)).shape == (4, 16)


def test_reset_parameters_is_as_before_the_first_call() -> None:
    layer = nn.Linear(16, 8)
    lt.convert(layer, lt.Recipe(DELAYED))
    before = copy.deepcopy(dict(layer.lowp.named_buffers()))
    layer(normal(4, 16))
    assert layer.lowp.calls == 1
    layer.lowp.reset_parameters()
    for name, buffer in layer.lowp.named_buffers():
        assert torch.equal(buffer, before[name])


# ---- what convert takes --------------------------------------------------------------------------


def test_a_recipe_may_be_given_by_its_name() -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    assert lt.convert(model, "mxfp8").recipe == recipes.mxfp8()
    lt.restore(model)
    with lt.converted(model, "mxfp8") as report:
        assert report.converted == ("0",)
    with pytest.raises(ValueError, match="did you mean 'mxfp8'"):
        lt.convert(model, "mxpf8")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (recipes.nvfp4, r"the function nvfp4: call it, as nvfp4\(\)"),
        (lt.Layer(x="mxfp4"), r"a Layer: pass Recipe\(layer\)"),
        (None, "a Recipe or the name of one.*got None"),
    ],
)
def test_what_is_no_recipe_is_refused_with_what_to_pass(given: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        lt.convert(nn.Linear(2, 2), given)


@pytest.mark.parametrize("keep", ["first_blocks:1", "last_blocks:1"])
def test_blocks_of_a_model_without_a_list_of_modules_are_no_name(keep: str) -> None:
    model = nn.ModuleDict({"a": nn.Linear(8, 8)})
    with pytest.raises(ValueError, match=f"'{keep}' matches no module"):
        lt.convert(model, lt.Recipe(DELAYED, keep=[keep]))
    assert type(model["a"]) is nn.Linear


@pytest.mark.parametrize("product", ["forward", "dgrad"])
@pytest.mark.parametrize("build", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_transform_across_groups_is_refused_before_anything_is_converted(
    build: Any, product: str
) -> None:
    model = nn.Sequential(nn.Linear(8, 8), build(8, 8, 3, groups=2))
    plan = lt.Layer(x="mxfp4", **{f"{product}_transform": lt.Hadamard(4)})
    with pytest.raises(ValueError, match=f"1, {product}_transform: .*2 groups keep apart"):
        lt.convert(model, lt.Recipe(plan))
    assert type(model[0]) is nn.Linear
    lt.convert(model, lt.Recipe(plan, keep=["1"]))
    lt.restore(model)
    lt.convert(model, lt.Recipe(lt.Layer(wgrad_transform=lt.Hadamard(4))))


def test_a_report_shows_the_formats() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    report = lt.convert(model, "nvfp4")
    assert [row.formats for row in report.rows] == ["bfloat16 / bfloat16"] * 2
    assert str(report).count("bfloat16 / bfloat16") == 2
    lt.restore(model)
    report = lt.convert(model, lt.Recipe(lt.Layer(x="mxfp4"), keep=["1"]))
    assert [row.formats for row in report.rows] == [f"{lt.Quantizer('mxfp4').format} / -", ""]


# ---- DistributedDataParallel ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, ["0.bias"]])
def test_convert_keeps_delayed_scales_out_of_ddp_and_restore_puts_all_back(before: Any) -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    if before:
        setattr(model, IGNORED, before)
    lt.convert(model, lt.Recipe(DELAYED))
    assert getattr(model, IGNORED) == [*(before or []), "0.lowp.x_history", "0.lowp.x_scale"]
    lt.restore(model)
    assert getattr(model, IGNORED, None) == before


#: Process groups, to the end of their process: gloo's, when freed, waits with the GIL for a thread
#: that may want it (PyTorch 2.13).
ALIVE: list[Any] = []


def train(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
    ALIVE.append(torch.distributed.group.WORLD)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8))
    lt.convert(model, lt.Recipe(DELAYED))
    ddp = nn.parallel.DistributedDataParallel(model)
    for step in range(4):
        ddp(normal(4, 16, seed=step) * (rank + 1) * 3).sum().backward()
    torch.save(model.state_dict(), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="PyTorch is built without gloo",
)
def test_each_rank_keeps_its_own_delayed_scales(tmp_path: Path) -> None:
    torch.multiprocessing.set_forkserver_preload(["torch", "torch._dynamo"])
    torch.multiprocessing.start_processes(
        train, (2, str(tmp_path)), nprocs=2, start_method="forkserver"
    )
    for rank in range(2):
        alone = nn.Linear(16, 8)
        lt.convert(alone, lt.Recipe(DELAYED))
        for step in range(4):
            alone(normal(4, 16, seed=step) * (rank + 1) * 3)
        found = torch.load(tmp_path / str(rank))
        assert torch.equal(found["0.lowp.x_history"], alone.lowp.x_history)
        assert torch.equal(found["0.lowp.x_scale"], alone.lowp.x_scale)
