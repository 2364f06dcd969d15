"""Attention in formats: by hand to the bit, plain to PyTorch's bits, whoever calls it."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch._attention import AttentionState, scaled_dot_product_attention  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch_oracle import Hand  # noqa: E402

Tensor = Any

FORMATS: dict[str, Any] = {
    "x": "mxfp8_e4m3",
    "w": "nvfp4",
    "output": "bfloat16",
    "dgrad_dy": "mxfp8_e5m2",
    "dgrad_w": "mxfp4",
    "wgrad_x": "mxfp4",
    "wgrad_dy": "mxfp8_e5m2",
}
DICE: dict[str, Any] = {
    role: ("float8_e4m3fn", "stochastic_a", 8) for role in FORMATS if role != "output"
}


def layer_of(formats: dict[str, Any]) -> lt.Layer:
    return lt.Layer(
        **{
            role: lt.Quantizer(f) if isinstance(f, str) else lt.Quantizer(f[0], f[1], None, f[2])
            for role, f in formats.items()
        }
    )


def same(dtype: str = "float32") -> lt.Layer:
    return lt.Layer.of(dtype, dtype, dtype, output=dtype)


HAND = layer_of(FORMATS)


def normal(*shape: int, seed: int = 0, dtype: Any = None) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x if dtype is None else x.to(dtype)


def by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, qk: Hand, pv: Hand) -> Tensor:
    scores = qk.matmul(q, k.mT) / math.sqrt(q.shape[-1])
    p = torch.softmax(scores if mask is None else scores + mask, -1)
    return pv.matmul(p, v)


def assert_same(got: list[Tensor], want: list[Tensor]) -> None:
    assert [torch.equal(a, b) for a, b in zip(got, want, strict=True)] == [True] * len(want)


# ---- the function --------------------------------------------------------------------------------


@pytest.mark.parametrize(("formats", "rank"), [(FORMATS, 0), (DICE, 0), (DICE, 3)])
def test_both_products_equal_quantize_and_products_by_hand_forward_and_back(
    formats: dict[str, Any], rank: int
) -> None:
    layer = layer_of(formats)
    # E = 16: the scale is a power of two, which no rounding of the scores could hide or show
    states = {"qk": (7, "qk"), "pv": (9, "pv")}
    ours = {n: AttentionState(layer, number=i, rank=rank) for n, (i, _) in states.items()}
    hand = {n: Hand(formats, i, rank=rank, shared=()) for n, (i, _) in states.items()}
    mask = torch.full((24, 40), -math.inf).triu(12)
    for step in range(2):
        shapes = [(2, 3, 24, 16), (2, 3, 40, 16), (2, 3, 40, 32)]
        given = [normal(*s, seed=i + step).requires_grad_() for i, s in enumerate(shapes)]
        copies = [t.detach().clone().requires_grad_() for t in given]
        y = scaled_dot_product_attention(*given, mask, **ours)
        want = by_hand(*copies, mask, hand["qk"], hand["pv"])
        dy = normal(*y.shape, seed=9)
        y.backward(dy)
        want.backward(dy)
        assert_same([y, *(t.grad for t in given)], [want, *(t.grad for t in copies)])


def test_scores_are_scaled_after_their_product_where_operands_are_rounded() -> None:
    plan = lt.Layer(x="float8_e4m3fn", w="float8_e4m3fn")
    q, k, v = normal(4, 6, 8), normal(4, 5, 8, seed=1), normal(4, 5, 8, seed=2)
    y = lt.functional.scaled_dot_product_attention(q, k, v, scale=0.3, qk=plan, pv=lt.Layer())
    f8 = "float8_e4m3fn"
    scores = (lt.quantize(q, f8) @ lt.quantize(k, f8).mT) * 0.3
    assert torch.equal(y, torch.softmax(scores, -1) @ v)


@pytest.mark.parametrize("formats", [FORMATS, {**FORMATS, "output": "float32"}])
def test_shared_heads_are_as_if_repeated(formats: dict[str, Any]) -> None:
    layer = layer_of(formats)
    q = normal(2, 6, 9, 32).requires_grad_()
    k, v = (normal(2, h, 40, 32, seed=h).requires_grad_() for h in (2, 3))
    y = lt.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True, qk=layer, pv=layer)
    y.sum().backward()
    q2 = q.detach().clone().requires_grad_()
    k2, v2 = (t.detach().repeat_interleave(6 // t.shape[1], 1).requires_grad_() for t in (k, v))
    want = by_hand(q2, k2, v2, None, *(Hand(formats, 0) for _ in range(2)))
    want.sum().backward()
    assert torch.equal(y, want)
    assert torch.equal(q.grad, q2.grad)
    for ours, theirs in ((k, k2), (v, v2)):
        whole = theirs.grad.unflatten(1, (ours.shape[1], -1)).sum(2)
        assert torch.equal(ours.grad, whole)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
    "negative": {"scale": -0.3},
    "dropout": {"dropout_p": 0.3},
    "bool": {"attn_mask": torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) > 0.4},
    "no key": {"attn_mask": torch.arange(5)[:, None] + torch.zeros(5, 7) != 2},
    "float": {"attn_mask": normal(2, 1, 5, 7)},
    "groups": {"enable_gqa": True},
    "groups causal": {"enable_gqa": True, "is_causal": True},
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_operands_that_are_not_rounded_give_the_bits_of_pytorchs_math_path(
    case: str, dtype: str
) -> None:
    kind = getattr(torch, dtype)
    options = dict(CASES[case])
    if case == "float":
        options["attn_mask"] = options["attn_mask"].to(kind)
    heads = 2 if "groups" in case else 4
    shapes = [(2, 4, 5, 24), (2, heads, 7, 24), (2, heads, 7, 9)]
    plan = same("float64" if dtype == "float64" else "float32")
    results = []
    for ours in (False, True):
        given = [normal(*s, seed=i, dtype=kind).requires_grad_() for i, s in enumerate(shapes)]
        torch.manual_seed(1)
        with sdpa_kernel(SDPBackend.MATH):
            if ours:
                states = {n: AttentionState(plan) for n in ("qk", "pv")}
                y = scaled_dot_product_attention(*given, **options, **states)
            else:
                y = F.scaled_dot_product_attention(*given, **options)
        y.backward(normal(*y.shape, seed=9, dtype=kind))
        results.append([y, *(t.grad for t in given)])
    assert_same(results[1], results[0])


def test_a_row_without_keys_is_zeros_and_nan_stays_in_its_rows() -> None:
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[1] = False
    q, k, v = normal(4, 8), normal(6, 8, seed=1), normal(6, 8, seed=2)
    q[3, 0] = math.nan
    layer = lt.Layer.of("mxfp8_e4m3", "mxfp8_e4m3")
    y = lt.functional.scaled_dot_product_attention(q, k, v, mask, qk=layer, pv=lt.Layer())
    assert torch.equal(y[1], torch.zeros(8))
    assert y[3].isnan().all()
    assert not y[:3].isnan().any()


def test_bad_arguments_are_refused_with_their_names() -> None:
    x = normal(2, 4, 8)
    plan = {"qk": lt.Layer(), "pv": lt.Layer()}
    attend = lt.functional.scaled_dot_product_attention
    with pytest.raises(ValueError, match="not both"):
        attend(x, x, x, torch.ones(4, 4, dtype=torch.bool), is_causal=True, **plan)
    with pytest.raises(ValueError, match=r"bool or float; got torch\.int64"):
        attend(x, x, x, torch.ones(4, 4, dtype=torch.int64), **plan)
    with pytest.raises(ValueError, match="one dtype"):
        attend(x, x.double(), x, **plan)
    with pytest.raises(ValueError, match="multiple of the key's and of the value's; got 3 and 2"):
        attend(normal(3, 4, 8), x, x, enable_gqa=True, **plan)
    with pytest.raises(ValueError, match="remembers its calls"):
        attend(x, x, x, qk=layer_of(DICE), pv=lt.Layer())


# ---- models that call it -------------------------------------------------------------------------


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Mixer(nn.Module):
    """Of a name that says nothing; its attention is in a function of this file."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor, *, fail: bool = False) -> Tensor:
        q, k, v = (t.unflatten(-1, (4, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if fail:
            raise KeyError("asked for")
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Mixer() for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor, *, own: bool = False, fail: bool = False) -> Tensor:
        for block in self.blocks:
            x = x + block(x, fail=fail)
        return self.head(attend(x, x, x) if own else x)


def model() -> nn.Module:
    torch.manual_seed(0)
    return Model()


FP8 = lt.Layer.of("float8_e4m3fn", "float8_e4m3fn", "float8_e5m2")
DRAWS = layer_of(DICE)


def test_only_a_recipe_that_names_attention_touches_it() -> None:
    m = model()
    report = lt.convert(m, lt.Recipe(FP8, patterns={"blocks.1": FP8}))
    assert report.converted == (
        *(f"blocks.{i}.{name}" for i in range(3) for name in ("qkv", "out")),
        "head",
    )
    assert type(m) is Model
    assert type(m.blocks[1]) is Mixer


def test_the_caller_is_named_and_its_numbers_do_not_depend_on_the_recipe() -> None:
    m = model()
    lt.convert(m, lt.Recipe(FP8))
    linear = {name: s.number for name, s in lt.layers(m).items()}
    lt.restore(m)
    lt.convert(m, lt.Recipe(FP8, types={"attention": FP8}))
    every = {name: s.number for name, s in lt.layers(m).items()}
    assert {name: every[name] for name in linear} == linear
    assert len(set(every.values())) == len(every)
    parts = {f"blocks.{i}.{part}" for i in range(3) for part in ("qk", "pv")}
    # the model's own, for calls from modules that nobody could tell to make them
    assert set(every) - set(linear) == parts | {"qk", "pv"}
    assert all(s.name == name for name, s in lt.layers(m).items())


def test_each_call_goes_to_the_innermost_module_that_makes_it() -> None:
    m = model()
    lt.convert(m, lt.Recipe(types={"attention": FP8}))
    seen: list[str] = []
    for name, s in lt.layers(m).items():
        s.observers.append(lambda *_, name=name: seen.append(name))
    m(normal(2, 8, 16), own=True)
    assert list(dict.fromkeys(seen)) == [
        *(f"blocks.{i}.{part}" for i in range(3) for part in ("qk", "pv")),
        "qk",
        "pv",
    ]
    seen.clear()
    m.blocks[2](normal(2, 8, 16))
    assert set(seen) == {"blocks.2.qk", "blocks.2.pv"}


@pytest.mark.parametrize("off", [{"keep": ["blocks.1"]}, {"patterns": {"blocks.1": None}}])
def test_a_kept_module_calls_pytorch_inside_a_converted_model(off: dict[str, Any]) -> None:
    m, x = model(), normal(2, 8, 16)
    want = m.blocks[1](x)
    lt.convert(m, lt.Recipe(FP8, types={"attention": FP8}, **off))
    outputs: list[Tensor] = []
    m.blocks[1].register_forward_hook(lambda _, args, y: outputs.append((args[0], y)))
    m(x)
    got_x, got = outputs[0]
    assert torch.equal(m.blocks[1](x), want)
    assert torch.equal(got, model().blocks[1](got_x))


def test_one_product_alone_may_be_asked_for() -> None:
    m, x = model(), normal(2, 8, 16)
    plan = {"*.qk": None, "qk": None}
    lt.convert(m, lt.Recipe(types={"attention": FP8}, patterns=plan))
    assert set(lt.layers(m)) == {"pv", *(f"blocks.{i}.pv" for i in range(3))}
    mixer, plain = m.blocks[0], model().blocks[0]
    q, k, v = (t.unflatten(-1, (4, 4)).transpose(1, 2) for t in plain.qkv(x).chunk(3, -1))
    y = lt.functional.scaled_dot_product_attention(q, k, v, is_causal=True, qk=lt.Layer(), pv=FP8)
    assert torch.equal(mixer(x), plain.out(y.transpose(1, 2).flatten(2)))


def test_float32_everywhere_trains_to_the_same_bits() -> None:
    weights = []
    for convert in (False, True):
        m = model()
        if convert:
            lt.convert(m, lt.Recipe(same(), types={"attention": same()}))
        optimizer = torch.optim.Adam(m.parameters(), 0.01)
        with sdpa_kernel(SDPBackend.MATH):
            for step in range(4):
                optimizer.zero_grad()
                m(normal(2, 8, 16, seed=step), own=True).square().sum().backward()
                optimizer.step()
        weights.append(list(m.parameters()))
    assert_same(weights[1], weights[0])


def test_restore_copies_and_pickles_keep_bits_keys_and_signature() -> None:
    m, x = model(), normal(2, 8, 16)
    before, keys = m(x, own=True), list(m.state_dict())
    lt.convert(m, lt.Recipe(types={"attention": HAND}))
    assert list(m.state_dict()) == keys
    assert inspect.signature(m.forward) == inspect.signature(model().forward)
    y = m(x, own=True)
    assert not torch.equal(y, before)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert torch.equal(other(x, own=True), y)
        lt.restore(other)
        assert torch.equal(other(x, own=True), before)
    lt.restore(m)
    assert torch.equal(m(x, own=True), before)
    assert {type(module) for module in m.modules()} == {type(c) for c in model().modules()}


def test_an_error_inside_leaves_nothing_caught_behind() -> None:
    m, x = model(), normal(2, 8, 16)
    q = normal(2, 8, 16, seed=3)
    want = F.scaled_dot_product_attention(q, q, q)
    lt.convert(m, lt.Recipe(types={"attention": HAND}))
    with pytest.raises(KeyError, match="asked for"):
        m(x, fail=True)
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.equal(F.scaled_dot_product_attention(q, q, q), want)


def test_a_checkpoint_goes_on_with_the_same_random_bits() -> None:
    m, x = model(), normal(2, 8, 16)
    plan = lt.Recipe(DRAWS, types={"attention": DRAWS})
    lt.convert(m, plan)
    first = m(x)
    other = model()
    lt.convert(other, plan)
    other.load_state_dict(m.state_dict())
    second = m(x)
    assert not torch.equal(first, second)
    assert torch.equal(other(x), second)


@pytest.mark.parametrize("plan", [HAND, DRAWS])
def test_a_compiled_model_has_the_same_bits_in_one_graph(plan: lt.Layer) -> None:
    torch._dynamo.reset()
    m, x = model(), normal(2, 8, 16)
    lt.convert(m, lt.Recipe(plan, types={"attention": plan}, keep=["blocks.2"]))
    other = copy.deepcopy(m)
    run = torch.compile(other, fullgraph=True, backend="aot_eager")
    got, want = run(x, own=True), m(x, own=True)
    got.sum().backward()
    want.sum().backward()
    grads = [[p.grad for p in n.parameters()] for n in (other, m)]
    assert_same([got, *grads[0]], [want, *grads[1]])


def test_autocast_attends_as_pytorch_does() -> None:
    q = normal(2, 3, 8, 16)
    states = {n: AttentionState(same()) for n in ("qk", "pv")}
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        want = F.scaled_dot_product_attention(q, q, q)
        got = scaled_dot_product_attention(q, q, q, **states)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, want)


# ---- nn.MultiheadAttention -----------------------------------------------------------------------

CAUSAL = torch.ones(6, 6, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] * 5 + [True]])
X, Z = normal(6, 3, 16), normal(7, 3, 16, seed=1)
Z2 = normal(7, 3, 16, seed=2)

HEADS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[Tensor, ...]]] = {
    "self": ({}, {}, (X, X, X)),
    "cross": ({}, {}, (X, Z, Z)),
    "three": ({}, {}, (X, Z, Z2)),
    "masks": ({}, {"attn_mask": CAUSAL, "key_padding_mask": PADDED}, (X, X, X)),
    "float mask": ({}, {"attn_mask": normal(12, 6, 6)}, (X, X, X)),
    "causal": ({}, {"attn_mask": CAUSAL, "is_causal": True}, (X, X, X)),
    "causal and padded": (
        {},
        {"attn_mask": CAUSAL, "is_causal": True, "key_padding_mask": PADDED},
        (X, X, X),
    ),
    "batch first": (
        {"batch_first": True, "bias": False},
        {"average_attn_weights": False},
        (X.transpose(0, 1), Z.transpose(0, 1), Z.transpose(0, 1)),
    ),
    "extra keys": (
        {"add_bias_kv": True, "add_zero_attn": True, "dropout": 0.2},
        {"key_padding_mask": PADDED, "attn_mask": CAUSAL},
        (X, X, X),
    ),
    "other widths": (
        {"kdim": 5, "vdim": 6},
        {},
        (X, normal(7, 3, 5), normal(7, 3, 6)),
    ),
    "one sequence": ({}, {"key_padding_mask": PADDED[1]}, (X[:, 0], X[:, 0], X[:, 0])),
}


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", HEADS)
def test_multi_head_attention_of_float32_has_pytorchs_bits(
    case: str, train: bool, weights: bool
) -> None:
    options, call, given = HEADS[case]
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(16, 4, **options).train(train)
    ours = copy.deepcopy(plain)
    lt.convert(ours, lt.Recipe(same(), types={"attention": same()}))
    assert list(ours.state_dict()) == list(plain.state_dict())
    results = []
    for m in (plain, ours):
        torch.manual_seed(3)
        with sdpa_kernel(SDPBackend.MATH):
            y, p = m(*given, need_weights=weights, **call)
        y.square().sum().backward()
        assert (p is None) != weights
        results.append([y, *([] if p is None else [p]), *(q.grad for q in m.parameters())])
    assert [r.shape for r in results[1]] == [r.shape for r in results[0]]
    assert_same(results[1], results[0])


@pytest.mark.parametrize("formats", [FORMATS, DICE])
@pytest.mark.parametrize("weights", [True, False])
def test_multi_head_attention_equals_quantize_and_products_by_hand(
    formats: dict[str, Any], weights: bool
) -> None:
    torch.manual_seed(0)
    m = nn.MultiheadAttention(32, 2)
    hand_m = copy.deepcopy(m)
    lt.convert(m, lt.Recipe(layer_of(formats), types={"attention": layer_of(formats)}))
    numbers = {name: s.number for name, s in lt.layers(m).items()}
    hands = {
        name: Hand(formats, n, shared=() if name in ("qk", "pv") else Hand({}, 0).shared)
        for name, n in numbers.items()
    }
    for step in range(2):
        x = normal(40, 3, 32, seed=step).requires_grad_()
        x2 = x.detach().clone().requires_grad_()
        y, _ = m(x, x, x, need_weights=weights)

        qkv = hands["in_proj"].linear(x2, hand_m.in_proj_weight, hand_m.in_proj_bias)
        q, k, v = (t.unflatten(-1, (2, 16)).permute(1, 2, 0, 3) for t in qkv.chunk(3, -1))
        want = by_hand(q, k, v, None, hands["qk"], hands["pv"])
        rows = want.permute(2, 0, 1, 3).reshape(-1, 32)
        want = hands["out_proj"].linear(rows, hand_m.out_proj.weight, hand_m.out_proj.bias)
        want = want.unflatten(0, (40, 3))

        for n in (m, hand_m):
            n.zero_grad()
        dy = normal(*y.shape, seed=9)
        y.backward(dy)
        want.backward(dy)
        grads = [[t.grad, *(p.grad for p in n.parameters())] for t, n in ((x, m), (x2, hand_m))]
        assert_same([y, *grads[0]], [want, *grads[1]])


def test_projections_follow_linear_where_attention_is_not_named() -> None:
    m = nn.MultiheadAttention(16, 4)
    with torch.no_grad():
        report = lt.convert(m, lt.Recipe(FP8))
        assert report.converted == ("in_proj", "out_proj")
        y, _ = m(X, Z, Z, need_weights=False)
        lt.restore(m)
        q = lt.functional.linear(X, m.in_proj_weight[:16], m.in_proj_bias[:16], layer=FP8)
        kv = lt.functional.linear(Z, m.in_proj_weight[16:], m.in_proj_bias[16:], layer=FP8)
        q, k, v = (t.unflatten(-1, (4, 4)).permute(1, 2, 0, 3) for t in (q, *kv.chunk(2, -1)))
        want = F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).reshape(18, 16)
        want = lt.functional.linear(want, m.out_proj.weight, m.out_proj.bias, layer=FP8)
    assert torch.equal(y, want.unflatten(0, (6, 3)))


def test_attention_alone_leaves_projections_and_a_kept_one_everything() -> None:
    plain = nn.MultiheadAttention(16, 4)
    m = copy.deepcopy(plain)
    assert lt.convert(m, lt.Recipe(types={"attention": FP8})).converted == ("qk", "pv")
    lt.restore(m)
    outer = nn.ModuleDict({"a": m})
    lt.convert(outer, lt.Recipe(FP8, types={"attention": FP8}, keep=["a"]))
    assert not lt.layers(m)
    assert_same(list(m(X, X, X)), list(plain(X, X, X)))
    lt.restore(outer)
    assert type(m) is nn.MultiheadAttention


def test_products_left_out_of_a_multi_head_attention_are_not_caught_by_the_model() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, x, x, need_weights=False)[0]

    m = Wrapped()
    lt.convert(m, lt.Recipe(FP8))
    want = m(X)
    lt.restore(m)
    left_out = {"inner.qk": None, "inner.pv": None}
    lt.convert(m, lt.Recipe(FP8, types={"attention": FP8}, patterns=left_out))
    assert {"qk", "pv", "inner.in_proj"} < set(lt.layers(m))
    assert torch.equal(m(X), want)


def test_multi_head_attention_refuses_what_pytorch_refuses() -> None:
    m = nn.MultiheadAttention(16, 4)
    lt.convert(m, lt.Recipe(types={"attention": FP8}))
    with pytest.raises(RuntimeError, match="give the mask, too"):
        m(X, X, X, is_causal=True)
    with pytest.raises(RuntimeError, match=r"attn_mask must have shape \(6, 6\)"):
        m(X, X, X, attn_mask=torch.zeros(5, 6))
    with pytest.raises((AssertionError, RuntimeError), match="key_padding_mask"):
        m(X, X, X, key_padding_mask=torch.zeros(2, 6))
    with pytest.raises(ValueError, match="query must have 16 features; got 7"):
        m(X[..., :7], X, X)


# ---- encoders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [lt.Recipe(FP8), lt.Recipe(lt.Layer(), types={"attention": FP8})])
def test_encoders_do_not_take_the_fused_path_past_their_modules(plan: lt.Recipe) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    m = nn.TransformerEncoder(layer, 2).eval()
    x = X.transpose(0, 1)
    keys = list(m.state_dict())
    with torch.no_grad():
        before = m(x, src_key_padding_mask=PADDED)
        lt.convert(m, plan)
        assert list(m.state_dict()) == keys
        fused = m(x, src_key_padding_mask=PADDED)
    slow = m(x, src_key_padding_mask=PADDED)
    assert torch.equal(fused, slow)
    assert not torch.equal(fused[0], before[0])
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert torch.equal(other(x, src_key_padding_mask=PADDED), slow)
    torch._dynamo.reset()
    run = torch.compile(m, fullgraph=True, backend="aot_eager")
    assert torch.equal(run(x, src_key_padding_mask=PADDED), slow)
    lt.restore(m)
    assert type(m) is nn.TransformerEncoder
    assert m.use_nested_tensor
    assert m.layers[0].activation_relu_or_gelu == 1
    with torch.no_grad():
        assert torch.equal(m(x, src_key_padding_mask=PADDED), before)


# ---- Hugging Face --------------------------------------------------------------------------------


def hugging_face(name: str) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    if name == "gpt2":
        sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
        config = transformers.GPT2Config(vocab_size=64, attn_implementation="sdpa", **sizes)
        return transformers.GPT2LMHeadModel(config).eval()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(vocab_size=64, attn_implementation="sdpa", **sizes)
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_models_of_hugging_face_attend_in_formats(name: str) -> None:
    m = hugging_face(name)
    ids = torch.arange(24).reshape(2, 12)
    with sdpa_kernel(SDPBackend.MATH):
        want = m(ids).logits
        lt.convert(m, lt.Recipe(same(), types={"attention": same()}))
        assert torch.equal(m(ids).logits, want)
        lt.restore(m)
    report = lt.convert(m, lt.Recipe(FP8, types={"attention": FP8, "norm": lt.Layer(x="bfloat16")}))
    place = "transformer.h.1.attn" if name == "gpt2" else "model.layers.1.self_attn"
    norm = "transformer.h.0.ln_1" if name == "gpt2" else "model.layers.0.input_layernorm"
    assert {f"{place}.qk", f"{place}.pv", norm, "lm_head"} <= set(report.converted)
    seen: set[str] = set()
    for part, s in lt.layers(m).items():
        s.observers.append(lambda *_, part=part: seen.add(part))
    m(ids, labels=ids).loss.backward()
    # all but the model's own, which are there for callers that nobody could tell
    assert seen == set(lt.layers(m)) - {"qk", "pv"}
    lt.restore(m)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.equal(m(ids).logits, want)
