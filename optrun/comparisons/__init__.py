"""Comparing runs: run directories become outcomes, groups over seeds, figures, tests and verdicts. No torch.

`outcomes` reads the runs and `history` their rows, `grouping` puts them together, `statistics` tests, `comparison` has
what came of it and `sentences` says it; what people ask of optimizers is in files of their own: `targets`, `areas`,
`budgets`, `sensitivity`, `importance`, `costs`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["Compared", "Comparison", "Group", "Outcome", "Skipped", "compare"]

_HOME = {
    "Compared": "comparison",
    "Comparison": "comparison",
    "Group": "grouping",
    "Outcome": "outcomes",
    "Skipped": "outcomes",
    "compare": "asking",
}

if TYPE_CHECKING:
    from optrun.comparisons.asking import compare
    from optrun.comparisons.comparison import Compared, Comparison
    from optrun.comparisons.grouping import Group
    from optrun.comparisons.outcomes import Outcome, Skipped


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"optrun.comparisons.{_HOME[name]}"), name)
    raise AttributeError(f"module 'optrun.comparisons' has no attribute {name!r}")
