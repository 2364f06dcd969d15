"""Converted models: by hand to the bit, plain recipes change nothing, restore brings all back."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

Tensor = Any


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def q(x: Tensor, name: str, axis: int = -1, **options: Any) -> Tensor:
    y = lowp.quantize(x.detach().contiguous().numpy(), name, axis=axis, **options)
    return torch.from_numpy(np.asarray(y))


# ---- a linear layer by hand ----------------------------------------------------------------------

HAND = lt.Layer(
    x="mxfp8_e4m3",
    w="nvfp4",
    output="bfloat16",
    bias="float16",
    dgrad_dy="mxfp8_e5m2",
    dgrad_w="mxfp4",
    wgrad_x="mxfp4",
    wgrad_dy="int8_row",
)


def test_a_linear_layer_equals_quantize_and_products_by_hand_forward_and_back() -> None:
    layer = nn.Linear(96, 40)
    x = normal(5, 7, 96).requires_grad_()
    dy = normal(5, 7, 40, seed=1)
    lt.convert(layer, lt.Recipe(HAND))
    y = layer(x)
    y.backward(dy)

    w, b = layer.weight.detach(), layer.bias.detach()
    want = F.linear(q(x, "mxfp8_e4m3"), q(w, "nvfp4"), q(b, "float16"))
    assert torch.equal(y, q(want, "bfloat16"))
    rows = dy.reshape(-1, 40)
    dx = q(rows, "mxfp8_e5m2") @ q(w, "mxfp4", 0)
    assert torch.equal(x.grad, dx.reshape(x.shape))
    dw = q(rows, "int8_row", 0).t() @ q(x.reshape(-1, 96), "mxfp4", 0)
    assert torch.equal(layer.weight.grad, dw)
    assert torch.equal(layer.bias.grad, rows.sum(0))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Linear(32, 16), (4, 32)),
        (lambda: nn.Conv1d(8, 16, 3, groups=2), (2, 8, 5)),
        (lambda: nn.ConvTranspose1d(8, 16, 3, stride=2), (2, 8, 5)),
    ],
)
@pytest.mark.parametrize("backward_from", ["original", "forward"])
def test_a_matrix_unit_is_told_the_format_of_every_operand(
    build: Any, shape: tuple[int, ...], backward_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not look at the numbers, which would wait for a GPU."""
    told = []
    real = lowp.matmul

    def look(a: Any, b: Any, **options: Any) -> Any:
        for x, name in ((a, options["a_format"]), (b, options["b_format"])):
            assert np.array_equal(lowp.quantize(x, name), x)
        told.append({options["a_format"], options["b_format"]})
        return real(a, b, **options)

    monkeypatch.setattr(lowp, "matmul", look)
    x, w, dy = "float8_e4m3fn", "float6_e3m2fn", "float8_e5m2"
    module = build()
    unit = "b200_fp8_tcgen05"
    roles = {"dgrad_w": w, "wgrad_x": x} if backward_from == "original" else {}
    plan = lt.Layer(
        x=x,
        w=w,
        dgrad_dy=dy,
        wgrad_dy=dy,
        forward_accumulator=unit,
        dgrad_accumulator=unit,
        wgrad_accumulator=unit,
        backward_from=backward_from,
        **roles,
    )
    lt.convert(module, lt.Recipe(plan))
    module(torch.randn(*shape).requires_grad_()).square().sum().backward()
    assert {frozenset(pair) for pair in told} == {
        frozenset(pair) for pair in ((x, w), (dy, w), (x, dy))
    }


def test_a_matrix_unit_is_told_the_dtype_of_operands_without_a_scalar_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []
    real = lowp.matmul

    def look(a: Any, b: Any, **options: Any) -> Any:
        told.append((options["a_format"], options["b_format"]))
        return real(a, b, **options)

    monkeypatch.setattr(lowp, "matmul", look)
    layer = nn.Linear(64, 8).bfloat16()
    lt.convert(layer, lt.Recipe(lt.Layer(x="mxfp4", forward_accumulator="h100")))
    layer(torch.randn(8, 64).bfloat16())
    assert told == [("bfloat16", "bfloat16")]


@pytest.mark.parametrize("accumulator", ["bfloat16", "h100_fp8", "exact"])
def test_each_product_goes_through_its_accumulator(accumulator: str) -> None:
    layer = nn.Linear(64, 16)
    plan = lt.Layer.of("float8_e4m3fn", "float8_e4m3fn", "float8_e5m2", accumulator=accumulator)
    lt.convert(layer, lt.Recipe(plan))
    x, dy = normal(32, 64).requires_grad_(), normal(32, 16, seed=1)
    y = layer(x)
    y.backward(dy)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return torch.from_numpy(lowp.matmul(a.numpy(), b.numpy(), accumulator=accumulator))

    e4m3, e5m2 = "float8_e4m3fn", "float8_e5m2"
    w = layer.weight.detach()
    assert torch.equal(y, product(q(x, e4m3), q(w, e4m3).t()) + layer.bias)
    assert torch.equal(x.grad, product(q(dy, e5m2), q(w, e4m3)))
    assert torch.equal(layer.weight.grad, product(q(dy, e5m2).t(), q(x, e4m3)))


def test_stochastic_roles_draw_from_seed_module_role_and_call() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 32))
    name = "mxfp4/rounding=stochastic_a"
    lt.convert(model, lt.Recipe(lt.Layer(x=name, dgrad_dy=name, wgrad_dy=name), seed=11))
    x = normal(8, 64).requires_grad_()
    for call in range(3):
        number, role = 2, {"x": 0, "dgrad_dy": 4}  # the second child is the model's third module
        h = model[0](x)
        y = model[1](h)
        stream = {key: (number << 40) + (value << 32) + call for key, value in role.items()}
        want = F.linear(q(h, name, seed=11, stream=stream["x"]), model[1].weight, model[1].bias)
        assert torch.equal(y, want)
        (dh,) = torch.autograd.grad(y, h, torch.ones_like(y))
        dy = q(torch.ones_like(y), name, seed=11, stream=stream["dgrad_dy"])
        assert torch.equal(dh, dy @ model[1].weight)
    model.eval()
    assert torch.equal(model(x), model(x))


def test_a_rank_has_bits_of_its_own_for_activations_and_shares_those_of_weights() -> None:
    name = "mxfp4/rounding=stochastic_a"
    x = normal(8, 64)
    outputs: dict[str, list[Tensor]] = {}
    for role in ("x", "w"):
        for rank in (0, 1):
            torch.manual_seed(0)
            layer = nn.Linear(64, 32)
            lt.convert(layer, lt.Recipe(lt.Layer(**{role: name})), rank=rank)
            outputs.setdefault(role, []).append(layer(x))
    assert not torch.equal(*outputs["x"])
    assert torch.equal(*outputs["w"])


# ---- transforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [lt.Hadamard(16), lt.Hadamard(32, "fresh"), lt.Hadamard(8, "none"), lt.Smooth(), lt.KSort()],
    ids=str,
)
@pytest.mark.parametrize("rows", [32, 21])
def test_a_transform_cancels_in_every_product(transform: Any, rows: int) -> None:
    plain, layer = nn.Linear(50, 24).double(), nn.Linear(50, 24).double()
    layer.load_state_dict(plain.state_dict())
    lt.convert(layer, lt.Recipe(lt.Layer.of(transform=transform)))
    dy = normal(rows, 24, seed=1).double()
    results = []
    for module in (plain, layer):
        x = normal(rows, 50).double().requires_grad_()
        y = module(x)
        y.backward(dy)
        results.append((y.detach(), x.grad, module.weight.grad))
    for want, got in zip(*results, strict=True):
        assert (want - got).abs().max() < 1e-13 * rows * 50


def test_hadamard_operands_are_those_by_hand() -> None:
    layer = nn.Linear(64, 32)
    plan = lt.Layer(x="mxfp4", w="mxfp4", forward_transform=lt.Hadamard(32))
    lt.convert(layer, lt.Recipe(plan, seed=5))
    x = normal(4, 64)
    stream = (0 << 40) | (32 << 32)
    turned = [
        torch.from_numpy(lowp.hadamard(t.detach().numpy(), 32, seed=5, stream=stream))
        for t in (x, layer.weight)
    ]
    want = F.linear(q(turned[0], "mxfp4"), q(turned[1], "mxfp4"), layer.bias)
    assert torch.equal(layer(x), want)


# ---- plain recipes -------------------------------------------------------------------------------


class Net(nn.Module):
    """One of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 36)
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding="valid", groups=2, bias=False),
            nn.GroupNorm(2, 8),
            nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1),
        )
        self.norm = nn.LayerNorm(144)
        self.hidden = nn.Linear(144, 32)
        self.act = nn.GELU()
        self.lm_head = nn.Linear(32, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).reshape(-1, 1, 6, 6)
        x = self.features(x).flatten(1)
        return self.lm_head(self.act(self.hidden(self.norm(x))))


EVERYTHING = ("linear", "conv", "embedding", "norm", "activation")


def train(model: nn.Module, steps: int, start: int = 0, compiled: Any = None) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    run = model if compiled is None else compiled
    for step in range(start, start + steps):
        ids = torch.randint(20, (16,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(run(ids), ids % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fresh(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def test_float32_everywhere_trains_bit_identically_to_plain_pytorch() -> None:
    plain, simulated = fresh(), fresh()
    layer = lt.Layer.of("float32", "float32", "float32", output="float32", bias="float32")
    report = lt.convert(simulated, lt.Recipe(layer, types=dict.fromkeys(EVERYTHING, layer)))
    assert len(report.converted) == 11
    assert train(plain, 5) == train(simulated, 5)
    lt.restore(simulated)
    for (name, a), (other, b) in zip(
        plain.state_dict().items(), simulated.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)


def test_convert_and_restore_leave_the_model_exactly_as_it_was() -> None:
    model, plain = fresh(), fresh()
    parameters = dict(model.named_parameters())
    layer = lt.Layer.of("mxfp4/rounding=stochastic_a", "mxfp4", "mxfp4")
    with lt.converted(model, lt.Recipe(layer, types=dict.fromkeys(EVERYTHING, layer))):
        assert isinstance(model.hidden, nn.Linear)
        assert dict(model.named_parameters()).keys() == parameters.keys()
        assert not torch.equal(model(torch.arange(4)), plain(torch.arange(4)))
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert repr(model) == repr(plain)
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    plain(torch.arange(4))  # both have seen one batch
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


# ---- convolutions --------------------------------------------------------------------------------

GEOMETRIES = [
    (nn.Conv1d, (4, 6, 3), {"padding": 1}, (2, 4, 9)),
    (nn.Conv1d, (4, 6, 4), {"padding": "same", "dilation": 3}, (2, 4, 9)),
    (nn.Conv2d, (4, 6, (3, 2)), {"stride": (2, 1), "dilation": (1, 2), "groups": 2}, (2, 4, 9, 8)),
    (nn.Conv2d, (4, 6, 3), {"padding": 2, "padding_mode": "circular", "stride": 3}, (2, 4, 7, 8)),
    (nn.Conv2d, (4, 4, 3), {"groups": 4, "bias": False}, (4, 7, 8)),
    (nn.Conv3d, (2, 3, 2), {"stride": 2}, (2, 2, 5, 4, 6)),
    (nn.ConvTranspose1d, (4, 6, 3), {"stride": 2, "output_padding": 1}, (2, 4, 5)),
    (nn.ConvTranspose2d, (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (2, 4, 5, 6)),
    (nn.ConvTranspose2d, (4, 6, (3, 2)), {"dilation": 2, "bias": False}, (2, 4, 5, 6)),
    (nn.ConvTranspose3d, (2, 3, 2), {"stride": 2}, (1, 2, 3, 2, 3)),
]


def conv_results(module: Any, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(((torch.arange(y.numel()) % 7).reshape(y.shape) - 3).to(y.dtype) / 4)
    grads = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    return [y.detach(), x.grad, *grads]


@pytest.mark.parametrize(("kind", "args", "options", "shape"), GEOMETRIES)
def test_convolutions_of_float32_are_pytorchs_bits(kind, args, options, shape) -> None:  # type: ignore[no-untyped-def]
    module = kind(*args, **options)
    x = normal(*shape)
    want = conv_results(module, x)
    lt.convert(module, lt.Recipe(lt.Layer.of("float32", "float32", "float32")))
    for a, b in zip(want, conv_results(module, x), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("kind", "args", "options", "shape"), GEOMETRIES)
def test_convolutions_through_an_accumulator_are_the_same_sums(kind, args, options, shape) -> None:  # type: ignore[no-untyped-def]
    """Small multiples of 1/4: every sum is exact in float32, whatever its order."""
    module = kind(*args, **options)
    for p in module.parameters():
        p.data = (p.data * 16).round().clamp(-8, 8) / 4
    x = (normal(*shape) * 4).round() / 4
    want = conv_results(module, x)
    lt.convert(module, lt.Recipe(lt.Layer.of(accumulator="exact")))
    for a, b in zip(want, conv_results(module, x), strict=True):
        assert torch.equal(a, b)


def test_a_convolution_equals_quantize_along_channels_and_the_batch_by_hand() -> None:
    module = nn.Conv2d(32, 16, 3, padding=1)
    lt.convert(module, lt.Recipe(lt.Layer.of("mxfp8_e4m3", "mxfp4", "mxfp8_e5m2")))
    x = normal(4, 32, 5, 5).requires_grad_()
    y = module(x)
    dy = normal(*y.shape, seed=1)
    y.backward(dy)
    w = module.weight.detach()
    want = F.conv2d(q(x, "mxfp8_e4m3", 1), q(w, "mxfp4", 1), module.bias, padding=1)
    assert torch.equal(y, want)
    dx = nn.grad.conv2d_input(x.shape, q(w, "mxfp4", 0), q(dy, "mxfp8_e5m2", 1), padding=1)
    assert torch.equal(x.grad, dx)
    dw = nn.grad.conv2d_weight(q(x, "mxfp8_e4m3", 0), w.shape, q(dy, "mxfp8_e5m2", 0), padding=1)
    assert torch.equal(module.weight.grad, dw)


def test_tiles_of_weights_are_the_same_values_in_both_products() -> None:
    layer = nn.Linear(64, 48)
    lt.convert(layer, lt.Recipe(lt.Layer(w="nvfp4_16x16", dgrad_w="nvfp4_16x16")))
    x = normal(8, 64).requires_grad_()
    y = layer(x)
    y.sum().backward()
    w = q(layer.weight, "nvfp4_16x16")
    assert torch.equal(y, F.linear(x, w, layer.bias))
    assert torch.equal(x.grad, torch.ones_like(y) @ w)


# ---- gradients and scaling -----------------------------------------------------------------------


def test_clipped_gradients_are_zero_where_the_operand_saturated() -> None:
    clip = lt.Quantizer("float8_e4m3fn/32/float8_e8m0fnu/floor", gradient="clipped")
    layer = nn.Linear(64, 8)
    lt.convert(layer, lt.Recipe(lt.Layer(x=clip)))
    x = normal(16, 64).requires_grad_()
    y = layer(x)
    y.sum().backward()
    mask = torch.ops.lowp.saturated(x.detach(), "mxfp8_e4m3")
    assert mask.any()
    want = torch.ones_like(y) @ layer.weight
    assert torch.equal(x.grad, want.masked_fill(mask, 0))


def test_delayed_scaling_uses_the_past_and_is_in_the_state_dict() -> None:
    layer = nn.Linear(16, 8)
    delayed = lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(history=3))
    lt.convert(layer, lt.Recipe(lt.Layer(x=delayed)))
    twin = lowp.DelayedScaling(448.0, 3)
    for step in range(5):
        x = normal(4, 16, seed=step) * 10 ** (step - 2)
        scale = twin.scale
        block = lowp.block_format("float8_e4m3fn/tensor/float32").replace(rule=scale)
        assert torch.equal(layer(x), F.linear(q(x, block.name), layer.weight, layer.bias))
        twin.observe(float(x.abs().max()))
    state = layer.state_dict()
    assert state["lowp.x_scale"] == twin.scale
    assert np.array_equal(state["lowp.x_history"].numpy(), twin.history)
    layer.eval()
    layer(x * 100)
    assert layer.lowp.x_scale == twin.scale


# ---- checkpoints ---------------------------------------------------------------------------------

STOCHASTIC = lt.Recipe(
    lt.Layer.of("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2/rounding=stochastic_a"), seed=3
)


def test_a_run_resumes_bit_identically_from_a_checkpoint() -> None:
    model = fresh()
    lt.convert(model, STOCHASTIC)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run(model: nn.Module, optimizer: Any, steps: range) -> None:
        for step in steps:
            ids = torch.randint(20, (16,), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            F.cross_entropy(model(ids), ids % 5).backward()
            optimizer.step()

    run(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    run(model, optimizer, range(3, 6))
    resumed = fresh(9)
    lt.convert(resumed, STOCHASTIC)
    file.seek(0)
    resumed.load_state_dict(torch.load(file))
    run(resumed, torch.optim.SGD(resumed.parameters(), 0.1), range(3, 6))
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_plain_checkpoint_loads_into_a_converted_model() -> None:
    plain, model = fresh(1), fresh(2)
    lt.convert(model, STOCHASTIC)
    assert any("lowp" in key for key in model.state_dict())
    model.load_state_dict(plain.state_dict())
    lt.restore(model)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_converted_model_is_copied_and_pickled(how: Any) -> None:
    model = fresh()
    lt.convert(model, STOCHASTIC)
    model(torch.arange(4))
    twin = how(model)
    ids = torch.arange(8)
    assert torch.equal(twin(ids), model(ids))
    lt.restore(twin)
    assert type(twin.hidden) is nn.Linear


def test_a_converted_model_compiles_into_one_graph_with_the_same_bits() -> None:
    recipe = lt.Recipe(
        lt.Layer.of(
            "mxfp8_e4m3",
            "nvfp4_16x16",
            "mxfp4/rounding=stochastic_a",
            wgrad_transform=lt.Hadamard(16, "fresh"),
        ),
        types={"norm": lt.Layer(x="bfloat16", w="bfloat16")},
    )
    eager, other = fresh(), fresh()
    lt.convert(eager, recipe)
    lt.convert(other, recipe)
    torch._dynamo.reset()
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert train(eager, 4) == train(other, 4, compiled=compiled)


# ---- names and reports ---------------------------------------------------------------------------


def test_patterns_and_keep_choose_modules_and_the_report_says_why() -> None:
    model = nn.Sequential(
        OrderedDict(
            embed=nn.Embedding(5, 8),
            blocks=nn.Sequential(*(nn.Linear(8, 8) for _ in range(4))),
            lm_head=nn.Linear(8, 5),
        )
    )
    recipe = lt.Recipe(
        lt.Layer(x="mxfp4"),
        patterns={"blocks.1": lt.Layer(x="mxfp8_e4m3"), "blocks.2": None},
        keep=["lm_head", "first:1"],
    )
    report = lt.convert(model, recipe)
    assert report.converted == ("blocks.1", "blocks.3")
    reasons = {row.name: (row.state, row.reason) for row in report.rows}
    assert reasons["blocks.0"] == ("kept", "keep first:1")
    assert reasons["blocks.2"] == ("kept", "pattern blocks.2")
    assert reasons["lm_head"] == ("kept", "keep lm_head")
    assert reasons["embed"][0] == "kept"
    assert "blocks.3" in str(report)
    assert lt.layers(model).keys() == set(report.converted)
    assert lt.layers(model)["blocks.1"].layer.x == lt.Quantizer("mxfp8_e4m3")


def test_a_report_counts_what_is_in_the_recipes_formats_and_what_is_kept() -> None:
    def headline(recipe: lt.Recipe, *more: nn.Module) -> str:
        model = nn.Sequential(nn.Linear(8, 8), *more, nn.Linear(8, 8))
        report = lt.convert(model, recipe)
        assert report.headline in str(report)
        return report.headline

    kept = "nvfp4: 0 of 2 modules in its formats, 2 kept in bfloat16"
    assert headline(lt.recipes.nvfp4()) == kept
    three = "nvfp4: 1 of 4 modules in its formats, 2 kept in bfloat16, 1 left alone"
    assert headline(lt.recipes.nvfp4(), nn.Linear(8, 8), nn.ReLU()) == three
    assert headline(lt.recipes.bf16()) == "bf16: 2 of 2 modules in its formats"
    left = "mxfp4: 1 of 2 modules in its formats, 1 left alone"
    assert headline(lt.recipes.mxfp4(keep=["last:1"])) == left
    other = lt.Recipe(lt.Layer.of(w="mxfp4"), patterns={"0": lt.Layer.of(w="mxfp6_e2m3")})
    assert headline(other) == "custom: 2 of 2 modules in its formats"


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("last:2", {"blocks.3", "head"}),
        ("first:1", {"blocks.0"}),
        ("last_blocks:1", {"blocks.3"}),
        ("first_blocks:2", {"blocks.0", "blocks.1"}),
        ("blocks.[12]", {"blocks.1", "blocks.2"}),
        ("*", {"blocks.0", "blocks.1", "blocks.2", "blocks.3", "head"}),
        ("blocks", {"blocks.0", "blocks.1", "blocks.2", "blocks.3"}),
    ],
)
def test_keep_counts_modules_and_blocks(keep: str, kept: set[str]) -> None:
    model = nn.Sequential(
        OrderedDict(
            blocks=nn.Sequential(*(nn.Linear(8, 8) for _ in range(4))), head=nn.Linear(8, 5)
        )
    )
    report = lt.convert(model, lt.Recipe(lt.Layer(x="mxfp4"), keep=[keep]))
    assert set(report.kept) == kept


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: lt.Recipe(keep=["lm_haed"]), ValueError, "matches no module.*lm_head"),
        (lambda: lt.Recipe(patterns={"blocks.*": None}), ValueError, "matches no module"),
        (lambda: lt.Recipe(keep=["last:x"]), ValueError, "last:2"),
        (lambda: lt.Recipe(keep="lm_head"), TypeError, "list"),
        (lambda: lt.Recipe(types={"lstm": None}), ValueError, "recurrent"),
        (lambda: lt.Recipe(seed=-1), ValueError, "seed"),
        (lambda: lt.Recipe(lt.Layer(x="mxfp5")), ValueError, "Layer: x.*mxfp5"),
        (lambda: lt.Layer(x=3), TypeError, "Layer: x must be a format"),
        (lambda: lt.Layer(forward_accumulator="float31"), ValueError, "float31"),
        (lambda: lt.Layer(forward_transform="hadamard"), TypeError, "Hadamard"),
        (lambda: lt.Hadamard(24), ValueError, "power of two"),
        (lambda: lt.Hadamard(16, "random"), ValueError, "fresh"),
        (lambda: lt.Quantizer("mxfp4", scaling=lt.Delayed()), ValueError, "one scale a tensor"),
        (lambda: lt.Quantizer("mxfp4", saturation="none"), ValueError, "saturate"),
        (lambda: lt.Quantizer("float16", rounding="up"), ValueError, "up"),
        (lambda: lt.Quantizer("float16", gradient="ste"), ValueError, "straight_through"),
        (lambda: lt.Smooth(2.0), ValueError, "alpha"),
        (lambda: lt.KSort(3), ValueError, "norm"),
        (lambda: lt.Delayed(0), ValueError, "history"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(build, error, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        lt.convert(fresh(), build())


def test_errors_of_a_step_name_the_module_and_the_role() -> None:
    model = nn.Sequential(OrderedDict(body=nn.Linear(40, 8)))
    ragged = lt.Quantizer("mxfp4", ragged="refuse")
    lt.convert(model, lt.Recipe(lt.Layer(w=ragged)))
    with pytest.raises(ValueError, match=r"body, w: 40 values.*blocks of 32"):
        model(normal(2, 40))
    lt.restore(model)
    lt.convert(model, lt.Recipe(lt.Layer(x="float32")))
    with pytest.raises(
        ValueError, match=r"body, x: .*bfloat16 does not hold every value of float32"
    ):
        model.bfloat16()(normal(2, 40).bfloat16())
    with pytest.raises(ValueError, match="already"):
        lt.convert(model, lt.Recipe())


def test_functions_do_what_converted_modules_do() -> None:
    linear, conv = nn.Linear(64, 32), nn.Conv2d(32, 8, 3, stride=2)
    layer = lt.Layer.of("mxfp8_e4m3", "mxfp4", "mxfp4")
    x, image = normal(4, 64), normal(2, 32, 9, 9)
    by_function = [
        lt.functional.linear(x, linear.weight, linear.bias, layer=layer),
        lt.functional.conv(image, conv.weight, conv.bias, layer=layer, stride=2),
    ]
    for module in (linear, conv):
        lt.convert(module, lt.Recipe(layer))
    assert torch.equal(by_function[0], linear(x))
    assert torch.equal(by_function[1], conv(image))
    stochastic = lt.Layer(x="mxfp4/rounding=stochastic_a")
    with pytest.raises(ValueError, match="remembers"):
        lt.functional.linear(x, linear.weight, layer=stochastic)
    state = lt.LayerState(stochastic)
    assert not torch.equal(
        lt.functional.linear(x, linear.weight, layer=state),
        lt.functional.linear(x, linear.weight, layer=state),
    )


def test_matmul_of_batches_equals_quantize_by_hand() -> None:
    a, b = normal(2, 3, 8, 64).requires_grad_(), normal(3, 64, 16, seed=1).requires_grad_()
    layer = lt.Layer.of("mxfp8_e4m3", "mxfp4", "mxfp8_e5m2")
    y = lt.functional.matmul(a, b, layer=layer)
    assert torch.equal(y, q(a, "mxfp8_e4m3") @ q(b, "mxfp4", -2))
    dy = normal(*y.shape, seed=2)
    y.backward(dy)
    assert torch.equal(a.grad, q(dy, "mxfp8_e5m2") @ q(b, "mxfp4", -1).mT)
    want = q(a, "mxfp8_e4m3", -2).mT @ q(dy, "mxfp8_e5m2", -2)
    assert torch.equal(b.grad, want.sum_to_size(b.shape))


def test_autocast_chooses_the_dtype_of_the_products() -> None:
    layer = nn.Linear(64, 32)
    lt.convert(layer, lt.Recipe(lt.Layer.of("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2")))
    x = normal(4, 64).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert layer.weight.grad.dtype == torch.float32


# ---- recipes as files ----------------------------------------------------------------------------

RICH = lt.Recipe(
    lt.Layer.of(
        lt.Quantizer("nvfp4", rounding="stochastic_a"),
        "nvfp4_16x16",
        lt.Quantizer("float8_e5m2", scaling=lt.Delayed(16, take="most_recent")),
        accumulator="h100_fp8",
        wgrad_transform=lt.Hadamard(16, "fresh"),
        forward_transform=lt.Smooth(0.25),
        dgrad_transform=lt.KSort(1),
    ),
    types={"norm": lt.Layer(x="bfloat16"), "conv": None},
    patterns={"blocks.*.mlp": lt.Layer(w=lt.Quantizer("e3m4", gradient="clipped", axis=0))},
    keep=["lm_head", "last:2"],
    master_weights=lt.Quantizer("bfloat16", rounding="stochastic_a"),
    optimizer_state={"exp_avg": lt.Quantizer("mxfp8_e4m3"), "exp_avg_sq": lt.Quantizer("bfloat16")},
    all_reduce=lt.Quantizer("mxfp8_e5m2"),
    seed=7,
    name="rich",
    source="a test",
)


def test_recipes_survive_toml_json_and_pickle() -> None:
    pytest.importorskip("tomli_w", reason="tomli-w is not installed")
    assert lt.Recipe.from_toml(RICH.to_toml()) == RICH
    assert lt.Recipe.from_json(RICH.to_json()) == RICH
    assert pickle.loads(pickle.dumps(RICH)) == RICH
    assert lt.Recipe.from_dict(lt.Recipe().to_dict()) == lt.Recipe()
    assert RICH.replace(seed=8) != RICH
    assert len({RICH, RICH.replace(seed=8)}) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"layr": {}}, "recipe has no field 'layr'; did you mean 'layer'"),
        ({"layer": {"xx": "mxfp4"}}, "layer has no field 'xx'"),
        ({"layer": {"x": {"fromat": "mxfp4"}}}, "layer.x has no field 'fromat'.*format"),
        ({"layer": {"x": {"format": "e9m99"}}}, "layer.x: "),
        ({"layer": {"forward_transform": {"kind": "rotate"}}}, "hadamard, smooth, k_sort"),
        ({"types": {"norm": "bfloat16"}}, "types.norm must be a table"),
    ],
)
def test_recipe_files_with_mistakes_say_where(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lt.Recipe.from_dict(data)


def test_recipes_print_as_a_table_of_roles() -> None:
    text = str(RICH)
    for word in ("dgrad_dy", "h100_fp8", "blocks.*.mlp", "lm_head", "master_weights"):
        assert word in text
