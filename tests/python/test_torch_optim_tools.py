"""lowp.torch.optim with the tools around optimizers: checkpoints, schedulers, scalers, hooks."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import lowp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from lowp.torch import Quantizer, Recipe  # noqa: E402
from lowp.torch.optim import Optimizer, adam_8bit  # noqa: E402
from optim_samples import BASES, SGD, STATE, STOCHASTIC, backward, by_hand, model, same, train  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- torch's own tools ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("name", ["sgd", "momentum", "fused", "rmsprop"])
def test_a_run_resumes_from_a_checkpoint_with_the_same_bits(name: str, wrap: Any) -> None:
    def make(net: Any) -> Any:
        return Optimizer(
            BASES[name](net.parameters()), master_weights=STOCHASTIC, optimizer_state=STATE
        )

    whole = model()
    optimizer = make(whole)
    train(whole, optimizer, range(6))
    first = model()
    before = make(first)
    train(first, before, range(3))
    saved = wrap({"model": first.state_dict(), "optimizer": before.state_dict()})
    second = model(seed=1)
    after = make(second)
    second.load_state_dict(saved["model"])
    after.load_state_dict(saved["optimizer"])
    assert after.steps == 3
    train(second, after, range(3, 6))
    assert same(second.state_dict(), whole.state_dict())
    assert same(after.state_dict(), optimizer.state_dict())


def test_state_dicts_are_exchanged_with_the_plain_optimizer() -> None:
    net = model()
    optimizer = Optimizer(BASES["adam"](net.parameters()), master_weights=STOCHASTIC)
    train(net, optimizer, range(3))
    plain = BASES["adam"](net.parameters())
    plain.load_state_dict(optimizer.state_dict())
    fresh = BASES["adam"](net.parameters())
    fresh.load_state_dict(plain.state_dict())
    assert same(fresh.state_dict()["state"], optimizer.state_dict()["state"])
    optimizer.load_state_dict(BASES["adam"](net.parameters()).state_dict())
    assert optimizer.steps == 0


def test_distributed_checkpoints_carry_the_number_of_steps() -> None:
    tools = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    net, other = model(), model()
    optimizer = Optimizer(BASES["adam"](net.parameters()), master_weights=STOCHASTIC)
    train(net, optimizer, range(3))
    saved = tools.get_optimizer_state_dict(net, optimizer)
    resumed = Optimizer(BASES["adam"](other.parameters()), master_weights=STOCHASTIC)
    tools.set_optimizer_state_dict(other, resumed, saved)
    assert resumed.steps == 3


@pytest.mark.parametrize("wrap", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_and_pickles_go_on_with_the_same_bits(wrap: Any) -> None:
    net = model()
    optimizer = Optimizer(
        BASES["adam"](net.parameters()),
        master_weights=STOCHASTIC,
        optimizer_state=adam_8bit(),
        keep=[net[0].bias],
    )
    train(net, optimizer, range(2))
    other, copied = wrap((net, optimizer))
    train(net, optimizer, range(2, 4))
    train(other, copied, range(2, 4))
    assert same(other.state_dict(), net.state_dict())
    assert same(copied.state_dict(), optimizer.state_dict())


def test_learning_rate_schedulers_drive_base() -> None:
    net, expected = model(), model()
    base = SGD(net.parameters(), lr=0.1)
    optimizer = Optimizer(base, master_weights="float32")
    plain = SGD(expected.parameters(), lr=0.1)
    schedulers = [
        torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, total_iters=2),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 4),
            ],
            [2],
        )
        for o in (optimizer, plain)
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.step.*before.*optimizer.step.*")
        for step in range(5):
            for net_, o, s in zip((net, expected), (optimizer, plain), schedulers, strict=True):
                backward(net_, step)
                o.step()
                s.step()
    assert base.param_groups[0]["lr"] == plain.param_groups[0]["lr"] != 0.1
    assert same(net.state_dict(), expected.state_dict())


def test_plateau_and_one_cycle_schedulers_take_it() -> None:
    net = model()
    optimizer = Optimizer(BASES["adam"](net.parameters()))
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    before = optimizer.param_groups[0]["lr"]
    for loss in (1.0, 2.0):
        train(net, optimizer, range(1))
        plateau.step(loss)
    assert optimizer.param_groups[0]["lr"] == before / 2


def test_grad_scaler_unscales_and_skips_steps_with_infinities() -> None:
    net, expected = model(), model()
    base = torch.optim.AdamW(net.parameters(), lr=0.01, fused=True)
    optimizer = Optimizer(base, master_weights=STOCHASTIC)
    plain = Optimizer(
        torch.optim.AdamW(expected.parameters(), lr=0.01, fused=True), master_weights=STOCHASTIC
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    x = torch.linspace(-1, 1, 64).reshape(8, 8)
    for step in range(4):
        net.zero_grad()
        loss = net(x).square().mean() * (float("inf") if step == 1 else 1)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step != 1:
            expected.zero_grad()
            expected(x).square().mean().backward()
            plain.step()
    assert optimizer.steps == 3
    assert same(net.state_dict(), expected.state_dict())


def test_hooks_run_around_the_rounding() -> None:
    net = model()
    optimizer = Optimizer(BASES["adam"](net.parameters()), master_weights="float8_e4m3fn")
    grid = {float(v) for v in lowp.decode(np.arange(256, dtype=np.uint8), "float8_e4m3fn")}
    seen: list[tuple[str, bool]] = []

    def note(word: str) -> Any:
        def hook(o: Any, *rest: Any) -> None:
            seen.append((word, set(net[0].weight.flatten().tolist()) <= grid))

        return hook

    optimizer.register_step_pre_hook(note("before"))
    optimizer.register_step_post_hook(note("after"))
    optimizer.base.register_step_post_hook(note("base"))
    optimizer.register_state_dict_post_hook(note("saved"))
    optimizer.register_load_state_dict_pre_hook(note("loaded"))
    train(net, optimizer, range(1))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == [
        ("before", False),
        ("base", False),
        ("after", True),
        ("saved", True),
        ("loaded", True),
    ]


def test_groups_added_later_are_numbered_after_the_others_and_rounded() -> None:
    net, other = model(), torch.nn.Linear(4, 4)
    optimizer = Optimizer(
        SGD(net.named_parameters(), lr=0.1), master_weights=STOCHASTIC, keep=["*.bias"]
    )
    optimizer.add_param_group({"params": list(other.named_parameters()), "lr": 0.5})
    assert len(optimizer.param_groups) == 2
    old = other.weight.detach().clone()
    other(torch.ones(4)).sum().backward()
    backward(net, 0)
    optimizer.step()
    at = {"seed": 0, "name": "", "number": 4, "step": 1}
    assert same(other.weight, by_hand(old - 0.5 * torch.ones(4, 4), STOCHASTIC, **at))
    optimizer.zero_grad()
    assert all(p.grad is None for p in [*net.parameters(), *other.parameters()])


def test_it_is_an_optimizer_and_prints_its_formats() -> None:
    optimizer = Optimizer(torch.optim.Adam(model().parameters()), optimizer_state=adam_8bit())
    assert isinstance(optimizer, torch.optim.Optimizer)
    text = repr(optimizer)
    assert "Adam (" in text
    assert "exp_avg_sq: {0,3.25" in text
    assert len(text) < 1000


def test_of_takes_what_a_recipe_says() -> None:
    recipe = Recipe(master_weights=STOCHASTIC, optimizer_state=adam_8bit(), seed=5)
    nets = [model(), model()]
    optimizers = [
        Optimizer.of(BASES["adam"](nets[0].parameters()), recipe),
        Optimizer(
            BASES["adam"](nets[1].parameters()),
            master_weights=STOCHASTIC,
            optimizer_state=adam_8bit(),
            seed=5,
        ),
    ]
    for net, optimizer in zip(nets, optimizers, strict=True):
        train(net, optimizer, range(2))
    assert same(nets[0].state_dict(), nets[1].state_dict())


# ---- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["name", "tensor", "function"])
def test_kept_parameters_and_their_state_train_as_they_are(how: str) -> None:
    net, expected = model(), model()
    keep = {
        "name": ["*.bias", "2.weight"],
        "tensor": [net[0].bias, net[2].bias, net[2].weight],
        "function": [lambda name, p: p.ndim < 2 or name.startswith("2.")],
    }[how]
    optimizer = Optimizer(
        torch.optim.Adam(net.named_parameters()),
        master_weights="float8_e5m2",
        optimizer_state=adam_8bit(),
        keep=keep,
    )
    plain = torch.optim.Adam(expected.named_parameters())
    backward(net, 0)
    backward(expected, 0)
    optimizer.step()
    plain.step()
    for name, p in net.named_parameters():
        e = expected.get_parameter(name)
        is_kept = name != "0.weight"
        assert same(p, e) == is_kept
        assert same(optimizer.state[p]["exp_avg"], plain.state[e]["exp_avg"]) == is_kept


# ---- bad input -----------------------------------------------------------------------------------


def test_nan_in_a_gradient_is_named_once_or_refused() -> None:
    net = model()
    optimizer = Optimizer(SGD(net.named_parameters(), lr=0.0), master_weights="bfloat16")
    backward(net, 0)
    net[2].bias.grad[1] = float("nan")
    with pytest.warns(UserWarning, match=r"step 1: NaN or infinity in the gradient of 2\.bias$"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    strict = Optimizer(SGD(net.named_parameters(), lr=0.0), nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"step 1: .* of 2\.bias"):
        strict.step()
    assert strict.steps == 0
    silent = Optimizer(SGD(net.parameters(), lr=0.0), nonfinite="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent.step()


def test_nan_in_a_closure_s_gradient_is_named() -> None:
    net = model()
    optimizer = Optimizer(SGD(net.named_parameters(), lr=0.0))

    def closure() -> Any:
        loss = backward(net, 0)
        net[0].weight.grad[0, 0] = float("inf")
        return loss

    with pytest.warns(UserWarning, match=r"0\.weight"):
        optimizer.step(closure)


def test_sparse_gradients_are_refused_unless_kept() -> None:
    net = torch.nn.Embedding(10, 3, sparse=True)
    net(torch.tensor([1, 2])).sum().backward()
    optimizer = Optimizer(torch.optim.SparseAdam(net.named_parameters()), master_weights="bfloat16")
    before = net.weight.detach().clone()
    with pytest.raises(RuntimeError, match="weight has a sparse gradient"):
        optimizer.step()
    assert same(net.weight, before)
    kept = Optimizer(SGD(net.parameters(), lr=1.0), master_weights="bfloat16", keep=[net.weight])
    kept.step()
    assert not same(net.weight, before)


def test_what_cannot_be_done_is_refused_with_a_reason() -> None:
    net = model()
    base = torch.optim.Adam(net.named_parameters())
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "nonfinite must be", {"nonfinite": "stop"}),
        (ValueError, "fits no parameter; there are: 0.weight, 0.bias", {"keep": ["3.*"]}),
        (ValueError, r"a tensor of shape \(2,\) fits no", {"keep": [torch.zeros(2)]}),
        (TypeError, "keep must be a list", {"keep": "bias"}),
        (ValueError, "master_weights", {"master_weights": "float9"}),
        (ValueError, "seed must be between", {"seed": 2**32}),
        (ValueError, "0.weight: .*does not hold", {"master_weights": "float64"}),
    ]
    for error, words, options in cases:
        with pytest.raises(error, match=words):
            Optimizer(base, **options)
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer"):
        Optimizer(net.parameters())
    with pytest.raises(TypeError, match=r"wrap its \.base"):
        Optimizer(Optimizer(base))
    half = torch.optim.Adam(model(dtype=torch.bfloat16).named_parameters())
    with pytest.raises(TypeError, match=r"0\.weight is torch\.bfloat16: the step would be rounded"):
        Optimizer(half, master_weights="float8_e4m3fn")
    Optimizer(half)


def test_delayed_scaling_and_states_that_there_are_not_are_refused() -> None:
    from lowp.torch import Delayed

    net = model()
    delayed = Quantizer("float8_e4m3fn", scaling=Delayed())
    base = torch.optim.Adam(net.parameters())
    for options in ({"master_weights": delayed}, {"optimizer_state": {"exp_avg": delayed}}):
        with pytest.raises(ValueError, match="delayed scaling is remembered by layers only"):
            Optimizer(base, **options)
    optimizer = Optimizer(base, optimizer_state={"exp_average": "bfloat16"})
    with pytest.raises(ValueError, match="no tensors exp_average; there are: exp_avg, exp_avg_sq"):
        train(net, optimizer, range(1))
    lbfgs = Optimizer(torch.optim.LBFGS(net.parameters()), optimizer_state="bfloat16")
    with pytest.raises(TypeError, match=r"state '.*' of LBFGS is a list"):
        lbfgs.step(lambda: backward(net, 0))


def test_empty_and_scalar_parameters_are_rounded_like_others() -> None:
    ps = [torch.nn.Parameter(torch.zeros(0, 3)), torch.nn.Parameter(torch.tensor(1.2345))]
    optimizer = Optimizer(
        torch.optim.Adam(ps, lr=0.0), master_weights="bfloat16", optimizer_state=adam_8bit()
    )
    for p in ps:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert ps[1].item() == float(torch.tensor(1.2345).bfloat16())
