"""Of choices of bits and score one each: the least score within bits, the fewest within a score.

This is the multiple-choice knapsack problem. Layers are merged one by one in whole numbers, so that
no tolerance decides what fits or what is less, without what is dominated or cannot get below a
bound. Source: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Whole", "distinct", "least_bits", "least_score", "merged", "whole_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: The place of each layer's choice.
Picks = list[int]
#: Bits and score as whole numbers, or score and bits.
Pair = tuple[int, int]

#: Points that merging may have on the way.
_MOST_POINTS = 1 << 20
#: Bits of a digit of whole scores: sums of a few digits fit int64 before they are carried.
_DIGIT = 48
#: Parts of the distance from a bound to a known answer in which the best one is looked for.
_PARTS = (Fraction(1, 256), Fraction(1, 16), Fraction(1))


@dataclass(frozen=True)
class Whole:
    """Choices in whole numbers: sizes in bits, scores in `1 / unit` above the least of each layer.

    least: what these are in sum, in the same unit.
    """

    sizes: list[list[int]]
    scores: list[list[int]]
    least: int
    unit: int

    @property
    def pairs(self) -> list[list[Pair]]:
        """Bits and score of each choice."""
        return [list(zip(*each, strict=True)) for each in zip(self.sizes, self.scores, strict=True)]

    @property
    def most(self) -> Pair:
        """Bits and score that no assignment exceeds."""
        return sum(map(max, self.sizes)), sum(map(max, self.scores))

    def within(self, score: float) -> int:
        """The largest whole score whose sum of floats, rounded once, is at most a float."""
        above = math.nextafter(score, math.inf)
        middle = (Fraction(score) + Fraction(above if math.isfinite(above) else score)) / 2
        found = middle * self.unit - self.least
        is_below = found.denominator > 1 or float(middle) <= score  # halfway goes to even
        return math.floor(found) if is_below else math.floor(found) - 1

    def rounded(self, score: int) -> float:
        """A whole score as the float that it is nearest to."""
        return (score + self.least) / self.unit

    def score(self, picks: Picks) -> float:
        """That of an assignment, rounded once."""
        return self.rounded(sum(each[at] for each, at in zip(self.scores, picks, strict=True)))


def whole_of(sizes: list[list[int]], given: Sequence[Sequence[float]]) -> Whole:
    """Bits and finite scores in whole numbers: every float is one of some power of two."""
    exact = [[Fraction(score) for score in each] for each in given]
    unit = max(score.denominator for scores in exact for score in scores)
    whole = [[int(score * unit) for score in scores] for scores in exact]
    scores = [[score - min(each) for score in each] for each in whole]
    return Whole(sizes, scores, sum(map(min, whole)), unit)


@dataclass(frozen=True)
class _Step:
    """From one choice to the next on the lower hull of a layer: what is spent and what is saved."""

    layer: int
    spent: int
    saved: int


def _hull(pairs: Sequence[Pair]) -> list[Pair]:
    """The lower convex hull of points, from the left one to the lowest."""
    found: list[Pair] = []
    for x, y in sorted(pairs):
        if found and y >= found[-1][1]:
            continue
        while len(found) > 1:
            (a, b), (c, d) = found[-2:]
            if (b - d) * (x - c) > (d - y) * (c - a):
                break
            found.pop()
        found.append((x, y))
    return found


def _steps(hulls: Sequence[Sequence[Pair]]) -> list[_Step]:
    """Those of all layers, the best first; within a layer they are in order."""
    found = [
        _Step(layer, x - a, b - y)
        for layer, hull in enumerate(hulls)
        for (a, b), (x, y) in pairwise(hull)
    ]
    return sorted(found, key=lambda step: Fraction(-step.saved, step.spent))


def _bounds(hulls: Sequence[Sequence[Pair]], limit: int) -> Pair:
    """What the least y of one point of each hull with x up to a limit is between.

    Below: with a part of one step; above: steps are left out from one in a layer on that is too
    long.
    """
    room = limit - sum(hull[0][0] for hull in hulls)
    above = sum(hull[0][1] for hull in hulls)
    below: int | None = None
    stopped: set[int] = set()
    for step in _steps(hulls):
        if step.layer in stopped:
            continue
        if step.spent <= room:
            room, above = room - step.spent, above - step.saved
            continue
        stopped.add(step.layer)
        if below is None:
            below = above - -(-step.saved * room // step.spent)
    return (above if below is None else below), above


# ---- merging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rest:
    """Layers that are not merged yet: bits they take at least, steps from there, the best first."""

    bits: int
    spent: Integers
    saved: Floats

    def least(self, room: Integers) -> Floats:
        """A bound of the score they add in this many bits: infinite where these are too few.

        Sums of what is not negative, right to rounding also where they are small.
        """
        xs = self.bits + np.concatenate([[0], np.cumsum(self.spent)])
        ys = np.concatenate([[0.0], np.cumsum(self.saved[::-1])])[::-1]
        at = np.searchsorted(xs, room, side="right")
        left, right = np.maximum(at - 1, 0), np.minimum(at, len(xs) - 1)
        part = (xs[right] - room) / np.maximum(xs[right] - xs[left], 1)
        found = ys[right] + (ys[left] - ys[right]) * np.maximum(part, 0.0)
        return np.where(at == 0, np.inf, found)


class _Bound:
    """What says which points may become assignments of at most so many bits and such a score."""

    def __init__(self, whole: Whole, order: Sequence[int], most: Pair, digits: int) -> None:
        hulls = [_hull(pairs) for pairs in whole.pairs]
        self._most = most
        self._shift = max(whole.most[1], most[1]).bit_length()  # floats are parts of the largest
        self._weights = np.array([self._part(1 << _DIGIT * i) for i in reversed(range(digits))])
        steps = _steps(hulls)
        self._turn = np.argsort(order)[[step.layer for step in steps]]
        self._spent = np.array([step.spent for step in steps], np.int64)
        self._saved = np.array([self._part(step.saved) for step in steps])
        least = [hulls[layer][0][0] for layer in order]
        self._bits = [sum(least[turn:]) for turn in range(len(order) + 1)]

    def _part(self, score: int) -> float:
        return score / (1 << self._shift)

    def may_be(self, turns: int, bits: Integers, scores: Integers) -> Integers:
        """The places of such points after so many layers; of those in doubt by rounding, all."""
        left = self._turn >= turns
        rest = _Rest(self._bits[turns], self._spent[left], self._saved[left])
        least = scores @ self._weights + rest.least(self._most[0] - bits)
        return np.flatnonzero(least <= self._part(self._most[1]) * (1 + 1e-9) + 1e-300)


def _digits(values: Sequence[int], count: int) -> Integers:
    """Whole numbers as rows of digits, the highest first."""
    mask = (1 << _DIGIT) - 1
    rows = [[value >> _DIGIT * i & mask for i in reversed(range(count))] for value in values]
    return np.array(rows, np.int64)


def _sums(one: Integers, other: Integers) -> Integers:
    """Each of one plus each of the other, in digits."""
    found: Integers = (one[:, None] + other).reshape(-1, one.shape[1])
    for at in range(one.shape[1] - 1, 0, -1):
        found[:, at - 1] += found[:, at] >> _DIGIT
        found[:, at] &= (1 << _DIGIT) - 1
    return found


def _front(bits: Integers, scores: Integers) -> Integers:
    """The places of points that no other has fewer bits and no higher score than, by bits."""
    order = np.lexsort(scores.T[::-1])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum((np.diff(scores[order], axis=0, prepend=-1) != 0).any(1))
    order = np.lexsort((ranks, bits))
    before = np.minimum.accumulate(ranks[order])
    return order[np.concatenate([[True], before[1:] < before[:-1]])]


def merged(whole: Whole, refusal: str, most: Pair) -> list[Picks]:
    """The choices of every point that no other has fewer bits and no higher score than, by bits.

    most: bits and score that they may have. ValueError: more than _MOST_POINTS, which refusal says.
    """
    count = whole.most[1].bit_length() // _DIGIT + 1
    order = sorted(range(len(whole.sizes)), key=lambda i: min(whole.sizes[i]) - max(whole.sizes[i]))
    bound = _Bound(whole, order, most, count)
    bits, scores = np.zeros(1, np.int64), np.zeros((1, count), np.int64)
    layers: list[tuple[Integers, Integers]] = []
    for turn, layer in enumerate(order):
        choices = len(whole.sizes[layer])
        bits = (bits[:, None] + np.array(whole.sizes[layer], np.int64)).ravel()
        scores = _sums(scores, _digits(whole.scores[layer], count))
        kept = bound.may_be(turn + 1, bits, scores)
        if not len(kept):
            return []
        kept = kept[_front(bits[kept], scores[kept])]
        if len(kept) > _MOST_POINTS:
            raise ValueError(refusal.format(_MOST_POINTS))
        bits, scores = bits[kept], scores[kept]
        layers.append((kept // choices, kept % choices))
    at = np.arange(len(bits))
    columns: dict[int, Integers] = {}
    for layer, (parents, picked) in zip(reversed(order), reversed(layers), strict=True):
        columns[layer], at = picked[at], parents[at]
    picks: list[Picks] = np.array([columns[layer] for layer in range(len(order))]).T.tolist()
    return picks


def distinct(whole: Whole, front: list[Picks]) -> list[Picks]:
    """A front without points whose scores are those of smaller ones when rounded."""
    scores = [whole.score(picks) for picks in front]
    return [picks for i, picks in enumerate(front) if i == 0 or scores[i] < scores[i - 1]]


# ---- one budget ----------------------------------------------------------------------------------

_REFUSAL = (
    "allocate: the search has more than {} points, as layers are very much alike; give fewer "
    "formats or layers"
)


def least_score(whole: Whole, budget: int) -> Picks:
    """The choices of least total score within a budget of bits, of equals those of fewest bits."""
    below, above = _bounds([_hull(pairs) for pairs in whole.pairs], budget)
    # scores that are rounded to the same float are equal
    scores = (whole.rounded(below + math.floor((above - below) * part)) for part in _PARTS)
    searches = (merged(whole, _REFUSAL, (budget, whole.within(score))) for score in scores)
    return distinct(whole, next(filter(None, searches)))[-1]


def least_bits(whole: Whole, limit: float) -> Picks:
    """The choices of fewest bits that score at most limit, of equals those of least score."""
    most = min(whole.within(limit), whole.most[1])
    swapped = [[(score, bits) for bits, score in pairs] for pairs in whole.pairs]
    below, above = _bounds([_hull(pairs) for pairs in swapped], most)
    limits = (below + math.floor((above - below) * part) for part in _PARTS)
    searches = (merged(whole, _REFUSAL, (bits, most)) for bits in limits)
    return next(filter(None, searches))[0]
