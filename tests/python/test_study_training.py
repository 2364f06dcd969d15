"""The task `training`: recipes made of its arguments, what runs give, and that they repeat."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.study.parameters import Result, parameters_of  # noqa: E402
from lowp.study.tasks import _models, _plan, metrics_of  # noqa: E402
from lowp.study.tasks.training import training  # noqa: E402
from lowp.torch import recipes  # noqa: E402

MODELS = ["regression", "digits", "digits_cnn", "gpt", "gpt_small"]
NONE = dict.fromkeys(
    ["x", "w", "dy", "forward_x", "forward_w", "dgrad_dy", "dgrad_w", "wgrad_x", "wgrad_dy"], "none"
)


def short(model: str, **given: Any) -> Result:
    """A few steps of a model, and of the GPTs on little text."""
    if model.startswith("digits"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    small = {"batch": 2, "context": 16} if model.startswith("gpt") else {}
    return training(model=model, **{"steps": 6, **small, **given})  # type: ignore[arg-type]


def same(a: Result, b: Result) -> bool:
    """Whether every number of both has the same bits."""
    return repr(dict(a.metrics)) == repr(dict(b.metrics)) and all(
        np.array_equal(a.series[name], b.series[name], equal_nan=True) for name in a.series
    )


# ---- recipes of arguments ------------------------------------------------------------------------


def test_formats_fill_the_slots_that_they_mean_and_single_slots_win() -> None:
    layer = _plan.with_formats(lt.Layer(), NONE | {"x": "mxfp4", "dy": "nvfp4", "wgrad_x": "nf4"})
    assert layer == lt.Layer(x="mxfp4", wgrad_x="nf4", dgrad_dy="nvfp4", wgrad_dy="nvfp4")  # type: ignore[arg-type]
    assert _plan.with_formats(layer, NONE) == layer
    every = {name: f"e{2 + i}m1" for i, name in enumerate(list(NONE)[3:])}
    single = _plan.with_formats(lt.Layer(), NONE | every)
    found = [getattr(single, s).format for s in ("x", "w", *list(NONE)[5:])]
    assert found == [lt.Quantizer(name).format for name in every.values()]


@pytest.mark.parametrize("format", ["e2m1", "float8_e4m3fn", "float16"])
def test_what_is_beyond_a_scalar_format_becomes_its_largest_value(format: str) -> None:
    layer = _plan.with_formats(lt.Layer(), NONE | {"x": format})
    assert layer.x == lt.Quantizer(format, saturation="finite")
    found = short("regression", x=format, w=format, dy=format)
    assert (found.metrics["diverged"], found.metrics["steps"]) == (0, 6)


def test_modes_go_to_the_operands_that_they_are_of() -> None:
    layer = _plan.with_modes(
        lt.Layer.of("mxfp4", "e4m3", "mxfp4"),
        rounding="toward_zero",
        gradient_rounding="stochastic_a",
        estimator="clipped",
        scaling="none",
    )
    assert layer.x == lt.Quantizer("mxfp4/rounding=toward_zero", gradient="clipped")
    assert layer.w == lt.Quantizer("e4m3", rounding="toward_zero", gradient="clipped")
    assert layer.wgrad_dy == lt.Quantizer("mxfp4/rounding=stochastic_a")


def test_scaling_is_a_second_level_of_blocks_and_the_only_one_of_scalars() -> None:
    modes = {"rounding": "default", "gradient_rounding": "default", "estimator": "none"}
    layer = _plan.with_modes(lt.Layer.of("mxfp4", "e4m3", "float32"), scaling="tensor", **modes)
    assert layer.x == lt.Quantizer("mxfp4/outer=tensor")
    assert layer.w == lt.Quantizer("e4m3/tensor/float32/amax")
    assert layer.dgrad_dy == lt.Quantizer("float32")
    delayed = _plan.with_modes(lt.Layer.of(w="e4m3"), scaling="delayed", **modes)
    assert delayed.w is not None
    assert delayed.w.scaling is not None


def test_hadamard_and_accumulator_are_of_the_products_that_are_meant() -> None:
    layer = _plan.with_hadamard(lt.Layer(), 32, "backward", "fresh")
    turn = lt.Hadamard(32, "fresh")
    assert layer == lt.Layer(dgrad_transform=turn, wgrad_transform=turn)
    assert _plan.with_hadamard(layer, 0, "all", "fixed") == layer
    assert _plan.with_accumulator(lt.Layer(), "bfloat16") == lt.Layer.of(accumulator="bfloat16")


def test_a_recipe_comes_from_a_name_or_a_file_with_seed_and_keep(tmp_path: Path) -> None:
    want = recipes.get("quartet", seed=3, keep=["head", "last:1"])
    assert _plan.base("quartet", "none", "head, last:1", 3) == want
    path = tmp_path / "own.json"
    path.write_text(recipes.get("quartet", keep=["head"]).to_json())
    assert _plan.base(str(path), "none", "last:1", 3) == want
    assert _plan.base("float32", "none", "none", 0).layer.is_plain


def test_a_mask_is_the_recipe_that_cuts_bits_off() -> None:
    assert _plan.base("float32", "e4m3", "none", 0).layer == recipes.fp8_and_back(4, 3).layer
    with pytest.raises(ValueError, match="leave recipe out"):
        _plan.base("mxfp8", "e4m3", "none", 0)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "e4m3fn", "bfloat16", "int8", "mxfp4"])
def test_a_mask_that_is_no_count_of_bits_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"e\{{E\}}m\{{M\}}, as 'e4m3'; got '{name}'"):
        _plan.base("float32", name, "none", 0)


def bits_of(recipe: lt.Recipe) -> float:
    """Bits a weight of three layers of 64 x 32, 64 x 64 and 32 x 64 with a recipe."""
    linear = torch.nn.Linear
    model = torch.nn.Sequential(linear(32, 64), linear(64, 64), torch.nn.ReLU(), linear(64, 32))
    lt.convert(model, recipe)
    return _plan.weight_bits(model)


def test_bits_are_what_the_weights_of_each_layer_take() -> None:
    assert bits_of(lt.Recipe()) == 32
    assert bits_of(lt.Recipe(lt.Layer.of("mxfp8_e4m3", "mxfp4", "mxfp8_e4m3"))) == 4.25
    assert bits_of(lt.Recipe(lt.Layer.of(x="mxfp4"))) == 32
    assert bits_of(lt.Recipe(lt.Layer.of(w="int8_row"))) == 8 + 32 * 160 / 8192
    delayed = lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(2))
    assert bits_of(lt.Recipe(lt.Layer.of(w=delayed))) == 8 + 32 * 3 / 8192


def test_bits_count_kept_layers_as_their_dtype_and_others_at_their_own_format() -> None:
    assert bits_of(recipes.mxfp4(keep=["first:1", "last:1"])) == (4.25 + 32) / 2
    tile = 4 + (8 * 16 + 32) / 4096
    assert bits_of(recipes.nvfp4()) == (tile + 16) / 2
    assert bits_of(recipes.nvfp4(bfloat16=(), keep=["1"])) == 16 + (4 + (8 * 8 + 32) / 2048) / 2


def test_bits_count_convolutions_along_channels_and_embeddings_in_a_format() -> None:
    conv = torch.nn.Conv2d(24, 8, 3)
    model = torch.nn.Sequential(conv, torch.nn.Embedding(10, 32), torch.nn.LayerNorm(32))
    mxfp4 = lt.Layer.of(w="mxfp4")
    lt.convert(model, lt.Recipe(mxfp4))
    assert _plan.weight_bits(model) == 4 + 8 / 24
    lt.restore(model)
    lt.convert(model, lt.Recipe(types={"embedding": mxfp4}))
    assert _plan.weight_bits(model) == (32 * 1728 + 4.25 * 320) / 2048


# ---- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_every_model_runs_in_float32_and_in_four_bits(model: str) -> None:
    plain, four = short(model), short(model, recipe="nvfp4")
    for found in (plain, four):
        assert np.isfinite(list(found.metrics.values())).all()
        assert len(found.series["loss"]) == found.metrics["steps"] == 6
    assert ("accuracy" in plain.metrics) == model.startswith("digits")
    assert plain.series["loss"][0] != four.series["loss"][0]
    of_digits = set() if model.startswith("digits") else {"accuracy"}
    assert {*plain.metrics} == {*metrics_of("training")} - of_digits
    assert plain.metrics["bits"] == 32
    assert 4 < four.metrics["bits"] < 16  # the first layer and the last are in bfloat16


def test_models_learn() -> None:
    losses = short("regression", steps=150).series["loss"]
    assert losses[-10:].mean() < 0.1 * losses[0]
    digits = short("digits", steps=150)
    assert digits.metrics["accuracy"] > 0.8
    losses = short("gpt", steps=60, batch=4, context=32).series["loss"]
    assert losses[-10:].mean() < 0.7 * losses[0]


@pytest.mark.parametrize("model", ["regression", "digits", "gpt"])
def test_float32_as_a_format_changes_no_bit(model: str) -> None:
    formats = {"x": "float32", "w": "float32", "dy": "float32", "rounding": "toward_zero"}
    assert same(short(model), short(model, **formats))


def test_a_run_is_a_function_of_its_arguments() -> None:
    given: dict[str, Any] = {"recipe": "quartet", "steps": 12, "seed": 5}
    first = short("regression", **given)
    torch.rand(3)
    short("regression", seed=9)
    assert same(first, short("regression", **given))
    assert not same(first, short("regression", **given | {"seed": 6}))
    program = (
        "from lowp.study.tasks.training import training\n"
        f"found = training(model='regression', **{given!r})\n"
        "print(repr(dict(found.metrics)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == repr(dict(first.metrics)), run.stderr


def test_random_numbers_of_others_are_left_alone() -> None:
    torch.manual_seed(1)
    want = torch.rand(2)
    torch.manual_seed(1)
    short("regression")
    assert torch.equal(torch.rand(2), want)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_threads_are_left_alone(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        short("regression")
        assert torch.get_num_threads() == threads
        with pytest.raises(ValueError, match="matches no module"):
            short("regression", keep="nowhere")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_every_option_reaches_the_run() -> None:
    base: dict[str, Any] = {"x": "mxfp4", "w": "mxfp4", "dy": "mxfp4", "steps": 8, "width": 32}
    plain = short("regression", **base)
    options: list[dict[str, Any]] = [
        {"rounding": "toward_zero"},
        {"gradient_rounding": "stochastic_a"},
        {"gradient_estimator": "clipped"},
        {"scaling": "tensor", "x": "e4m3"},
        {"hadamard": 16},
        {"hadamard": 16, "hadamard_at": "wgrad"},
        {"hadamard": 16, "hadamard_signs": "none"},
        {"hadamard": 16, "hadamard_signs": "fresh"},
        {"accumulator": "e5m4"},
        {"keep": "last:1"},
        {"learning_rate": 0.1},
        {"optimizer": "sgd"},
        {"weight_decay": 1.0},
        {"clip_norm": 1e-3},
        {"width": 64},
        {"layers": 1},
        {"batch": 8},
        {"steps": 9},
        {"seed": 1},
        {"forward_x": "e4m3"},
        {"forward_w": "e4m3"},
        {"dgrad_dy": "e4m3"},
        {"dgrad_w": "e4m3"},
        {"wgrad_x": "e4m3"},
        {"wgrad_dy": "e4m3"},
        {"recipe": "quartet", "x": "none"},
        {"mask": "e3m2", "x": "none", "w": "none", "dy": "none"},
    ]
    losses = [short("regression", **base | option).metrics["loss"] for option in options]
    assert len({plain.metrics["loss"], *losses}) == 1 + len(options)
    contexts = [short("gpt", context=n).metrics["loss"] for n in (8, 16)]
    assert contexts[0] != contexts[1]
    on_a_gpu = {"device", "precision", "compiled"}  # test_study_gpu.py
    named = {"model", "context", *base, *on_a_gpu}.union(*options)
    assert named == parameters_of(training).keys()


def test_a_run_that_is_not_finite_ends_and_says_so() -> None:
    found = short("digits", optimizer="sgd", learning_rate=1e30, clip_norm=0.0, steps=50)
    assert found.metrics["diverged"] == 1
    assert found.metrics["loss"] == found.metrics["train_loss"] == math.inf
    assert math.isnan(found.metrics["accuracy"])
    done = int(found.metrics["steps"])
    assert done < 50
    assert len(found.series["loss"]) == done
    assert not math.isfinite(found.series["loss"][-1])
    assert np.isfinite(found.series["loss"][:-1]).all()
    assert short("regression").metrics["diverged"] == 0


def test_sizes_make_models_of_more_parameters_and_samples() -> None:
    wide = short("gpt", width=64, layers=1)
    assert short("gpt", width=128, layers=1).metrics["parameters"] > wide.metrics["parameters"]
    assert wide.metrics["samples"] == 6 * 2 * 16
    assert short("regression", batch=8).metrics["samples"] == 48


def test_the_body_has_neither_embeddings_nor_positions_nor_the_head() -> None:
    wide = short("gpt", width=64, layers=2, context=16).metrics
    assert wide["parameters"] - wide["body_parameters"] == 256 * 64 + 16 * 64 + 64 * 256
    # Of a block: attention, a feed-forward net and two norms; a norm after all of them.
    assert wide["body_parameters"] == 2 * (12 * 64**2 + 4 * 64) + 2 * 64
    four = short("gpt", width=64, layers=2, context=16, x="mxfp4").metrics
    assert four["body_parameters"] == wide["body_parameters"]
    plain = short("regression").metrics
    assert plain["parameters"] - plain["body_parameters"] == 64 * 16 + 16


def test_runs_of_large_seeds_and_many_steps_do_not_repeat_batches_of_others() -> None:
    rows = range(3)
    assert [_models.number_of(0, i) for i in rows] == list(rows)
    assert _models.number_of(1, 5) == 1_000_008
    for step in range(100):
        assert _models.number_of(0, 1_000_003 + step) != _models.number_of(1, step)
        # PyTorch takes 32 bits of a seed.
        assert _models.number_of(4295, step) % 2**32 != _models.number_of(0, 45_589 + step)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"width": -4}, "width"),
        ({"context": 8}, "context is the GPT's"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"clip_norm": math.inf}, "clip_norm"),
        ({"model": "gpt", "width": 100}, "multiple of 32"),
        ({"model": "digits_cnn", "layers": 5}, "4 layers"),
        ({"keep": "nowhere"}, "matches no module"),
        ({"recipe": "mxfp9"}, "mxfp8"),
        ({"x": "mxfp4", "scaling": "delayed"}, "delayed"),
        ({"mask": "e1m1"}, "exponent_bits"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_is(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training(**{"model": "regression", **given})  # type: ignore[arg-type]


def test_every_default_is_a_value_that_a_study_may_name() -> None:
    for parameter in parameters_of(training).values():
        assert parameter.checked(parameter.default) == parameter.default, parameter.name


def test_a_size_of_zero_is_the_models_own() -> None:
    sizes = _models.SIZES["digits"]
    assert sizes.changed(batch=8, width=0) == _models.Sizes(sizes.width, 2, 8, 2e-3)


def test_every_pass_over_the_digits_sees_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    seen: list[int] = []
    images, targets = _models._images()
    numbered = torch.arange(len(images)).float()[:, None, None, None].expand(-1, 1, 8, 8)
    monkeypatch.setattr(_models, "_images", lambda: (numbered, targets))
    problem = _models.problem("digits", _models.SIZES["digits"], 0)
    problem.model.register_forward_pre_hook(lambda _, x: seen.extend(x[0][:, 0, 0, 0].tolist()))
    for step in range(46):
        problem.loss(step)
    train = len(images) - len(images) // 5
    assert sorted(seen[:train]) == sorted(seen[train:]) == list(range(train))
    assert seen[:train] != seen[train:]
