"""Recurrent layers in formats: by hand to the bit, PyTorch's bits where nothing is rounded."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from torch import nn  # noqa: E402
from torch_oracle import Hand  # noqa: E402

Tensor = Any
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration")

FORMATS: dict[str, Any] = {
    "x": "mxfp8_e4m3",
    "w": "nvfp4",
    "output": "bfloat16",
    "bias": "float16",
    "dgrad_dy": "mxfp8_e5m2",
    "dgrad_w": "mxfp4",
    "wgrad_x": "mxfp4",
    "wgrad_dy": "mxfp8_e5m2",
}
DICE: dict[str, Any] = dict.fromkeys(FORMATS, ("float8_e4m3fn", "stochastic_a", 8))
FLOAT32 = lt.Layer.of("float32", "float32", "float32", output="float32")


def layer_of(formats: dict[str, Any]) -> lt.Layer:
    return lt.Layer(
        **{
            role: lt.Quantizer(f) if isinstance(f, str) else lt.Quantizer(f[0], f[1], None, f[2])
            for role, f in formats.items()
        }
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Many small products: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recipe(layer: lt.Layer, **more: Any) -> lt.Recipe:
    return lt.Recipe(types={"recurrent": layer}, **more)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flat(value: Any) -> list[Tensor]:
    """The tensors of whatever a module gives."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return [value.data]
    return [t for part in value for t in flat(part)]


def assert_same(got: list[Tensor], want: list[Tensor]) -> None:
    assert [torch.equal(a, b) for a, b in zip(got, want, strict=True)] == [True] * len(want)


# ---- nothing rounded -----------------------------------------------------------------------------

X = normal(9, 4, 6)
LENGTHS = torch.tensor([3, 9, 5, 5])
PACKED = nn.utils.rnn.pack_padded_sequence(X, LENGTHS, enforce_sorted=False)

SEQUENCES: dict[str, tuple[dict[str, Any], Any]] = {
    "plain": ({}, X),
    "one sequence": ({}, X[:, 0]),
    "no step but one": ({}, X[:1]),
    "deep, both ways, dropout": ({"num_layers": 3, "bidirectional": True, "dropout": 0.3}, X),
    "batch first, no bias": ({"batch_first": True, "bias": False}, X),
    "packed": ({}, PACKED),
    "packed, deep, both ways": ({"num_layers": 2, "bidirectional": True, "dropout": 0.4}, PACKED),
}


def check_same_bits(kind: type, options: dict[str, Any], *given: Any, train: bool = True) -> None:
    torch.manual_seed(0)
    plain = kind(6, 8, **options).train(train)
    ours = copy.deepcopy(plain)
    lt.convert(ours, recipe(FLOAT32))
    assert list(ours.state_dict()) == list(plain.state_dict())
    results = []
    # the fused kernels of oneDNN add in another order
    with torch.backends.mkldnn.flags(enabled=False):
        for m in (plain, ours):
            leaves = [
                t.clone().requires_grad_() if isinstance(t, torch.Tensor) else t for t in given
            ]
            torch.manual_seed(3)
            y = flat(m(*leaves))
            sum(t.square().sum() for t in y).backward()
            grads = [t.grad for t in leaves if isinstance(t, torch.Tensor)]
            results.append([*y, *grads, *(p.grad for p in m.parameters())])
    assert [t.shape for t in results[1]] == [t.shape for t in results[0]]
    assert_same(results[1], results[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", SEQUENCES)
def test_layers_of_float32_have_pytorchs_bits(case: str, train: bool, kind: type) -> None:
    options, x = SEQUENCES[case]
    check_same_bits(kind, options, x, train=train)


def test_projections_relu_and_given_hidden_states_have_pytorchs_bits() -> None:
    check_same_bits(nn.LSTM, {"proj_size": 3, "num_layers": 2, "bidirectional": True}, X)
    hidden = (normal(2, 4, 3), normal(2, 4, 8))
    check_same_bits(nn.LSTM, {"proj_size": 3, "bidirectional": True}, PACKED, hidden)
    check_same_bits(nn.GRU, {"num_layers": 2}, X, normal(2, 4, 8))
    check_same_bits(
        nn.RNN, {"nonlinearity": "relu", "bidirectional": True}, PACKED, normal(2, 4, 8)
    )


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_of_float32_have_pytorchs_bits(kind: type, bias: bool) -> None:
    check_same_bits(kind, {"bias": bias}, X[0])
    check_same_bits(kind, {"bias": bias}, X[0, 0])
    hidden = normal(4, 8)
    check_same_bits(kind, {"bias": bias}, X[0], (hidden, hidden) if kind is nn.LSTMCell else hidden)
    if kind is nn.RNNCell:
        check_same_bits(kind, {"bias": bias, "nonlinearity": "relu"}, X[0], hidden)


def test_training_of_float32_has_pytorchs_bits() -> None:
    weights = []
    with torch.backends.mkldnn.flags(enabled=False):
        for convert in (False, True):
            torch.manual_seed(0)
            m = nn.LSTM(6, 8, 2, dropout=0.2)
            if convert:
                lt.convert(m, recipe(FLOAT32))
            optimizer = torch.optim.Adam(m.parameters(), 0.01)
            torch.manual_seed(1)
            for step in range(4):
                optimizer.zero_grad()
                m(normal(5, 4, 6, seed=step))[0].square().sum().backward()
                optimizer.step()
            weights.append(list(m.parameters()))
    assert_same(weights[1], weights[0])


# ---- by hand -------------------------------------------------------------------------------------


def lstm_step(gates: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    enter, forget, cell, leave = gates.chunk(4, -1)
    c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * c.tanh(), c


def lstm_by_hand(x: Tensor, m: nn.Module, hands: dict[str, Hand], suffix: str) -> Tensor:
    """One layer one way. The hidden state's product is made anew at each step."""
    w_ih, w_hh, b_ih, b_hh, w_hr = (
        getattr(m, f"{kind}_l0{suffix}")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    )
    h, c = torch.zeros(x.shape[1], w_hr.shape[0]), torch.zeros(x.shape[1], w_hr.shape[1])
    inputs = hands[f"weight_ih_l0{suffix}"].linear(x.flatten(0, 1), w_ih, b_ih)
    outputs = []
    steps = inputs.split(x.shape[1])
    for gates in reversed(steps) if suffix else steps:
        both = hands[f"weight_hh_l0{suffix}"].linear(h, w_hh, b_hh) + gates
        h, c = lstm_step(both, h, c)
        h = hands[f"weight_hr_l0{suffix}"].linear(h, w_hr)
        outputs.append(h)
    return torch.stack(outputs[::-1] if suffix else outputs)


@pytest.mark.parametrize("formats", [FORMATS, DICE])
def test_an_lstm_equals_quantize_and_products_by_hand_forward_and_back(
    formats: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    m = nn.LSTM(40, 32, proj_size=20, bidirectional=True)
    hand_m = copy.deepcopy(m)
    report = lt.convert(m, recipe(layer_of(formats)))
    hands = {name: Hand(formats, s.number) for name, s in lt.layers(m).items()}
    assert set(hands) == {name for name, _ in hand_m.named_parameters() if "weight" in name}
    assert set(report.converted) == set(hands)
    for step in range(2):
        x = normal(4, 33, 40, seed=step).requires_grad_()
        x2 = x.detach().clone().requires_grad_()
        for n in (m, hand_m):
            n.zero_grad()
        y, _ = m(x)
        want = torch.cat([lstm_by_hand(x2, hand_m, hands, way) for way in ("", "_reverse")], -1)
        dy = normal(*y.shape, seed=9)
        y.backward(dy)
        want.backward(dy)
        grads = [[t.grad, *(p.grad for p in n.parameters())] for t, n in ((x, m), (x2, hand_m))]
        assert_same([y, *grads[0]], [want, *grads[1]])


@pytest.mark.parametrize("formats", [FORMATS, DICE])
def test_cells_equal_quantize_and_products_by_hand(formats: dict[str, Any]) -> None:
    for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell):
        torch.manual_seed(0)
        m = kind(40, 32)
        lt.convert(m, recipe(layer_of(formats)))
        hands = [Hand(formats, lt.layers(m)[name].number) for name in ("weight_ih", "weight_hh")]
        x, h, c = normal(33, 40), normal(33, 32, seed=1), normal(33, 32, seed=2)
        of_x = hands[0].linear(x, m.weight_ih, m.bias_ih)
        of_h = hands[1].linear(h, m.weight_hh, m.bias_hh)
        if kind is nn.LSTMCell:
            want = flat(lstm_step(of_h + of_x, h, c))
            got = flat(m(x, (h, c)))
        elif kind is nn.GRUCell:
            reset, update = (of_h + of_x)[:, :64].chunk(2, -1)
            new = (of_x[:, 64:] + of_h[:, 64:] * reset.sigmoid()).tanh()
            want, got = [(h - new) * update.sigmoid() + new], [m(x, h)]
        else:
            want, got = [(of_h + of_x).tanh()], [m(x, h)]
        assert_same(got, want)


def test_a_packed_batch_equals_its_sequences_alone() -> None:
    torch.manual_seed(0)
    m = nn.GRU(6, 8, 2, bidirectional=True)
    # scales of single values do not see the other sequences of the batch
    lt.convert(m, recipe(lt.Layer(x="float8_e4m3fn", w="mxfp4", output="float8_e5m2")))
    y, h = m(PACKED)
    rows, lengths = nn.utils.rnn.pad_packed_sequence(y)
    for i, length in enumerate(lengths.tolist()):
        alone, last = m(X[:length, i : i + 1])
        assert torch.equal(rows[:length, i : i + 1], alone)
        assert torch.equal(h[:, i : i + 1], last)


# ---- conversion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("formats", [FORMATS, DICE])
def test_restore_copies_and_pickles_keep_bits_and_names(formats: dict[str, Any]) -> None:
    torch.manual_seed(0)
    m = nn.Sequential(nn.LSTM(6, 8))
    before = m(X)[0]
    keys, signature = list(m.state_dict()), inspect.signature(m[0].forward)
    lt.convert(m, recipe(layer_of(formats)))
    m.eval()
    got = [key for key in m.state_dict() if "lowp" not in key]
    assert got == keys
    assert (list(m.state_dict()) == keys) == (formats is FORMATS)
    assert inspect.signature(m[0].forward) == signature
    y = m(X)[0]
    assert not torch.equal(y, before)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert torch.equal(other(X)[0], y)
        lt.restore(other)
        assert torch.equal(other(X)[0], before)
    lt.restore(m)
    assert type(m[0]) is nn.LSTM
    assert torch.equal(m(X)[0], before)


def test_patterns_and_keep_take_layers_and_single_weights() -> None:
    m = nn.ModuleDict({"a": nn.GRU(6, 8, 2), "b": nn.LSTMCell(6, 8), "c": nn.RNN(6, 8)})
    plan = recipe(layer_of(FORMATS), patterns={"a.weight_hh_*": None}, keep=["last:1"])
    report = lt.convert(m, plan)
    assert report.converted == ("a.weight_ih_l0", "a.weight_ih_l1", "b.weight_ih", "b.weight_hh")
    assert report.kept == (
        "a.weight_hh_l0",
        "a.weight_hh_l1",
        "c.weight_ih_l0",
        "c.weight_hh_l0",
    )
    assert type(m["c"]) is nn.RNN
    lt.restore(m)
    assert not lt.convert(m, lt.Recipe(layer_of(FORMATS))).converted


def test_a_checkpoint_goes_on_with_the_same_random_bits() -> None:
    models = [nn.GRU(6, 8), nn.GRU(6, 8)]
    for m in models:
        lt.convert(m, recipe(layer_of(DICE), seed=5))
    first = models[0](X)[0]
    models[1].load_state_dict(models[0].state_dict())
    assert int(models[1].state_dict()["lowp.weight_hh_l0.calls"]) == len(X)
    second = models[0](X)[0]
    assert not torch.equal(first, second)
    assert torch.equal(models[1](X)[0], second)


def test_errors_name_the_weight_and_its_role_or_are_pytorchs() -> None:
    m = nn.LSTM(6, 8)
    plan = lt.Layer(x=lt.Quantizer("mxfp8_e4m3", ragged="refuse"))
    lt.convert(m, recipe(plan))
    with pytest.raises(ValueError, match=r"weight_ih_l0, x: 6 values along axis"):
        m(X)
    with pytest.raises(RuntimeError, match="Expected 6, got 5"):
        m(X[..., :5])
    with pytest.raises((ValueError, RuntimeError), match=r"at least one step|non-zero"):
        m(X[:0])
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("allow", [False, True])
def test_a_compiled_model_has_the_same_bits(allow: bool) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    m = nn.Sequential(nn.LSTM(6, 8, bidirectional=True))
    lt.convert(m, recipe(layer_of(FORMATS)))
    # PyTorch breaks the graph at recurrent layers unless it is told not to
    with torch._dynamo.config.patch(allow_rnn=allow):
        run = torch.compile(m, fullgraph=allow, backend="aot_eager")
        assert torch.equal(run(X)[0], m(X)[0])
