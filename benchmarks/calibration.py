"""Whether `optrun compare` claims as seldom, and finds as often, as it says: on simulated studies, and on real seeds.

A study is k groups of n runs. Where all groups are equal, every "better" or "worse" is a false claim. The
tables that are printed stand in docs/statistics.md.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from optrun.comparisons.statistics import ALPHA, Mode, Values, difference, interval, power, standings

__all__ = [
    "APART",
    "CORRELATION",
    "GROUPS",
    "KINDS",
    "PLANTED",
    "SIZES",
    "Array",
    "as_groups",
    "draw",
    "false_claims",
    "joint_coverage",
    "measure",
    "planted",
    "theory",
    "welch_power",
]

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
EPOCHS, SEEDS, RATES = 5, 200, (0.1, 0.05)
GROUPS, SIZES = (2, 5, 10, 20), (3, 5, 10)
CORRELATION = 0.5
"""Of two groups' normal values at the same seed, where they have the same seeds."""
PLANTED = 2.0
"""Standard deviations by which one group is better than all others."""

APART = (0.0, 1.0, 100.0)
"""Standard deviations between one group and the next, where all intervals together are looked at."""

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {
    "normal": "normal",
    "heavy tails": "Student's t with 3 degrees of freedom",
    "skewed": "log-normal",
    "coarse": "normal, rounded to steps of 1.7 standard deviations: an accuracy on few examples",
    "collapsing": "normal, but one run in five is 20 standard deviations worse",
    "unequal spreads": "normal, each group with its own standard deviation from 0.1 to 10",
    "diverging": "normal, but one run in five diverges",
    "at the edge": "normal, but every other run diverges",
}
"""How the values of equal groups are spread over seeds."""


def draw(kind: str, k: int, n: int, same_seeds: bool, random: np.random.Generator) -> Array:
    """Values of k equal groups of n seeds, shape [k, n]; NaN is a diverged run."""
    values = random.standard_normal((k, n))
    if same_seeds:
        values = math.sqrt(CORRELATION) * random.standard_normal(n) + math.sqrt(1 - CORRELATION) * values
    if kind == "heavy tails":
        return special.stdtrit(3, special.ndtr(values))
    if kind == "skewed":
        return np.exp(values)
    if kind == "coarse":
        return np.rint(values * 0.6)
    if kind == "unequal spreads":
        return values * 10 ** random.uniform(-1, 1, (k, 1))
    bad = {"collapsing": 0.2, "diverging": 0.2, "at the edge": 0.5}.get(kind, 0.0)
    worse = -20.0 if kind == "collapsing" else math.nan
    return np.where(random.random((k, n)) < bad, worse, values) if bad else values


def as_groups(values: Array, same_seeds: bool) -> list[Values]:
    """Rows as groups; seeds 0 … n - 1 in each, or all different."""
    k, n = values.shape
    return [dict(zip(range(0 if same_seeds else row * n, (row + 1) * n), values[row].tolist())) for row in range(k)]


def claims(groups: list[Values], mode: Mode = "max") -> bool:
    """Whether any group is called better or worse than the leader."""
    return any(group.verdict in ("better", "worse") for group in standings(groups, mode).groups)


def false_claims(kind: str, k: int, n: int, same_seeds: bool, studies: int, random: np.random.Generator) -> int:
    """In how many studies of equal groups a difference is claimed."""
    return sum(claims(as_groups(draw(kind, k, n, same_seeds, random), same_seeds)) for _ in range(studies))


def planted(k: int, n: int, same_seeds: bool, studies: int, random: np.random.Generator) -> tuple[int, int]:
    """In how many studies, of which the first group is better by `PLANTED`, the second is rightly called worse.

    First by its test alone, at the level 0.05 / (number of pairs); then by the verdict.
    """
    alone = verdict = 0
    for _ in range(studies):
        values = draw("normal", k, n, same_seeds, random)
        values[0] += PLANTED
        groups = as_groups(values, same_seeds)
        found = standings(groups, "max")
        p = difference(groups[1], groups[0]).p
        alone += p is not None and p < ALPHA / math.comb(k, 2)
        verdict += found.reference == 0 and found.groups[1].verdict == "worse"
    return alone, verdict


def theory(k: int, n: int, same_seeds: bool) -> float:
    """The power of the test of `PLANTED` at the level 0.05 / (number of pairs), by the noncentral t distribution."""
    level = ALPHA / math.comb(k, 2)
    if not same_seeds:
        return welch_power(PLANTED, n, level)
    return float(power(PLANTED / math.sqrt(2 * (1 - CORRELATION)) * math.sqrt(n), n - 1, level))


def welch_power(effect: float, n: int, level: float) -> float:
    """The power of Welch's test between two groups of n normal values, `effect` of their standard deviations apart.

    Its t is noncentral t with 2n - 2 degrees of freedom, whatever share u of the two variances' sum is the first's; its
    critical value depends on u, which is distributed as Beta((n - 1) / 2, (n - 1) / 2): the power is the mean over u.
    """
    shape = (n - 1) / 2
    u = special.betaincinv(shape, shape, (np.arange(2000) + 0.5) / 2000)
    critical = -special.stdtrit((n - 1) / (u**2 + (1 - u) ** 2), level / 2)
    own_level = 2 * special.stdtr(2 * n - 2, -critical)  # at which Student's t has this critical value
    return float(np.mean(power(effect * math.sqrt(n / 2), 2 * n - 2, own_level)))


def coverage(kind: str, n: int, studies: int, random: np.random.Generator) -> int:
    """In how many studies a group's interval holds the true mean."""
    mean = math.exp(0.5) if kind == "skewed" else 0.0
    found = [interval(draw(kind, 1, n, False, random)[0]) for _ in range(studies)]
    return sum(ci[0] <= mean <= ci[1] for ci in found if ci)


def joint_coverage(k: int, n: int, same_seeds: bool, apart: float, studies: int, random: np.random.Generator) -> int:
    """In how many studies all the intervals of differences to the leader hold the true ones; groups are `apart`."""
    truth = apart * np.arange(k)
    held = 0
    for _ in range(studies):
        found = standings(as_groups(draw("normal", k, n, same_seeds, random) + truth[:, None], same_seeds), "max")
        leader = truth[found.reference]
        held += all(
            its.difference.ci95[0] <= true - leader <= its.difference.ci95[1]
            for its, true in zip(found.groups, truth)
            if its.difference and its.difference.ci95
        )
    return held


def measure(studies: int) -> dict[str, Any]:
    """Everything, with so many studies for each figure."""
    random = np.random.default_rng(20)
    every = list(itertools.product((False, True), SIZES, GROUPS))
    figures: dict[str, Any] = {
        "studies": studies,
        "scipy": version("scipy"),
        "kinds": KINDS,
        "correlation": CORRELATION,
        "planted": PLANTED,
    }
    figures["false_claims"] = [
        {**case(kind, same, n, k), "share": false_claims(kind, k, n, same, studies, random) / studies}
        for kind in KINDS
        for same, n, k in every
    ]
    figures["power"] = []
    for same, n, k in every:
        alone, verdict = planted(k, n, same, studies, random)
        shares = {"alone": alone / studies, "verdict": verdict / studies, "theory": theory(k, n, same)}
        figures["power"].append({**case("normal", same, n, k), **shares})
    figures["coverage"] = [
        {"kind": kind, "n": n, "share": coverage(kind, n, 10 * studies, random) / (10 * studies)}
        for kind in ("normal", "heavy tails", "skewed")
        for n in SIZES
    ]
    figures["joint_coverage"] = [
        {
            **case("normal", same, 5, k),
            "apart": apart,
            "share": joint_coverage(k, 5, same, apart, studies, random) / studies,
        }
        for same, k, apart in itertools.product((False, True), GROUPS, APART)
    ]
    figures["real"] = real(studies, random)
    return figures


def case(kind: str, same_seeds: bool, n: int, k: int) -> dict[str, Any]:
    return {"kind": kind, "seeds": "same" if same_seeds else "own", "n": n, "k": k}


def real(studies: int, random: np.random.Generator) -> dict[str, Any]:
    """A config trained with many seeds, and again with half the learning rate."""
    results = train()
    reference, halved = (np.array([results[rate][seed] for seed in range(SEEDS)]) for rate in RATES)
    found: dict[str, Any] = {"config": f"configs/{CONFIG.name}", "epochs": EPOCHS, "seeds": SEEDS, "metrics": {}}
    modes: dict[str, Mode] = {"val/accuracy": "max", "val/loss": "min"}
    for column, (metric, mode) in enumerate(modes.items()):
        values = reference[:, column]
        found["metrics"][metric] = {
            "mean": float(values.mean()),
            "std": float(values.std(ddof=1)),
            "correlation_with_half_the_rate": float(np.corrcoef(values, halved[:, column])[0, 1]),
            "false_claims": {
                str(k): sum(
                    claims(as_groups(random.permutation(values)[: 5 * k].reshape(k, 5), False), mode)
                    for _ in range(studies)
                )
                / studies
                for k in GROUPS
            },
        }
    return found


def train() -> dict[float, dict[int, tuple[float, float]]]:
    """The best val/accuracy and the last val/loss, by learning rate and seed."""
    import optrun

    results: dict[float, dict[int, tuple[float, float]]] = {rate: {} for rate in RATES}
    with tempfile.TemporaryDirectory() as directory:
        axes = {"optimizer.lr": RATES}
        done = optrun.sweep(CONFIG, {"epochs": EPOCHS, "threads": 1}, grid=axes, seeds=SEEDS, runs_dir=directory)
        for trial in done.trials:
            config, summary = trial.run.config, trial.run.summary
            results[config["optimizer"]["lr"]][config["seed"]] = summary["best"]["value"], summary["final"]["val/loss"]
    return results
