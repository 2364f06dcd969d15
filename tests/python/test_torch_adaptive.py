"""Backward from the forward's operands, fixed point that adapts, weights that turn back."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import recipes  # noqa: E402
from lowp.torch._adaptive import information_loss  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

Tensor = Any


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- backward from the forward's operands --------------------------------------------------------

SEED = 3
FORMAT = lt.Quantizer("mxfp4/std", gradient="clipped")


def through(x: Tensor, axis: int, transform: lt.Hadamard | None) -> Tensor:
    """What the forward pass does to an operand, in autograd's hands."""
    if transform is not None:
        size = transform.size
        pads = [0, 0] * (x.ndim - 1 - axis % x.ndim) + [0, -x.shape[axis] % size]
        source = {} if transform.signs == "none" else {"seed": SEED, "stream": 32 << 32}
        x = lt.hadamard(F.pad(x, pads), size, axis=axis, **source)
    return lt.quantize(x, FORMAT.format, axis=axis, gradient="clipped")


@pytest.mark.parametrize(
    "transform", [None, lt.Hadamard(32, "none"), lt.Hadamard(16, "fixed")], ids=str
)
@pytest.mark.parametrize("kind", ["linear", "matmul", "conv", "transposed"])
def test_backward_from_forward_is_autograds_derivative_of_the_forward_pass(
    kind: str, transform: lt.Hadamard | None
) -> None:
    layer = lt.Layer(x=FORMAT, w=FORMAT, forward_transform=transform, backward_from="forward")
    shapes = {
        "linear": ((3, 5, 40), (24, 40)),
        "matmul": ((2, 7, 40), (2, 40, 6)),
        "conv": ((2, 40, 6, 5), (8, 40, 3, 3)),
        "transposed": ((2, 40, 6, 5), (40, 8, 3, 3)),
    }
    axes = {"linear": (-1, -1), "matmul": (-1, -2), "conv": (1, 1), "transposed": (1, 0)}
    x, w = (normal(*shape, seed=i) for i, shape in enumerate(shapes[kind]))
    x[..., 0] *= 20.0  # something to cut off
    plain = {
        "linear": F.linear,
        "matmul": torch.matmul,
        "conv": F.conv2d,
        "transposed": F.conv_transpose2d,
    }
    results = []
    for simulated in (True, False):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        if not simulated:
            operands = (through(t, at, transform) for t, at in zip((a, b), axes[kind], strict=True))
            y = plain[kind](*operands)
        elif kind == "transposed":
            module = nn.ConvTranspose2d(40, 8, 3, bias=False)
            module.weight = nn.Parameter(b.detach())
            lt.convert(module, lt.Recipe(layer, seed=SEED))
            b, y = module.weight, module(a)
        else:
            y = getattr(lt.functional, kind)(a, b, layer=lt.LayerState(layer, seed=SEED))
        y.backward(normal(*y.shape, seed=9))
        results.append((y.detach(), a.grad, b.grad))
    assert not torch.equal(results[0][1], torch.zeros_like(x))
    for got, want in zip(*results, strict=True):
        # the same products of the same operands, but in another order of the sums
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_backward_from_forward_refuses_what_it_cannot_undo() -> None:
    for transform in (lt.Smooth(), lt.KSort()):
        with pytest.raises(ValueError, match="undoes a Hadamard transform or none"):
            lt.Layer(forward_transform=transform, backward_from="forward")
    with pytest.raises(ValueError, match="one of original, forward; got 'x'"):
        lt.Layer(backward_from="x")


def test_patterns_may_name_ends_of_the_model() -> None:
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(4)))
    wide = lt.Layer.of("float16", "float16", "float16")
    recipe = lt.Recipe(lt.Layer(x="mxfp4"), patterns={"last:2": wide}, keep=["first:1"])
    report = lt.convert(model, recipe)
    assert [row.layer for row in report.rows] == [None, recipe.layer, wide, wide]
    lt.restore(model)
    with pytest.raises(ValueError, match="pattern must be like 'last:2'; got 'last:x'"):
        lt.convert(model, lt.Recipe(patterns={"last:x": wide}))


# ---- fixed point that adapts ---------------------------------------------------------------------


def test_information_loss_is_the_divergence_of_histograms_in_bits() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 3.0])
    y = torch.tensor([0.0, 1.0, 1.0, 9.0])
    # halves of [0, 3]: 3 and 1 of x; 3 and 1 of y. Quarters: 2, 1, 0, 1 and 1, 2, 0, 1
    assert information_loss(x, y, 2) == 0
    assert information_loss(x, y, 4) == 0.5 * math.log2(2) + 0.25 * math.log2(0.5)
    assert information_loss(x, torch.zeros(4), 2) == math.inf
    assert information_loss(torch.ones(3), torch.zeros(3), 5) == 0
    assert information_loss(torch.ones(0), torch.ones(0), 5) == 0
    with pytest.raises(ValueError, match="diverged"):
        information_loss(x, y / 0, 2)


def small(seed: int = 0, **choices: Any) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 4))
    lt.convert(model, recipes.adapt(seed=seed, **choices))
    return model


def train(model: Any, adaptive: Any, optimizer: Any, start: int, steps: int) -> list[float]:
    losses = []
    for step in range(start, start + steps):
        loss = F.cross_entropy(model(normal(16, 32, seed=step % 4)), torch.arange(16) % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        adaptive.step()
        losses.append(loss.item())
    return losses


def test_a_switch_takes_the_smallest_fraction_that_keeps_the_information() -> None:
    model = small()
    adaptive = recipes.AdaptiveFixedPoint(model, every=1, buffer=3, loss=0.05)
    assert adaptive.formats == {"0": (8, 4), "2": (8, 4)}
    weight = model[0].weight.detach()
    losses = {
        f: information_loss(weight, lt.quantize(weight, f"q2.{f}", saturation="finite"), 100)
        for f in range(16)
    }
    smallest = next(f for f, lost in losses.items() if lost <= 0.05)
    assert adaptive.step()  # without gradients the diversity is 1, and one bit is added
    word, fraction = adaptive.formats["0"]
    assert (word, fraction) == (smallest + 1 + 3, smallest + 1)
    assert model[0].lowp.layer.w.format == model[0].lowp.layer.x.format == f"q2.{fraction}"
    assert not adaptive.step()
    assert adaptive.history[0] == (1, "0", word, fraction)


@pytest.mark.parametrize(
    ("diversity", "more"), [(1.0, 1), (2.7, 1), (3.0, 0), (4.0, 3), (8.0, 1), (math.inf, 1)]
)
def test_gradients_that_point_apart_ask_for_more_bits(diversity: float, more: int) -> None:
    # ln 4 - 1 = 0.386: 1 / 0.149 = 7 bits, but no more than to ceil(32 * 0.149) = 5 from 2
    assert recipes.AdaptiveFixedPoint._more(2, diversity) == more


def test_large_weights_get_the_whole_bits_they_need() -> None:
    model = small()
    with torch.no_grad():
        model[0].weight[0, 0] = 100.0
    adaptive = recipes.AdaptiveFixedPoint(model, every=1, buffer=1, widest=16)
    adaptive.step()
    word, fraction = adaptive.formats["0"]
    assert word - 1 - fraction == 7
    assert word <= 16


def test_an_adaptive_training_resumes_to_the_bit() -> None:
    whole, rest = small(seed=4), small(seed=4)
    losses = []
    for model, cut in ((whole, 0), (rest, 13)):
        adaptive = recipes.AdaptiveFixedPoint(model, every=5)
        optimizer = torch.optim.SGD(model.parameters(), 0.3)
        if cut:
            losses.append(train(model, adaptive, optimizer, 0, cut))
            weights, state = model.state_dict(), adaptive.state_dict()
            model = small(seed=4)
            adaptive = recipes.AdaptiveFixedPoint(model, every=5)
            optimizer = torch.optim.SGD(model.parameters(), 0.3)
            model.load_state_dict(weights)
            adaptive.load_state_dict(state)
        losses.append(train(model, adaptive, optimizer, cut, 30 - cut))
    assert losses[0] == losses[1] + losses[2]
    assert losses[0][-1] < 0.5 * losses[0][0]
    with pytest.raises(ValueError, match="the model has 0, 2"):
        adaptive.load_state_dict({"steps": 0, "layers": {}})


def test_a_compiled_model_follows_the_switch() -> None:
    model = small()
    model.eval()  # the same random bits at every call
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = normal(8, 32)
    before = compiled(x)
    assert torch.equal(before, model(x))
    recipes.AdaptiveFixedPoint(model, every=1).step()
    assert torch.equal(compiled(x), model(x))
    assert not torch.equal(compiled(x), before)


def test_the_route_of_a_product_follows_the_switch() -> None:
    """Else tensor cores would multiply in a dtype that does not hold the new format."""
    model = small()
    assert model[0].lowp.routes["forward"] == "bfloat16"
    adaptive = recipes.AdaptiveFixedPoint(model)
    state = adaptive.state_dict()
    state["layers"]["0"]["format"] = [24, 16]
    adaptive.load_state_dict(state)
    assert model[0].lowp.routes["forward"] == ""


def test_adaptive_fixed_point_refuses_other_models_and_choices() -> None:
    model = nn.Sequential(nn.Linear(32, 32))
    lt.convert(model, recipes.mxfp8())
    with pytest.raises(ValueError, match="no layer of the model is in fixed point"):
        recipes.AdaptiveFixedPoint(model)
    for choice in ({"every": 0}, {"resolution": 1}, {"buffer": 30}, {"widest": 25}, {"loss": -1.0}):
        with pytest.raises(ValueError, match="AdaptiveFixedPoint"):
            recipes.AdaptiveFixedPoint(small(), **choice)


# ---- weights that turn back ----------------------------------------------------------------------


def test_oscillations_count_moves_against_the_last_move() -> None:
    paths = torch.tensor(
        [
            [0, 1, 0, 1, 0],  # turns at each move but the first
            [0, 1, 1, 0, 0],  # rests count for nothing
            [0, 1, 2, 3, 4],
            [3, 3, 3, 3, 3],
            [0, 2, -2, -3, 5],
        ]
    )
    counts = recipes.oscillations(paths.unbind(1))
    assert counts.tolist() == [3, 1, 0, 0, 2]
    assert counts.dtype == torch.int64
    assert recipes.oscillations([torch.zeros(2, 3)]).tolist() == [[0] * 3] * 2
    wild = torch.tensor([[0.0, math.nan, 1.0], [1.0, math.nan, 0.0]])
    assert recipes.oscillations(wild.unbind(1)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="at least one tensor"):
        recipes.oscillations([])
    with pytest.raises(ValueError, match="one shape"):
        recipes.oscillations([torch.zeros(2), torch.zeros(3)])


@pytest.mark.parametrize("name", ["ofq", "int8_qat", "mxfp4", "nvfp4", "quartet", "bf16"])
def test_weights_that_jump_over_a_boundary_are_counted(name: str) -> None:
    choices = {"bfloat16": ()} if name == "nvfp4" else {}
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Conv2d(32, 4, 3))
    lt.convert(model, recipes.get(name, **choices))
    watch = recipes.Oscillations(model)
    base = model[0].weight.detach().clone()
    turned = lt.hadamard(base, 32) if name == "quartet" else base
    moving = lt.quantize(turned, model[0].lowp.layer.w.format)[0] != 0  # 0 and -0 are one level
    shares = []
    for step in range(4):
        with torch.no_grad():
            model[0].weight.copy_(base)
            model[0].weight[0] *= -1 if step % 2 == 0 else 1
        shares.append(watch.step())
    size = 64 * 32 + 32 * 4 * 9
    assert shares[0] == 0
    assert moving.sum() > 40
    assert shares[1:] == [int(moving.sum()) / size] * 3
    assert watch.counts["0"][0].tolist() == (3 * moving).tolist()
    assert int(watch.counts["0"][1:].sum()) == int(watch.counts["2"].sum()) == 0
    assert watch.counts["2"].shape == model[2].weight.shape
    assert watch.steps == 4


def test_a_scale_that_moves_moves_no_weight() -> None:
    model = nn.Sequential(nn.Linear(64, 32))
    lt.convert(model, recipes.ofq(bits=2))
    watch = recipes.Oscillations(model)
    for factor in (2.0, 0.25, 8.0):
        with torch.no_grad():
            model[0].weight *= factor
        assert watch.step() == 0


def test_oscillations_refuse_weights_that_are_redrawn() -> None:
    model = nn.Sequential(nn.Linear(64, 32))
    with pytest.raises(ValueError, match="no converted module"):
        recipes.Oscillations(model)
    lt.convert(model, recipes.adapt())
    with pytest.raises(ValueError, match="stochastic"):
        recipes.Oscillations(model)
    lt.restore(model)
    lt.convert(model, recipes.hybrid_fp8())
    with pytest.raises(ValueError, match="delayed"):
        recipes.Oscillations(model)
    lt.restore(model)
    lt.convert(model, lt.Recipe(lt.Layer(w="mxfp4", forward_transform=lt.Smooth())))
    with pytest.raises(ValueError, match="transformed anew"):
        recipes.Oscillations(model)
