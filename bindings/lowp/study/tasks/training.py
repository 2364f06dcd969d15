"""A training run in simulated formats: what a recipe costs a model in loss."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from lowp.study.parameters import (
    AccumulatorName,
    FormatOrNone,
    RecipeName,
    Result,
    RoundingName,
)

__all__ = ["METRICS", "training"]

#: All that `training` gives; accuracy of digits alone.
METRICS = (
    *("loss", "train_loss", "accuracy", "diverged", "steps"),
    *("parameters", "body_parameters", "samples", "bits"),
)


def training(
    *,
    model: Literal["regression", "digits", "digits_cnn", "gpt", "gpt_small", "gpt_25m"] = "digits",
    recipe: RecipeName = "float32",
    mask: FormatOrNone = "none",
    x: FormatOrNone = "none",
    w: FormatOrNone = "none",
    dy: FormatOrNone = "none",
    forward_x: FormatOrNone = "none",
    forward_w: FormatOrNone = "none",
    dgrad_dy: FormatOrNone = "none",
    dgrad_w: FormatOrNone = "none",
    wgrad_x: FormatOrNone = "none",
    wgrad_dy: FormatOrNone = "none",
    rounding: RoundingName = "default",
    gradient_rounding: RoundingName = "default",
    gradient_estimator: Literal["none", "straight_through", "clipped"] = "none",
    scaling: Literal["none", "tensor", "delayed"] = "none",
    hadamard: Literal[0, 16, 32, 64, 128] = 0,
    hadamard_at: Literal["all", "forward", "backward", "wgrad"] = "all",
    hadamard_signs: Literal["none", "fixed", "fresh"] = "fixed",
    accumulator: Literal["none"] | AccumulatorName = "none",
    keep: str = "none",
    steps: int = 200,
    learning_rate: float = 0.0,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
    width: int = 0,
    layers: int = 0,
    batch: int = 0,
    context: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    compiled: bool = False,
    seed: int = 0,
) -> Result:
    """Loss of a model after training in the formats of a recipe, on one thread of the CPU or a GPU.

    "none", "default" and 0 leave what the recipe, the format's name or the model says; an option of
    what is not there changes nothing, so that float32 can be one value of an axis.

    model: "regression" (a ReLU network learns another of its shape; least loss 0), "digits" (an MLP
    on scikit-learn's digits), "digits_cnn", "gpt", "gpt_small" and "gpt_25m" (decoders over the
    bytes of the Python library's sources, the last with its packages and tests, so losses are
    comparable under one version of Python). width (of the
    CNN: channels), layers (hidden ones), batch, context (bytes of a sequence): its sizes.

    recipe: what `lowp.torch.recipes.get` takes, "float32", or a recipe's file. mask: a format
    e{E}m{M} instead, written so, to which all operands are cut as arXiv 2405.18710 does (recipe
    fp8_and_back).
    x, w, dy: formats of the operands in both products that they take part in; forward_x, forward_w,
    dgrad_dy, dgrad_w, wgrad_x, wgrad_dy: of one product. They, and what follows, are of all linear
    layers and convolutions but those in keep (as in Recipe, between commas: "first:1,last:1") and
    those that the recipe's patterns name. What is beyond a scalar format's largest value, infinity
    included, becomes that value, as in masks and blocks; formats of a recipe do as it says.
    rounding: of x and w; gradient_rounding: of dy. gradient_estimator: how derivatives pass x and
    w. scaling: a float32 scale a tensor, found at each call (of a block format a second level) or
    delayed (of a scalar format, from 16 steps). hadamard: length of the runs that both operands of
    the products hadamard_at go through. accumulator: of all three products; slow.

    steps: of the optimizer (AdamW with betas 0.9 and 0.95, or SGD with momentum 0.9), under a
    warm-up of a fifth of them, at most 50, and half a cosine down to a tenth of learning_rate.
    clip_norm: of all gradients; 0 is none. device: "cuda" trains the models of text on a GPU, where
    runs can stop and go on (see docs/study.md) and differ in last digits from kind to kind.
    precision: of products and what is between them there, as torch.autocast has it; weights stay
    float32. compiled: by torch.compile there. seed: of weights, batches and the recipe's random
    bits.

    Metrics: loss (held-out data), train_loss (mean of the last 5 % of the steps), accuracy (of
    digits, held-out), diverged (1 where a loss was not finite: the run ends there, losses are then
    infinite and accuracy NaN), steps (done), parameters, body_parameters (without embeddings,
    positions and the head, as scaling laws count), samples (that were seen; of text, bytes), bits
    (a weight, scales counted: the mean over the weights of linear layers and convolutions, and of
    what else a recipe has in a format, each as its forward product takes it; what is left alone
    has those of its dtype). Series: loss, a step each.
    ImportError says what to install; ValueError: names, sizes and combinations that there are not.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError("training needs PyTorch: pip install 'lowp[torch]'") from error
    from lowp.study.tasks import _loop, _models, _plan, _threads

    given = {"x": x, "w": w, "dy": dy, "forward_x": forward_x, "forward_w": forward_w}
    given |= {"dgrad_dy": dgrad_dy, "dgrad_w": dgrad_w, "wgrad_x": wgrad_x, "wgrad_dy": wgrad_dy}
    plan = _plan.base(recipe, mask, keep, seed)
    layer = _plan.with_formats(plan.layer, given)
    layer = _plan.with_modes(
        layer,
        rounding=rounding,
        gradient_rounding=gradient_rounding,
        estimator=gradient_estimator,
        scaling=scaling,
    )
    layer = _plan.with_hadamard(layer, hadamard, hadamard_at, hadamard_signs)
    layer = _plan.with_accumulator(layer, accumulator)
    if context and not model.startswith("gpt"):
        raise ValueError(f"context is the GPT's length of sequences; model {model!r} has none")
    sizes = _models.SIZES[model].changed(
        width=width, layers=layers, batch=batch, context=context, learning_rate=learning_rate
    )
    options = _loop.Options(steps, sizes.learning_rate, optimizer, weight_decay, clip_norm)
    chosen = plan.replace(layer=layer)
    if device == "cpu" and (precision != "float32" or compiled):
        raise ValueError("precision and compiled are for device 'cuda'")
    with _threads.one_thread():
        found = _models.problem(model, sizes, seed)
        if device == "cpu":
            losses, metrics = _loop.run(found, chosen, options)
        else:
            from lowp.study.tasks import _gpu

            depends: dict[str, Any] = {
                "model": model,
                "sizes": sizes,
                "options": options,
                "seed": seed,
            }
            depends |= {"recipe": chosen.to_json(), "precision": precision, "compiled": compiled}
            setting = _gpu.Setting(depends, precision=precision, compiled=compiled)
            losses, metrics = _gpu.run(found, chosen, options, setting)
    done = len(losses)
    metrics |= {
        "train_loss": float(np.mean(losses[-max(1, steps // 20) :])),
        "steps": done,
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "body_parameters": _models.body_parameters(found.model),
        "samples": done * sizes.batch * sizes.context,
        "bits": _plan.weight_bits(found.model),
    }
    if metrics["diverged"]:
        metrics["train_loss"] = math.inf
    return Result(metrics, {"loss": losses})
