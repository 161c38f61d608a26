"""Named functions for the callable arguments of schedulers: `lr_lambda` of LambdaLR and MultiplicativeLR, `scale_fn`
of CyclicLR. Each is a pure function of the step (0, 1, 2, …; an epoch where the scheduler counts epochs) and gives a
multiplier of the learning rate, 1 at its peak.

    scheduler: {name: LambdaLR, interval: step, lr_lambda: {name: inverse_sqrt, warmup: 100}}

Every warm-up is linear and spends no step at zero: step 0 trains with 1/warmup, step warmup - 1 with the full rate.
Settings that make no schedule raise UsageError on the first call.
"""

from __future__ import annotations

import math
from typing import Literal

from optrun.errors import UsageError

__all__ = [
    "constant",
    "exponential",
    "inverse_sqrt",
    "linear_warmup",
    "polynomial",
    "trapezoid",
    "warmup_cosine",
]


def constant(step: float, *, value: float = 1.0) -> float:
    """The same multiplier at every step; in MultiplicativeLR, which applies it anew each step, a decay.

    `lr_lambda = lambda epoch: 0.95` in torch's documentation of MultiplicativeLR. Raises UsageError if it is negative.
    """
    _demand(value >= 0, f"constant has value: {value}; a multiplier is 0 or more")
    return value


def exponential(step: float, *, gamma: float) -> float:
    """gamma**step; as CyclicLR's `scale_fn` each cycle, counted from 1, reaches gamma times as high as the last.

    `lr_lambda = lambda epoch: 0.95**epoch` in torch's documentation of LambdaLR; with `scale_mode: iterations` the
    `exp_range` of Smith 2017, "Cyclical learning rates for training neural networks". Raises UsageError unless
    0 < gamma ≤ 1.
    """
    _demand(0 < gamma <= 1, f"exponential has gamma: {gamma}; a decay needs one above 0 and at most 1")
    return gamma**step


def linear_warmup(step: float, *, warmup: int) -> float:
    """A linear rise over `warmup` steps, then 1.

    Goyal et al. 2017, "Accurate, large minibatch SGD". Raises UsageError if `warmup` is negative.
    """
    _demand(warmup >= 0, f"linear_warmup has warmup: {warmup}; it is a number of steps, 0 or more")
    return _rise(step, warmup)


def inverse_sqrt(step: float, *, warmup: int = 0) -> float:
    """A linear rise over `warmup` steps, then a fall as 1/√step: the "Noam" schedule with its peak at 1.

    With t = step + 1 and w = max(warmup, 1): min(t/w, √(w/t)). Vaswani et al. 2017, "Attention is all you need",
    equation 3, divided by its largest value. Raises UsageError if `warmup` is negative.
    """
    _demand(warmup >= 0, f"inverse_sqrt has warmup: {warmup}; it is a number of steps, 0 or more")
    return min(_rise(step, warmup), math.sqrt(max(warmup, 1) / (step + 1)))


def warmup_cosine(step: float, *, warmup: int, total: int, floor: float = 0.0) -> float:
    """A linear rise over `warmup` steps, then half a cosine down to `floor`, reached at step `total` and kept.

    Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts. Raises UsageError unless 0 ≤ warmup < total and
    0 ≤ floor ≤ 1.
    """
    _demand(0 <= warmup < total, f"warmup_cosine has warmup: {warmup} and total: {total}; no step is left to come down")
    _demand(0 <= floor <= 1, f"warmup_cosine has floor: {floor}; it is a share of the peak, from 0 to 1")
    if step < warmup:
        return _rise(step, warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * _progress(step, warmup, total))) / 2


def trapezoid(
    step: float, *, warmup: int, total: int, decay: int, shape: Literal["linear", "sqrt"] = "linear", floor: float = 0.0
) -> float:
    """Warm-up, stable, decay ("WSD"): a linear rise over `warmup` steps, 1, and in the last `decay` steps a fall.

    It ends at `floor`, reached at step `total` and kept. `shape: sqrt` comes down as 1 - √progress. Zhai et al.
    2022, "Scaling vision transformers"; Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed
    training durations", section 3. Raises UsageError when `warmup` and `decay` do not fit into `total`, or floor is
    outside 0 to 1.
    """
    fits = warmup >= 0 and decay >= 0 and total >= 1 and warmup + decay <= total
    _demand(fits, f"trapezoid has warmup: {warmup} and decay: {decay}; together they should fit into total: {total}")
    _demand(0 <= floor <= 1, f"trapezoid has floor: {floor}; it is a share of the peak, from 0 to 1")
    if step < warmup:
        return _rise(step, warmup)
    if decay == 0:
        return 1.0
    progress = _progress(step, total - decay, total)
    return floor + (1 - floor) * (1 - (math.sqrt(progress) if shape == "sqrt" else progress))


def polynomial(step: float, *, total: int, power: float = 1.0, warmup: int = 0, floor: float = 0.0) -> float:
    """A linear rise over `warmup` steps, then (1 - progress)**power down to `floor`, reached at step `total` and kept.

    power 1 is the warm-up and linear decay of BERT (Devlin et al. 2019), 0.9 the "poly" policy of DeepLab (Chen et al.
    2018). Raises UsageError unless 0 ≤ warmup < total, power > 0 and 0 ≤ floor ≤ 1.
    """
    _demand(0 <= warmup < total, f"polynomial has warmup: {warmup} and total: {total}; no step is left to come down")
    _demand(power > 0, f"polynomial has power: {power}; it comes down for powers above 0")
    _demand(0 <= floor <= 1, f"polynomial has floor: {floor}; it is a share of the peak, from 0 to 1")
    if step < warmup:
        return _rise(step, warmup)
    return floor + (1 - floor) * (1 - _progress(step, warmup, total)) ** power


def _rise(step: float, warmup: int) -> float:
    return min(1.0, (step + 1) / max(warmup, 1))


def _progress(step: float, start: int, end: int) -> float:
    """How far `step` is from `start` (0) to `end` (1)."""
    return min(max((step - start) / (end - start), 0.0), 1.0)


def _demand(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UsageError(otherwise)
