"""Design-space studies: a task over thousands of configurations, resumable, with a report.

    >>> from lowp import study
    >>> s = study.Study("error", {"format": ["e{2..5}m{1..4}", "mxfp4"]}, constraints=["bits <= 8"])
    >>> store = s.run(workers=2)
    >>> store.frame()[["format", "bits", "relative_mse"]]

A study is this or a TOML file (`load`), a task is a plain function (`lowp.study.tasks`), a store
is a folder (`open`) that `lowp study report` makes a page of.
"""

from lowp._arguments import suggest_arguments
from lowp.study import cost, tasks
from lowp.study._compare import Comparison, compare
from lowp.study._file import load, to_toml
from lowp.study._parts import Configuration, Cost, Search
from lowp.study._report import report
from lowp.study._run import Counts, run
from lowp.study._space import Range, StudyError, expand
from lowp.study._study import Study
from lowp.study.parameters import (
    AccumulatorName,
    DataFile,
    FormatName,
    FormatOrNone,
    Kind,
    RecipeName,
    Result,
    RoundingName,
)
from lowp.study.store import Store, open

__all__ = [
    "AccumulatorName",
    "Comparison",
    "Configuration",
    "Cost",
    "Counts",
    "DataFile",
    "FormatName",
    "FormatOrNone",
    "Kind",
    "Range",
    "RecipeName",
    "Result",
    "RoundingName",
    "Search",
    "Store",
    "Study",
    "StudyError",
    "compare",
    "cost",
    "expand",
    "load",
    "open",
    "report",
    "run",
    "tasks",
    "to_toml",
]

suggest_arguments(__name__)
