from __future__ import annotations

import functools
import inspect
import math
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from optrun.components import losses
from optrun.components.data import Data, Dataset, Examples, Task, prepare
from optrun.components.registry import losses as registry
from optrun.errors import UsageError

# torch says at every call what "mean" is in its kl_div
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")

CLASSES = 5
NAMES = registry.names()
WEIGHTED = [name for name in NAMES if "weight" in registry.find(name).signature.names()]
REDUCTIONS = [(name, reduction) for name in NAMES for reduction in ("mean", "sum")] + [("kl_div", "batchmean")]
WEIGHTS = [0.5, 2.0, 0.0, 1.0, 3.0]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [
        {"weight": WEIGHTS},
        {"label_smoothing": 0.1},
        {"ignore_index": 2},
        {"weight": WEIGHTS, "label_smoothing": 0.1, "ignore_index": 1},
    ],
    "nll": [{"weight": WEIGHTS}, {"ignore_index": 2}, {"weight": WEIGHTS, "ignore_index": 0}],
    "bce": [{"weight": WEIGHTS}],
    "bce_with_logits": [{"weight": WEIGHTS}, {"pos_weight": WEIGHTS}, {"weight": WEIGHTS, "pos_weight": WEIGHTS}],
    "multi_margin": [{"weight": WEIGHTS, "p": 2, "margin": 0.5}],
    "multi_label_soft_margin": [{"weight": WEIGHTS}],
    "poisson_nll": [{"log_input": False, "full": True}],
    "huber": [{"delta": 0.3}],
    "smooth_l1": [{"beta": 0.3}],
    "hinge_embedding": [{"margin": 2.0}],
}
CASES = [(name, reduction, chosen) for name, reduction in REDUCTIONS for chosen in ({}, *SETTINGS.get(name, []))]


@functools.cache
def data(task: Task) -> Data:
    """Forty examples of the task."""
    targets = {
        "classification": torch.arange(40) % CLASSES,
        "regression": torch.linspace(-1, 346, 40).unsqueeze(1).expand(-1, CLASSES),
        "language_model": torch.arange(120).view(40, 3) % CLASSES,
    }[task]
    inputs = targets if task == "language_model" else torch.linspace(0, 1, 80).view(40, 2)
    classes = None if task == "regression" else CLASSES
    return prepare(Dataset(task, Examples(inputs, targets), num_classes=classes), name=task)


def build(name: str, chosen: dict[str, Any], task: Task = "classification", **kwargs: Any) -> Any:
    return losses.build(name, chosen, data(task), **kwargs)


def fitting_outputs(name: str, chosen: dict[str, Any], scores: Tensor) -> Tensor:
    """Outputs of the kind that the criterion expects, from scores [n, C, …]."""
    return {
        "raw scores": lambda: scores,
        "probabilities": scores.sigmoid,
        "log-probabilities": lambda: scores.log_softmax(1),
        "distances": scores.abs,
        "rates": scores.exp,
    }[losses.expects(name, chosen)]()


def in_slices(criterion: Any, outputs: Tensor, targets: Tensor, size: int) -> float:
    sums = losses.summed(criterion)
    slices = list(zip(outputs.split(size), targets.split(size)))
    weights = [losses.loss_weight(criterion, target) for _, target in slices]
    return losses.whole(criterion, [sums(*each).item() for each in slices], weights)


def test_importing_them_does_not_import_torch() -> None:
    code = """import sys; from optrun.components import losses
list(losses.misuses("cross_entropy", {"weight": [1.0]})), losses.raw_scores_problem("bce", {}, "mlp")
assert "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_are_torchs_criteria_that_take_outputs_and_targets_and_are_described_here() -> None:
    found = []
    for name, criterion in vars(nn).items():
        if name.endswith("Loss") and len(inspect.signature(criterion.forward).parameters) == 3:
            arguments = list(inspect.signature(criterion).parameters.values())
            if all(argument.default is not argument.empty for argument in arguments):
                found.append(name)
    assert sorted(found) == sorted(registry.find(name).load().__name__ for name in NAMES)
    assert sorted(losses.FORMS) == NAMES


def test_settings_are_tested_for_every_weighted_loss() -> None:
    assert [name for name in WEIGHTED if any("weight" in chosen for chosen in SETTINGS[name])] == WEIGHTED


@pytest.mark.parametrize(("name", "reduction", "chosen"), CASES, ids=lambda value: str(value).replace(" ", ""))
@given(n=st.integers(1, 23), size=st.integers(1, 9), seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_a_part_in_slices_is_the_part_at_once(
    name: str, reduction: str, chosen: dict[str, Any], n: int, size: int, seed: int
) -> None:
    """… as torch computes it in float64 over the whole part."""
    generator = torch.Generator().manual_seed(seed)
    outputs = fitting_outputs(name, chosen, torch.randn(n, CLASSES, generator=generator))
    classes = torch.randint(0, CLASSES, (n,), generator=generator)
    targets = losses.targets_for(name, "classification", classes, CLASSES)
    criterion = build(name, {**chosen, "reduction": reduction})
    value = in_slices(criterion, outputs, targets, size)
    exact = criterion.double()(outputs.double(), targets.double() if targets.is_floating_point() else targets).item()
    if math.isinf(exact):  # label smoothing over a part whose class weights are all 0: c/0 in torch
        assert math.isnan(value)
    else:
        assert value == pytest.approx(exact, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(("name", "reduction", "chosen"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_the_weight_is_what_the_mean_divides_by(name: str, reduction: str, chosen: dict[str, Any]) -> None:
    if reduction == "sum":
        return
    generator = torch.Generator().manual_seed(0)
    outputs = fitting_outputs(name, chosen, torch.randn(12, CLASSES, generator=generator, dtype=torch.float64))
    classes = torch.randint(0, CLASSES, (12,), generator=generator)
    targets = losses.targets_for(name, "classification", classes, CLASSES, dtype=torch.float64)
    mean = build(name, {**chosen, "reduction": reduction}, dtype=torch.float64)
    total = build(name, {**chosen, "reduction": "sum"}, dtype=torch.float64)
    divisor = (total(outputs, targets) / mean(outputs, targets)).item()
    assert losses.loss_weight(mean, targets) == pytest.approx(divisor, rel=1e-12)


@pytest.mark.parametrize("chosen", [{}, *SETTINGS["cross_entropy"]], ids=str)
@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_a_language_model_in_slices_is_the_part_at_once(name: str, chosen: dict[str, Any]) -> None:
    if name == "nll" and "label_smoothing" in chosen:
        return
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(11, CLASSES, 7, generator=generator).log_softmax(1)
    targets = torch.randint(0, CLASSES, (11, 7), generator=generator)
    criterion = build(name, chosen, "language_model")
    assert losses.targets_for(name, "language_model", targets, CLASSES) is targets
    value = in_slices(criterion, outputs, targets, 4)
    assert value == pytest.approx(criterion(outputs, targets).item(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_better_outputs_cost_less_and_have_a_gradient(name: str) -> None:
    """The targets' form is the right one: pointing at the class is better than pointing beside it."""
    classes = torch.arange(CLASSES)
    targets = losses.targets_for(name, "classification", classes, CLASSES)
    criterion = build(name, {})
    right = nn.functional.one_hot(classes, CLASSES) * 3.0
    if losses.expects(name) == "distances":
        right = 3 - right
    wrong = right.roll(1, 1)
    right.requires_grad_()
    value = criterion(fitting_outputs(name, {}, right), targets)
    worse = criterion(fitting_outputs(name, {}, wrong), targets)
    value.backward()
    assert value.dim() == 0
    assert value.item() < worse.item()
    assert right.grad is not None
    assert right.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", [2, 0]),
        ("mse", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
        ("kl_div", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
        ("soft_margin", [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]),
        ("multi_label_margin", [[2, -1, -1], [0, -1, -1]]),
    ],
)
def test_targets_of_classes(name: str, expected: list) -> None:
    targets = losses.targets_for(name, "classification", torch.tensor([2, 0]), 3)
    assert targets.tolist() == expected
    assert targets.dtype == torch.tensor(expected).dtype


def test_one_hot_rows_keep_a_class_that_the_part_lacks() -> None:
    assert losses.targets_for("mse", "classification", torch.tensor([0]), 4, dtype=torch.float64).shape == (1, 4)


@pytest.mark.parametrize("name", [name for name in NAMES if "class" not in losses.FORMS[name].targets])
def test_targets_of_a_regression_are_the_numbers_themselves(name: str) -> None:
    numbers = torch.tensor([[1.0], [1.0]])
    assert losses.targets_for(name, "regression", numbers, None, dtype=torch.float64).dtype == torch.float64
    assert losses.targets_for(name, "regression", numbers, None).equal(numbers)
    build(name, {}, "regression")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bce_with_logits",
            "bce_with_logits takes targets from 0 to 1, and those of the data go from -1 to 346; use mse",
        ),
        ("poisson_nll", "poisson_nll takes targets of 0 or more, and those of the data go from -1 to 346; use mse"),
        ("soft_margin", "soft_margin takes targets of -1 and 1, and those of the data go from -1 to 346; use mse"),
    ],
)
def test_numbers_that_a_loss_is_not_defined_for(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        losses.targets_for(name, "regression", torch.tensor([[-1.0], [346.0]]), None)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        (
            "cross_entropy",
            "regression",
            "cross_entropy takes classes and the targets of a regression are numbers; use mse",
        ),
        ("mse", "language_model", "mse cannot judge the scores of a language model; use cross_entropy"),
        (
            "multi_margin",
            "language_model",
            "multi_margin cannot judge the scores of a language model; use cross_entropy",
        ),
    ],
)
def test_tasks_that_a_loss_cannot_judge(name: str, task: Task, message: str) -> None:
    with pytest.raises(UsageError) as built:
        build(name, {}, task)
    with pytest.raises(UsageError) as converted:
        losses.targets_for(name, task, torch.ones(2, 1), 3)
    assert str(built.value) == str(converted.value) == message


@pytest.mark.parametrize("name", NAMES)
def test_tensor_settings_have_the_runs_dtype(name: str) -> None:
    for chosen in SETTINGS.get(name, []):
        criterion = build(name, chosen, dtype=torch.float64)
        assert {buffer.dtype for buffer in criterion.buffers()} <= {torch.float64}
        for key in chosen.keys() & {"weight", "pos_weight"}:
            assert getattr(criterion, key).tolist() == WEIGHTS


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        (
            "cross_entropy",
            {"reduction": "none"},
            "reduction: this leaves a loss per element, and a step descends on one number; use mean or sum",
        ),
        ("mse", {"reduction": "avg"}, "reduction: there is no reduction 'avg'; use mean or sum"),
        ("kl_div", {"reduction": "avg"}, "reduction: there is no reduction 'avg'; use mean or sum or batchmean"),
        ("mse", {"reduction": "batchmean"}, "reduction: there is no reduction 'batchmean'; use mean or sum"),
        (
            "l1",
            {"reduce": False},
            "reduce: this leaves a loss per element, and a step descends on one number; leave it out",
        ),
        ("huber", {"delta": 0.0}, "delta: 0.0 is not above 0"),
        ("smooth_l1", {"beta": -1.0}, "beta: -1.0 is not 0 or more"),
        ("poisson_nll", {"eps": -1.0}, "eps: -1.0 is not 0 or more"),
        ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing: 1.5 is not from 0 to 1"),
        ("multi_margin", {"p": 3}, "p: 3 is not 1 or 2"),
        ("nll", {"weight": [0.0, 0.0]}, "weight: [0.0, 0.0] is not a list of numbers, 0 or more, one above 0"),
        ("bce_with_logits", {"pos_weight": [-1.0]}, "pos_weight: [-1.0] is not a list of numbers, 0 or more"),
    ],
)  # fmt: skip
def test_settings_that_torch_takes_and_fails_on_later(name: str, chosen: dict[str, Any], message: str) -> None:
    assert [f"{key}: {reason}" for key, reason in losses.misuses(name, chosen)] == [message]
    with pytest.raises(UsageError) as caught:
        build(name, chosen)
    assert f"{name}: {message}" in str(caught.value).splitlines()


def test_a_users_own_loss_may_mean_something_else_by_the_same_words() -> None:
    assert list(losses.misuses("a_loss_of_the_users_own", {"p": 3, "reduction": "none"})) == []


def test_settings_that_do_not_fit_the_data_are_named_all_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        build("bce_with_logits", {"weight": [1.0, 2.0], "pos_weight": [1.0]})
    assert str(caught.value).splitlines() == [
        "bce_with_logits: weight: a list of 2 for 5 outputs; give one number for each",
        "bce_with_logits: pos_weight: a list of 1 for 5 outputs; give one number for each",
    ]
    with pytest.raises(UsageError, match="kl_div: log_target: classes become rows of 0 and 1, and 0 has no logarithm"):
        build("kl_div", {"log_target": True})
    build("kl_div", {"log_target": True}, "regression")


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("bce", {}, "bce takes probabilities and mlp gives raw scores; use bce_with_logits"),
        ("nll", {}, "nll takes log-probabilities and mlp gives raw scores; use cross_entropy"),
        ("kl_div", {}, "kl_div takes log-probabilities and mlp gives raw scores; use cross_entropy"),
        ("hinge_embedding", {}, "hinge_embedding takes distances and mlp gives raw scores; use soft_margin"),
        (
            "poisson_nll",
            {"log_input": False},
            "poisson_nll takes rates and mlp gives raw scores; leave log_input at true",
        ),
        ("poisson_nll", {}, None),
        ("cross_entropy", {}, None),
        ("a_loss_of_the_users_own", {}, None),
    ],
)
def test_raw_scores_are_not_for_every_loss(name: str, chosen: dict[str, Any], message: str | None) -> None:
    assert losses.raw_scores_problem(name, chosen, "mlp") == message


@pytest.mark.parametrize(("deprecated", "reduction"), [({"size_average": False}, "sum"), ({"reduce": True}, "mean")])
def test_deprecated_settings_reach_torch(deprecated: dict[str, bool], reduction: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert build("mse", deprecated).reduction == reduction
    assert "size_average and reduce args will be deprecated" in str(told[0].message)


def test_a_users_own_loss_is_a_mean_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def quantile(outputs: Tensor, targets: Tensor, *, tau: float = 0.5) -> Tensor:
        errors = targets - outputs
        return torch.maximum(tau * errors, (tau - 1) * errors).mean()

    monkeypatch.setattr(registry, "_registered", {})
    registry.register(quantile)
    criterion = build("quantile", {"tau": 0.9}, "regression")
    outputs, targets = torch.randn(10, 1), torch.randn(10, 1)
    assert losses.targets_for("quantile", "regression", targets, None) is targets
    assert losses.loss_weight(criterion, targets) == 10
    value = in_slices(criterion, outputs, targets, 4)
    assert value == pytest.approx(quantile(outputs, targets, tau=0.9).item(), rel=1e-6)
