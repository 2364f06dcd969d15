"""Which configurations come next: the whole grid, random ones, Sobol's points, the best share on a
larger budget, or what Optuna proposes.

A plan is a generator: it yields a batch of configurations and is sent their metrics (None where
one failed). It depends on the study and on what it is sent alone, so after a restart it asks for
the same configurations again, and those that are done cost nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lowp.study._parts import Configuration
from lowp.study._space import Range, StudyError
from lowp.study._study import Study

__all__ = ["Plan", "plan_of", "score"]

Metrics: TypeAlias = Mapping[str, float] | None
Plan: TypeAlias = Generator[Sequence[Configuration], Sequence[Metrics], None]

#: Draws for every configuration wanted: where constraints leave nearly nothing, a search ends.
_MOST_DRAWS = 200


def plan_of(study: Study) -> Plan:
    """The plan of a study's search."""
    return _PLANS[study.search.method](study)


def score(study: Study, metrics: Metrics) -> float:
    """The objective as something to make small; infinite where it is missing, NaN or infinite."""
    if not metrics:
        return math.inf
    name = study.objective or next(iter(metrics))
    if name not in metrics:
        raise StudyError(
            ["objective"], f"the task has no metric {name!r}; it has {', '.join(metrics)}"
        )
    value = metrics[name] if study.goal == "minimize" else -metrics[name]
    return value if math.isfinite(value) else math.inf


# ---- all and some --------------------------------------------------------------------------------


def _grid(study: Study) -> Plan:
    yield list(study.grid())


def _random(study: Study) -> Plan:
    yield _drawn(study, _uniform(study), study.search.count)


def _sobol(study: Study) -> Plan:
    from scipy.stats import qmc

    dimensions = 1 + max(len(table) for table in study.axes)
    points = qmc.Sobol(dimensions, rng=np.random.default_rng(study.search.seed))
    yield _drawn(study, (points.random(1)[0] for _ in itertools.count()), study.search.count)


def _uniform(study: Study) -> Iterator[np.ndarray[Any, Any]]:
    generator = np.random.Generator(np.random.Philox(study.search.seed))
    dimensions = 1 + max(len(table) for table in study.axes)
    while True:
        yield generator.random(dimensions)


def _drawn(
    study: Study, points: Iterator[np.ndarray[Any, Any]], count: int, fixed: Mapping[str, Any] = {}
) -> list[Configuration]:
    """The first `count` different configurations at points of the unit cube."""
    found: dict[str, Configuration] = {}
    for point in itertools.islice(points, _MOST_DRAWS * count):
        table = study.axes[min(int(point[0] * len(study.axes)), len(study.axes) - 1)]
        axes = {
            name: _at(values, u)
            for (name, values), u in zip(table.items(), point[1:], strict=False)
        }
        c = study.configuration({**axes, **fixed}, len(found))
        if c is not None and c.hash not in found:
            found[c.hash] = c
            if len(found) == count:
                break
    return list(found.values())


def _at(values: Sequence[Any] | Range, share: float) -> Any:
    if isinstance(values, Range):
        return values.at(float(share))
    return values[min(int(share * len(values)), len(values) - 1)]


# ---- halving -------------------------------------------------------------------------------------


def _halving(study: Study) -> Plan:
    """Successive halving. Source: Jamieson and Talwalkar, AISTATS 2016."""
    name, search = study.search.budget, study.search
    budgets = study.axes[0][name]
    if any(list(table[name]) != list(budgets) for table in study.axes):
        raise StudyError(["search", "budget"], f"the tables of axes differ in {name!r}")
    if search.count:
        chosen = _drawn(study, _uniform(study), search.count, {name: budgets[0]})
    else:
        chosen = [c for c in study.grid() if c.axes[name] == budgets[0]]
    for i, budget in enumerate(budgets):
        batch = [_with(study, c, name, budget) for c in chosen]
        metrics = yield batch
        if i + 1 < len(budgets):
            chosen = _best(study, batch, metrics, search.keep)


def _with(study: Study, c: Configuration, name: str, value: Any) -> Configuration:
    found = study.configuration({**c.axes, name: value}, c.number)
    if found is None:
        raise StudyError(["constraints"], f"they leave out {name} = {value!r} of the budget")
    return found


def _best(
    study: Study, batch: Sequence[Configuration], metrics: Sequence[Metrics], share: float
) -> list[Configuration]:
    """The best share of a batch, at least one, by the mean of their replicates."""
    groups: dict[Any, list[int]] = {}
    for i, c in enumerate(batch):
        key = tuple((k, v) for k, v in c.axes.items() if k not in study.replicates)
        groups.setdefault(key, []).append(i)
    means = {
        key: float(np.mean([score(study, metrics[i]) for i in members]))
        for key, members in groups.items()
    }
    order = sorted(groups, key=lambda key: means[key])  # stable: ties by their number
    kept = [i for key in order[: math.ceil(share * len(order))] for i in groups[key]]
    return [batch[i] for i in sorted(kept)]


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
    left, draws = search.count, 0
    while left > 0 and draws < _MOST_DRAWS * search.count:
        trials: list[Any] = []
        while len(trials) < min(search.batch, left) and draws < _MOST_DRAWS * search.count:
            draws += 1
            trial = proposed.ask()
            axes = _suggested(study, trial, search.budget)
            if study.configuration({**axes, **_at_budget(search.budget, budgets[0])}) is None:
                proposed.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                trials.append((trial, axes))
        left -= len(trials)
        number = search.count - left - len(trials)
        yield from _rungs(study, proposed, trials, budgets, number)


def _rungs(
    study: Study, proposed: Any, trials: list[Any], budgets: Sequence[Any], number: int
) -> Plan:
    """A batch of trials on one budget after the other, while they are not pruned."""
    import optuna

    alive = list(enumerate(trials, number))
    for step, budget in enumerate(budgets):
        batch = []
        for i, (_, axes) in alive:
            c = study.configuration({**axes, **_at_budget(study.search.budget, budget)}, i)
            if c is None:
                raise StudyError(["constraints"], f"they leave out {budget!r} of the budget")
            batch.append(c)
        if not batch:
            return
        metrics = yield batch
        kept = []
        for (i, (trial, axes)), found in zip(alive, metrics, strict=True):
            value = score(study, found)
            trial.report(value, step)
            if not math.isfinite(value):
                proposed.tell(trial, state=optuna.trial.TrialState.FAIL)
            elif step + 1 == len(budgets):
                proposed.tell(trial, value)
            elif trial.should_prune():
                proposed.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                kept.append((i, (trial, axes)))
        alive = kept


def _at_budget(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if name else {}


def _suggested(study: Study, trial: Any, budget: str) -> dict[str, Any]:
    which = 0
    if len(study.axes) > 1:
        which = trial.suggest_categorical("axes", list(range(len(study.axes))))
    found = {}
    for name, values in study.axes[which].items():
        label = f"{which}.{name}"
        if name == budget:
            continue
        if not isinstance(values, Range):
            found[name] = values[trial.suggest_categorical(label, list(range(len(values))))]
        elif values.is_whole:
            found[name] = trial.suggest_int(
                label, int(values.low), int(values.high), log=values.log
            )
        else:
            found[name] = trial.suggest_float(label, values.low, values.high, log=values.log)
    return found


_PLANS: Mapping[str, Callable[[Study], Plan]] = {
    "grid": _grid,
    "random": _random,
    "sobol": _sobol,
    "halving": _halving,
    "optuna": _optuna,
}
