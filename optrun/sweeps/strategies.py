"""Which trials run next: all of a plan, the best of them after each rung, or what a sampler proposes.

It is decided from what the run directories hold alone, never from the order in which it came there: a sweep that was
killed and is started again decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from optrun.config.sweep import Point, SweepSpec
from optrun.errors import ConfigError
from optrun.sweeps.call import Call, Event
from optrun.sweeps.ledger import Trial, by_point
from optrun.sweeps.ranking import best_value
from optrun.sweeps.search import halving, samplers

if TYPE_CHECKING:
    from optrun.sweeps.standing import Standing

__all__ = ["grid", "in_the_race", "learning_search", "random_search"]

_HOPELESS = 8
"""Points one after the other that cannot be run, after which a search is held for wrong."""


def grid(call: Call) -> Iterator[Event]:
    """Every trial of a grid. Raises ConfigError with what is wrong with any of them before the first one starts."""
    trials = call.sweep.plan()
    refused = yield from call.judged(trials)
    if refused:
        raise ConfigError([problem for error in refused.values() for problem in error.problems])
    yield from call.begin(trials)
    yield from _to_the_end(call)


def random_search(call: Call) -> Iterator[Event]:
    """All points at once: a sampler that learns nothing need not wait for results."""
    yield from _begin(call, call.sweep.drawn)
    yield from _to_the_end(call)


def learning_search(call: Call) -> Iterator[Event]:
    """A sampler is told what a batch of points came to before it proposes the next one.

    What the directory holds is told first, by proposing the same points again: they turn out to be done.
    """
    spec = call.sweep.spec
    search = spec.search
    assert search is not None
    sampler = samplers.sampler(search, spec.objective.mode)
    while call.sweep.proposed < search.trials and not call.is_stopped:
        batch = sampler.propose(min(search.batch, search.trials - call.sweep.proposed))
        begun = yield from _begin(call, [spec.point_or_error(settings) for settings in batch])
        yield from call.train([trial for trials in begun for trial in trials])
        if not call.is_stopped:
            for settings, trials in zip(batch, begun):
                sampler.tell(settings, halving.point_value(_outcome(trial, spec) for trial in trials))


def in_the_race(standing: Standing, spec: SweepSpec, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that are not pruned by what there is now, up to the first rung that some of them have not reached."""
    alive = dict(enumerate(by_point(trials)))
    for rung in _rungs(spec, trials):
        if any(standing.is_due(trial, rung) for point in alive.values() for trial in point):
            break
        alive = _survivors(standing, spec, alive, rung)
    return [trial for point in alive.values() for trial in point]


def _begin(call: Call, points: Sequence[Point | ConfigError]) -> Generator[Event, None, list[list[Trial]]]:
    """Begin the trials of proposed points, and give those of each: none of a point that cannot be run, which is said.

    Raises ConfigError when no point of the search could be run so far, and there were enough of them to tell.
    """
    sweep, search = call.sweep, call.sweep.spec.search
    assert search is not None
    errors = [point for point in points if isinstance(point, ConfigError)]
    found = [[] if isinstance(point, ConfigError) else sweep.ledger.trials(point) for point in points]
    new = list(dict.fromkeys(trial for trials in found for trial in trials if trial not in call.standing))
    refused = yield from call.judged(new)
    errors += dict.fromkeys(refused.values())
    sweep.impossible += errors
    possible = [trial for trial in new if trial not in refused]
    if not sweep.trials and not possible and sweep.proposed + len(points) >= min(_HOPELESS, search.trials):
        raise ConfigError([problem for error in sweep.impossible for problem in error.problems])
    for error in errors:
        yield from call.note(f"a proposed point cannot be run: {error}")
    yield from call.begin(possible)
    sweep.proposed += len(points)
    return [[trial for trial in trials if trial not in refused] for trials in found]


def _to_the_end(call: Call) -> Iterator[Event]:
    if call.sweep.spec.prune:
        yield from _halve(call)
    yield from call.train(call.sweep.trials)


def _halve(call: Call) -> Iterator[Event]:
    """Successive halving: all train to a rung, the best of them go on."""
    spec, standing = call.sweep.spec, call.standing
    alive = dict(enumerate(by_point(standing.trials)))
    for rung in _rungs(spec, standing.trials):
        yield from call.train([trial for point in alive.values() for trial in point], until=rung)
        if call.is_stopped:
            return
        kept = _survivors(standing, spec, alive, rung)
        for number in sorted(alive.keys() - kept.keys()):
            yield from call.give_up(alive[number])
        alive = kept


def _rungs(spec: SweepSpec, trials: Sequence[Trial]) -> list[int]:
    return halving.rungs(spec.prune, max((trial.spec.epochs or 0 for trial in trials), default=0)) if spec.prune else []


def _survivors(
    standing: Standing, spec: SweepSpec, alive: Mapping[int, list[Trial]], rung: int
) -> dict[int, list[Trial]]:
    """The points, by their numbers in the plan, that go on after a rung."""
    assert spec.prune is not None
    values = {
        number: halving.point_value(standing.value_at(trial, rung) for trial in point)
        for number, point in alive.items()
    }
    return {number: alive[number] for number in halving.survivors(values, spec.prune.eta, spec.objective.mode)}


def _outcome(trial: Trial, spec: SweepSpec) -> float | None:
    """What a search learns of a trial: its best evaluation, NaN if it diverged, None if it failed."""
    if trial.status == "diverged":
        return math.nan
    return best_value(trial.run, spec.objective) if trial.status == "completed" else None
