"""A sentence transformer and texts: embeddings, and how well two sets of them agree.

The model is read from files alone, nothing is downloaded. Embeddings are means over the tokens of
the last hidden states, of length one, as sentence-transformers makes them for all-MiniLM-L6-v2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lowp.study.tasks._model_files import print_of_model, weights_of

__all__ = ["Texts", "agreement", "embed", "model_of", "plain_embeddings", "texts_of"]

SHIPPED = Path(__file__).parent / "sentences.txt"
_LONGEST = 256
_BATCH = 64


# ---- texts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Sentences, and places of those that say the same."""

    sentences: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]


def texts_of(name: str) -> Texts:
    """The sentences of a file, or those that ship: see the file's head for what its lines mean.

    UTF-8, with a byte order mark or without one. ValueError: fewer than three sentences, or a line
    of more than two.
    """
    path = SHIPPED if name == "shipped" else Path(name)
    sentences: list[str] = []
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("||")]
        if len(parts) > 2 or "" in parts:
            raise ValueError(f"{path}, line {number}: a line is a sentence, or two split by ||")
        if len(parts) == 2:
            pairs.append((len(sentences), len(sentences) + 1))
        sentences += parts
    if len(sentences) < 3:
        raise ValueError(f"{path}: agreement needs 3 sentences or more; got {len(sentences)}")
    return Texts(tuple(sentences), tuple(pairs))


# ---- model ---------------------------------------------------------------------------------------


def _folder(name: str) -> Path:
    return weights_of(name).parent


def model_of(name: str) -> nn.Module:
    """The float32 model beside a file of weights, without a layer on top of its first token."""
    return _model(name, print_of_model(name))


@lru_cache(maxsize=1)
def _model(name: str, _content: str) -> nn.Module:
    """content: the digest of the files, which are read anew when they have changed."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError("evaluation needs transformers: pip install transformers") from error
    shows = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model: Any = transformers.AutoModel.from_pretrained(
            _folder(name), local_files_only=True, dtype=torch.float32
        )
    finally:
        if shows:
            transformers.utils.logging.enable_progress_bar()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # what it makes is not used
    return model.eval().requires_grad_(False)


def _batches(name: str, texts: Texts) -> tuple[tuple[NDArray[np.intp], Any], ...]:
    """Places and tokens of the sentences, those of similar length together."""
    return _tokens(name, print_of_model(name), texts)


@lru_cache(maxsize=2)
def _tokens(name: str, _content: str, texts: Texts) -> tuple[tuple[NDArray[np.intp], Any], ...]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(_folder(name), local_files_only=True)
    ids = tokenizer(list(texts.sentences), truncation=True, max_length=_LONGEST)["input_ids"]
    order = np.argsort([len(i) for i in ids], kind="stable")
    batches = []
    for at in range(0, len(order), _BATCH):
        rows = order[at : at + _BATCH]
        tokens = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
        batches.append((rows, tokens))
    return tuple(batches)


def embed(model: nn.Module, name: str, texts: Texts) -> NDArray[np.float64]:
    """One row of length one a sentence; name: that the tokenizer is beside."""
    rows: dict[int, NDArray[np.float64]] = {}
    with torch.inference_mode():
        for places, tokens in _batches(name, texts):
            hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None].to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            unit = torch.nn.functional.normalize(mean.double()).numpy()
            rows |= dict(zip(places.tolist(), unit, strict=True))
    return np.stack([rows[i] for i in range(len(rows))])


def plain_embeddings(name: str, texts: Texts) -> NDArray[np.float64]:
    """Those of the float32 model."""
    return _plain(name, print_of_model(name), texts)


@lru_cache(maxsize=4)
def _plain(name: str, _content: str, texts: Texts) -> NDArray[np.float64]:
    return embed(model_of(name), name, texts)


# ---- agreement -----------------------------------------------------------------------------------


def agreement(
    plain: NDArray[np.float64], found: NDArray[np.float64], texts: Texts
) -> dict[str, float]:
    """How well embeddings, one row of length one a sentence, agree with the float32 model's.

    distance: 1 - mean cosine of a sentence's two embeddings. pearson, spearman, rms: correlations
    and root mean square difference of the similarities of all pairs of sentences. nearest: share of
    sentences with the same nearest neighbour; neighbours: of the ten nearest, those in common.
    retrieval: of sentences in pairs, the share whose nearest is the other one, where there are
    pairs. Where an embedding is not finite, distance is infinite and the rest NaN.
    """
    from scipy.stats import spearmanr

    names = ["distance", "cosine", "pearson", "spearman", "rms", "nearest", "neighbours"]
    names += ["retrieval"] if texts.pairs else []
    if not np.isfinite(found).all():
        return dict.fromkeys(names, np.nan) | {"distance": np.inf}
    # Half the squared distance of unit vectors: zero where they are the same.
    distance = float(((plain - found) ** 2).sum(1).mean()) / 2
    upper = np.triu_indices(len(plain), 1)
    a, b = (plain @ plain.T)[upper], (found @ found.T)[upper]
    with np.errstate(invalid="ignore", divide="ignore"):  # all alike: NaN
        pearson = float(np.corrcoef(a, b)[0, 1])
        spearman = float(spearmanr(a, b).statistic) if np.ptp(b) else np.nan
    near_plain, near = _neighbours(plain), _neighbours(found)
    common = [len({*p} & {*q}) / len(p) for p, q in zip(near_plain, near, strict=True)]
    metrics = {
        "distance": distance,
        "cosine": 1 - distance,
        "pearson": pearson,
        "spearman": spearman,
        "rms": float(np.sqrt(np.mean((a - b) ** 2))),
        "nearest": float(np.mean(near_plain[:, 0] == near[:, 0])),
        "neighbours": float(np.mean(common)),
    }
    if texts.pairs:
        both = np.array([*texts.pairs, *(pair[::-1] for pair in texts.pairs)])
        metrics["retrieval"] = float(np.mean(near[both[:, 0], 0] == both[:, 1]))
    return metrics


def _neighbours(rows: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the ten nearest others of each row, nearest first."""
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(10, len(rows) - 1)]
