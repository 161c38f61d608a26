"""The config of a sweep: its file becomes a plan in which every trial is checked, each problem at its place.

`loading` does it with the help of the others: `file` opens the sweep and its base, `keys` reads what it says, `grid`,
`space` and `objective` the parts of that, `trials` makes the specs, and `writing` says it all again in sweep.yaml.
"""

from optrun.config.loading import is_sweep
from optrun.config.sweep.loading import MOST_TRIALS, SweepSpec, load_sweep
from optrun.config.sweep.objective import Objective, Prune
from optrun.config.sweep.space import SAMPLERS, Search, Space
from optrun.config.sweep.trials import Point

__all__ = [
    "MOST_TRIALS",
    "SAMPLERS",
    "Objective",
    "Point",
    "Prune",
    "Search",
    "Space",
    "SweepSpec",
    "is_sweep",
    "load_sweep",
]
