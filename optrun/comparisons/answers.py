"""A comparison as one document: the contract's keys, and beside them what people ask of optimizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optrun.comparisons.areas import areas
from optrun.comparisons.budgets import budgets
from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.costs import costs
from optrun.comparisons.importance import importances
from optrun.comparisons.sensitivity import Response, sensitivity, varied
from optrun.comparisons.statistics import interval
from optrun.comparisons.targets import Target, to_target

__all__ = ["area_of", "as_json", "responses"]


def as_json(found: Comparison, target: Target | None = None) -> dict[str, Any]:
    """What `compare --format json` prints. Reads the curves of all runs."""
    document = found.as_json()
    for each, written in zip(found.groups, document["groups"]):
        written |= {"best": each.best, "median": each.median, "worst": each.worst}
        written |= {"seeds": sorted(each.group.values), "chosen_from": each.group.chosen_from}
        if each.difference is not None:
            its = each.difference
            written["difference"] |= {
                "uncorrected_p": its.uncorrected_p,
                "test": its.method.name.lower(),
            }
        written |= {"area": area_of(each, found.metric), **_costs(each), "target": _target(each, target)}
    document["at"] = found.at
    document["conclusion"] = found.conclusion
    document["notes"] = list(found.notes)
    document["target"] = target and {"metric": target.metric, "value": target.value}
    document["best_of_k"] = {
        series: [{"k": each.k, "mean": each.mean, "quartiles": [each.low, each.high]} for each in of]
        for series, of in budgets(found.points, found.mode).items()
    }
    document["sensitivity"] = [_response(each) for each in responses(found)]
    document["importance"] = [
        {"key": each.key, "share": each.share, "by_chance": each.by_chance, "values": each.levels, "n": each.points}
        for each in importances(found.points, found.mode)
    ]
    document["skipped"] += [
        {"path": str(each.path), "reason": f"it is left out of curves: {each.reason}"} for each in found.damaged
    ]
    return document


def area_of(each: Compared, metric: str) -> dict[str, Any] | None:
    """The area under the curve of the metric over steps: mean and 95 % interval over the completed runs."""
    values = [value for value in areas(each.group, metric).values() if math.isfinite(value)]
    if not values:
        return None
    ci95 = interval(values)
    return {"mean": math.fsum(values) / len(values), "ci95": ci95 and list(ci95), "n": len(values)}


def responses(found: Comparison) -> list[Response]:
    """How the metric answers to each hyperparameter that is a number and has several values, by optimizer."""
    listed: list[Response] = []
    for key in varied(found.points):
        for response in sensitivity(found.points, found.mode, key):
            if _is_scale([spot.value for spot in response.spots]):
                listed.append(response)
    return listed


def _is_scale(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _costs(each: Compared) -> dict[str, Any]:
    its = costs(each.group)
    return {
        "samples_per_second": its.samples_per_second,
        "train_time": its.train_time,
        "clipped_fraction": its.clipped_fraction,
        "parameters": its.parameters,
    }


def _target(each: Compared, target: Target | None) -> dict[str, Any] | None:
    """Medians over the seeds, null where half of the runs or more never got there."""
    if target is None:
        return None
    its = to_target(each.group, target)
    medians = {"step": its.step, "time": its.time}
    known = {key: value if math.isfinite(value) else None for key, value in medians.items()}
    return {"reached": its.reached, "of": len(its.steps), **known}


def _response(response: Response) -> dict[str, Any]:
    return {
        "key": response.key,
        "optimizer": response.series,
        "values": [
            {
                "value": spot.value,
                "mean": spot.figures.mean,
                "std": spot.figures.std,
                "n": spot.figures.n,
                "diverged": spot.figures.diverged,
                "chosen_from": spot.chosen_from,
            }
            for spot in response.spots
        ],
    }
