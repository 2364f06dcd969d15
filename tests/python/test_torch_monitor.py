"""lowp.torch.Monitor, detect_nan, check_loss: they see what the layers see, name what is wrong, and
cost and change nothing where they are off."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from lowp import torch as lt  # noqa: E402
from lowp.torch.monitor import Row, read_csv  # noqa: E402
from torch import nn  # noqa: E402

E4M3, E5M2 = "float8_e4m3fn", "float8_e5m2"


def model(layer: Any = None, width: int = 64) -> Any:
    torch.manual_seed(4)
    m = nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, 8))
    lt.convert(m, lt.Recipe(layer or lt.Layer.of("mxfp8_e4m3", E4M3, E5M2)))
    return m


def data(rows: int = 32, width: int = 64) -> Any:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(9))


def one_step(m: Any, x: Any) -> None:
    m(x).square().mean().backward()


def row(monitor: Any, module: str, role: str) -> Row:
    (found,) = [r for r in monitor.records if (r.module, r.role) == (module, role)]
    return found


@pytest.fixture
def recorded() -> Any:
    m = model()
    optimizer = torch.optim.SGD(m.parameters(), 0.01)
    with lt.Monitor(m, optimizer=optimizer, sample=None) as monitor:
        for _ in range(3):
            one_step(m, data())
            optimizer.step()
    return monitor


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [E4M3, E5M2, "float4_e2m1fn", "mxfp8_e4m3", "mxfp4", "nvfp4"])
def test_a_row_has_the_measures_of_lowp_error_on_the_same_array(format: str) -> None:
    x = data() * 100
    x[0, :8], x[5] = torch.tensor([1e-9, -1e-7, 600, -1e6, 0, 3, 448, 6]), 0
    m = model(lt.Layer(x=format))
    with lt.Monitor(m, sample=None) as monitor:
        m(x)
    found, wanted = row(monitor, "0", "x"), lowp.error(x.numpy(), format)
    assert (found.count, found.amax) == (x.numel(), 1e6)
    assert (found.underflow, found.overflow) == (wanted.flushed, wanted.clipped)
    assert (found.sqnr_db, found.gain) == (wanted.sqnr_db, wanted.gain) or math.isnan(found.gain)
    exponents = np.frexp(x.numpy()[x.numpy() != 0])[1] - 1
    assert found.first_exponent == exponents.min()
    assert found.exponents == tuple(np.bincount(exponents - exponents.min()))


@pytest.mark.parametrize("format", ["mxfp8_e4m3", "nvfp4", "float8_e4m3fn/128x128/float32/amax"])
def test_scales_are_those_of_the_blocks_that_hold_something(format: str) -> None:
    x = data(256, 256)
    x[3], x[8, 32:64], x[128:, :128] = 0, 0, 0
    m = model(lt.Layer(x=format), 256)
    with lt.Monitor(m) as monitor:
        m(x)
    blocks = lowp.encode(x.numpy(), format)
    scales = blocks.scale_values() * (blocks.outer_scale if blocks.outer_scale.size else 1)
    down, across = scales.shape
    parts = x.numpy().reshape(down, 256 // down, across, 256 // across)
    held = np.sort(scales[(parts != 0).any((1, 3))])
    assert held.size < scales.size
    found = row(monitor, "0", "x")
    assert (found.scale_min, found.scale, found.scale_max) == (
        held[0],
        held[(held.size - 1) // 2],
        held[-1],
    )


def test_a_delayed_scale_is_the_one_in_use_and_not_the_next() -> None:
    m = model(lt.Layer(x=lt.Quantizer(E4M3, scaling=lt.Delayed(2))))
    scales = []
    with lt.Monitor(m, names=["0"]) as monitor:
        for factor in (1, 8, 1):
            scales.append(float(m[0].lowp.x_scale))
            m(data() * factor)
            monitor.step()
    assert [r.scale for r in monitor.records] == scales
    assert {r.format for r in monitor.records} == {E4M3}
    assert 1 == scales[0] > scales[1]
    assert scales[2] == 8 * scales[1]


def test_blocks_along_another_axis_and_stochastic_scales_are_met() -> None:
    q = lt.Quantizer("mxfp4", rounding="stochastic_a", axis=0)
    m = model(lt.Layer(x=q))
    x = data()
    with lt.Monitor(m, sample=None) as monitor:
        m(x)
    found = row(monitor, "0", "x")
    seen = lowp.quantize(x.numpy(), q.format, axis=0, seed=0, stream=1 << 40)
    assert found.sqnr_db == lowp.error(x.numpy(), seen).sqnr_db
    assert found.overflow == lowp.error(x.numpy(), q.format, axis=0, stream=1 << 40).clipped


def test_nan_and_infinity_are_counted_and_left_out() -> None:
    x = data()
    x[0, 0], x[0, 1], x[2, 2] = math.nan, math.inf, -math.inf
    m = model(lt.Layer(x=E5M2))
    with lt.Monitor(m, sample=None) as monitor:
        m(x)
    found, wanted = row(monitor, "0", "x"), lowp.error(x.numpy(), E5M2)
    assert (found.nan_count, found.inf_count) == (1, 2)
    assert (found.nan_count, found.inf_count) == (wanted.nan_count, wanted.inf_count)
    assert (found.underflow, found.overflow) == (wanted.flushed, wanted.clipped)
    assert found.sqnr_db == wanted.sqnr_db
    assert found.amax == x[x.isfinite()].abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_dtype_and_empty_tensors_are_recorded(dtype: Any) -> None:
    m = model(lt.Layer(x="mxfp8_e4m3")).to(dtype)
    with lt.Monitor(m, sample=None) as monitor, torch.no_grad():
        m(data().to(dtype))
        m(data()[:0].to(dtype))
    full, empty = [r for r in monitor.records if r.module == "0"]
    wide = data().to(dtype).double().numpy()
    assert full.underflow == lowp.error(wide, "mxfp8_e4m3").flushed
    assert (empty.count, empty.amax, empty.underflow, empty.exponents) == (0, 0, 0, ())
    assert math.isnan(empty.scale)
    assert empty.sqnr_db == math.inf


def test_a_sample_comes_past_every_column_and_leaves_shares_exact() -> None:
    x = data(64, 96)
    m = model(lt.Layer(x="float4_e2m1fn"), 96)
    with lt.Monitor(m, sample=1000) as monitor:
        m(x)
    found = row(monitor, "0", "x")
    taken = x.reshape(-1)[::7]
    assert sum(found.exponents) == taken.numel() == 878
    assert set((np.arange(878) * 7) % 96) == set(range(96))
    assert found.sqnr_db == lowp.error(taken.numpy(), "float4_e2m1fn").sqnr_db
    assert found.underflow == lowp.error(x.numpy(), "float4_e2m1fn").flushed


# ---- when it records -----------------------------------------------------------------------------


def test_each_role_of_each_module_has_a_row_a_step(recorded: Any) -> None:
    forward, back = ["x", "w"], ["dgrad_dy", "dgrad_w", "wgrad_x", "wgrad_dy"]
    for step in range(3):
        seen = [(r.module, r.role) for r in recorded.records if r.step == step]
        wanted = [(name, role) for name in "02" for role in forward]
        # the data needs no gradient
        wanted += [("2", role) for role in back] + [("0", role) for role in back[2:]]
        assert sorted(seen) == sorted(wanted)
    assert {r.call for r in recorded.records} == {0}


def test_nothing_is_recorded_before_start_and_after_stop() -> None:
    m = model()
    monitor = lt.Monitor(m)
    one_step(m, data())
    assert not monitor.records
    monitor.start()
    with pytest.raises(RuntimeError, match="on already"):
        monitor.start()
    one_step(m, data())
    count = len(monitor.records)
    monitor.stop()
    monitor.stop()
    one_step(m, data())
    assert len(monitor.records) == count == 10
    assert all(not s.observers for s in lt.layers(m).values())


def test_every_roles_and_names_choose() -> None:
    m = model()
    with lt.Monitor(m, every=2, roles=["w", "dgrad_dy"], names=["2"], histogram=False) as monitor:
        for _ in range(4):
            one_step(m, data())
            monitor.step()
    assert [(r.step, r.module, r.role) for r in monitor.records] == [
        (step, "2", role) for step in (0, 2) for role in ("w", "dgrad_dy")
    ]
    assert {r.exponents for r in monitor.records} == {()}


def test_calls_of_one_module_in_a_step_are_told_apart() -> None:
    m = model(lt.Layer(x=E4M3))
    with lt.Monitor(m, names=["0"]) as monitor:
        for factor in (1, 2):
            m(data() * factor)
        monitor.step()
        m(data())
    assert [(r.step, r.call) for r in monitor.records] == [(0, 0), (0, 1), (1, 0)]
    assert monitor.records[1].amax == 2 * monitor.records[0].amax


def test_training_is_the_same_bits_with_and_without_it() -> None:
    layer = lt.Layer.of("mxfp8_e4m3", "nvfp4", lt.Quantizer("mxfp4", rounding="stochastic_a"))
    plain, watched = model(layer), model(layer)
    one_step(plain, data())
    with lt.Monitor(watched), lt.detect_nan(watched):
        one_step(watched, data())
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_copies_and_pickles_are_made_and_not_observed() -> None:
    m = model()
    with lt.Monitor(m) as monitor:
        copies = [copy.deepcopy(m), pickle.loads(pickle.dumps(m))]
        for other in copies:
            assert all(not s.observers for s in lt.layers(other).values())
            other(data())
        assert not monitor.records
        m(data())
    assert len(monitor.records) == 4


def test_a_rank_and_a_layer_by_hand_have_their_names() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.state = lt.LayerState(lt.Layer(x=E4M3), rank=3)
            self.w = nn.Parameter(torch.ones(4, 8))

        def forward(self, x: Any) -> Any:
            return lt.functional.linear(x, self.w, layer=self.state)

    m = Net()
    with lt.Monitor(m) as monitor:
        m(data(2, 8))
    assert [(r.module, r.role, r.rank) for r in monitor.records] == [("state", "x", 3)]


def test_compiled_code_is_not_observed_and_it_says_so() -> None:
    m = model(lt.Layer(x=E4M3))
    compiled = torch.compile(m, backend="eager", fullgraph=True)
    with pytest.warns(RuntimeWarning, match="compiled code is not observed"):
        monitor = lt.Monitor(compiled).start()
    y = compiled(data())
    with pytest.warns(RuntimeWarning, match="no tensor was seen in step 0"):
        monitor.step()
    monitor.stop()
    assert not monitor.records
    assert torch.equal(y, m(data()))


# ---- bad input -----------------------------------------------------------------------------------


def test_bad_arguments_are_refused_with_what_there_is() -> None:
    m = model()
    with pytest.raises(ValueError, match=r"call lowp\.torch\.convert\(model, recipe\) first"):
        lt.Monitor(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"no role 'y'; there are x, w"):
        lt.Monitor(m, roles=["y"])
    with pytest.raises(ValueError, match="'head' matches no converted module; there are 0, 2"):
        lt.Monitor(m, names=["head"])
    with pytest.raises(ValueError, match="every must be an integer from 1 on; got 0"):
        lt.Monitor(m, every=0)
    with pytest.raises(TypeError, match="roles must be a list"):
        lt.Monitor(m, roles="x")
    with pytest.raises(TypeError, match="model must be"):
        lt.Monitor([m])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing is recorded"):
        lt.Monitor(m).table()


# ---- output --------------------------------------------------------------------------------------


def test_the_table_has_every_tensor_and_the_worst_is_no_better(recorded: Any) -> None:
    last, worst = recorded.table(), recorded.table("worst")
    for text in ("SQNR, dB", "mxfp8_e4m3", "dgrad_dy", "steps 0 to 2"):
        assert text in last
        assert text in worst
    assert last.count("│ 2 ") == 6
    with pytest.raises(ValueError, match="'last' or 'worst'"):
        recorded.table("best")


def test_csv_gives_the_same_records_back(recorded: Any, tmp_path: Path) -> None:
    recorded.to_csv(tmp_path / "a.csv")
    assert read_csv(tmp_path / "a.csv") == recorded.records
    (tmp_path / "b.csv").write_text("step,loss\n")
    with pytest.raises(ValueError, match="columns must be step, module"):
        read_csv(tmp_path / "b.csv")


def test_pandas_has_a_line_a_record(recorded: Any) -> None:
    pytest.importorskip("pandas")
    frame = recorded.to_pandas()
    assert frame.iloc[1].to_dict() == asdict(recorded.records[1])
    assert len(frame) == len(recorded.records)


def test_a_writer_gets_every_measure_and_histogram(recorded: Any) -> None:
    class Writer:
        def __init__(self) -> None:
            self.scalars: dict[tuple[str, int], float] = {}
            self.histograms: list[dict[str, Any]] = []

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            self.scalars[tag, step] = value

        def add_histogram_raw(self, tag: str, **named: Any) -> None:
            self.histograms.append({"tag": tag, **named})

    writer = Writer()
    recorded.to_tensorboard(writer)
    assert len(writer.scalars) == 10 * len(recorded.records)
    assert writer.scalars["0/x/amax", 2] == next(r.amax for r in recorded.records if r.step == 2)
    for found in writer.histograms:
        assert found["num"] == sum(found["bucket_counts"])
        assert len(found["bucket_limits"]) == len(found["bucket_counts"])


def test_a_folder_for_tensorboard_is_written(recorded: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorded.to_tensorboard(tmp_path)
    read = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0})
    read.Reload()
    amax = [np.float32(r.amax) for r in recorded.records if (r.module, r.role) == ("0", "w")]
    assert [np.float32(e.value) for e in read.Scalars("0/w/amax")] == amax
    assert len(read.Histograms("0/w/exponents")) == 3


def test_a_folder_without_tensorboard_says_what_to_install(
    recorded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        recorded.to_tensorboard(tmp_path)


WHAT = ["scale", "amax", "underflow", "overflow", "sqnr_db", "gain", "exponents"]


@pytest.mark.parametrize("what", WHAT)
def test_every_picture_is_written(recorded: Any, tmp_path: Path, what: str) -> None:
    pytest.importorskip("matplotlib")
    recorded.plot(tmp_path / "a.png", what)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="plot takes one of scale"):
        recorded.plot(tmp_path / "b.png", "loss")


# ---- NaN -----------------------------------------------------------------------------------------


def stopped(message: str) -> Any:
    return pytest.raises(FloatingPointError, match=message)


def test_detect_nan_names_module_role_format_and_what_to_do() -> None:
    m = model(lt.Layer(x=E4M3))
    with stopped(r"0, x .*largest 448.* amax 1000.*finite'"), lt.detect_nan(m):
        m(torch.full((2, 64), 1000.0))
    m(torch.full((2, 64), 1000.0))
    assert all(not s.observers for s in lt.layers(m).values())


def test_detect_nan_tells_what_arrived_from_what_became() -> None:
    m = model(lt.Layer(w=E5M2, dgrad_dy=E5M2))
    x = data().requires_grad_()
    with stopped(r"2, dgrad_dy .* arrived.*gradient"), lt.detect_nan(m):
        (m(x).sum() * math.inf).backward()
    with torch.no_grad():
        m[2].weight[0, 0] = math.nan
    with stopped(r"2, w .* arrived.*learning rate"), lt.detect_nan(m):
        m(x)


def test_detect_nan_warns_once_a_module_and_role() -> None:
    m = model(lt.Layer(x=E4M3))
    with lt.detect_nan(m, "warn") as watch, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            m(torch.full((2, 64), 1000.0))
    assert [str(w.message)[:4] for w in told] == ["0, x", "2, x"]
    assert watch.first is not None
    assert (watch.first.arrived, watch.first.amax) == (False, 1000)


def test_large_sums_of_finite_values_are_no_offence() -> None:
    m = model(lt.Layer(x="bfloat16"))
    with lt.detect_nan(m):
        m[0](torch.full((2, 64), 3e38))
    with pytest.raises(ValueError, match="action must be one of raise, warn, remember"):
        lt.detect_nan(m, "stop")


def test_check_loss_names_where_it_arose() -> None:
    m = model(lt.Layer(x=E4M3))
    lt.check_loss(1.0, m)
    with lt.detect_nan(m, "remember"):
        loss = m(torch.full((2, 64), 1000.0)).sum()
        with pytest.raises(ValueError, match="the loss is nan: 0, x"):
            lt.check_loss(loss, m)
        with pytest.warns(RuntimeWarning, match="the loss is nan: 0, x"):
            lt.check_loss(loss, m, "warn")
    with lt.detect_nan(m, "remember"):
        m(data())
        with pytest.raises(ValueError, match=r"the loss is inf: every tensor .* was finite"):
            lt.check_loss(math.inf, m)
    with pytest.raises(ValueError, match="run the step within"):
        lt.check_loss(math.nan, m)
    with torch.no_grad():
        m[2].bias[0] = math.nan
    with pytest.raises(ValueError, match=r"parameter 2\.bias holds NaN"):
        lt.check_loss(math.nan, m)
    with pytest.raises(ValueError, match="must be raise or warn"):
        lt.check_loss(math.nan, m, "stop")
