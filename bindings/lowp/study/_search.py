"""Which configurations come next: the whole grid, random ones, Sobol's points, the best share on a
larger budget, or what Optuna proposes.

A plan is a generator: it yields a batch of configurations and is sent their metrics (None where
one failed). It depends on the study and on what it is sent alone, so after a restart it asks for
the same configurations again, and those that are done cost nothing. A choice is what is searched:
one configuration, or all replicates of one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowp.study._parts import Configuration
from lowp.study._space import Range, StudyError, products
from lowp.study._study import Study

__all__ = ["Plan", "plan_of", "score", "size_of"]

Metrics: TypeAlias = Mapping[str, float] | None
Plan: TypeAlias = Generator[Sequence[Configuration], Sequence[Metrics], None]
Choice: TypeAlias = list[Configuration]

#: Draws for every choice wanted: where constraints leave nearly nothing, a search ends.
_MOST_DRAWS = 200


def plan_of(study: Study) -> Plan:
    """The plan of a study's search."""
    return _PLANS[study.search.method](study)


def size_of(study: Study) -> int:
    """See Study.check."""
    if study.search.method in ("random", "sobol", "optuna"):
        _check_values(study)
    if study.search.method == "optuna":
        places = range(len(study.axes))
        rungs = len(study.axes[0][study.search.budget]) if study.search.budget else 1
        most = max(len(_replicas(study, place)) for place in places)
        return study.search.count * most * rungs
    plan, count = plan_of(study), 0
    try:
        batch = next(plan)
        while True:
            count += len(batch)
            batch = plan.send([None] * len(batch))
    except StopIteration:
        pass
    if count == 0:
        listed = ", ".join(map(repr, study.constraints))
        raise StudyError(["constraints"], f"no configuration is left by {listed}")
    return count


def _replicas(study: Study, place: int) -> list[dict[str, Any]]:
    """All values of a table's replicates."""
    found: dict[str, Sequence[Any]] = {}
    for name, values in study.bound.values(place).items():
        if name in study.bound.replicates:
            found[name] = values.values() if isinstance(values, Range) else values
    return list(products(found))


def _check_values(study: Study) -> None:
    """Try every value of every axis beside the first values of the others. StudyError."""
    for place in range(len(study.axes)):
        ends = {
            name: [v.low, v.high] if isinstance(v, Range) else list(v)
            for name, v in study.bound.values(place).items()
        }
        for name, values in ends.items():
            for value in values:
                axes = {other: of[0] for other, of in ends.items()} | {name: value}
                study.bound.configuration(axes, 0, place)


def score(study: Study, metrics: Metrics) -> float:
    """The objective as something to make small; infinite where it is missing, NaN or infinite."""
    if not metrics:
        return math.inf
    value = metrics.get(study.objective or next(iter(metrics)), math.nan)
    value = value if study.goal == "minimize" else -value
    return value if math.isfinite(value) else math.inf


def _mean_score(study: Study, found: Sequence[Metrics]) -> float:
    return float(np.mean([score(study, metrics) for metrics in found]))


# ---- all and some --------------------------------------------------------------------------------


def _grid(study: Study) -> Plan:
    yield list(study.grid())


def _random(study: Study) -> Plan:
    yield _joined(_drawn(study, _uniform(study)))


def _sobol(study: Study) -> Plan:
    from scipy.stats import qmc

    points = qmc.Sobol(_dimensions(study), rng=np.random.default_rng(study.search.seed))
    yield _joined(_drawn(study, (points.random(1)[0] for _ in itertools.count())))


def _dimensions(study: Study) -> int:
    return 1 + max(len(table) for table in study.axes)


def _uniform(study: Study) -> Iterator[NDArray[np.float64]]:
    generator = np.random.Generator(np.random.Philox(study.search.seed))
    while True:
        yield generator.random(_dimensions(study))


def _drawn(
    study: Study, points: Iterator[NDArray[np.float64]], fixed: Mapping[str, Any] | None = None
) -> list[Choice]:
    """The first `count` different choices at points of the unit cube."""
    count = study.search.count
    found: dict[str, Choice] = {}
    for point in itertools.islice(points, _MOST_DRAWS * count):
        place = min(int(point[0] * len(study.axes)), len(study.axes) - 1)
        axes = {
            name: _at(values, u)
            for (name, values), u in zip(study.bound.values(place).items(), point[1:], strict=False)
        }
        choice = _choice(study, {**axes, **(fixed or {})}, place, sum(map(len, found.values())))
        if choice and choice[0].hash not in found:
            found[choice[0].hash] = choice
            if len(found) == count:
                break
    return list(found.values())


def _at(values: Sequence[Any] | Range, share: float) -> Any:
    if isinstance(values, Range):
        return values.drawn(float(share))
    return values[min(int(share * len(values)), len(values) - 1)]


def _choice(study: Study, axes: Mapping[str, Any], place: int, number: int) -> Choice:
    """The configurations at these axes, with all values of the replicates."""
    found: Choice = []
    for again in _replicas(study, place):
        c = study.bound.configuration({**axes, **again}, number + len(found), place)
        if c is not None:
            found.append(c)
    return found


def _joined(choices: Sequence[Choice]) -> Choice:
    return [c for choice in choices for c in choice]


# ---- halving -------------------------------------------------------------------------------------


def _halving(study: Study) -> Plan:
    """Successive halving. Source: Jamieson and Talwalkar, AISTATS 2016."""
    name, search = study.search.budget, study.search
    budgets = study.axes[0][name]
    if search.count:
        chosen = _drawn(study, _uniform(study), {name: budgets[0]})
    else:
        chosen = _grouped(study, [c for c in study.grid() if c.axes[name] == budgets[0]])
    rungs = {budget: [_with(study, choice, budget) for choice in chosen] for budget in budgets}
    kept = list(range(len(chosen)))
    for i, budget in enumerate(budgets):
        batch = [rungs[budget][k] for k in kept]
        metrics = iter((yield _joined(batch)))
        scores = [_mean_score(study, [next(metrics) for _ in choice]) for choice in batch]
        if i + 1 < len(budgets):
            count = math.ceil(search.keep * len(kept))
            order = sorted(range(len(kept)), key=lambda place: scores[place])  # stable
            kept = sorted(kept[place] for place in order[:count])


def _grouped(study: Study, batch: Sequence[Configuration]) -> list[Choice]:
    """Configurations that differ in replicates alone, together."""
    groups: dict[Any, Choice] = {}
    for c in batch:
        key = tuple((k, v) for k, v in c.axes.items() if k not in study.bound.replicates)
        groups.setdefault(key, []).append(c)
    return list(groups.values())


def _with(study: Study, choice: Choice, budget: Any) -> Choice:
    """A choice on another budget. StudyError: a constraint leaves it out there."""
    name = study.search.budget
    found = [study.bound.configuration({**c.axes, name: budget}, c.number) for c in choice]
    if None in found:
        problem = f"they leave out {name} = {budget!r} of the budget for {dict(choice[0].axes)}"
        raise StudyError(["constraints"], problem)
    return [c for c in found if c is not None]


# ---- Optuna --------------------------------------------------------------------------------------


def _optuna(study: Study) -> Plan:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ValueError("this search needs Optuna: pip install 'lowp[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = study.search
    proposed = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=search.seed, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(),
    )
    budgets = study.axes[0][search.budget] if search.budget else [None]
    left, draws, number = search.count, 0, 0
    while left > 0 and draws < _MOST_DRAWS * search.count:
        trials: list[tuple[Any, Choice]] = []
        while len(trials) < min(search.batch, left) and draws < _MOST_DRAWS * search.count:
            draws += 1
            trial = proposed.ask()
            place, axes = _suggested(study, trial)
            if search.budget:
                axes[search.budget] = budgets[0]
            choice = _choice(study, axes, place, number)
            number += len(choice)
            if choice:
                trials.append((trial, choice))
            else:
                proposed.tell(trial, state=optuna.trial.TrialState.FAIL)
        left -= len(trials)
        yield from _rungs(study, proposed, trials, budgets)


def _rungs(
    study: Study, proposed: Any, trials: list[tuple[Any, Choice]], budgets: Sequence[Any]
) -> Plan:
    """A batch of trials on one budget after the other, while they are not pruned."""
    import optuna

    for step, budget in enumerate(budgets):
        if not trials:
            return
        if step:
            trials = [(trial, _with(study, choice, budget)) for trial, choice in trials]
        metrics = iter((yield _joined([choice for _, choice in trials])))
        kept = []
        for trial, choice in trials:
            value = _mean_score(study, [next(metrics) for _ in choice])
            trial.report(value, step)
            if not math.isfinite(value):
                proposed.tell(trial, state=optuna.trial.TrialState.FAIL)
            elif step + 1 == len(budgets):
                proposed.tell(trial, value)
            elif trial.should_prune():
                proposed.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                kept.append((trial, choice))
        trials = kept


def _suggested(study: Study, trial: Any) -> tuple[int, dict[str, Any]]:
    """A table and values of its axes, but for replicates and the budget."""
    place = 0
    if len(study.axes) > 1:
        place = trial.suggest_categorical("axes", list(range(len(study.axes))))
    found: dict[str, Any] = {}
    for name, values in study.bound.values(place).items():
        label = f"{place}.{name}"
        if name == study.search.budget or name in study.bound.replicates:
            continue
        if not isinstance(values, Range):
            found[name] = values[trial.suggest_categorical(label, list(range(len(values))))]
        elif values.is_whole:
            ends = int(values.low), int(values.high)
            found[name] = trial.suggest_int(label, *ends, log=values.log)
        else:
            found[name] = trial.suggest_float(label, values.low, values.high, log=values.log)
    return place, found


_PLANS: Mapping[str, Callable[[Study], Plan]] = {
    "grid": _grid,
    "random": _random,
    "sobol": _sobol,
    "halving": _halving,
    "optuna": _optuna,
}
