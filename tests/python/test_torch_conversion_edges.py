"""What conversion must leave alone, keep in place, refuse or say: the edges of convert."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

Tensor = Any
FP8 = lt.Layer.of("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2")
OWN = "forward of its own: use lowp.torch.functional"
EVERY = dict.fromkeys(("norm", "activation", "embedding", "recurrent", "attention"), FP8)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(model: nn.Module, recipe: Any) -> dict[str, tuple[str, str]]:
    return {row.name: (row.state, row.reason) for row in lt.convert(model, recipe).rows}


# ---- forwards of their own -----------------------------------------------------------------------


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Standardized(nn.Conv2d):
    def _conv_forward(self, x: Tensor, w: Tensor, bias: Any) -> Tensor:
        return super()._conv_forward(x, w - w.mean(), bias)


class Residual(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Renamed(nn.Linear):
    """With the forward it inherits."""


class Heads(nn.MultiheadAttention):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x)[0]


class Conv1D(nn.Module):
    """Of the name that Hugging Face's has."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).sin()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: Doubled(8, 8), (4, 8)),
        (lambda: Standardized(2, 2, 3), (1, 2, 5, 5)),
        (lambda: Residual(8), (4, 8)),
        (lambda: Heads(8, 2), (4, 3, 8)),
        (lambda: Conv1D(), (4, 8)),
    ],
)
def test_a_module_with_a_forward_of_its_own_is_kept_and_says_so(build: Any, shape: Any) -> None:
    model = nn.Sequential(build())
    x = normal(*shape)
    want = model(x)
    found = rows(model, lt.Recipe(FP8, types={"norm": FP8}))
    assert ("kept", OWN) in found.values()
    assert "converted" not in {state for state, _ in found.values()}
    assert torch.equal(model(x), want)


def test_a_forward_put_into_a_module_is_kept() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU())
    for module in model:
        module.forward = torch.sin
    assert set(rows(model, lt.Recipe(FP8, types=EVERY)).values()) >= {("kept", OWN)}
    assert not lt.layers(model).keys() & {"0", "1"}


def test_a_module_kept_for_its_forward_still_counts_and_has_a_name() -> None:
    model = nn.Sequential(Doubled(8, 8), nn.Linear(8, 8))
    assert rows(model, lt.Recipe(FP8, keep=["0", "last:1"])) == {
        "0": ("kept", "keep 0"),
        "1": ("kept", "keep last:1"),
    }


def test_classes_that_inherit_or_wrap_the_forward_are_converted() -> None:
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

    weighed = parametrize.register_parametrization(nn.Linear(8, 8), "weight", nn.Tanh())
    model = nn.Sequential(Renamed(8, 8), NonDynamicallyQuantizableLinear(8, 8), weighed)
    assert lt.convert(model, lt.Recipe(FP8)).converted == ("0", "1", "2")
    x = normal(4, 8)
    want = lt.functional.linear(x, weighed.weight, weighed.bias, layer=FP8)
    assert torch.equal(weighed(x), want)


def test_a_lazy_module_is_kept_until_a_batch_has_been_through_it() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    recipe = lt.Recipe(FP8, types={"norm": FP8})
    assert rows(model, recipe) == dict.fromkeys(
        "01", ("kept", "not initialized: run a batch first")
    )
    model(normal(3, 8))
    assert lt.convert(model, recipe).converted == ("0", "1")


@pytest.mark.parametrize("before", [False, True])
def test_restore_keeps_what_was_parametrized_after_convert(before: bool) -> None:
    x, layer, plain = normal(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    plain.load_state_dict(layer.state_dict())
    for module in (layer, plain) if before else ():
        parametrize.register_parametrization(module, "bias", nn.Tanh())
    lt.convert(layer, lt.Recipe(FP8))
    for module in (layer, plain):
        parametrize.register_parametrization(module, "weight", nn.Tanh())
    want = lt.functional.linear(x, plain.weight, plain.bias, layer=FP8)
    assert torch.equal(layer(x), want)
    lt.restore(layer)
    assert torch.equal(layer(x), plain(x))
    assert [name for name, _ in layer.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear or before
    assert torch.equal(layer(x), plain(x))


# ---- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"patterns": {"a.out_proj": FP8}}, {"keep": ["a.in_proj*"]}])
def test_out_proj_alone_computes_in_its_formats(how: dict[str, Any]) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.MultiheadAttention(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x, x, x)[0]

    model, plain, x = Wrapped(), Wrapped(), normal(5, 3, 16)
    recipe = lt.Recipe(FP8, **how) if "keep" in how else lt.Recipe(**how)
    assert lt.convert(model, recipe).converted == ("a.out_proj",)
    seen: list[Tensor] = []
    state = lt.layers(model)["a.out_proj"]
    state.observers.append(lambda cast: seen.append(cast.x) if cast.role == "x" else None)
    y = model(x)
    (before,) = seen
    out = plain.a.out_proj
    want = lt.functional.linear(before, out.weight, out.bias, layer=FP8)
    assert torch.equal(y.flatten(0, 1), want)
    assert torch.equal(F.linear(before, out.weight, out.bias), plain(x).flatten(0, 1))
    lt.restore(model)
    assert type(model.a) is nn.MultiheadAttention


def test_a_report_names_products_that_are_there_and_attention_that_is_not_asked_for() -> None:
    one, apart = nn.MultiheadAttention(16, 2), nn.MultiheadAttention(16, 2, kdim=4, vdim=5)
    report = lt.convert(nn.ModuleDict({"one": one, "apart": apart}), lt.Recipe(FP8))
    assert report.converted == (
        *("one.in_proj", "one.out_proj"),
        *("apart.in_proj", "apart.in_proj_k", "apart.in_proj_v", "apart.out_proj"),
    )
    found = {row.name: (row.kind, row.state, row.reason) for row in report.rows}
    for name in ("one.qk", "one.pv", "apart.qk", "apart.pv"):
        assert found[name] == ("attention", "kept", "kind attention")


def test_keys_asked_for_apart_have_a_row() -> None:
    model = nn.ModuleDict({"a": nn.MultiheadAttention(16, 2)})
    found = rows(model, lt.Recipe(FP8, keep=["a.in_proj_k"]))
    assert found["a.in_proj_k"] == ("kept", "keep a.in_proj_k")
    assert "a.in_proj_v" not in found


def test_a_sequential_that_attends_keeps_its_members_and_runs() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    x, members = normal(3, 8), list(model)
    want = model(x)
    lt.convert(model, lt.Recipe(types={"attention": FP8}))
    assert torch.equal(model(x), want)
    assert list(model) == members
    assert len(model) == 3
    assert model[-1] is members[2]
    assert type(model[:2]) is nn.Sequential
    assert list(model[:2]) == members[:2]
    with pytest.raises(IndexError):
        model[3]
    torch._dynamo.reset()
    run = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(run(x), want)
    model.append(nn.ReLU())
    assert torch.equal(model(x), want.relu())
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin(x), want.relu())
    lt.restore(model)
    assert list(model)[:3] == members
    assert len(model) == 4


# ---- norms and embeddings ------------------------------------------------------------------------

NORMS = [
    (lambda: nn.LayerNorm(8), (4, 8), "input"),
    (lambda: nn.LayerNorm(8, bias=False), (4, 8), "input"),
    (lambda: nn.GroupNorm(2, 8), (4, 8), "input"),
    (lambda: nn.RMSNorm(8), (4, 8), "x"),
    (lambda: nn.BatchNorm1d(8), (4, 8), "input"),
    (lambda: nn.SyncBatchNorm(8), (4, 8), "input"),
    (lambda: nn.InstanceNorm1d(8, affine=True, track_running_stats=True), (4, 8, 5), "input"),
]


@pytest.mark.parametrize(("build", "shape", "name"), NORMS)
def test_a_norm_equals_its_own_forward_with_weights_on_their_grids(
    build: Any, shape: Any, name: str
) -> None:
    module = build()
    module.train(not isinstance(module, nn.SyncBatchNorm))  # which trains on GPUs only
    for number, p in enumerate(module.parameters()):
        p.data = normal(*p.shape, seed=number + 1)
    hand = copy.deepcopy(module)
    for p in hand.parameters():
        p.data = lt.quantize(p.data, "float8_e4m3fn")
    order = [(n, id(p)) for n, p in module.named_parameters()]
    plan = lt.Layer(x="bfloat16", w="float8_e4m3fn", bias="float8_e4m3fn")
    assert lt.convert(module, lt.Recipe(types={"norm": plan})).converted == ("",)
    x = normal(*shape)
    for _ in range(2):
        want = hand(lt.quantize(x, "bfloat16"))
        assert torch.equal(module(**{name: x}), want)
    assert [(n, id(p)) for n, p in module.named_parameters()] == order
    for a, b in zip(module.buffers(), hand.buffers(), strict=True):
        assert torch.equal(a, b)


def test_a_norm_with_a_buffer_for_weight_or_a_parametrized_one_is_cast() -> None:
    plan, x = lt.Layer(w="float8_e4m3fn"), normal(4, 8)
    fixed, turned = nn.LayerNorm(8), nn.LayerNorm(8)
    del fixed.weight
    fixed.register_buffer("weight", normal(8))
    turned.weight.data = normal(8)
    parametrize.register_parametrization(turned, "weight", nn.Tanh())
    for module in (fixed, turned):
        w = lt.quantize(module.weight.detach(), "float8_e4m3fn")
        want = F.layer_norm(x, (8,), w, module.bias)
        lt.convert(module, lt.Recipe(types={"norm": plan}))
        assert torch.equal(module(x), want)


def test_norms_run_in_threads_and_lose_no_parameter() -> None:
    module = nn.BatchNorm1d(32).eval()
    lt.convert(module, lt.Recipe(types={"norm": lt.Layer(w="bfloat16", bias="bfloat16")}))
    own, failed = [id(p) for p in module.parameters()], []

    def work() -> None:
        try:
            for _ in range(60):
                module(normal(4, 32))
                assert [name for name, _ in module.named_parameters()] == ["weight", "bias"]
        except Exception as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert not failed
    assert [id(p) for p in module.parameters()] == own


def test_an_embedding_renormalizes_the_weight_itself() -> None:
    torch.manual_seed(0)
    module = nn.Embedding(10, 8, max_norm=0.5)
    plain = copy.deepcopy(module)
    lt.convert(module, lt.Recipe(types={"embedding": lt.Layer(w="float8_e4m3fn")}))
    ids = torch.tensor([[1, 2], [7, 1]])
    y = module(input=ids)
    plain(ids)
    assert torch.equal(module.weight, plain.weight)
    assert torch.equal(y, lt.quantize(plain.weight.detach(), "float8_e4m3fn")[ids])


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Linear(8, 8), (4, 8)),
        (lambda: nn.Conv1d(8, 8, 1), (1, 8, 4)),
        (lambda: nn.ConvTranspose1d(8, 8, 1), (1, 8, 4)),
        (lambda: nn.ReLU(), (4, 8)),
        (lambda: nn.LSTM(8, 8), (4, 1, 8)),
    ],
)
def test_forwards_take_pytorchs_name_of_the_argument(build: Any, shape: Any) -> None:
    module, x = build(), normal(*shape)
    lt.convert(module, lt.Recipe(FP8, types={"activation": FP8, "recurrent": FP8}))
    got, want = module(input=x), module(x)
    if isinstance(got, tuple):
        got, want = got[0], want[0]
    assert torch.equal(got, want)
