"""Names of groups for a picture: no more than tells those apart that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optrun.comparisons.comparison import Compared
from optrun.comparisons.grouping import differing
from optrun.comparisons.settings import same
from optrun.config.labels import Labels

__all__ = ["short_labels", "telling"]


def short_labels(groups: Sequence[Compared]) -> list[str]:
    """Of each group the settings without which it could be another one of these; components before all else.

    A learning rate that goes with its optimizer, or what all of these groups have, is not said again.
    """
    every = [each.group.settings for each in groups]
    keys = telling(every)
    settings = [{key: its[key] for key in keys if key in its} for its in every]
    if not keys or _count(every, keys) < len(groups):
        return [each.group.label for each in groups]
    labels = Labels(settings)
    return [labels.label(its) for its in settings]


def telling(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that it takes to tell them apart; what goes along with these says nothing more."""
    keys = differing(settings)
    for key in reversed(keys):
        rest = [other for other in keys if other != key]
        if _count(settings, rest) == _count(settings, keys):
            keys = rest
    return keys


def _count(settings: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """How many of them differ in those keys."""
    return len({tuple((key in its, same(its.get(key))) for key in keys) for its in settings})
