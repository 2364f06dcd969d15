"""Converted models under torch.compile: how often blocks are compiled, and on the plain path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import recipes  # noqa: E402
from torch import nn  # noqa: E402
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402

Tensor = Any
DOWN = "nvfp4/rounding=stochastic_a"
SCALED = lt.Quantizer("float8_e4m3fn", rounding="stochastic_a", scaling=lt.Delayed(3))
LAYERS = {
    "mxfp8": lt.Layer.of("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2"),
    "fixed signs": lt.Layer.of("nvfp4", "nvfp4_16x16", DOWN, wgrad_transform=lt.Hadamard(16)),
    "signs alone": lt.Layer.of("nvfp4", "nvfp4", "nvfp4", transform=lt.Hadamard(16)),
    "fresh signs": lt.Layer.of("nvfp4", DOWN, DOWN, wgrad_transform=lt.Hadamard(16, "fresh")),
    "delayed": lt.Layer.of(SCALED, SCALED, SCALED),
}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(torch.relu(self.up(x)))


def blocks(layer: lt.Layer, count: int = 12) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(*(Block() for _ in range(count)))
    lt.convert(model, lt.Recipe(layer, types={"attention": layer, "norm": lt.Layer(w="bfloat16")}))
    return model


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", LAYERS)
def test_blocks_of_one_recipe_share_their_compiled_code(name: str) -> None:
    eager = blocks(LAYERS[name])
    compiled = copy.deepcopy(eager)
    counter = CompileCounterWithBackend("aot_eager")
    for block in compiled:
        block.compile(backend=counter, fullgraph=True)
    for _ in range(2):
        found = []
        for model in (eager, compiled):
            x = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
            y = model(x)
            model.zero_grad()
            y.square().sum().backward()
            found.append([y.detach(), x.grad, *(p.grad for p in model.parameters())])
        assert all(map(torch.equal, *found))
    assert counter.frame_count == 1


class PlainRMSNorm(nn.Module):
    """As in Hugging Face's models: known by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.scaled(x)

    def scaled(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


NORMS = {
    "layer": lambda: nn.LayerNorm(8),
    "rms": lambda: nn.RMSNorm(8),
    "group": lambda: nn.GroupNorm(2, 8),
    "batch": lambda: nn.BatchNorm1d(8),
    "instance": lambda: nn.InstanceNorm1d(8, affine=True, track_running_stats=True),
    "by name": PlainRMSNorm,
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_compiles_to_one_graph_and_keeps_its_parameters_and_statistics(name: str) -> None:
    eager = NORMS[name]()
    generator = torch.Generator().manual_seed(1)
    for p in eager.parameters():
        p.data = torch.randn(8, generator=generator)
    plan = lt.Layer(x="bfloat16", w="float8_e4m3fn", bias="float8_e4m3fn", dgrad_dy="bfloat16")
    lt.convert(eager, lt.Recipe(types={"norm": plan}))
    model = copy.deepcopy(eager)
    own = [(n, id(p)) for n, p in model.named_parameters()]
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for training in (True, True, False):
        x = torch.randn(4, 8, 8, generator=generator)
        found = []
        for module, run in ((eager, eager), (model, compiled)):
            module.train(training).zero_grad()
            given = x.clone().requires_grad_()
            y = run(given)
            y.square().sum().backward()
            found.append([y.detach(), given.grad, *(p.grad for p in module.parameters())])
        assert all(map(torch.equal, *found))
        assert all(map(torch.equal, eager.buffers(), model.buffers()))
    assert [(n, id(p)) for n, p in model.named_parameters()] == own


# ---- without kernels -----------------------------------------------------------------------------


PLAIN = {
    "nvfp4": recipes.nvfp4(bfloat16=()),
    "tiles": lt.Recipe(lt.Layer.of("deepseek_1x128", "deepseek_128x128", "deepseek_1x128")),
    "searched": lt.Recipe(lt.Layer.of("mxfp4/mse", "mxfp4/mse", "mxfp4/mse")),
}


@pytest.mark.usefixtures("plain_path")
@pytest.mark.parametrize("kind", ["linear", "turned", "conv"])
@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_path_compiles_to_the_bits_of_eager(name: str, kind: str) -> None:
    torch.manual_seed(0)
    model: nn.Module = nn.Conv2d(32, 16, 3) if kind == "conv" else nn.Linear(64, 48)
    x = torch.randn(2, 32, 6, 6) if kind == "conv" else torch.randn(32, 64)
    if kind == "conv":
        x, model = (t.to(memory_format=torch.channels_last) for t in (x, model))
    elif kind == "turned":
        x = torch.randn(64, 32).t()
    lt.convert(model, PLAIN[name])
    found = []
    for run in (copy.deepcopy(model), torch.compile(model, backend="aot_eager", fullgraph=True)):
        given = x.clone().requires_grad_()
        y = run(given)
        y.square().sum().backward()
        found.append([y.detach(), given.grad, *(p.grad for p in run.parameters())])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("name", ["fixed signs", "signs alone"])
def test_streams_of_a_layer_are_there_when_a_checkpoint_is_assigned_on_the_meta_device(
    name: str,
) -> None:
    model, x = blocks(LAYERS[name], 2), torch.randn(1, 16, 32)
    with torch.device("meta"):
        other = blocks(LAYERS[name], 2)
    other.to("meta").load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(other(x), model(x))
    assert torch.equal(
        other.to("meta").to_empty(device="cpu")[0].up.lowp.origin, model[0].up.lowp.origin
    )
