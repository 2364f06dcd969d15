"""Operands made two at a time, as on a GPU: the bits of single casts, and their derivatives."""

from __future__ import annotations

import inspect
from typing import Any

import lowp
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import _delayed, _ops, _pairing, _pairs, recipes  # noqa: E402

Tensor = Any
DOWN = "nvfp4/rounding=stochastic_a"
RECIPES = {
    "mxfp8": recipes.mxfp8(seed=1),
    "nvfp4": recipes.nvfp4(bfloat16=(), seed=1),
    "fresh signs": lt.Recipe(
        lt.Layer.of("nvfp4", "nvfp4_16x16", DOWN, wgrad_transform=lt.Hadamard(16, "fresh")), seed=1
    ),
    "tiles": lt.Recipe(lt.Layer.of("deepseek_1x128", "deepseek_128x128", "deepseek_1x128")),
    "accumulator": lt.Recipe(lt.Layer.of("mxfp4", "mxfp4", "mxfp4", accumulator="bfloat16")),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU that PyTorch can use"
))]  # fmt: skip


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A switch: pairs on every device, or on none."""

    def switch(on: str) -> None:
        monkeypatch.setattr(_pairs, "pays", lambda x, s: on == "on" and _pairs.fits(x, s))

    return switch


def train(
    recipe: lt.Recipe, device: str, *, second: bool = False, frozen: str = "", rows: int = 64
) -> list[Tensor]:
    """Outputs and derivatives of two calls."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 48, bias=False)
    )
    lt.convert(model, recipe)
    model.to(device)
    x = torch.randn(2, rows // 2, 64).to(device).requires_grad_(frozen != "x")
    model.requires_grad_(frozen != "w")
    found = []
    for _ in range(2):
        y = model(x)
        loss = y.square().sum()
        if second:
            (g,) = torch.autograd.grad(loss, x, create_graph=True)
            loss = loss + g.square().sum()
        loss.backward()
        found += [y.detach(), *(t.grad for t in (x, *model.parameters()) if t.grad is not None)]
        for t in (x, *model.parameters()):
            t.grad = None
    return found


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frozen", ["", "x", "w"])
@pytest.mark.parametrize("name", RECIPES)
def test_pairs_have_the_bits_of_single_casts(
    name: str, frozen: str, device: str, pairs: Any
) -> None:
    pairs("off")
    alone = train(RECIPES[name], device, frozen=frozen)
    pairs("on")
    assert equal(train(RECIPES[name], device, frozen=frozen), alone)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "accumulator"])
def test_second_derivatives_pass_through_pairs(name: str, device: str, pairs: Any) -> None:
    pairs("off")
    alone = train(RECIPES[name], device, second=True)
    pairs("on")
    assert equal(train(RECIPES[name], device, second=True), alone)


def test_rows_that_a_transform_has_to_fill_up_go_one_by_one(pairs: Any) -> None:
    pairs("off")
    alone = train(RECIPES["nvfp4"], "cpu", rows=36)
    pairs("on")
    assert equal(train(RECIPES["nvfp4"], "cpu", rows=36), alone)


def test_no_operand_is_made_that_no_derivative_needs(
    pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs("on")
    model = torch.nn.Linear(64, 64)
    lt.convert(model, RECIPES["mxfp8"])
    made: list[str] = []
    real = _pairs._both
    monkeypatch.setattr(
        _pairs, "_both", lambda x, roles, *rest: (made.extend(roles), real(x, roles, *rest))[1]
    )
    x = torch.randn(32, 64)
    with torch.no_grad():
        model(x)
    assert not made
    model(x)
    assert made == ["x", "wgrad_x"]


def test_square_tiles_by_largest_magnitudes_serve_both_products_of_a_weight() -> None:
    of = lt.Layer.of
    assert _pairing.is_its_own_turned(of("nvfp4", "nvfp4_16x16", DOWN))
    for w in ("nvfp4", "nvfp4_16x16/rounding=stochastic_a", "mxfp4", "float8_e4m3fn"):
        assert not _pairing.is_its_own_turned(of("nvfp4", w, DOWN))
    assert not _pairing.is_its_own_turned(of("nvfp4", "nvfp4_16x16", DOWN, dgrad_w="nvfp4"))


@pytest.mark.parametrize("name", ["nvfp4_16x16", "deepseek_128x128", "mxfp4"])
def test_both_ways_are_quantize_along_either_axis(name: str) -> None:
    x = torch.randn(48, 80)
    rows, columns = torch.ops.lowp.quantize_both(x, name, name, rows_seed=1, columns_stream=2)
    assert torch.equal(rows, lt.quantize(x, name))
    assert torch.equal(columns, lt.quantize(x.t(), name).t())


PAIRS = [
    ("mxfp8_e4m3/rceil", "mxfp8_e4m3/rceil", 0),
    ("mxfp8_e4m3", "mxfp8_e5m2", 0),
    ("mxfp4", "mxfp4", 0),
    ("mxfp4/rounding=stochastic_a", "mxfp4/rounding=stochastic_a", 0),
    ("nvfp4", "nvfp4", 0),
    ("nvfp4", "nvfp4", 16),
    (DOWN, DOWN, 16),
    ("float4_e2m1fn/16/float8_e4m3fn/amax", "float4_e2m1fn/16/float8_e4m3fn/amax", 16),
    ("nvfp4", "mxfp4", 0),  # no kernel works both ways: two calls
]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
@pytest.mark.parametrize("special", ["", "special"])
@pytest.mark.parametrize("shape", [(96, 80 * 4), (64, 160), (16, 16), (512, 768), (33, 17)])
@pytest.mark.parametrize(("rows", "columns", "hadamard"), PAIRS)
def test_both_ways_on_the_gpu_are_two_casts_on_the_cpu(
    rows: str, columns: str, hadamard: int, shape: tuple[int, int], special: str
) -> None:
    if hadamard and shape[0] % hadamard:
        pytest.skip("runs of a transform must be whole")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=generator) * torch.logspace(-3, 2, shape[1])
    x = x.bfloat16()
    x[:, 3] = 0
    x.view(-1)[:4] = torch.tensor([0.0, -0.0, 3e-39, -1e-3]).bfloat16()
    if special:
        x[5 % shape[0], 7], x[-1, -1], x[-2, 9] = torch.nan, torch.inf, -torch.inf
    source: dict[str, Any] = {"rows_seed": 3, "rows_stream": 1 << 40, "columns_seed": 3}
    source |= {"columns_stream": 2 << 40}
    if hadamard:
        source |= {"hadamard": hadamard, "hadamard_seed": 5, "hadamard_stream": 7}
    calls = torch.tensor(4)
    want = torch.ops.lowp.quantize_both(x, rows, columns, calls, **source)
    got = torch.ops.lowp.quantize_both(x.cuda(), rows, columns, calls.cuda(), **source)
    for here, there in zip(want, got, strict=True):
        numbers = ~here.isnan()
        assert torch.equal(numbers, ~there.cpu().isnan())
        bits = [t.view(torch.int16)[numbers] for t in (here.contiguous(), there.cpu().contiguous())]
        assert torch.equal(*bits)


def test_layers_of_other_rules_keep_to_single_casts() -> None:
    of = lt.Layer.of
    assert _pairing.has_pairs(of("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3"))
    clipped = lt.Quantizer("mxfp4", gradient="clipped")
    for layer in (
        of("float8_e4m3fn", "mxfp4", "mxfp4"),
        of(None, "mxfp4", "mxfp4"),
        of(clipped, "mxfp4", "mxfp4"),
        of("mxfp4", "mxfp4", "mxfp4", transform=lt.Hadamard(16)),
        of("mxfp4", "mxfp4", "mxfp4", wgrad_transform=lt.Smooth()),
        of("mxfp4", "mxfp4", "mxfp4", backward_from="forward"),
    ):
        assert not _pairing.has_pairs(layer)


# ---- delayed scales ------------------------------------------------------------------------------


@pytest.mark.parametrize("take", ["max", "most_recent"])
@pytest.mark.parametrize("margin", [0, -3, 60, 2000, -2000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rounding", [None, "stochastic_a"])
def test_delayed_scales_in_tensor_operations_are_the_hosts(
    rounding: str | None, dtype: torch.dtype, margin: int, take: str
) -> None:
    block = _ops.parse("float8_e4m3fn/tensor/float32/amax")
    options: dict[str, Any] = {"rounding": rounding, "random_bits": None, "seed": 5, "stream": 9}
    here, there = ((torch.zeros(3), torch.ones(())) for _ in range(2))
    for step in range(6):
        x = (torch.randn(7, 33, dtype=torch.float64) * 10 ** (step - 3)).to(dtype)
        x[0, 0] = {3: torch.inf, 4: torch.nan}.get(step, 0)
        x = x * 0 if step == 5 else x
        want = torch.ops.lowp.delayed_quantize(
            x, *here, block.name, margin=margin, take=take, **options
        )
        amax = _delayed._amax(x)
        got = _delayed._on_grid(x, there[1], amax, block.element, None, options)
        _delayed._observe(*there, amax, block.element.max, margin, take)
        assert torch.equal(got.nan_to_num(7), want.nan_to_num(7))
        assert torch.equal(there[1], here[1])
        assert torch.equal(there[0].nan_to_num(-1), here[0].nan_to_num(-1))


def test_delayed_scales_cut_off_what_float32_does_not_hold_as_the_host_does() -> None:
    block = _ops.parse("float8_e4m3fn/tensor/float32/amax")
    for first in (1e300, -3.5e38, torch.inf, torch.nan):
        x = torch.tensor([first, 1.0, 2.0], dtype=torch.float64)
        here, there = ((torch.zeros(3), torch.ones(())) for _ in range(2))
        want = torch.ops.lowp.delayed_quantize(x, *here, block.name)
        amax = _delayed._amax(x)
        got = _delayed._on_grid(x, there[1], amax, block.element, None, {})
        _delayed._observe(*there, amax, block.element.max, 0, "max")
        assert torch.equal(got.nan_to_num(7), want.nan_to_num(7))
        assert torch.equal(there[0].nan_to_num(-1), here[0].nan_to_num(-1))
        assert torch.equal(there[1], here[1])


#: Largest values of elements with delayed scales, and of 24 bits that are hard to divide by.
LARGEST = [2.0, 3.5, 6.0, 7.5, 127.0, 240.0, 448.0, 57344.0, 2.0**24 - 1, 2.0**23 + 1]


@pytest.mark.parametrize("margin", [0, -3])
@pytest.mark.parametrize("largest", LARGEST)
def test_the_product_of_delayed_scales_is_the_rounded_quotient(largest: float, margin: int) -> None:
    factor = _delayed._factor(largest, margin)
    some = torch.randint(0x7F800000, (1 << 17,), dtype=torch.int32).view(torch.float32)
    edges = torch.tensor([1, 2, 3, 0x7FFFFF, 0x800000, 0x800001, 0x7F7FFFFF], dtype=torch.int32)
    # Quotients as near midpoints of floats as they come: odd multiples of largest, cut off.
    odd = 2.0 * torch.arange(2**23, 2**24, 97, dtype=torch.float64) + 1
    near = (odd * largest).float().clamp(max=torch.finfo(torch.float32).max)
    amax = torch.cat([some, edges.view(torch.float32), near, near.nextafter(torch.tensor(0.0))])
    limits = torch.finfo(torch.float32)

    def fitting(x: Tensor) -> Tensor:
        return x.float().clamp(limits.tiny, limits.max)

    want = fitting((amax.double() / largest).float().double() * 2.0**margin)
    got = (amax.double() * factor).float()
    assert torch.equal(fitting(got), want)
    assert (got < amax)[amax > 0].all()


@pytest.mark.parametrize("largest", [1.0, 1.75, 448.0, 2.0**25 + 2, 1.7976931348623157e308])
@pytest.mark.parametrize("margin", [0, 1, -2, 64])
def test_scales_of_every_amax_are_the_hosts(largest: float, margin: int) -> None:
    history, scale = torch.zeros(1), torch.ones(())
    twin = lowp.DelayedScaling(largest, 1, margin)
    smallest, top = 2.0**-149, torch.finfo(torch.float32).max
    for amax in (3.0, 0.0, torch.nan, torch.inf, top, smallest, 7 * 2.0**-149, 1e-38, 2.0**-126):
        _delayed._observe(history, scale, torch.tensor(amax), largest, margin, "max")
        twin.observe(amax)
        assert scale.item() == twin.scale, amax


def test_a_step_of_delayed_scales_takes_few_operations() -> None:
    """Each is a launch on a device, and a dozen of them cost more than the cast."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        launches: list[str]

        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), named: Any = None) -> Any:
            views = ("detach", "view", "slice", "new_empty")
            if f._schema.name.removeprefix("aten::") not in views:
                self.launches.append(str(f))
            return f(*args, **(named or {}))

    history, scale, amax = torch.zeros(16), torch.ones(()), torch.tensor(3.0)
    for take, count in (("max", 7), ("most_recent", 6)):
        _delayed._factor(448.0, 0)
        with Count() as seen:
            seen.launches = []
            _delayed._observe(history, scale, amax, 448.0, 0, take)
        assert len(seen.launches) == count, seen.launches
        assert not any("_local_scalar" in name for name in seen.launches)


@pytest.mark.parametrize("other", ["history", "scale"])
def test_delayed_scales_of_another_device_are_refused(other: str) -> None:
    buffers = {"history": torch.zeros(3), "scale": torch.ones(())}
    buffers[other] = buffers[other].to("meta")
    x, name = torch.zeros(2, 3), "float8_e4m3fn/tensor/float32/amax"
    with pytest.raises(ValueError, match=rf"{other} is on meta, x on cpu: .*\.to\('cpu'\)"):
        _delayed._delayed_quantize(x, *buffers.values(), name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_delayed_scales_left_on_the_cpu_are_refused_on_the_gpu() -> None:
    q = lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(3))
    state = lt.LayerState(lt.Layer(x=q))
    x, w = torch.randn(8, 16, device="cuda"), torch.randn(4, 16, device="cuda")
    with pytest.raises(ValueError, match="on cpu, x on cuda"):
        lt.functional.linear(x, w, layer=state)


def test_the_kernel_of_delayed_scales_needs_no_option_that_an_operator_leaves_out() -> None:
    """The dispatcher hands on what differs from the schema's defaults, and no more."""
    options = inspect.signature(_delayed._by_kernel).parameters.values()
    named = [p for p in options if p.kind is p.KEYWORD_ONLY]
    assert len(named) == 4
    assert all(p.default is not p.empty for p in named)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rounding", [None, "stochastic_a", "toward_positive"])
def test_delayed_scales_on_the_gpu_are_the_hosts(rounding: str | None, dtype: torch.dtype) -> None:
    name = "float8_e4m3fn/tensor/float32/amax"
    here = (torch.zeros(3), torch.ones(()))
    there = tuple(t.cuda() for t in here)
    calls = torch.tensor(3) if rounding == "stochastic_a" else None
    options: dict[str, Any] = {"rounding": rounding, "seed": 5, "stream": 9}
    for step in range(6):
        x = (torch.randn(70, 330, dtype=torch.float64) * 10 ** (step - 3)).to(dtype)
        x[0, 0] = {3: torch.inf, 4: torch.nan}.get(step, 0)
        want = torch.ops.lowp.delayed_quantize(x, *here, name, calls, **options)
        at = None if calls is None else calls.cuda()
        got = torch.ops.lowp.delayed_quantize(x.cuda(), *there, name, at, **options).cpu()
        assert torch.equal(got.nan_to_num(7), want.nan_to_num(7))
        assert torch.equal(there[1].cpu(), here[1])
        assert torch.equal(there[0].cpu().nan_to_num(-1), here[0].nan_to_num(-1))
