"""Outcomes become groups: equal but for the seed, then merged further if that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optrun.comparisons.outcomes import Outcome, Skipped
from optrun.comparisons.provenance import started
from optrun.comparisons.settings import ABOUT, Flat, same
from optrun.comparisons.statistics import Mode, Values, ranking
from optrun.config.labels import Labels

__all__ = ["Group", "differing", "labelled", "merged", "points_of", "value_of"]


@dataclass(frozen=True)
class Group:
    """Runs that are equal but for the seed; where groups are merged, those of the best setting."""

    label: str
    settings: Mapping[str, Any]
    """Only what differs between groups."""
    outcomes: tuple[Outcome, ...]
    """By their seeds; also those that failed, were pruned or have not ended."""
    unchosen: tuple[Group, ...] = ()
    """The other settings that were tried, of which this is the best."""

    @property
    def chosen_from(self) -> int:
        """How many settings were tried."""
        return 1 + len(self.unchosen)

    @property
    def values(self) -> Values:
        """The metric by seed, of the runs that are a result; None where a run has no finite value."""
        return {outcome.seed: outcome.value for outcome in self.outcomes if outcome.counts}

    def count(self, status: str) -> int:
        """How many runs have that status."""
        return sum(outcome.status == status for outcome in self.outcomes)


def points_of(outcomes: Iterable[Outcome], keys: Sequence[str] = ()) -> tuple[list[Group], list[Skipped]]:
    """Groups equal but for the seed, still without labels, in the order in which their first runs were met.

    They are equal in `keys` as well, which may be some in which runs of one group could differ otherwise (`name`,
    `tags`, `device`). Of runs that repeat a seed the one that ended counts, of several the newest; the others are
    skipped.
    """
    about = [key for key in keys if key in ABOUT]
    by_settings: dict[Any, tuple[Flat, list[Outcome]]] = {}
    for outcome in outcomes:
        key = (id(outcome.settings), *(same(outcome.about.get(word)) for word in about))
        by_settings.setdefault(key, (outcome.settings, []))[1].append(outcome)
    by_meaning: dict[Any, tuple[Flat, list[Outcome]]] = {}
    for (_, *said), (settings, alike) in by_settings.items():
        meaning = (frozenset((key, same(value)) for key, value in settings.items()), *said)
        by_meaning.setdefault(meaning, (settings, []))[1].extend(alike)
    skipped: list[Skipped] = []
    groups = [Group("", settings, _once_each_seed(alike, skipped)) for settings, alike in by_meaning.values()]
    return groups, skipped


def _once_each_seed(outcomes: list[Outcome], skipped: list[Skipped]) -> tuple[Outcome, ...]:
    by_seed: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_seed.setdefault(outcome.seed, []).append(outcome)
    kept = []
    for seed in sorted(by_seed):
        best = by_seed[seed][0] if len(by_seed[seed]) == 1 else max(by_seed[seed], key=_precedence)
        kept.append(best)
        repeats = f"it repeats the configuration and seed of another run ({best.path})"
        skipped += [Skipped(outcome.path, repeats) for outcome in by_seed[seed] if outcome is not best]
    return tuple(kept)


def _precedence(outcome: Outcome) -> tuple[bool, bool, float, str]:
    """Results before failures before the rest; then the one that was started last."""
    return outcome.counts, outcome.status == "failed", started(outcome.path), outcome.path.name


def differing(points: Sequence[Flat]) -> list[str]:
    """The keys that tell points apart, components' names first.

    A setting that some have and others have not tells nothing where the component is another one anyway.
    """
    keys = list(dict.fromkeys(key for settings in points for key in settings))
    found = []
    for key in keys:
        having = [settings for settings in points if key in settings]
        if len({same(settings[key]) for settings in having}) > 1 or _is_optional(key, points, having):
            found.append(key)
    return sorted(found, key=lambda key: (not key.endswith(".name"), keys.index(key)))


def _is_optional(key: str, points: Sequence[Flat], having: Sequence[Flat]) -> bool:
    """Whether points without the key have the same component as points with it."""
    if len(having) == len(points):
        return False
    name = f"{key.partition('.')[0]}.name"
    with_it = {same(settings.get(name)) for settings in having}
    return any(key not in settings and same(settings.get(name)) in with_it for settings in points)


def labelled(groups: Sequence[Group], keys: Sequence[str] = ()) -> list[Group]:
    """The groups with labels that tell them apart, and of their settings only what differs.

    `keys` are those that groups were merged by: these alone make the label.
    """
    telling = differing([group.settings for group in groups])
    shown = list(dict.fromkeys([*keys, *telling]))
    settings = [{key: group.settings[key] for key in shown if key in group.settings} for group in groups]
    labels = Labels(settings)
    found = []
    for group, its in zip(groups, settings):
        words = {key: its.get(key) for key in keys} if keys else its
        found.append(replace(group, label=labels.label(words) or _only_name(group), settings=its))
    return found


def _only_name(group: Group) -> str:
    """What to call the only group there is."""
    names = sorted({outcome.name for outcome in group.outcomes})
    return names[0] if len(names) == 1 else str(group.settings.get("optimizer.name", "all runs"))


def merged(points: Sequence[Group], keys: Sequence[str], mode: Mode, tuning: Mapping[Any, float | None]) -> list[Group]:
    """One group for each combination of values of `keys`: the best of its points, in which the runs agree on these.

    `tuning` are the values that decide which is best, by path of the run; less or more of them is better, by `mode`.
    """
    together: dict[Any, list[Group]] = {}
    for point in points:
        values = tuple(same(value_of(point.outcomes[0], key)) for key in keys)
        together.setdefault(values, []).append(point)
    groups = []
    for alike in together.values():
        best = _best(alike, mode, tuning)
        about = {key: value_of(best.outcomes[0], key) for key in keys}
        unchosen = tuple(point for point in alike if point is not best)
        groups.append(replace(best, settings={**best.settings, **about}, unchosen=unchosen))
    return groups


def _best(points: Sequence[Group], mode: Mode, tuning: Mapping[Any, float | None]) -> Group:
    """Of those that have two results or more, if there are any: one lucky run is no setting."""
    values = [{o.seed: tuning.get(o.path) for o in point.outcomes if o.counts} for point in points]
    order = ranking(values, mode)
    return points[next((index for index in order if len(values[index]) > 1), order[0])]


def value_of(outcome: Outcome, key: str) -> Any:
    """A run's setting, or what is said about it: `optimizer.lr`, `tags`."""
    return outcome.settings[key] if key in outcome.settings else outcome.about.get(key)
