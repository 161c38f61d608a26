"""TPE, Gaussian processes, CMA-ES and quasi-random search: Optuna's samplers, driven by ask and tell.

The study lives in memory alone; the run directories are the truth, and a search that goes on is told everything again.
Optuna is a package of its own (`pip install 'optrun[optuna]'`) and is imported when a sampler of it is made.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from optrun.config.sweep import Search, Space
from optrun.errors import UsageError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

__all__ = ["OptunaSampler"]

NEEDS = {
    "tpe": ("optuna",),
    "gp": ("optuna", "scipy", "torch"),
    "cmaes": ("optuna", "cmaes"),
    "qmc": ("optuna", "scipy"),
}
"""The packages each sampler imports, some of them only when it has something to compute."""


class OptunaSampler:
    """One of Optuna's samplers; its study sees what is proposed and told here, in that order, and nothing else."""

    def __init__(self, search: Search, mode: Literal["min", "max"]) -> None:
        """Raises UsageError if a package is missing. CMA-ES takes numbers only, as the config of a sweep demands."""
        # A choice of one is no search, and Optuna's samplers differ in what they make of it.
        self._constants = {key: space.choices[0] for key, space in search.space.items() if len(space.choices) == 1}
        self._spaces = {key: space for key, space in search.space.items() if key not in self._constants}
        self._keys = list(search.space)
        self._name = search.sampler
        self._worst = math.inf if mode == "min" else -math.inf
        self._open: deque[tuple[Trial, dict[str, Any]]] = deque()
        _refuse_missing(search.sampler)
        with _quiet():
            self._study = _study(search, len(self._spaces), mode)
            self._distributions = {key: _distribution(space) for key, space in self._spaces.items()}

    def propose(self, n: int) -> list[dict[str, Any]]:
        """The next `n` points. Those before them that are not told yet are taken into account as running."""
        proposed = []
        with _quiet(), _one_thread(self._name):
            for _ in range(n):
                trial = self._study.ask(self._distributions)
                found = {key: _value(space, trial.params[key]) for key, space in self._spaces.items()}
                settings = {key: self._constants[key] if key in self._constants else found[key] for key in self._keys}
                self._open.append((trial, settings))
                proposed.append(dict(settings))
        return proposed

    def tell(self, settings: Mapping[str, Any], value: float | None) -> None:
        """A diverged point is told as the worst there is, a failed one as a trial that failed and teaches nothing."""
        from optuna.trial import TrialState

        if not self._open or dict(settings) != self._open[0][1]:
            raise ValueError(f"not the oldest proposal that is still open: {dict(settings)}")
        trial, _ = self._open.popleft()
        with _quiet():
            if value is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, value if math.isfinite(value) else self._worst)


def _study(search: Search, dimensions: int, mode: Literal["min", "max"]) -> Study:
    import optuna

    return optuna.create_study(
        sampler=_SAMPLERS[search.sampler](search, dimensions),
        direction="minimize" if mode == "min" else "maximize",
    )


def _tpe(search: Search, dimensions: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # constant_liar: the points of a batch keep away from each other
    return TPESampler(seed=search.seed, multivariate=True, constant_liar=True)


def _gp(search: Search, dimensions: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=search.seed)


def _cmaes(search: Search, dimensions: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    # A generation is a whole number of batches: of a batch that runs over its end the rest would teach nothing.
    usual = 4 + math.floor(3 * math.log(max(dimensions, 1)))  # Hansen (2016), The CMA Evolution Strategy: eq. 48
    return CmaEsSampler(seed=search.seed, popsize=math.ceil(usual / search.batch) * search.batch)


def _qmc(search: Search, dimensions: int) -> BaseSampler:
    from optuna.samplers import QMCSampler

    return QMCSampler(seed=search.seed, scramble=True)


_SAMPLERS: dict[str, Callable[[Search, int], BaseSampler]] = {"tpe": _tpe, "gp": _gp, "cmaes": _cmaes, "qmc": _qmc}


def _distribution(space: Space) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if space.kind == "choice":
        return CategoricalDistribution(range(len(space.choices)))  # by number: a candidate may be a list or a mapping
    if space.kind == "int":
        return IntDistribution(int(space.low), int(space.high))
    return FloatDistribution(float(space.low), float(space.high), log=space.kind == "log")


def _value(space: Space, found: Any) -> Any:
    """What Optuna found, as plain Python: some samplers find NumPy's numbers."""
    if space.kind == "choice":
        return space.choices[int(found)]
    return int(found) if space.kind == "int" else float(found)


def _refuse_missing(name: str) -> None:
    missing = [package for package in NEEDS[name] if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(
            f"the sampler {name} needs {' and '.join(missing)}, not installed here; pip install 'optrun[optuna]', "
            "or take the sampler random"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on every trial and on what is experimental; the caller's own settings come back."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def _one_thread(name: str) -> Iterator[None]:
    """The Gaussian process on one thread of torch: how many there are changes the last bits, and so the proposals."""
    if name != "gp":
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
