"""Sensitivity of layers: against dense Hessians and by hand; the model stays what it was."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from sensitivity_models import (  # noqa: E402
    FORMATS,
    MEASURED,
    data,
    every_loss,
    everything,
    portrait,
    small,
    small_loss,
)
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

#: The models here are not trained.
pytestmark = pytest.mark.filterwarnings("ignore:.*trace is negative:RuntimeWarning")

METHODS = ("loss", "output_error", "weight_error", "hessian")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- the Hessian ---------------------------------------------------------------------------------


def dense_trace(model: Any, name: str, loss: Callable[[Any], Any]) -> float:
    """Of the block of one layer's weight, entry by entry."""
    weight = model.get_submodule(name).weight

    def of_weight(w: Any) -> Any:
        return torch.func.functional_call(
            _Loss(model, loss), {f"model.{name}.weight": w}, (), tie_weights=False
        )

    h = torch.autograd.functional.hessian(of_weight, weight.detach())
    return float(h.reshape(weight.numel(), -1).diagonal().sum())


class _Loss(nn.Module):
    def __init__(self, model: Any, loss: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self) -> Any:
        return self.loss(self.model)


def test_traces_of_diagonal_hessians_are_exact_in_each_sample() -> None:
    model = nn.Linear(8, 4, bias=False)
    d = torch.arange(32.0).reshape(4, 8) / 4
    found = lt.sensitivity(
        model, lambda m: (d * m.weight**2).sum(), "mxfp4", method="hessian", samples=5, tolerance=0
    )
    trace = found.traces[""]
    assert (trace.value, trace.error, trace.samples) == (2 * float(d.sum()), 0.0, 5)
    noise = lt.quantize(model.weight.detach(), "mxfp4") - model.weight.detach()
    want = trace.value * (float(noise.double().square().sum()) / 32)
    assert found.rows[0].score == want


def test_traces_agree_with_dense_hessians_within_their_standard_errors() -> None:
    model = small().double()

    def loss(m: Any) -> Any:
        return F.mse_loss(m(data(12, 6).double()), data(12, 3, seed=1).double())

    found = lt.sensitivity(model, loss, "mxfp4", method="hessian", samples=512, tolerance=0)
    for name in ("0", "2"):
        trace = found.traces[name]
        exact = dense_trace(model, name, loss)
        assert trace.samples == 512
        assert abs(trace.value - exact) < 3 * trace.error
        assert trace.error < 0.2 * abs(exact)


def test_standard_errors_are_those_of_many_estimates() -> None:
    model = small()
    found = [
        lt.sensitivity(
            model, small_loss, "mxfp4", method="hessian", seed=seed, samples=16, tolerance=0
        ).traces["0"]
        for seed in range(64)
    ]
    spread = np.std([t.value for t in found], ddof=1)
    stated = np.sqrt(np.mean([t.error**2 for t in found]))
    assert 0.75 < stated / spread < 1.33


def test_sampling_stops_when_standard_errors_are_small_and_repeats_bit_for_bit() -> None:
    options = {"method": "hessian", "samples": 4096, "tolerance": 0.05}
    one = lt.sensitivity(small(), small_loss, "mxfp4", **options)
    assert 8 <= one.traces["0"].samples < 4096
    assert all(t.error <= 0.05 * abs(t.value) for t in one.traces.values())
    torch.randn(5)
    assert lt.sensitivity(small(), small_loss, "mxfp4", **options) == one
    assert lt.sensitivity(small(), small_loss, "mxfp4", seed=1, **options) != one


def test_sampling_does_not_stop_after_one_chunk_whose_samples_agree_by_chance() -> None:
    model = nn.Linear(2, 1, bias=False)  # each sample is 0 or 8
    for seed in range(300):
        found = lt.sensitivity(
            model, lambda m: m.weight.sum() ** 2, "mxfp4", method="hessian", seed=seed
        )
        assert found.traces[""].error > 0, seed
        assert found.traces[""].samples >= 16


def test_the_mean_of_batches_has_the_mean_of_traces() -> None:
    x, y = data(12, 6), data(12, 3, seed=1)
    batches = [(x[:6], y[:6]), (x[6:], y[6:])]
    given = (iter(batches), lambda m, b: F.mse_loss(m(b[0]), b[1]))
    options = {"method": "hessian", "samples": 24, "tolerance": 0}
    parts = lt.sensitivity(small().double(), _double(given), "mxfp4", **options)
    whole = lt.sensitivity(
        small().double(), lambda m: F.mse_loss(m(x.double()), y.double()), "mxfp4", **options
    )
    assert parts.loss == pytest.approx(whole.loss, rel=1e-14)
    for name in ("0", "2"):
        assert parts.traces[name].value == pytest.approx(whole.traces[name].value, rel=1e-12)


def _double(given: Any) -> Any:
    batches, loss = given
    return ((tuple(t.double() for t in b) for b in batches), loss)


def test_frozen_and_tied_weights_have_traces_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    model.requires_grad_(False)

    def loss(m: Any) -> Any:
        return m(data(9, 4)).square().sum()

    found = lt.sensitivity(model, loss, "mxfp4", method="hessian", samples=512, tolerance=0)
    apart = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    apart.load_state_dict(model.state_dict())
    for name in ("0", "2"):
        exact = dense_trace(apart, name, loss)
        assert abs(found.traces[name].value - exact) < 3 * found.traces[name].error
    assert model[2].weight is model[0].weight
    assert not model[0].weight.requires_grad


def test_attention_has_second_derivatives_and_its_projections_are_measured() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x = data(3, 5, 16)

    def loss(m: Any) -> Any:
        return m(x).square().mean() + m(x)[..., 0].exp().mean()

    names = ["linear1", "linear2", "self_attn.out_proj"]
    for method in ("loss", "weight_error", "hessian"):
        found = lt.sensitivity(model, loss, "mxfp4", method=method, samples=8)
        assert sorted(found.layers) == names
        assert set(found.left_out) >= {"self_attn.in_proj"}
    with pytest.raises(ValueError, match=r"self_attn\.out_proj did not run"):
        lt.sensitivity(model, loss, "mxfp4", method="output_error")
    found = lt.sensitivity(model, loss, "mxfp4", method="output_error", layers=["linear*"])
    assert sorted(found.layers) == names[:2]


def test_a_linear_loss_has_no_curvature_and_a_negative_trace_warns() -> None:
    model = nn.Linear(4, 4)
    found = lt.sensitivity(model, lambda m: m(data(3, 4)).sum(), "mxfp4", method="hessian")
    assert found.traces[""].value == found.rows[0].score == 0
    with pytest.warns(RuntimeWarning, match="trace is negative in"):
        found = lt.sensitivity(
            model, lambda m: -m(data(3, 4)).square().sum(), "mxfp4", method="hessian"
        )
    assert found.rows[0].score < 0


# ---- scores by hand ------------------------------------------------------------------------------


def by_hand(module: Any, name: str) -> Any:
    """The weight quantized along the axis that the forward product sums over."""
    w = module.weight.detach()
    g = getattr(module, "groups", 1)
    is_transposed = isinstance(module, nn.ConvTranspose1d)
    axis = 0 if is_transposed else 1 if isinstance(module, nn.Conv1d) else -1
    if is_transposed and g > 1:
        parts = w.reshape(g, -1, *w.shape[1:]).numpy()
        return torch.from_numpy(lowp.quantize(parts, name, axis=1)).reshape(w.shape)
    return torch.from_numpy(lowp.quantize(w.numpy(), name, axis=axis))


def test_scores_of_weights_are_those_by_hand_for_every_kind_of_layer() -> None:
    model = everything()
    by_loss = lt.sensitivity(model, every_loss, ["nvfp4", "float8_e5m2"])
    by_weight = lt.sensitivity(model, None, ["nvfp4", "float8_e5m2"], method="weight_error")
    model.eval()
    with torch.no_grad():
        base = float(every_loss(model))
        assert by_loss.loss == base
        assert list(by_loss.layers) == list(by_weight.layers) == MEASURED
        for row, other in zip(by_loss.rows, by_weight.rows, strict=True):
            module = model.get_submodule(row.layer)
            w = module.weight.detach().clone()
            q = by_hand(module, row.format)
            module.weight.copy_(q)
            assert row.score == float(every_loss(model)) - base, row
            module.weight.copy_(w)
            noise = (q.double() - w).square().sum() / w.double().square().sum()
            assert other.score == pytest.approx(float(noise), rel=1e-14)
            assert row.parameters == w.numel()
            assert (row.kind, row.error) == (other.kind, 0.0)


def test_scores_of_outputs_and_of_activations_are_those_by_hand() -> None:
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8))
    x = data(20, 32)
    batches = [x[:10], x[10:]]

    def loss(m: Any, b: Any) -> Any:
        return m(b).square().mean()

    plans = {"both": lt.Layer(x="mxfp4", w="mxfp8_e4m3"), "plain": lt.Layer()}
    found = lt.sensitivity(model, (batches, loss), plans, method="output_error")
    inputs, noise, signal = x, 0.0, 0.0
    with torch.no_grad():
        for b in batches:
            y = model[0](b)
            q = F.linear(
                lt.quantize(b, "mxfp4"), lt.quantize(model[0].weight, "mxfp8_e4m3"), model[0].bias
            )
            noise += float((q - y).double().square().sum())
            signal += float(y.double().square().sum())
    assert found.rows[0].score == noise / signal
    assert [row.score for row in found.rows if row.format == "plain"] == [0.0, 0.0]

    activations = lt.sensitivity(model, (batches, loss), ["mxfp4"], roles=["x"])
    with torch.no_grad():
        losses = [
            float(model[2](model[1](model[0](lt.quantize(b, "mxfp4")))).square().mean())
            for b in inputs.split(10)
        ]
    assert activations.rows[0].score == sum(losses) / 2 - activations.loss
    assert activations.rows[0].bits == 4.25
    assert activations.formats["mxfp4"] == lt.Layer(x="mxfp4")


def test_outputs_are_compared_before_a_hook_of_the_model_changes_them() -> None:
    x = data(9, 32)

    def loss(m: Any) -> Any:
        return m(x).square().mean()

    plans = {"plain": lt.Layer(), "mxfp4": "mxfp4"}
    want = lt.sensitivity(nn_of_32(), loss, plans, method="output_error").rows[:2]
    hooked = nn_of_32()
    hooked[0].register_forward_hook(lambda module, args, y: y + 100)
    assert lt.sensitivity(hooked, loss, plans, method="output_error").rows[:2] == want
    hooked[0].register_forward_hook(lambda module, args, y: y.zero_())
    assert lt.sensitivity(hooked, loss, plans, method="output_error").rows[:2] == want
    assert want[0].score == 0 < want[1].score < 1


def nn_of_32() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 2))


def test_bits_count_scales_for_the_shape_of_the_weight() -> None:
    model = nn.Linear(40, 3)
    names = ["mxfp4", "float8_e5m2", "float32", "int8_row", "float4_e2m1fn/32x32/float32/amax"]
    found = lt.sensitivity(model, None, names, method="weight_error")
    assert [row.bits for row in found.rows[:3]] == [4 + 2 * 8 / 40, 8.0, 32.0]
    for row, name in zip(found.rows, names, strict=True):
        w = model.weight.detach()
        if lowp.is_block_format(name):
            assert row.total_bits == lowp.encode(w.numpy(), name).bits_per_value * 120
        assert row.total_bits == round(row.bits * 120)
    assert found.rows[2].score == 0


class Conv1D(nn.Module):
    """As Hugging Face's, whose weight is (in, out)."""

    __module__ = "transformers.pytorch_utils"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(data(8, 4))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


def test_weights_that_lie_the_other_way_are_quantized_and_found_along_their_own_axes() -> None:
    model = nn.Sequential(Conv1D())
    with torch.no_grad():
        model[0].weight[6, 1] = 50
    x = data(9, 8).abs()
    x[:, 6] += 10

    def loss(m: Any) -> Any:
        return m(x).square().mean()

    for method in METHODS:
        found = lt.sensitivity(model, loss, "nvfp4/outer=none", method=method, samples=8)
        assert (found.rows[0].kind, found.rows[0].bits) == ("linear", 5.0)
    w = model[0].weight.detach()
    noise = (lt.quantize(w.t(), "mxfp4").t().double() - w).square().sum()
    found = lt.sensitivity(model, None, "mxfp4", method="weight_error")
    assert found.rows[0].score == float(noise / w.double().square().sum())
    (one,) = lt.hold_one_out(model, loss, candidates="spikes")
    assert (one.index, one.value) == ((6, 1), 50.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_may_compute_in_bfloat16_by_autocast(method: str) -> None:
    def loss(m: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return small_loss(m).float()

    found = lt.sensitivity(small(), loss, "mxfp4", method=method, samples=8)
    assert all(math.isfinite(row.score) for row in found.rows)


# ---- the model as it was -------------------------------------------------------------------------


def marked() -> Any:
    model = everything()
    every_loss(model).backward()
    model.conv.weight.grad = None
    model.grouped.requires_grad_(False)
    model.norm.eval()
    return model


class Normed(nn.Module):
    """A model whose buffers a pass in training mode changes, one of them shared."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = marked(), nn.BatchNorm1d(5)
        self.again = nn.BatchNorm1d(5)
        self.again.running_mean = self.norm.running_mean
        self.register_buffer("seen", torch.zeros(1), persistent=False)

    def forward(self, tokens: Any) -> Any:
        self.seen = self.seen + 1
        return self.again(self.norm(self.body(tokens).transpose(1, 2))).transpose(1, 2)


def training_loss(model: Any) -> Any:
    """In evaluation mode by what passes in training mode left, as a loop that validates."""
    before = drawing_loss(model)
    model.train()
    every_loss(model)
    return before + model.seen.sum()


def drawing_loss(model: Any) -> Any:
    """A loss that draws from every generator."""
    return every_loss(model) * (1 + random.random() + np.random.rand()) + torch.rand(())


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_all_random_states_are_as_they_were(method: str) -> None:
    model = marked()
    before = portrait(model)
    one = lt.sensitivity(model, drawing_loss, FORMATS, method=method, samples=8)
    assert portrait(model) == before
    assert lt.sensitivity(model, drawing_loss, FORMATS, method=method, samples=8) == one
    lt.hold_one_out(model, drawing_loss, count=2)
    lt.hold_one_out(model, drawing_loss, count=2, candidates="spikes")
    assert portrait(model) == before


@pytest.mark.parametrize("method", METHODS)
def test_buffers_and_modes_are_as_they_were_in_each_pass_and_afterwards(method: str) -> None:
    model = Normed()
    before = portrait(model)
    plans = {"plain": lt.Layer(), "drawn": lt.Quantizer("mxfp4/rounding=stochastic_a")}
    options: dict[str, Any] = {"method": method, "samples": 8}
    one = lt.sensitivity(model, training_loss, plans, **options)
    assert portrait(model) == before
    assert lt.sensitivity(model, training_loss, plans, **options) == one
    assert all(row.score == 0 for row in one.rows if row.format == "plain")
    lt.hold_one_out(model, training_loss, count=2)
    lt.hold_one_out(model, training_loss, count=2, candidates="spikes", layers=["body.head"])
    assert portrait(model) == before

    def stopping(m: Any) -> Any:
        training_loss(m)
        raise KeyboardInterrupt

    if method != "weight_error":
        with pytest.raises(KeyboardInterrupt):
            lt.sensitivity(model, stopping, plans, **options)
    assert portrait(model) == before


def test_batches_that_shuffle_by_a_generator_of_their_own_are_the_same_in_each_pass() -> None:
    torch_data = torch.utils.data
    loader = torch_data.DataLoader(
        torch_data.TensorDataset(data(64, 8)),
        batch_size=10,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(0),
    )
    model = nn.Linear(8, 2)
    before = portrait(model)
    found = lt.sensitivity(
        model, (loader, lambda m, b: m(b[0]).square().mean()), {"plain": lt.Layer()}
    )
    assert found.rows[0].score == 0
    drawn = (data(3, 8) * torch.rand(()) for _ in range(2))
    lt.sensitivity(model, (drawn, lambda m, b: m(b).square().mean()), "mxfp4")
    assert portrait(model) == before


@pytest.mark.parametrize("method", METHODS[:2] + METHODS[3:])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_is_as_it_was_after_an_error_at_any_call(method: str, error: Any) -> None:
    model = marked()
    before = portrait(model)
    for last in (1, 2, 4):
        calls = 0

        def loss(m: Any, last: int = last) -> Any:
            nonlocal calls
            calls += 1
            value = drawing_loss(m)
            if calls == last:
                raise error("stop")
            return value

        try:
            lt.sensitivity(model, loss, FORMATS, method=method, samples=64, tolerance=0)
        except error:
            pass
        else:
            assert calls < last  # of outputs there are two calls in all
        assert portrait(model) == before
        calls = 0
        with pytest.raises(error):
            lt.hold_one_out(model, loss, count=8)
        assert portrait(model) == before


def test_embeddings_with_a_largest_norm_are_not_renormed() -> None:
    model = nn.Sequential(nn.Embedding(8, 4, max_norm=0.5), nn.Linear(4, 2))
    before = portrait(model)
    found = lt.sensitivity(model, lambda m: m(torch.arange(8)).square().sum(), "mxfp4")
    assert list(found.layers) == ["0", "1"]
    assert portrait(model) == before


# ---- errors --------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_refused() -> None:
    model = small()
    calls: list[tuple[str, dict[str, Any], str]] = [
        ("mxfp4", {"method": "magic"}, "method must be one of loss"),
        ("mxfp4", {"samples": 1}, "samples must be between 2"),
        ("mxfp4", {"roles": "w"}, "roles must be some of"),
        ("mxfp4", {"layers": ["nothing"]}, "matches no layer; there are 0, 2"),
        ("mxfp5", {}, "formats"),
        ([], {}, "there are no formats"),
        (["mxfp4", "mxfp4"], {}, "given twice"),
        (lt.Layer(x="mxfp4", w="mxfp4"), {"method": "hessian"}, "'hessian' is of weights alone"),
        (lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed()), {}, "has seen nothing here"),
    ]
    for formats, options, message in calls:
        with pytest.raises(ValueError, match=message):
            lt.sensitivity(model, small_loss, formats, **options)
    losses: list[tuple[Any, str]] = [
        (([], lambda m, b: m(b)), "there are no batches"),
        (lambda m: m(data(3, 6)), r"must be one number; got shape \(3, 3\)"),
        (lambda m: torch.tensor(math.nan), "must be finite; got nan"),
    ]
    for loss, message in losses:
        with pytest.raises(ValueError, match=message):
            lt.sensitivity(model, loss, "mxfp4")
    with pytest.raises(ValueError, match="has no derivative"):
        lt.sensitivity(model, lambda m: small_loss(m).item(), "mxfp4", method="hessian")
    with pytest.raises(TypeError, match="loss must be a function"):
        lt.sensitivity(model, None, "mxfp4")
    with pytest.raises(ValueError, match="has no linear layer"):
        lt.sensitivity(nn.ReLU(), small_loss, "mxfp4")


def test_a_converted_model_is_refused_and_stays_converted() -> None:
    model = small()
    lt.convert(model, lt.Recipe(lt.Layer(w="mxfp4")))
    for call in (
        lambda: lt.sensitivity(model, small_loss, "mxfp4"),
        lambda: lt.hold_one_out(model, small_loss),
        lambda: lt.quantized_weights(model, lt.Recipe()).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"the model is converted; call lowp\.torch\.restore"):
            call()
    assert set(lt.layers(model)) == {"0", "2"}


def test_a_bar_is_shown_where_it_is_asked_for(capsys: Any) -> None:
    lt.sensitivity(small(), small_loss, "mxfp4")
    assert capsys.readouterr().err == ""
    lt.sensitivity(small(), small_loss, "mxfp4", progress=True)
    assert "sensitivity: loss" in capsys.readouterr().err


# ---- super weights -------------------------------------------------------------------------------


def with_super_weight() -> Any:
    """A network in which one weight takes one large input to all that matters."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[0].bias[11] = 40.0
        model[1].weight[5, 11] = 9.0
    return model


def super_loss(model: Any) -> Any:
    return (model(data(32, 16))[:, 5] - 360).square().mean()


@pytest.mark.parametrize("candidates", ["magnitude", "spikes"])
def test_a_super_weight_is_found_and_its_loss_is_that_without_it(candidates: str) -> None:
    model = with_super_weight()
    found = lt.hold_one_out(model, super_loss, count=2, candidates=candidates)
    assert len(found) == 2
    assert (found[0].layer, found[0].index, found[0].value) == ("1", (5, 11), 9.0)
    without = with_super_weight()
    with torch.no_grad():
        base = float(super_loss(without))
        without[1].weight[5, 11] = 0
        assert found[0].change == float(super_loss(without)) - base
    (given,) = lt.hold_one_out(model, super_loss, candidates=[("1", (5, 11))])
    assert given == found[0]
    with pytest.raises(ValueError, match=r"1 has weights \(16, 16\); got index \(16, 0\)"):
        lt.hold_one_out(model, super_loss, candidates=[("1", (16, 0))])
    with pytest.raises(ValueError, match="there is no layer '7'; there are 0, 1"):
        lt.hold_one_out(model, super_loss, candidates=[("7", (0, 0))])


def test_a_loss_that_becomes_nan_without_a_weight_comes_first_and_others_are_in_order() -> None:
    model = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))

    def loss(m: Any) -> Any:
        w = m.weight[0]
        return w.sum() + (math.nan if w[1] == 0 else 0) - (math.inf if w[3] == 0 else 0)

    found = lt.hold_one_out(model, loss, count=5)
    assert [one.index[1] for one in found] == [1, 0, 2, 4, 3]
    with pytest.raises(ValueError, match="the model's own loss must be finite; got nan"):
        lt.hold_one_out(model, lambda m: loss(m) * math.nan)


def test_spikes_without_a_linear_layer_that_runs_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"'spikes' are of linear layers.*use 'magnitude'"):
        lt.hold_one_out(model, lambda m: m(data(1, 1, 4, 4)).sum(), candidates="spikes")
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"'spikes' are of linear layers.*use 'magnitude'"):
        lt.hold_one_out(model, lambda m: m[0].weight.sum(), candidates="spikes")


@pytest.mark.parametrize("candidates", ["magnitude", "spikes"])
def test_a_weight_that_two_modules_share_is_one_candidate(candidates: str) -> None:
    model = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(3)])
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight.zero_().fill_diagonal_(1)
        model[0].weight[2, 2] = 9
    x = torch.tensor([[1.0, 2.0, 5.0, 4.0]])
    found = lt.hold_one_out(model, lambda m: m(x).square().sum(), count=2, candidates=candidates)
    places = [(id(model.get_submodule(one.layer).weight), one.index) for one in found]
    assert len(set(places)) == len(places) == 2


def test_tied_weights_are_zero_wherever_they_are_used() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    (one,) = lt.hold_one_out(
        model, lambda m: m(data(5, 4)).square().sum(), candidates=[("0", (1, 2))]
    )
    x, w = data(5, 4), model[0].weight.detach().clone()
    base = float((x @ w.t() @ w.t()).square().sum())
    w[1, 2] = 0
    assert one.change == pytest.approx(float((x @ w.t() @ w.t()).square().sum()) - base, rel=1e-5)


def test_weights_held_out_keep_their_values_and_make_no_scale() -> None:
    model = with_super_weight()
    before = portrait(model)
    (best, *_) = lt.hold_one_out(model, super_loss, count=1)
    recipe = lt.Recipe(lt.Layer(w="int8_row"))
    rest = model[1].weight.detach().clone()
    rest[5, 11] = 0
    want = lt.quantize(rest, "int8_row")
    want[5, 11] = 9.0
    with lt.quantized_weights(model, recipe, held_out=[best]):
        assert torch.equal(model[1].weight, want)
        assert torch.equal(model[0].weight, lt.quantize(before_weight(0), "int8_row"))
    with lt.quantized_weights(model, recipe):
        assert torch.equal(model[1].weight, lt.quantize(before_weight(1), "int8_row"))
    assert portrait(model) == before
    with (
        pytest.raises(RuntimeError, match="stop"),
        lt.quantized_weights(model, recipe, held_out=[("1", (5, 11))]),
    ):
        raise RuntimeError("stop")
    assert portrait(model) == before


def before_weight(at: int) -> Any:
    return with_super_weight()[at].weight.detach()


def test_quantized_weights_compute_what_a_converted_model_does() -> None:
    model = everything().eval()
    recipe = lt.Recipe(lt.Layer(w="nvfp4"), types={"embedding": lt.Layer(w="mxfp4")})
    with torch.no_grad():
        with lt.quantized_weights(model, recipe):
            one = every_loss(model)
        with lt.converted(model, recipe):
            assert torch.equal(every_loss(model), one)
    rotated = lt.Recipe(lt.Layer(w="nvfp4", forward_transform=lt.Hadamard(4)))
    with (
        pytest.raises(ValueError, match="after a transform"),
        lt.quantized_weights(nn.Linear(8, 8), rotated),
    ):
        pass
