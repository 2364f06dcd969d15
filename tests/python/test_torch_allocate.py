"""Bits given out by sensitivity: against all assignments, and recipes against what was measured."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import _scan  # noqa: E402
from sensitivity_models import FORMATS, MEASURED, data, every_loss, everything, table  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

# ---- one budget ----------------------------------------------------------------------------------


def assignments(given: lt.SensitivityTable) -> list[tuple[int, float]]:
    """Bits and score of every assignment."""
    return [
        (sum(r.total_bits for r in rows), math.fsum(r.score for r in rows))
        for rows in itertools.product(*given.layers.values())
    ]


def random_table(seed: int, steps: int) -> lt.SensitivityTable:
    """Scores are multiples of 1/64, so that sums are exact; few of them, so that there are ties."""
    rng = np.random.default_rng(seed)
    layers = int(rng.integers(1, 6))
    scores = rng.integers(-steps // 4, steps, (layers, 3)) / 64
    return table(scores.tolist(), rng.integers(1, 50, layers).tolist(), (3.0, 4.0, 7.0))


@pytest.mark.parametrize("steps", [4, 40, 1 << 20])
def test_allocation_is_the_best_of_all_assignments_and_of_equals_the_smallest(steps: int) -> None:
    for seed in range(12):
        given = random_table(seed, steps)
        every = assignments(given)
        least, most = min(every)[0], max(every)[0]
        for budget in range(least, most + 5, max(1, (most - least) // 6)):
            parameters = sum(rows[0].parameters for rows in given.layers.values())
            want = min((s, b) for b, s in every if b <= budget)
            found = lt.allocate(given, bits=(budget + 0.5) / parameters)
            assert (found.score, found.total_bits) == want
            whole = min((s, b) for b, s in every if b <= budget + -budget % 8)
            by_size = lt.allocate(given, size=-(-budget // 8))
            assert (by_size.score, by_size.total_bits) == whole


@pytest.mark.parametrize("steps", [4, 40, 1 << 20])
def test_a_bound_on_the_score_takes_the_fewest_bits_that_meet_it(steps: int) -> None:
    for seed in range(12):
        given = random_table(seed, steps)
        every = assignments(given)
        for bound in sorted({s for _, s in every})[:: max(1, len(every) // 6)]:
            want = min((b, s) for b, s in every if s <= bound)
            found = lt.allocate(given, score=bound)
            assert (found.total_bits, found.score) == want


def test_one_layer_in_ruin_does_not_blur_the_choice_of_the_others() -> None:
    given = table([[1e12, 0.0, 0.0], [3e-9, 1e-9, 0.0], [2e-9, 2e-9, 0.0]])
    found = lt.allocate(given, bits=5)
    want = min((s, b) for b, s in assignments(given) if b <= 5 * 48)
    assert (found.score, found.total_bits) == want


def test_scores_of_any_size_and_sign_are_added_up_as_all_assignments_are() -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(2, 6))
        scores = 10.0 ** rng.uniform(-9, 3, (layers, 3)) * rng.choice([1, 1, 1, -1], (layers, 3))
        sizes = rng.integers(1, 10**6, layers).tolist()
        given = table(scores.tolist(), sizes, (4.25, 6.25, 8.25))
        every = sorted(assignments(given))
        for budget, bound in every[:: max(1, len(every) // 4)]:
            found = lt.allocate(given, bits=(budget + 0.5) / sum(sizes))
            want = min((s, b) for b, s in every if b <= budget)
            assert (found.score, found.total_bits) == want
            found = lt.allocate(given, score=bound)
            assert (found.total_bits, found.score) == min(p for p in every if p[1] <= bound)


@pytest.mark.parametrize("largest", [10**3, 10**6, 10**7, 10**9])
def test_budgets_just_below_attainable_sums_are_kept_to_the_bit(largest: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(2, 6))
        scores = np.round(np.sort(rng.random((layers, 3)))[:, ::-1], 3)
        sizes = rng.integers(1, largest, layers).tolist()
        given = table(scores.tolist(), sizes, (4.25, 6.25, 8.25))
        every = sorted(assignments(given))
        for budget, _ in every[:: max(1, len(every) // 4)]:
            for size in {budget // 8, -(-budget // 8)}:
                if 8 * size >= every[0][0]:
                    want = min((s, b) for b, s in every if b <= 8 * size)
                    found = lt.allocate(given, size=size)
                    assert (found.score, found.total_bits) == want


def test_two_layers_of_millions_of_weights_have_an_allocation_that_their_front_shows() -> None:
    scores = [[0.9, 0.33, 0.224], [0.76, 0.097, 0.086]]
    given = table(scores, [9088065, 4544074], (4.25, 6.25, 8.25))
    found = lt.allocate(given, size=14058143)
    fits = [one for one in lt.front(given) if one.total_bits <= 8 * 14058143]
    assert (found.total_bits, found.score) == (fits[-1].total_bits, fits[-1].score)
    sizes = [2962370, 1950177, 2483721, 9257316]
    scores = [[0.885, 0.66, 0.058], [0.939, 0.495, 0.348], [0.994, 0.605, 0.013]]
    given = table([*scores, [0.578, 0.499, 0.153]], sizes, (4.25, 6.25, 8.25))
    assert lt.allocate(given, size=10576621).total_bits <= 8 * 10576621


@pytest.mark.parametrize("bits", [(3.0, 4.0, 7.0), (4.25, 6.25, 8.25), (4.2, 6.1, 8.3)])
def test_the_mean_bits_and_the_score_of_an_allocation_give_it_back(bits: Any) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        layers = int(rng.integers(1, 5))
        sizes = rng.integers(10, 5000, layers).tolist()
        given = table(rng.random((layers, 3)).tolist(), sizes, bits)
        for one in lt.front(given):
            for again in (lt.allocate(given, bits=one.bits), lt.allocate(given, score=one.score)):
                assert (again.total_bits, again.score) == (one.total_bits, one.score)


def test_a_bound_that_is_a_mean_of_more_bits_than_a_float_can_tell_is_not_exceeded() -> None:
    given = table([[1.0, 0.5, 0.0]], [48])
    assert [lt.allocate(given, bits=bits).bits for bits in (2, 3.99, 1e300)] == [2, 2, 8]
    assert lt.allocate(given, bits=math.nextafter(4, 0)).bits == 2
    assert lt.allocate(given, score=sys.float_info.max).bits == 2


def test_hundreds_of_layers_are_given_formats_as_by_counting_every_unit_of_bits() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 40, 240)
    scores = rng.integers(0, 1 << 20, (240, 4)) / 4096  # sums are exact
    bits = (2.0, 3.0, 4.0, 8.0)
    given = table(scores.tolist(), (sizes << 16).tolist(), bits)
    for mean in (2.1, 4.3, 7.5):
        budget = int(mean * sizes.sum())
        least = np.full(budget + 1, np.inf)
        least[0] = 0
        for size, row in zip(sizes.tolist(), scores, strict=True):
            shifted = [np.full(budget + 1, np.inf) for _ in bits]
            for new, width, score in zip(shifted, bits, row, strict=True):
                step = int(width) * size
                new[step:] = least[: budget + 1 - step] + score
            least = np.min(shifted, axis=0)
        found = lt.allocate(given, size=budget << 13)
        assert (found.total_bits >> 16, found.score) == (int(np.argmin(least)), least.min())


def test_a_budget_that_is_too_small_says_what_is_possible() -> None:
    given = table([[1.0, 0.5], [1.0, 0.25]], [10, 30])
    with pytest.raises(ValueError, match=r"bits=1.5 is too little: .* take 2 bits .*, 10 bytes"):
        lt.allocate(given, bits=1.5)
    with pytest.raises(ValueError, match=r"size=9 is too little"):
        lt.allocate(given, size=9)
    with pytest.raises(ValueError, match=r"score=0.5 is too little: .* add up to 0.75"):
        lt.allocate(given, score=0.5)
    for options in ({}, {"bits": 4, "size": 3}):
        with pytest.raises(TypeError, match="one of bits, size, score"):
            lt.allocate(given, **options)
    with pytest.raises(ValueError, match="bits must be finite"):
        lt.allocate(given, bits=math.nan)


def test_formats_without_a_finite_score_are_not_chosen() -> None:
    nan, inf = math.nan, math.inf
    given = table([[nan, 1.0, 0.5], [0.0, inf, 0.0]])
    assert lt.allocate(given, bits=8).formats == {"l0": "f2", "l1": "f0"}
    assert lt.allocate(given, bits=3).formats == {"l0": "f1", "l1": "f0"}
    assert [a.score for a in lt.front(given)] == [1.0, 0.5]
    for call in (lt.front, lambda t: lt.allocate(t, bits=8)):
        with pytest.raises(ValueError, match="no format has a finite score in 'l1'"):
            call(table([[1.0], [nan]]))


# ---- all budgets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [4, 40, 1 << 20])
def test_the_front_is_what_no_assignment_beats(steps: int) -> None:
    for seed in range(40):
        given = random_table(seed, steps)
        every = set(assignments(given))
        want = sorted(
            (b, s)
            for b, s in every
            if not any(c <= b and t <= s and (c, t) != (b, s) for c, t in every)
        )
        found = lt.front(given)
        assert [(one.total_bits, one.score) for one in found] == want


def test_a_front_of_some_points_lies_on_the_whole_one_and_has_its_ends() -> None:
    given = random_table(4, 1 << 20)
    every = [(one.total_bits, one.score) for one in lt.front(given)]
    some = [(one.total_bits, one.score) for one in lt.front(given, points=5)]
    assert set(some) <= set(every)
    assert (some[0], some[-1]) == (every[0], every[-1])
    assert len(some) > 2
    with pytest.raises(ValueError, match="points must be an integer from 2 on"):
        lt.front(given, points=1)


def test_a_front_of_some_points_of_a_model_has_the_ends_of_the_whole_one() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        sizes = rng.integers(3, 70, 4).tolist()
        model = nn.Sequential(*[nn.Linear(a, b) for a, b in itertools.pairwise(sizes)])
        found = lt.sensitivity(model, None, FORMATS, method="weight_error")
        whole, some = (
            [(one.total_bits, one.score) for one in lt.front(found, points=points)]
            for points in (None, 5)
        )
        assert (some[0], some[-1]) == (whole[0], whole[-1])
        assert set(some) <= set(whole)


def test_a_front_has_no_two_points_of_one_score() -> None:
    (one,) = lt.front(table([[1.0], [1e-17, 0.0]]))
    assert (one.total_bits, one.score) == (64, 1.0)


def test_a_front_that_is_too_large_says_so(monkeypatch: Any) -> None:
    monkeypatch.setattr("lowp.torch._knapsack._MOST_POINTS", 4)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="more than 4 points; give points="):
        lt.front(table(rng.random((6, 3)).tolist(), [3, 5, 7, 11, 13, 17]))


# ---- recipes -------------------------------------------------------------------------------------


def test_the_recipe_gives_each_layer_the_weights_that_were_measured_and_no_other_any() -> None:
    model = everything()
    names = ["mxfp4/rounding=stochastic_a", "nvfp4", "float8_e4m3fn"]
    found = lt.sensitivity(model, every_loss, names, seed=7)
    chosen = lt.allocate(found, bits=6.5)
    assert len(set(chosen.formats.values())) > 1
    with _scan.scanning(model, found.formats, seed=7) as scan:
        want = {row.layer: scan.quantized(row.layer, row.format) for row in chosen.rows}
    recipe = lt.Recipe.from_toml(chosen.recipe().to_toml())
    assert recipe == chosen.recipe()

    seen: dict[str, Any] = {}
    report = lt.convert(model.eval(), recipe)
    assert sorted(report.converted) == sorted(MEASURED)
    for name, state in lt.layers(model).items():
        assert state.layer == found.formats[chosen.formats[name]]
        state.observers.append(lambda cast, name=name: seen.__setitem__(name, cast.y))
    every_loss(model)
    for name, w in want.items():
        q = torch.empty_like(w)
        _scan.forward_weight(model.get_submodule(name), q)[0].copy_(seen[name])
        assert torch.equal(q, w), name


def test_the_measured_loss_of_a_recipe_is_near_the_sum_of_its_scores() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 64), nn.Linear(64, 10))
    x = data(4096, 64)
    labels = (x[:, :10] + data(4096, 10, seed=1)).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def loss(m: Any) -> Any:
        return F.cross_entropy(m(x), labels)

    for _ in range(60):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    found = lt.sensitivity(model, loss, FORMATS)
    for bits in (4.3, 5.5, 6.3):
        chosen = lt.allocate(found, bits=bits)
        with torch.no_grad(), lt.converted(model, chosen.recipe()):
            change = float(loss(model)) - found.loss
        assert change == pytest.approx(chosen.score, rel=0.15)


@pytest.mark.parametrize("name", ["a[0]", "first:2", "*", "?b", "0", "proj"])
def test_patterns_of_odd_names_fit_their_layer_alone(name: str) -> None:
    inner = nn.ModuleDict({"0": nn.LayerNorm(4), "proj": nn.Linear(4, 4), "ab": nn.Linear(4, 4)})
    model = nn.ModuleDict({name: nn.Linear(4, 4), "inner": inner})
    found = lt.sensitivity(model, None, ["mxfp4"], method="weight_error", layers=None)
    for layer in (name, "inner.proj"):
        only = lt.Recipe(patterns={found.patterns[layer]: lt.Layer(w="mxfp4")})
        with lt.converted(model, only) as report:
            assert report.converted == (layer,)


def test_tables_print_and_become_frames() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = lt.sensitivity(everything(), None, FORMATS, method="weight_error")
    assert "weight_error of 7 layers" in str(found)
    assert all(name in str(found) for name in (*MEASURED, *FORMATS))
    frame = found.frame()
    assert len(frame) == 21
    assert frame["score"].tolist() == [row.score for row in found.rows]
    chosen = lt.allocate(found, bits=6)
    assert "bits a weight" in str(chosen)
    assert chosen.frame()["format"].tolist() == list(chosen.formats.values())
    assert "[ab]" in str(table([[1.0]])).replace("l0", "[ab]")


def test_without_pandas_the_error_says_what_to_install(monkeypatch: Any) -> None:
    for name in ("scipy", "scipy.optimize", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    given = table([[1.0, 0.5]])
    assert lt.allocate(given, bits=8).bits == 4
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lowp\[study\]'"):
        given.frame()
