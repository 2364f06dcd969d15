"""Recipes by name: each computes what its source says, by hand to the bit, and trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from lowp.torch import recipes  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

Tensor = Any
SEED = 5
#: Numbers of roles and transforms in the streams of random bits.
DGRAD_DY, DGRAD_W, WGRAD_X, WGRAD_DY, FORWARD, DGRAD, WGRAD = 4, 5, 6, 7, 32, 33, 34


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def q(x: Tensor, name: Any, axis: int = -1, **options: Any) -> Tensor:
    y = lowp.quantize(x.detach().contiguous().numpy(), name, axis=axis, **options)
    return torch.from_numpy(np.asarray(y))


def stream(role: int, call: int = 0) -> dict[str, int]:
    """The random bits of the only layer of a model."""
    return {"seed": SEED, "stream": (role << 32) + call}


def turn(x: Tensor, size: int, axis: int, **source: Any) -> Tensor:
    """Hadamard runs along an axis, filled up with zeros."""
    missing = -x.shape[axis] % size
    shape = list(x.shape)
    shape[axis] = missing
    lines = torch.cat([x.detach(), torch.zeros(shape)], axis).movedim(axis, -1)
    y = lowp.hadamard(np.ascontiguousarray(lines.numpy()), size, **source)
    return torch.from_numpy(y).movedim(-1, axis).contiguous()


def tiles(w: Tensor, name: str, axis: int) -> Tensor:
    """Tiles of a matrix whose sum goes along an axis."""
    return q(w, name) if axis % 2 else q(w.t(), name).t()


# ---- by hand -------------------------------------------------------------------------------------

Three = tuple[Tensor, Tensor, Tensor]
Hand = Callable[[Tensor, Tensor, Tensor, int], Three]
HAND: dict[str, Hand] = {}


def by_hand(make: Hand) -> Hand:
    HAND[make.__name__] = make
    return make


def each(x: Tensor, w: Tensor, dy: Tensor, forward: str, back: str) -> Three:
    """Every operand from its original tensor, along the axis of its product."""
    y = F.linear(q(x, forward), q(w, forward))
    return y, q(dy, back) @ q(w, forward, 0), q(dy, back, 0).t() @ q(x, forward, 0)


@by_hand
def bf16(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    x, w, dy = (t.detach().bfloat16().float() for t in (x, w, dy))
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def mxfp8(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    return each(x, w, dy, "mxfp8_e4m3/rceil", "mxfp8_e4m3/rceil")


@by_hand
def mxfp6(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    return each(x, w, dy, "mxfp6_e3m2", "mxfp6_e3m2")


@by_hand
def mxfp4(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    return each(x, w, dy, "mxfp4", "mxfp4")


@by_hand
def graphcore_fp8(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    def scaled(t: Tensor, name: str) -> Tensor:
        amax, largest = float(t.abs().max()), lowp.format(name).max
        bias = math.floor(math.log2(largest / amax))
        return q(t * 2.0**bias, name) * 2.0**-bias

    x, w = scaled(x, "float8_e4m3fn"), scaled(w, "float8_e4m3fn")
    dy = scaled(dy, "float8_e5m2")
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def hybrid_fp8(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    def scaled(t: Tensor, name: str) -> Tensor:
        state = lowp.DelayedScaling(lowp.format(name).max, history=1024)
        for _ in range(call):  # the tensors are the same at every call
            state.observe(float(t.abs().max()))
        assert call or state.scale == 1
        return q(t, lowp.block_format(f"{name}/tensor/float32/amax").replace(rule=state.scale))

    x, w = scaled(x, "float8_e4m3fn"), scaled(w, "float8_e4m3fn")
    dy = scaled(dy, "float8_e5m2")
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def deepseek_fp8(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    x, w = q(x, "deepseek_1x128"), q(w, "deepseek_128x128")
    dx = q(dy, "deepseek_1x128") @ w
    return F.linear(x, w), dx, q(dy, "deepseek_1x128", 0).t() @ q(x, "deepseek_1x128", 0)


@by_hand
def fp8_and_back(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    # 8 and 7 bits are the upper half of a float32
    x, w, dy = ((t.detach().view(torch.int32) & -65536).view(torch.float32) for t in (x, w, dy))
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def nvfp4(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    sr = "nvfp4/rounding=stochastic_a"
    y = F.linear(q(x, "nvfp4"), q(w, "nvfp4_16x16"))
    dx = q(dy, sr, **stream(DGRAD_DY, call)) @ tiles(w, "nvfp4_16x16", 0)
    assert torch.equal(tiles(w, "nvfp4_16x16", 0), q(w, "nvfp4_16x16"))
    turned_x, turned_dy = (turn(t, 16, 0, **stream(WGRAD)) for t in (x, dy))
    dw = q(turned_dy, sr, 0, **stream(WGRAD_DY, call)).t() @ q(turned_x, "nvfp4", 0)
    return y, dx, dw


@by_hand
def quartet(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    name, sr = "mxfp4/std", "mxfp4/three_quarters/rounding=stochastic_a"
    turned = [turn(t, 32, -1) for t in (x, w)]
    xq, wq = (q(t, name) for t in turned)

    def back(d: Tensor, given: Tensor, size: int) -> Tensor:
        rms = given.reshape(len(given), -1, 32).double().square().mean(-1).sqrt()
        scales = q((rms * (2.92247856 / 6)).float(), "float8_e8m0fnu", saturation="finite")
        limit = 6 * scales.repeat_interleave(32, 1)
        return turn(d.masked_fill(given.abs() > limit, 0), 32, -1, inverse=True)[:, :size]

    def drawn(t: Tensor, axis: int, role: int, product: int) -> Tensor:
        rotated = turn(t, 32, axis, **stream(product, call))
        return q(rotated, sr, axis, **stream(role, call))

    dx = drawn(dy, -1, DGRAD_DY, DGRAD) @ drawn(wq, 0, DGRAD_W, DGRAD)
    dw = drawn(dy, 0, WGRAD_DY, WGRAD).t() @ drawn(xq, 0, WGRAD_X, WGRAD)
    return F.linear(xq, wq), back(dx, turned[0], x.shape[1]), back(dw, turned[1], x.shape[1])


@by_hand
def fp4_design_space(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    name, sr = "nvfp4", "nvfp4/rounding=stochastic_a"
    y = F.linear(*(q(turn(t, 16, -1, **stream(FORWARD)), name) for t in (x, w)))
    left = q(turn(dy, 16, -1, **stream(DGRAD)), sr, **stream(DGRAD_DY, call))
    dx = left @ q(turn(w, 16, 0, **stream(DGRAD)), name, 0)
    left = q(turn(dy, 16, 0, **stream(WGRAD)), sr, 0, **stream(WGRAD_DY, call))
    return y, dx, left.t() @ q(turn(x, 16, 0, **stream(WGRAD)), name, 0)


@by_hand
def int8_qat(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    def whole(t: Tensor, scale: Tensor) -> Tensor:
        return torch.round(t.detach() / scale).clamp(-128, 127) * scale

    x, w = whole(x, x.abs().max() / 127), whole(w, w.abs().amax(1, keepdim=True) / 127)
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def adapt(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    options = {"rounding": "stochastic_a", "saturation": "finite"}
    x, w = q(x, "q3.4", **options, **stream(0, call)), q(w, "q3.4", **options, **stream(1, call))
    return F.linear(x, w), dy @ w, dy.t() @ x


@by_hand
def ofq(x: Tensor, w: Tensor, dy: Tensor, call: int) -> Three:
    s = 2 * w.detach().double().abs().mean(1, keepdim=True).float()
    t = (w.detach() / s).clamp(-1, 1 - 1e-6) * 8
    wq = s * ((torch.round(t - 0.5) + 0.5) / 8)
    name = "int4/tensor/float32/shrink"
    xq = q(x, name)
    largest = lowp.encode(x.detach().numpy(), name).scales.view(np.float32).item() * 7
    dx = (dy @ wq).masked_fill((x > largest) | (x < -largest * 8 / 7), 0)
    return F.linear(xq, wq), dx, dy.t() @ xq


def only(name: str, **choices: Any) -> lt.Recipe:
    """A recipe for a model of one layer."""
    if name == "nvfp4":
        choices = {"bfloat16": (), **choices}
    return recipes.get(name, seed=SEED, **choices)


def run(layer: nn.Linear, x: Tensor, dy: Tensor) -> Three:
    x = x.clone().requires_grad_()
    layer.weight.grad = None
    y = layer(x)
    y.backward(dy)
    return y.detach(), x.grad, layer.weight.grad


def test_every_recipe_has_a_computation_by_hand() -> None:
    assert set(HAND) == set(recipes.names())


@pytest.mark.parametrize("name", recipes.names())
def test_a_layer_computes_what_its_source_says_forward_and_back(name: str) -> None:
    layer = nn.Linear(160, 48, bias=False)
    with torch.no_grad():
        layer.weight.copy_(normal(48, 160, seed=2) * 0.3)
    x, dy = normal(56, 160), normal(56, 48, seed=1) * 1e-3
    x[3, 7], x[40] = 30.0, 0.0
    lt.convert(layer, only(name))
    for call in range(3):
        want = HAND[name](x, layer.weight.detach(), dy, call)
        for what, a, b in zip(("y", "dx", "dw"), run(layer, x, dy), want, strict=True):
            assert torch.equal(a, b), (what, call, float((a - b).abs().max()))


def test_deepseek_exact_sums_are_those_of_the_unit_with_scales_apart() -> None:
    layer = nn.Linear(512, 128, bias=False)
    lt.convert(layer, only("deepseek_fp8", exact=True))
    x, w = normal(128, 512), layer.weight.detach()
    row = "float8_e4m3fn/128/float8_e8m0fnu/rceil"
    tile = "float8_e4m3fn/128x128/float8_e8m0fnu/rceil"
    want = torch.zeros(128, 128)
    for k in range(0, 512, 128):
        a, b = (t[:, k : k + 128].contiguous() for t in (x, w))
        scales = [
            torch.from_numpy(lowp.decode(lowp.encode(t.numpy(), f).scales, "float8_e8m0fnu"))
            for t, f in ((a, row), (b, tile))
        ]
        codes = [q(t, f) / s for t, f, s in zip((a, b), (row, tile), scales, strict=True)]
        left, right = codes[0].numpy(), codes[1].t().contiguous().numpy()
        part = lowp.matmul(left, right, accumulator="h100_fp8_promoted")
        want += torch.from_numpy(part) * scales[0] * scales[1]
    y = layer(x)
    assert torch.equal(y, want)
    assert not torch.equal(y, F.linear(q(x, row), q(w, tile)))


def test_choices_change_what_they_say() -> None:
    assert recipes.mxfp8(rule="floor").layer.x == lt.Quantizer("mxfp8_e4m3")
    assert recipes.mxfp8(gradients="mxfp8_e5m2").layer.wgrad_dy == lt.Quantizer("mxfp8_e5m2/rceil")
    assert recipes.mxfp6(element="e2m3").layer.x == lt.Quantizer("mxfp6_e2m3")
    tseng = recipes.mxfp4(gradients="stochastic_a", hadamard=64).layer
    assert tseng.dgrad_transform == tseng.wgrad_transform == lt.Hadamard(64, "fresh")
    assert tseng.dgrad_dy == lt.Quantizer("mxfp4/three_quarters/rounding=stochastic_a")
    assert recipes.fp8_and_back(4, 3, tensors="forward").layer.dgrad_dy is None
    assert recipes.fp4_design_space(scale="ue5m3").layer.x == lt.Quantizer("fp4_ue5m3_16")
    assert recipes.int8_qat(history=9).layer.x.scaling == lt.Delayed(9)


def test_a_margin_makes_the_scale_so_many_times_larger() -> None:
    x = normal(8, 32).numpy()
    plain, wide = (recipes.graphcore_fp8(margin=m).layer.x.format for m in (0, 3))
    scales = [lowp.decode(lowp.encode(x, f).scales, "float8_e8m0fnu") for f in (plain, wide)]
    assert scales[1].item() == 8 * scales[0].item()


# ---- whole models --------------------------------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(0)
    sizes = [(64, 96), (96, 128), (128, 64), (64, 10)]
    layers = [layer for a, b in sizes for layer in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*layers[:-1])


def test_nvfp4_keeps_first_and_last_layers_in_bfloat16() -> None:
    model = network()
    report = lt.convert(model, recipes.nvfp4())
    found = {row.name: row.layer for row in report.rows if row.layer is not None}
    kept = recipes.bf16().layer
    assert [name for name, layer in found.items() if layer == kept] == ["0", "6"]
    assert [name for name, layer in found.items() if layer != kept] == ["2", "4"]
    x = normal(4, 64)
    first = model[0]
    assert torch.equal(
        first(x), F.linear(q(x, "bfloat16"), q(first.weight, "bfloat16"), first.bias)
    )


@pytest.mark.parametrize("name", recipes.names())
def test_kept_modules_stay_as_they_are(name: str) -> None:
    model = network()
    report = lt.convert(model, recipes.get(name, keep=["last:1", "2"]))
    assert {"6", "2"} <= set(report.kept)
    assert type(model[6]) is type(model[2]) is nn.Linear
    lt.restore(model)
    with pytest.raises(ValueError, match="lm_head"):
        lt.convert(model, recipes.get(name, keep=["lm_head"]))


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_survive_toml_and_json(name: str) -> None:
    recipe = recipes.get(name, seed=3, keep=["last:1"])
    assert lt.Recipe.from_toml(recipe.to_toml()) == recipe
    assert lt.Recipe.from_json(recipe.to_json()) == recipe
    assert (recipe.name, recipe.seed, recipe.keep) == (name, 3, ("last:1",))
    assert recipe.source
    assert name in str(recipe)


@pytest.mark.parametrize("name", recipes.names())
def test_twenty_steps_lower_the_loss_and_repeat_to_the_bit(name: str) -> None:
    def train() -> list[float]:
        model = network()
        lt.convert(model, recipes.get(name, seed=SEED))
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        x, target = normal(64, 64, seed=8), torch.arange(64) % 10
        losses = []
        for _ in range(20):
            loss = F.cross_entropy(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    losses = train()
    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.6 * losses[0]
    assert losses == train()


@pytest.mark.parametrize("name", ["quartet", "deepseek_fp8", "nvfp4"])
def test_a_compiled_model_gives_the_bits_of_the_eager_one(name: str) -> None:
    results = []
    for compiled in (False, True):
        model = network()
        lt.convert(model, recipes.get(name, seed=SEED))
        run_it = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        for _ in range(2):
            run_it(normal(32, 64)).square().sum().backward()
        results.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# ---- what stochastic rounding promises -----------------------------------------------------------


def bound(ranges: Tensor, draws: int) -> Tensor:
    """Hoeffding: no mean of so many draws, each a sum of independent values in ranges (squares
    summed), is further from its expectation, but for one in 10^12 such tensors.
    """
    return (ranges * math.log(2 * ranges.numel() * 1e12) / (2 * draws)).sqrt()


def gap(x: Tensor, name: str, axis: int = -1) -> tuple[Tensor, Tensor, Tensor]:
    """The grid's neighbours of each value, and the distance between them."""
    low, high = (q(x, f"{name}/rounding={m}", axis) for m in ("toward_negative", "toward_positive"))
    return low.double(), high.double(), high.double() - low.double()


@pytest.mark.parametrize("name", ["mxfp4/three_quarters", "nvfp4", "fp4_ue5m3_16"])
def test_stochastic_gradients_are_unbiased_where_nothing_is_cut_off(name: str) -> None:
    x, draws = normal(8, 64), 4000
    low, high, width = gap(x, name)
    total = torch.zeros(8, 64, dtype=torch.double)
    for draw in range(draws):
        y = q(x, f"{name}/rounding=stochastic_a", seed=1, stream=draw).double()
        assert bool(((y == low) | (y == high)).all())
        total += y
    # beyond its block's largest value an element is cut off: three_quarters lets none be
    expected = torch.minimum(torch.maximum(x.double(), low), high)
    if name == "mxfp4/three_quarters":
        assert torch.equal(expected, x.double())
    limit = bound(width**2, draws) + 2.0**-31 * width
    assert bool(((total / draws - expected).abs() <= limit).all())


def test_the_input_gradient_of_nvfp4_is_unbiased() -> None:
    layer = nn.Linear(32, 48, bias=False)
    lt.convert(layer, only("nvfp4"))
    dy, draws = normal(16, 48, seed=1), 500
    low, high, width = gap(dy, "nvfp4")
    expected = torch.minimum(torch.maximum(dy.double(), low), high)
    w = q(layer.weight, "nvfp4_16x16").double()
    total = torch.zeros(16, 32, dtype=torch.double)
    for _ in range(draws):
        total += run(layer, normal(16, 32), dy)[1].double()
    # float32 sums of 48 products: each within 48 roundings of the exact one
    rounding = 48 * 2.0**-23 * (torch.maximum(low.abs(), high.abs()) @ w.abs())
    limit = bound(width**2 @ w**2, draws) + rounding
    assert bool(((total / draws - expected @ w).abs() <= limit).all())
    assert float(limit.max()) < 0.1 * float((expected @ w).abs().max())


def test_quartets_backward_pass_is_unbiased() -> None:
    """Six standard errors, from the draws' own variance, hold for every one of 1024 elements."""
    layer = nn.Linear(32, 32, bias=False)
    lt.convert(layer, only("quartet"))
    x, dy, draws = normal(32, 32), normal(32, 32, seed=1), 500
    turned = [turn(t, 32, -1) for t in (x, layer.weight)]
    xq, wq = (q(t, "mxfp4/std") for t in turned)
    masks = [torch.ops.lowp.saturated(t, "mxfp4/std") for t in turned]
    want = [
        turn(exact.masked_fill(mask, 0), 32, -1, inverse=True).double()
        for exact, mask in zip((dy @ wq, dy.t() @ xq), masks, strict=True)
    ]
    found = [run(layer, x, dy)[1:] for _ in range(draws)]
    for which in (0, 1):
        samples = torch.stack([pair[which] for pair in found]).double()
        error = samples.std(0) / draws**0.5
        assert bool(((samples.mean(0) - want[which]).abs() <= 6 * error + 1e-6).all())
        assert float(error.max()) < 0.15 * float(want[which].std())


def test_quartets_errors_on_gaussian_data_are_the_papers() -> None:
    x = np.random.default_rng(0).standard_normal(2**21).astype(np.float32)
    nearest = lowp.error(x, lowp.quantize(x, "mxfp4/three_quarters"))
    name = str(recipes.quartet().layer.dgrad_dy)
    drawn = lowp.error(x, lowp.quantize(x, name, seed=1))
    assert f"{drawn.relative_mse:.2e}" == "2.81e-02"
    assert f"{nearest.relative_mse:.3e}" == "1.387e-02"
    assert f"{1 - nearest.gain:.1e}" == "9.0e-03"
    assert abs(1 - drawn.gain) < 1e-4


# ---- bad input -----------------------------------------------------------------------------------


def test_unknown_names_and_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'nvfp4'"):
        recipes.get("nvfp")
    with pytest.raises(ValueError, match="e3m2, e2m3"):
        recipes.mxfp6(element="e4m3")
    with pytest.raises(ValueError, match="exponent_bits must be between 2 and 8; got 9"):
        recipes.fp8_and_back(9, 3)
    with pytest.raises(ValueError, match="all, forward"):
        recipes.fp8_and_back(8, 3, tensors="w")
    with pytest.raises(TypeError, match="bits must be an integer; got True"):
        recipes.int8_qat(bits=True)
    with pytest.raises(ValueError, match="between 2 and 8; got 9"):
        recipes.ofq(bits=9)
    with pytest.raises(ValueError, match="got <33, 4>"):
        recipes.adapt(word=33)
    with pytest.raises(TypeError, match="margin must be an integer"):
        recipes.graphcore_fp8(margin=0.5)
    with pytest.raises(TypeError, match="keep must be a list of names; got 'lm_head'"):
        recipes.mxfp8(keep="lm_head")
    with pytest.raises(TypeError, match="bfloat16 must be a list of names"):
        recipes.nvfp4(bfloat16="last:1")
    with pytest.raises(TypeError, match="history"):
        recipes.get("bf16", history=3)
