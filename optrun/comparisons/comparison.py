"""Groups and statistics become a comparison: figures, differences, verdicts, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optrun.comparisons.grouping import Group
from optrun.comparisons.outcomes import Skipped
from optrun.comparisons.statistics import Difference, Mode, Standings, Summary, Verdict, standings, summary

__all__ = ["Compared", "Comparison", "compared", "reference_of"]


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
    unreached: int
    """Runs that never reached the target, where the metric is when they did."""
    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    best: float | None
    median: float | None
    worst: float | None
    values: tuple[float | None, ...]
    """In the order of the seeds; None for a diverged run, and for one that never reached the target."""
    difference: Difference | None
    """To the leader or the baseline."""
    verdict: Verdict
    more_seeds: int | None
    """About so many more seeds for each would tell the difference."""

    @property
    def results(self) -> int:
        """Runs that count, with a finite value or as the worst there is."""
        return len(self.values)

    def as_json(self) -> dict[str, Any]:
        """The group as `compare --format json` prints it."""
        return {
            "label": self.group.label,
            "settings": dict(self.group.settings),
            "n": self.n,
            "failed": self.failed,
            "diverged": self.diverged,
            "unreached": self.unreached,
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
    """All settings before any were merged or left out by `top`, best first."""
    unsettled: int = 0
    """Runs that are still running."""

    @property
    def reference(self) -> Compared | None:
        """The leader or the baseline."""
        return reference_of(self.groups)

    @property
    def damaged(self) -> list[Skipped]:
        """Runs that are in no curve: their rows were found to be damaged, if they have been read by now."""
        outcomes = [outcome for point in self.points for outcome in point.outcomes]
        return [Skipped(each.path, each.history.problem) for each in outcomes if each.history.problem]

    def as_json(self) -> dict[str, Any]:
        """The comparison as `compare --format json` prints it."""
        return {
            "metric": self.metric,
            "mode": self.mode,
            "groups": [each.as_json() for each in self.groups],
            "skipped": [{"path": str(each.path), "reason": each.reason} for each in self.skipped],
        }


def reference_of(found: Sequence[Compared]) -> Compared | None:
    """What the others are compared with; None where no group has a finite result."""
    return next((each for each in found if each.verdict in ("leader", "baseline")), None)


def compared(groups: Sequence[Group], mode: Mode, baseline: int | None) -> tuple[list[Compared], Standings]:
    """Every group with its figures and its verdict, best first; `baseline` is an index."""
    values = [group.values for group in groups]
    unchosen = [[each.values for each in group.unchosen] for group in groups]
    standing = standings(values, mode, baseline=baseline, unchosen=unchosen)
    found = []
    for index in standing.order:
        group, its = groups[index], standing.groups[index]
        figures: Summary = summary(values[index], mode)
        unreached = sum(outcome.unreached for outcome in group.outcomes)
        found.append(
            Compared(
                group=group,
                n=figures.n,
                failed=group.count("failed"),
                diverged=figures.diverged - unreached,
                unreached=unreached,
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
