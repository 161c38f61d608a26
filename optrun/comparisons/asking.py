"""`optrun.compare`: from paths and wishes to a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.comparisons.choosing import baseline_of, direction, kept, key_of, tuning_metric, unknown_metric
from optrun.comparisons.comparison import Compared, Comparison, compared, reference_of
from optrun.comparisons.defaults import with_defaults
from optrun.comparisons.grouping import Group, labelled, merged, points_of
from optrun.comparisons.outcomes import TIMES, At, Outcome, Skipped, collect, judged
from optrun.comparisons.plans import outside_the_plan
from optrun.comparisons.provenance import mixtures
from optrun.comparisons.sentences import conclusion, notes
from optrun.comparisons.statistics import Mode, ranking
from optrun.config.labels import brief, counted
from optrun.errors import NoRunsYet, NotARun, UsageError

__all__ = ["compare"]


def compare(
    paths: str | Path | Sequence[str | Path] = (),
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    group_by: str | Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
    top: int | None = None,
    baseline: str | Path | Mapping[str, Any] | None = None,
    at: At = "best",
    runs_dir: str | Path = "runs",
) -> Comparison:
    """Compare runs over their seeds: runs, sweeps, globs, or names in `runs_dir`; by default all that it holds.

    Groups are configs equal but for the seed; `group_by` merges them further, each group then being the best of its
    settings by the metric that the runs were tuned on. `where` keeps runs with these settings. `metric` is a key of
    metrics.jsonl, or a figure of summary.json (`train_time`, `target.step`, …); by default what runs were judged by.
    `at` takes its best or its last value. `baseline` is a label, a path or settings; otherwise the leader is compared
    with. Raises NotARun and UsageError.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    outcomes, skipped = collect(listed, Path(runs_dir))
    if not outcomes:
        raise _nothing_in(", ".join(map(str, listed)) or str(runs_dir), skipped)
    if at not in ("best", "last"):
        raise UsageError(f"at is best or last, not {at}")
    outcomes, unplanned = outside_the_plan(outcomes, named=listed)
    outcomes = kept(with_defaults(outcomes), where or {})
    tuned_on = tuning_metric(outcomes) if metric is None or group_by else ("", "max")
    judge = metric or tuned_on[0]
    way = direction(judge, mode, outcomes) if metric or mode else tuned_on[1]
    found, without = judged(outcomes, judge, way, at)
    completed = any(outcome.status == "completed" for outcome in outcomes)
    if completed and not any(outcome.status == "completed" for outcome in found):
        raise unknown_metric(judge, outcomes)
    keys = list(dict.fromkeys(key_of(word, outcomes) for word in _words(group_by)))
    if "seed" in keys:
        raise UsageError("groups are compared over their seeds, so seed makes no groups; --where seed=0 keeps one")
    groups, points, repeated = _groups(found, keys, tuned_on, judge)
    reference = baseline_of(groups, str(baseline) if isinstance(baseline, Path) else baseline)
    ranked, standing = compared(groups, way, reference)
    shown = _best(ranked, top)
    said = [*notes(ranked, standing, keys, tuned_on[0]), *mixtures(groups), *_on_data(outcomes)]
    return Comparison(
        metric=judge,
        mode=way,
        at=at,
        groups=tuple(shown),
        skipped=(*skipped, *unplanned, *without, *repeated),
        notes=(*said, *_on_times(outcomes, judge), *_on_plans(unplanned), *_on_rest(shown, ranked)),
        conclusion=conclusion(ranked),
        points=tuple(points[index] for index in ranking([point.values for point in points], way)),
        unsettled=sum(outcome.status == "running" for outcome in outcomes),
    )


def _nothing_in(place: str, skipped: Sequence[Skipped]) -> NotARun:
    """The complaint that there is nothing to compare; runs that are damaged are not waited for."""
    sentence = f"there are no runs to compare in {place}"
    return NotARun(f"{sentence}; {skipped[0].path}: {skipped[0].reason}") if skipped else NoRunsYet(sentence)


def _words(group_by: str | Sequence[str]) -> list[str]:
    given = [group_by] if isinstance(group_by, str) else group_by
    return [word.strip() for text in given for word in text.split(",") if word.strip()]


def _groups(
    outcomes: Sequence[Outcome], keys: Sequence[str], tuned_on: tuple[str, Mode], metric: str
) -> tuple[list[Group], list[Group], list[Skipped]]:
    """The groups that are compared, the points they were chosen from, and the runs that repeat another."""
    points, repeated = points_of(outcomes, keys)
    if not keys:
        groups = labelled(points)
        return groups, groups, repeated
    if metric == tuned_on[0]:
        tuning = {outcome.path: outcome.value for outcome in outcomes}
    else:
        tuning = {outcome.path: outcome.value for outcome in judged(outcomes, *tuned_on)[0]}
    return labelled(merged(points, keys, tuned_on[1], tuning), keys), labelled(points), repeated


def _best(ranked: Sequence[Compared], top: int | None) -> list[Compared]:
    """So many of them, and in any case what they are compared with."""
    return [each for i, each in enumerate(ranked) if top is None or i < top or each is reference_of(ranked)]


def _on_rest(shown: Sequence[Compared], ranked: Sequence[Compared]) -> list[str]:
    are = "is" if len(shown) == 1 else "are"
    return [f"{len(shown)} of {len(ranked)} groups {are} shown; all were tested"] if len(shown) < len(ranked) else []


def _on_data(outcomes: Sequence[Outcome]) -> list[str]:
    names = sorted({brief(outcome.settings.get("dataset.name")) for outcome in outcomes})
    if len(names) < 2:
        return []
    several = f"the runs are on {len(names)} data sets ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"
    return [
        f"{several}, which are not equally hard: a difference may be the data's; --where dataset={names[0]} keeps one"
    ]


def _on_times(outcomes: Sequence[Outcome], metric: str) -> list[str]:
    """Said where times of runs that were trained as one stand beside others, or are what is compared."""
    ended = [outcome.summary.get("engine") for outcome in outcomes if outcome.counts]
    fused = ended.count("fused")
    if not fused or (fused == len(ended) and metric not in TIMES):
        return []
    which = f"{fused:,} of {counted(len(ended), 'run')} {'was' if fused == 1 else 'were'} trained as one with others"
    return [f"{which} (fused), and times are common to these: they tell nothing of one setting against another"]


def _on_plans(unplanned: Sequence[Skipped]) -> list[str]:
    if not unplanned:
        return []
    runs = f"{counted(len(unplanned), 'run')} {'is' if len(unplanned) == 1 else 'are'}"
    return [f"{runs} no longer in the plan of the sweep, and left out"]
