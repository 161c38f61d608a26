"""What is compared: the metric and its direction, the runs that `where` keeps, the group that is the baseline."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optrun.comparisons.grouping import Group, value_of
from optrun.comparisons.outcomes import FIGURES, Outcome
from optrun.comparisons.settings import same
from optrun.comparisons.statistics import Mode
from optrun.components.naming import either, near
from optrun.config.labels import brief
from optrun.errors import UsageError

__all__ = ["baseline_of", "direction", "kept", "key_of", "tuning_metric", "unknown_metric"]

_LOOKED_AT = 20
"""Runs whose rows are looked through for the names of metrics."""


def tuning_metric(outcomes: Sequence[Outcome]) -> tuple[str, Mode]:
    """The metric that all runs were judged by, and its direction. Raises UsageError if they were judged by several."""
    found = Counter(each for outcome in outcomes if (each := _best_of(outcome)) is not None)
    if not found:
        named = [_from_config(outcome) for outcome in outcomes]
        metric = Counter(named).most_common(1)[0][0]
        return metric, direction(metric, None, outcomes)
    if len(found) > 1:
        runs = ", ".join(f"{metric}: {count} runs" for (metric, _), count in found.most_common())
        raise UsageError(f"the runs were judged by different metrics ({runs}); choose one with --metric")
    return next(iter(found))


def _best_of(outcome: Outcome) -> tuple[str, Mode] | None:
    best = outcome.summary.get("best") or {}
    metric, mode = best.get("metric"), best.get("mode")
    return (metric, mode) if isinstance(metric, str) and mode in ("min", "max") else None


def _from_config(outcome: Outcome) -> str:
    metrics = outcome.settings.get("metrics")
    first = metrics[0] if isinstance(metrics, list | tuple) and metrics else None
    name = first.get("name") if isinstance(first, Mapping) else first
    return f"val/{name}" if isinstance(name, str) else "val/loss"


def direction(metric: str, mode: str | None, outcomes: Sequence[Outcome]) -> Mode:
    """Which way of the metric is better: `mode` if it is given, else the metric's own. Raises UsageError."""
    if mode == "min" or mode == "max":
        return mode
    if mode is not None:
        raise UsageError(f"the mode is min or max, not {mode}")
    for outcome in outcomes:
        if (best := _best_of(outcome)) and best[0] == metric:
            return best[1]
    if metric in FIGURES:
        return FIGURES[metric]
    name = metric.rpartition("/")[2]
    if name in ("loss", "grad_norm"):
        return "min"
    from optrun.components.registry import KINDS

    try:
        return getattr(KINDS["metrics"].find(name).load(), "mode", "max")
    except UsageError:
        if metric not in known_metrics(outcomes):
            raise unknown_metric(metric, outcomes) from None
        raise UsageError(f"nobody knows whether more or less {metric} is better; say it with --mode") from None


def known_metrics(outcomes: Sequence[Outcome]) -> list[str]:
    """What the runs can be compared by: the figures of their summaries, and the keys of their rows, of some of them."""
    final = {name for outcome in outcomes for name in outcome.summary.get("final") or {}}
    rows = {key for outcome in outcomes[:_LOOKED_AT] for key in outcome.history.metrics()}
    return sorted(final | rows)


def unknown_metric(metric: str, outcomes: Sequence[Outcome]) -> UsageError:
    """The complaint about a metric that no run has, or none whose rows can be read."""
    problem = next((f"{each.path}: {each.history.problem}" for each in outcomes if each.history.problem), None)
    if problem is not None:
        return UsageError(f"no run has {metric}; {problem}")
    names = known_metrics(outcomes)
    close = near(metric, [*names, *([] if metric in FIGURES else FIGURES)])
    meant = f"did you mean {either(close)}?" if close else f"there is {either(names)}" if names else "there is none"
    return UsageError(f"no run has {metric}; {meant}")


def key_of(word: str, outcomes: Sequence[Outcome]) -> str:
    """The dotted key that a word means: `optimizer.lr`, or `lr` and `optimizer` where nothing else ends so.

    Raises UsageError for a key that no run has.
    """
    known = dict.fromkeys(key for outcome in outcomes for key in (*outcome.settings, *outcome.about))
    if word in known:
        return word
    if f"{word}.name" in known:
        return f"{word}.name"
    ending = [key for key in known if key.endswith(f".{word}")]
    if len(ending) == 1:
        return ending[0]
    hints = ending or near(word, known)
    raise UsageError(f"no run has the setting {word}" + (f"; did you mean {either(hints[:3])}?" if hints else ""))


def kept(outcomes: Sequence[Outcome], where: Mapping[str, Any]) -> list[Outcome]:
    """The outcomes whose settings are those. Raises UsageError if none is left."""
    left = list(outcomes)
    for word, value in where.items():
        key = key_of(word, outcomes)
        found = [outcome for outcome in left if _is(value_of(outcome, key), value)]
        if not found:
            there = dict.fromkeys(brief(value_of(outcome, key)) for outcome in left)
            shown = ", ".join(list(there)[:8]) + (", …" if len(there) > 8 else "")
            raise UsageError(f"no run has {key}={brief(value)}; there is {shown}")
        left = found
    return left


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return value.lower() == wanted.lower()
    if isinstance(value, list | tuple) and not isinstance(wanted, list | tuple):  # one of the tags
        return any(_is(item, wanted) for item in value)
    return same(value) == same(wanted)


def baseline_of(groups: Sequence[Group], baseline: str | Mapping[str, Any] | None) -> int | None:
    """The index of the group that is meant: by its label, by a path of its runs, or by settings. Raises UsageError."""
    if baseline is None:
        return None
    if isinstance(baseline, Mapping):
        keys = {key_of(word, [o for group in groups for o in group.outcomes]): v for word, v in baseline.items()}
        words = ", ".join(f"{key}={brief(value)}" for key, value in baseline.items())
        found = [i for i, g in enumerate(groups) if all(_is(value_of(g.outcomes[0], k), v) for k, v in keys.items())]
    else:
        words = baseline
        found = [i for i, group in enumerate(groups) if group.label.lower() == baseline.lower()]
        if not found and os.path.exists(baseline):
            path = os.path.realpath(baseline)
            found = [i for i, group in enumerate(groups) if any(_inside(o, path) for o in group.outcomes)]
        found = found or [i for i, group in enumerate(groups) if baseline.lower() in group.label.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        hints = near(words, [group.label for group in groups]) or [group.label for group in groups][:3]
        raise UsageError(f"no group is the baseline {words}; there is {either(hints)}")
    some = ", ".join(f"({groups[index].label})" for index in found[:3])
    raise UsageError(f"{len(found)} groups could be the baseline {words}, such as {some}; say more of its settings")


def _inside(outcome: Outcome, path: str) -> bool:
    real = os.path.realpath(outcome.path)
    return real == path or real.startswith(path + os.sep)
