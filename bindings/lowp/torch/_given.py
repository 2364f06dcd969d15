"""What arguments may be: words, integers, formats in every spelling."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch

import lowp

__all__ = ["choose", "format_name", "found_format", "whole"]

#: PyTorch's dtypes of one float a value, which have lowp's names.
_DTYPES = {
    getattr(torch, name): name
    for name in (
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
    if hasattr(torch, name)
}


def format_name(value: Any) -> str:
    """The name of a format; of a dtype that is one, PyTorch's or NumPy's, too.

    A string is passed on as it is: where it is used it is looked up. TypeError: no format.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, torch.dtype):
        if value not in _DTYPES:
            raise TypeError(f"{value} is no format; those are {', '.join(map(str, _DTYPES))}")
        return _DTYPES[value]
    if isinstance(value, lowp.BlockFormat):
        return value.name
    return lowp.format(value).name


def found_format(name: str) -> Any:
    """The Format or BlockFormat of a name; ValueError with the nearest of both."""
    if lowp.is_block_format(name):
        return lowp.block_format(name)
    try:
        return lowp.format(name)
    except ValueError as error:
        near = get_close_matches(name, lowp.block_formats(), 3)
        if not near:
            raise
        raise ValueError(f"{error}; among block formats: {', '.join(near)}") from error


def check_words(seed: int, stream: int) -> None:
    """ValueError for a seed or stream beyond what PyTorch's operators hold."""
    for what, word in (("seed", seed), ("stream", stream)):
        if not 0 <= word < 2**63:
            raise ValueError(f"{what} must be between 0 and 2**63 - 1 in lowp.torch; got {word}")


def choose(what: str, value: Any, words: tuple[str, ...]) -> None:
    """ValueError where value is none of the words."""
    if value not in words:
        raise ValueError(f"{what} must be one of {', '.join(words)}; got {value!r}")


def whole(what: str, value: Any, low: int, high: int) -> None:
    """TypeError where value is no integer, ValueError where it is not from low to high."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an integer; got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{what} must be between {low} and {high}; got {value}")
