"""What signatures cannot say: settings that are each fine and do not go together. Judged without torch.

Each rule is a function of the spec that yields (path, sentence), and stands in a table with the keys it looks at. What
needs the data or the model is judged later, by `optrun.training.feasibility`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from optrun.components import optimizers as optimizing
from optrun.components import schedulers as scheduling
from optrun.components.choice import OptimizerChoice, SchedulerChoice
from optrun.components.losses import misuses, raw_scores_problem
from optrun.components.registry import models, optimizers, schedulers
from optrun.config.spec import Spec
from optrun.config.types import shown
from optrun.errors import Problem

__all__ = ["optimizers_of", "problems", "schedulers_of", "warnings"]

Path = tuple[str | int, ...]
Complaint = tuple[Path, str]
Said = tuple[str, str]
"""What a warning is about, and its sentence."""

CYCLES_MOMENTUM = ("CyclicLR", "OneCycleLR")
SETS_LR = {"CyclicLR": "base_lr", "OneCycleLR": "max_lr"}
MOST_THREADS = 1024


def problems(spec: Spec, without: Set[str] = frozenset()) -> list[Problem]:
    """Everything in `spec` that cannot work, as problems with their places.

    Of a draft that lacks some keys, or holds them half-read, give these as `without`: no rule will look at them.
    """
    rules = [rule for rule, keys in _RULES.items() if not keys & without]
    return [spec.problem(path, message) for rule in rules for path, message in rule(spec)]


def warnings(spec: Spec) -> list[Said]:
    """What works and may not be what was meant, as whole sentences.

    Before each stands what it is about, without the numbers: of many specs that differ in these alone it is said once.
    """
    return [said for rule in (_momentum_changes, _lr_has_no_effect, _slow_precision) for said in rule(spec)]


def schedulers_of(spec: Spec) -> list[tuple[Path, SchedulerChoice]]:
    """The scheduler and all nested in it, each with its path."""

    def walk(choice: SchedulerChoice, path: Path) -> Iterator[tuple[Path, SchedulerChoice]]:
        yield path, choice
        for index, child in enumerate(choice.settings.get("schedulers") or ()):
            yield from walk(child, (*path, "schedulers", index))

    return list(walk(spec.scheduler, ("scheduler",))) if spec.scheduler else []


def optimizers_of(spec: Spec) -> list[tuple[Path, OptimizerChoice]]:
    """The optimizer and its fallback, each with its path."""
    fallback = spec.optimizer.fallback
    return [(("optimizer",), spec.optimizer), *([(("optimizer", "fallback"), fallback)] if fallback else [])]


def _momentum_cycling(spec: Spec) -> Iterator[Complaint]:
    for path, member in schedulers_of(spec):
        if member.name in CYCLES_MOMENTUM and member.settings.get("cycle_momentum", True):
            for _, optimizer in optimizers_of(spec):
                if optimizing.momentum_setting(optimizer.name) is None:
                    yield (
                        path,
                        f"{member.name} cycles the momentum and {optimizer.name} has none; add cycle_momentum: false",
                    )


def _optimizer_structure(spec: Spec) -> Iterator[Complaint]:
    choice = spec.optimizer
    fallback = choice.fallback
    if fallback and choice.name not in optimizing.PARTIAL:
        yield (
            ("optimizer", "fallback"),
            f"{choice.name} takes every parameter; only Muon and SparseAdam need a fallback",
        )
    if fallback and fallback.fallback:
        yield ("optimizer", "fallback", "fallback"), "a fallback takes all that is left and has no fallback of its own"
    if fallback and fallback.name in optimizing.NEEDS_CLOSURE:
        yield ("optimizer", "fallback"), f"{fallback.name} evaluates the whole model again and cannot be a fallback"
    if choice.name in optimizing.NEEDS_CLOSURE and choice.param_groups:
        yield ("optimizer", "param_groups"), f"{choice.name} takes one group of parameters; remove param_groups"
    if choice.name in optimizing.NEEDS_CLOSURE and spec.precision == "fp16":
        yield ("precision",), f"fp16 scales the loss, which {choice.name} cannot undo; use bf16 or fp32"


def _sparse_gradients(spec: Spec) -> Iterator[Complaint]:
    sparse = bool(spec.model.settings.get("sparse"))
    for key in ("clip_norm", "clip_value"):
        if sparse and getattr(spec, key) is not None:
            yield (
                (key,),
                f"torch cannot clip the sparse gradients of {spec.model.name}; set {key}: null or model.sparse: false",
            )
    known = "." not in spec.optimizer.name
    if sparse and known and spec.optimizer.name not in optimizing.TAKES_SPARSE:
        takers = ", ".join(sorted(optimizing.TAKES_SPARSE))
        yield (
            ("optimizer",),
            f"{spec.optimizer.name} does not take the sparse gradients of {spec.model.name}; these do: {takers}",
        )
    if sparse and spec.precision == "fp16":
        yield ("precision",), "torch cannot unscale sparse gradients in fp16; use fp32 or bf16"


def _scheduler_values(spec: Spec) -> Iterator[Complaint]:
    for path, member in schedulers_of(spec):
        for key in scheduling.POSITIVE.get(member.name, ()):
            value = member.settings.get(key)
            if isinstance(value, int | float) and value <= 0:
                yield (*path, key), f"must be above 0, not {shown(value)}"
        milestones = member.settings.get("milestones", [])
        if isinstance(milestones, list) and any(b <= a for a, b in zip([0, *milestones], milestones)):
            yield (*path, "milestones"), f"must be above 0 and increase, not {shown(milestones)}"
        given = [key for key in ("epochs", "steps_per_epoch") if member.settings.get(key) is not None]
        if member.name == "OneCycleLR" and len(given) == 1 and member.settings.get("total_steps") is None:
            other = "steps_per_epoch" if given == ["epochs"] else "epochs"
            yield (*path, given[0]), f"needs {other} beside it; leave it out to fit the run"


def _nesting(spec: Spec) -> Iterator[Complaint]:
    for path, member in schedulers_of(spec):
        children = member.settings.get("schedulers")
        if children is not None and not children:
            yield (*path, "schedulers"), f"{member.name} needs at least one scheduler"
        if member.name == "SequentialLR" and children and len(member.settings["milestones"]) != len(children) - 1:
            need, have = len(children) - 1, len(member.settings["milestones"])
            plural = "milestone" if need == 1 else "milestones"
            yield (*path, "milestones"), f"{len(children)} schedulers in sequence need {need} {plural}, not {have}"
        if path != ("scheduler",) and member.interval:
            yield (*path, "interval"), "a nest of schedulers has one interval; write it beside the outermost name"
        if member.name == "ReduceLROnPlateau" and path != ("scheduler",):
            outer = spec.scheduler
            last = outer is not None and outer.name == "SequentialLR" and len(outer.settings["schedulers"]) > 1
            if not last or path != ("scheduler", "schedulers", len(outer.settings["schedulers"]) - 1):  # type: ignore[union-attr]
                yield path, "inside another scheduler ReduceLROnPlateau can only be the last of a SequentialLR"


def _scheduler_times(spec: Spec) -> Iterator[Complaint]:
    for path, member in schedulers_of(spec):
        plateau = member.name == "ReduceLROnPlateau"
        if member.metric and not plateau:
            yield (*path, "metric"), f"{member.name} watches no metric; only ReduceLROnPlateau does"
        if plateau and member.interval and path == ("scheduler",):
            yield (*path, "interval"), "ReduceLROnPlateau steps after each evaluation; eval_every says when that is"
        if plateau and (metric := member.metric or "val/loss") in spec.judges:
            mode = member.settings.get("mode", "min")
            if mode != spec.mode_of(metric):
                where = (*path, "mode") if "mode" in member.settings else (*path, "metric") if member.metric else path
                better = "larger" if spec.mode_of(metric) == "max" else "smaller"
                write = "write" if "mode" in member.settings else "add"
                yield where, f"{metric} is better when {better}; {write} mode: {spec.mode_of(metric)}"


def _watched_metrics(spec: Spec) -> Iterator[Complaint]:
    watched: list[tuple[Path, Any]] = [((*path, "metric"), m.metric) for path, m in schedulers_of(spec)]
    watched += [((key, "metric"), getattr(getattr(spec, key), "metric", None)) for key in ("early_stop", "target")]
    for path, key in watched:
        if key is not None and key not in spec.judges:
            yield path, f"this run has no {shown(key)}; it has {', '.join(spec.judges)} (add others to metrics)"


def _metric_names(spec: Spec) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, metric in enumerate(spec.metrics):
        if metric.name in seen:
            yield ("metrics", index), f"{metric.name} is there twice; keep one of the two"
        seen.add(metric.name)


def _loss_of_model(spec: Spec) -> Iterator[Complaint]:
    if models.find(spec.model.name).origin in ("optrun", "torchvision"):
        problem = raw_scores_problem(spec.loss.name, spec.loss.settings, spec.model.name)
        if problem:
            yield ("loss",), problem
    for setting, message in misuses(spec.loss.name, spec.loss.settings):
        yield ("loss", setting), message


def _device(spec: Spec) -> Iterator[Complaint]:
    if spec.device == "mps" and spec.precision in ("fp64", "fp16"):
        yield ("precision",), f"MPS has no {spec.precision} training; use fp32, or bf16"
    if spec.device in ("cpu", "mps") and spec.precision == "tf32":
        yield ("precision",), f"tf32 is a format of NVIDIA's GPUs, and device is {spec.device}; use fp32"


def _threads(spec: Spec) -> Iterator[Complaint]:
    if spec.threads != "auto" and spec.threads > MOST_THREADS:
        yield ("threads",), f"must be at most {MOST_THREADS}, not {shown(spec.threads)}"


def _momentum_changes(spec: Spec) -> Iterator[Said]:
    for _, member in schedulers_of(spec):
        if member.name not in CYCLES_MOMENTUM or not member.settings.get("cycle_momentum", True):
            continue
        defaults = {p.name: p.default for p in schedulers.find(member.name).signature.settings}
        low, high = (member.settings.get(key, defaults[key]) for key in ("base_momentum", "max_momentum"))
        for _, optimizer in optimizers_of(spec):
            key = optimizing.momentum_setting(optimizer.name)
            own = {p.name: p.default for p in optimizers.find(optimizer.name).signature.settings}
            value = optimizer.settings.get(key or "", own.get(key or ""))
            what, now = ("beta1", value[0]) if key == "betas" else ("momentum", value)
            yield (
                f"{member.name} cycles {optimizer.name}'s {what}",
                f"{member.name} cycles {optimizer.name}'s {what} between {low} and {high}; its own {now} is not used. "
                f"If that is not meant, add cycle_momentum: false to the scheduler",
            )


def _lr_has_no_effect(spec: Spec) -> Iterator[Said]:
    for path, member in schedulers_of(spec):
        if path == ("scheduler",) and member.name in SETS_LR and "lr" in spec.optimizer.settings:
            own = SETS_LR[member.name]
            yield (
                f"{member.name} sets the learning rate",
                f"{member.name} sets the learning rate from its {own} {member.settings[own]}; "
                f"optimizer.lr {spec.optimizer.settings['lr']} has no effect",
            )


def _slow_precision(spec: Spec) -> Iterator[Said]:
    if spec.device == "cpu" and spec.precision in ("bf16", "fp16"):
        yield spec.precision, f"{spec.precision} is usually slower than fp32 on a CPU"


_RULES: Mapping[Callable[[Spec], Iterator[Complaint]], Set[str]] = {
    _momentum_cycling: {"optimizer", "scheduler"},
    _optimizer_structure: {"optimizer", "precision"},
    _sparse_gradients: {"model", "optimizer", "clip_norm", "clip_value", "precision"},
    _scheduler_values: {"scheduler"},
    _nesting: {"scheduler"},
    _scheduler_times: {"scheduler", "metrics"},
    _watched_metrics: {"scheduler", "metrics", "early_stop", "target"},
    _metric_names: {"metrics"},
    _loss_of_model: {"loss", "model"},
    _device: {"device", "precision"},
    _threads: {"threads"},
}
"""Every rule, with the keys of the spec it looks at."""
