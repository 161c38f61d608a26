"""What came of a comparison, in sentences: its conclusion, and what must be said beside the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from optrun.comparisons.comparison import Compared, reference_of
from optrun.comparisons.statistics import Standings, Verdict, few_seeds
from optrun.config.labels import counted

__all__ = ["conclusion", "notes"]

_WORDS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "not distinguishable": "not distinguishable from it",
    "not tested": "not tested",
}


def conclusion(found: Sequence[Compared]) -> str:
    """Who leads, and how many of the others can be told from it."""
    reference = reference_of(found)
    if reference is None:
        return _nothing(found)
    if not reference.results:
        return f"baseline: {reference.group.label}, which has no result to compare with"
    others = [each for each in found if each is not reference and each.results]
    without = len(found) - 1 - len(others)
    rest = f"; {without} more {'has' if without == 1 else 'have'} no result" if without else ""
    if not others:
        return f"{reference.group.label} is the only group with a result: there is nothing to compare it with{rest}"
    start = f"{reference.group.label} leads" if reference.verdict == "leader" else f"baseline: {reference.group.label}"
    return f"{start}; {_told(others)}{rest}"


def _nothing(found: Sequence[Compared]) -> str:
    if any(each.unreached for each in found):
        return "no run reached the target"
    if not any(each.results for each in found) and any(each.group.count("running") for each in found):
        return "no run has ended yet"
    return "no run has a result to compare"


def _told(others: Sequence[Compared]) -> str:
    """How the other groups compare with the leader or the baseline."""
    counts = Counter(each.verdict for each in others)
    identical = sum(each.difference is not None and each.difference.identical for each in others)
    if len(others) == 1:
        return f"the other group is {_WORDS[others[0].verdict]}{', its values identical' if identical else ''}"
    same = f" ({identical} with identical values)" if identical else ""
    if counts["not distinguishable"] == len(others):
        return f"none of the {len(others)} other groups is distinguishable from it{same}"
    parts = [
        f"{counts[verdict]} {'is' if counts[verdict] == 1 else 'are'} {word}"
        for verdict, word in _WORDS.items()
        if counts[verdict]
    ]
    return f"of the {len(others)} other groups {' and '.join(parts)}{same}"


def notes(found: Sequence[Compared], standing: Standings, merged_by: Sequence[str], tuned_on: str) -> list[str]:
    """What must be said beside the figures. `tuned_on` is the metric by which the best settings were chosen."""
    said = [*_chosen(found, merged_by, tuned_on)]
    differences = [each.difference for each in found if each.difference is not None]
    paired = bool(differences) and all(difference.paired for difference in differences)
    said += few_seeds([each.results for each in found if each.results], standing.comparisons, paired=paired)
    for name, count in {
        "diverged runs": sum(each.diverged > 0 for each in found),
        "runs that never reached the target": sum(each.unreached > 0 for each in found),
    }.items():
        if count:
            has = "has" if count == 1 else "have"
            said.append(f"{counted(count, 'group')} {has} {name}, which count as the worst and are in no mean")
    return said


def _chosen(found: Sequence[Compared], merged_by: Sequence[str], tuned_on: str) -> Iterator[str]:
    """Of how many settings each group is the best one."""
    chosen = [each.group for each in found if each.group.chosen_from > 1]
    if not chosen:
        return
    most = sorted(chosen, key=lambda group: -group.chosen_from)
    of = ", ".join(f"{group.label}: of {group.chosen_from}" for group in most[:6])
    more = f", and {counted(len(most) - 6, 'more group')}" if len(most) > 6 else ""
    yield (
        f"each group by {', '.join(merged_by)} is its best setting ({of}{more}), chosen by {tuned_on} on the same "
        "runs: p is corrected for that; the means flatter, the more the more settings were tried"
    )
