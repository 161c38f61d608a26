"""Groups and statistics become a comparison: figures, differences, verdicts, best first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optrun.comparisons.grouping import Group
from optrun.comparisons.outcomes import Skipped
from optrun.comparisons.statistics import Difference, Mode, Standings, Summary, Verdict, few_seeds, standings, summary

__all__ = ["Compared", "Comparison", "compared", "conclusion", "sentences"]


@dataclass(frozen=True)
class Compared:
    """A group with what can be said of it.

    Mean, deviation and interval are of the finite values; best, median and worst are None where that is a diverged run.
    """

    group: Group
    n: int
    """Runs with a finite value."""
    failed: int
    diverged: int
    """Runs that diverged, or never had a finite value."""
    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    best: float | None
    median: float | None
    worst: float | None
    values: tuple[float | None, ...]
    """In the order of the seeds; None for a diverged run."""
    difference: Difference | None
    """To the leader or the baseline."""
    verdict: Verdict
    more_seeds: int | None
    """About so many more seeds for each would tell the difference."""

    def as_json(self) -> dict[str, Any]:
        """The group as `compare --format json` prints it."""
        return {
            "label": self.group.label,
            "settings": dict(self.group.settings),
            "n": self.n,
            "failed": self.failed,
            "diverged": self.diverged,
            "mean": self.mean,
            "std": self.std,
            "ci95": self.ci95 and list(self.ci95),
            "values": list(self.values),
            "difference": None
            if self.difference is None
            else {
                "mean": self.difference.mean,
                "ci95": self.difference.ci95 and list(self.difference.ci95),
                "p": self.difference.p,
            },
            "verdict": self.verdict,
            "more_seeds": self.more_seeds,
        }


@dataclass(frozen=True)
class Comparison:
    """What the runs say."""

    metric: str
    mode: Mode
    at: str
    groups: tuple[Compared, ...]
    """Best first."""
    skipped: tuple[Skipped, ...]
    """Runs that are in no figure, and why."""
    notes: tuple[str, ...]
    """Sentences on how the comparison was made and what it cannot say."""
    conclusion: str = ""
    """What came of it, in one sentence; of all groups, also of those that `top` leaves out."""
    points: tuple[Group, ...] = ()
    """All settings before any were merged or left out by `top`."""
    unsettled: int = 0
    """Runs that are still running."""

    @property
    def reference(self) -> Compared | None:
        """The leader or the baseline."""
        return next((each for each in self.groups if each.verdict in ("leader", "baseline")), None)

    def as_json(self) -> dict[str, Any]:
        """The comparison as `compare --format json` prints it."""
        return {
            "metric": self.metric,
            "mode": self.mode,
            "groups": [each.as_json() for each in self.groups],
            "skipped": [{"path": str(each.path), "reason": each.reason} for each in self.skipped],
        }


def compared(groups: Sequence[Group], mode: Mode, baseline: int | None) -> tuple[list[Compared], Standings]:
    """Every group with its figures and its verdict, best first; `baseline` is an index."""
    values = [group.values for group in groups]
    standing = standings(values, mode, baseline=baseline)
    found = []
    for index in standing.order:
        group, its = groups[index], standing.groups[index]
        figures: Summary = summary(values[index], mode)
        found.append(
            Compared(
                group=group,
                n=figures.n,
                failed=group.count("failed"),
                diverged=figures.diverged,
                mean=figures.mean,
                std=figures.std,
                ci95=figures.ci95,
                best=figures.best,
                median=figures.median,
                worst=figures.worst,
                values=tuple(values[index][seed] for seed in sorted(values[index])),
                difference=its.difference,
                verdict=its.verdict,
                more_seeds=its.more_seeds,
            )
        )
    return found, standing


def conclusion(found: Sequence[Compared]) -> str:
    """Who leads, and how many of the others can be told from it."""
    reference = next((each for each in found if each.verdict in ("leader", "baseline")), None)
    others = [each for each in found if each is not reference and each.n + each.diverged]
    if reference is None or reference.n + reference.diverged == 0:
        return "no run has a result to compare"
    without = len(found) - 1 - len(others)
    rest = f"; {without} more {'has' if without == 1 else 'have'} no result" if without else ""
    if not others:
        return f"{reference.group.label} is the only group with a result: there is nothing to compare it with{rest}"
    start = f"{reference.group.label} leads" if reference.verdict == "leader" else f"baseline: {reference.group.label}"
    identical = sum(each.difference is not None and each.difference.identical for each in others)
    words: dict[Verdict, str] = {
        "better": "better",
        "worse": "worse",
        "not distinguishable": "not distinguishable from it",
    }
    counts = Counter(each.verdict for each in others)
    parts = [(counts[verdict], said) for verdict, said in words.items() if counts[verdict]]
    if len(others) == 1:
        return f"{start}; the other group is {parts[0][1]}{', its values identical' if identical else ''}{rest}"
    same = f" ({identical} with identical values)" if identical else ""
    if counts["not distinguishable"] == len(others):
        return f"{start}; none of the {len(others)} other groups is distinguishable from it{same}{rest}"
    said = " and ".join(f"{count} {'is' if count == 1 else 'are'} {word}" for count, word in parts)
    return f"{start}; of the {len(others)} other groups {said}{same}{rest}"


def sentences(found: Sequence[Compared], standing: Standings, merged_by: Sequence[str], tuned_on: str) -> list[str]:
    """What must be said beside the figures. `tuned_on` is the metric by which the best settings were chosen."""
    notes = []
    chosen = [each.group for each in found if each.group.chosen_from > 1]
    if merged_by and chosen:
        most = sorted(chosen, key=lambda group: -group.chosen_from)
        of = ", ".join(f"{group.label}: of {group.chosen_from}" for group in most[:6])
        more = f", and {len(most) - 6} more groups" if len(most) > 6 else ""
        notes.append(
            f"each group by {', '.join(merged_by)} is its best setting ({of}{more}), chosen by {tuned_on} on the same "
            "runs: the more settings were tried, the more its figures flatter"
        )
    differences = [each.difference for each in found if each.difference is not None]
    counts = [len(each.values) for each in found if each.values]
    paired = bool(differences) and all(difference.paired for difference in differences)
    if counts and (few := few_seeds(counts, standing.comparisons, paired=paired)):
        notes.append(few)
    diverged = Counter(each.diverged > 0 for each in found)[True]
    if diverged:
        groups = "1 group has" if diverged == 1 else f"{diverged} groups have"
        notes.append(f"{groups} diverged runs, which count as the worst and are in no mean")
    return notes
