from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from optrun.components import metrics
from optrun.components.registry import metrics as registry
from optrun.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")

some = settings(max_examples=50, deadline=None)
ALL = [getattr(metrics, name) for name in metrics.__all__]
CLASSIFYING = [each for each in ALL if "classification" in each.tasks]
REGRESSING = [each for each in ALL if "regression" in each.tasks]
READING = [each for each in ALL if "language_model" in each.tasks]
AVERAGED = [metrics.f1, metrics.precision, metrics.recall]

REFERENCE = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "f1": sk.f1_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
}


def close(value: float, reference: float) -> bool:
    return (math.isnan(value) and math.isnan(reference)) or math.isclose(value, reference, rel_tol=1e-12, abs_tol=1e-12)


def call(metric: metrics.Metric, outputs: Tensor, targets: Tensor) -> float:
    return metric(outputs, targets, k=2) if metric is metrics.top_k_accuracy else metric(outputs, targets)


@st.composite
def classified(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores [n, C] with many ties, and targets of which some classes may be missing."""
    n, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    scores = draw(arrays(np.float32, (n, classes), elements=st.integers(-3, 3).map(float)))
    targets = draw(arrays(np.int64, n, elements=st.integers(0, draw(st.integers(0, classes - 1)))))
    return torch.from_numpy(scores), torch.from_numpy(targets)


@st.composite
def measured(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Outputs and targets [n, k]; sometimes constant, sometimes met exactly."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 3))
    elements = st.floats(-1000, 1000, width=32)
    targets = draw(arrays(np.float32, shape, elements=elements))
    if draw(st.booleans()):
        targets[:, 0] = draw(elements)
    outputs = targets.copy() if draw(st.booleans()) else draw(arrays(np.float32, shape, elements=elements))
    return torch.from_numpy(outputs), torch.from_numpy(targets)


def test_all_names_exactly_the_metrics() -> None:
    marked = {name for name, value in vars(metrics).items() if hasattr(value, "tasks") and callable(value)}
    own = [name for name in registry.names() if registry.find(name).origin == "optrun"]  # other tests register some
    assert sorted(marked - {"Metric"}) == metrics.__all__ == own
    assert set(CLASSIFYING) | set(REGRESSING) | set(READING) == set(ALL)


def test_importing_them_does_not_import_torch() -> None:
    code = "import sys, optrun.components.metrics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("metric", ALL, ids=metrics.__all__)
def test_every_metric_knows_its_direction(metric: metrics.Metric) -> None:
    assert metric.mode == ("min" if metric.__name__ in {"mae", "mse", "rmse", "perplexity"} else "max")
    assert registry.find(metric.__name__).signature.handed == ("outputs", "targets")
    assert registry.find(metric.__name__).summary.endswith(".")


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.balanced_accuracy], ids=lambda m: m.__name__)
@given(example=classified())
@some
def test_classification_equals_scikit_learn(metric: metrics.Metric, example: tuple[Tensor, Tensor]) -> None:
    outputs, targets = example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = REFERENCE[metric.__name__](targets.numpy(), outputs.numpy().argmax(1))
    assert close(metric(outputs, targets), reference)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("metric", AVERAGED, ids=lambda m: m.__name__)
@given(example=classified())
@some
def test_averages_equal_scikit_learn(metric: metrics.Metric, average: str, example: tuple[Tensor, Tensor]) -> None:
    outputs, targets = example
    predicted = outputs.numpy().argmax(1)
    reference = REFERENCE[metric.__name__](targets.numpy(), predicted, average=average, zero_division=0)
    assert close(metric(outputs, targets, average=average), reference)


@given(example=classified(), data=st.data())
@some
def test_top_k_accuracy_equals_scikit_learn_where_no_scores_tie(
    example: tuple[Tensor, Tensor], data: st.DataObject
) -> None:
    scores, targets = example
    classes = scores.shape[1]
    outputs = scores.argsort(1).argsort(1).float()  # ranks: no two are equal
    k = data.draw(st.integers(1, classes - 1))
    scored = outputs.numpy() if classes > 2 else outputs[:, 1].numpy()  # of two classes it takes one score
    reference = sk.top_k_accuracy_score(targets.numpy(), scored, k=k, labels=range(classes))
    assert close(metrics.top_k_accuracy(outputs, targets, k=k), reference)


@given(example=classified())
@some
def test_top_1_accuracy_is_accuracy_ties_included(example: tuple[Tensor, Tensor]) -> None:
    outputs, targets = example
    assert metrics.top_k_accuracy(outputs, targets, k=1) == metrics.accuracy(outputs, targets)


@pytest.mark.parametrize("k", [0, 3])
def test_top_k_that_tells_nothing_is_refused(k: int) -> None:
    with pytest.raises(UsageError) as caught:
        metrics.top_k_accuracy(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), k=k)
    assert str(caught.value) == f"top_k_accuracy has k: {k}; it should be at least 1 and below the 3 classes"


@pytest.mark.parametrize("metric", REGRESSING, ids=lambda m: m.__name__)
@given(example=measured())
@some
def test_regression_equals_scikit_learn(metric: metrics.Metric, example: tuple[Tensor, Tensor]) -> None:
    outputs, targets = example
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = REFERENCE[metric.__name__](targets.double().numpy(), outputs.double().numpy())
    assert close(metric(outputs, targets), float(reference))


@pytest.mark.parametrize(("output", "expected"), [(0.1, 1.0), (0.2, 0.0), (math.nan, math.nan)])
def test_r2_of_constant_targets(output: float, expected: float) -> None:
    targets = torch.full((10, 1), 0.1, dtype=torch.float64)  # their mean is not 0.1 to the last bit
    assert metrics.r2(torch.full_like(targets, output), targets) == pytest.approx(expected, nan_ok=True)


@given(
    scores=arrays(np.float32, (5, 4, 3), elements=st.floats(-50, 50, width=32)),
    targets=arrays(np.int64, (5, 3), elements=st.integers(0, 3)),
)
@some
def test_perplexity_is_exp_of_the_cross_entropy(scores: np.ndarray, targets: np.ndarray) -> None:
    outputs, wanted = torch.from_numpy(scores), torch.from_numpy(targets)
    reference = torch.nn.functional.cross_entropy(outputs.double(), wanted).exp().item()
    assert math.isclose(metrics.perplexity(outputs, wanted), reference, rel_tol=1e-12)


def test_perplexity_of_a_uniform_guess_is_the_vocabulary_also_in_slices() -> None:
    targets = torch.randint(0, 7, (2500, 3))
    assert metrics.perplexity(torch.zeros(2500, 7, 3), targets) == pytest.approx(7, rel=1e-12)


def test_perplexity_too_large_for_a_number_is_infinite() -> None:
    outputs = torch.tensor([[[2000.0], [0.0]]])
    assert metrics.perplexity(outputs, torch.tensor([[1]])) == math.inf


@pytest.mark.parametrize("metric", READING, ids=lambda m: m.__name__)
def test_language_model_is_judged_over_all_positions(metric: metrics.Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 5, 4, generator=generator)
    targets = torch.randint(0, 5, (6, 4), generator=generator)
    flat = call(metric, outputs.movedim(1, -1).reshape(-1, 5), targets.flatten())
    assert call(metric, outputs, targets) == pytest.approx(flat, rel=1e-12)


@pytest.mark.parametrize("metric", ALL, ids=metrics.__all__)
def test_a_nan_among_the_outputs_makes_the_metric_nan(metric: metrics.Metric) -> None:
    outputs = torch.randn(8, 3)
    targets = torch.randn(8, 3) if metric in REGRESSING else torch.arange(8) % 3
    assert math.isfinite(call(metric, outputs, targets))
    outputs[5, 1] = math.nan
    assert math.isnan(call(metric, outputs, targets))


@pytest.mark.parametrize("metric", ALL, ids=metrics.__all__)
def test_a_part_without_examples_is_nan(metric: metrics.Metric) -> None:
    targets = torch.empty(0, 3) if metric in REGRESSING else torch.empty(0, dtype=torch.int64)
    assert math.isnan(call(metric, torch.empty(0, 3), targets))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("metric", ALL, ids=metrics.__all__)
def test_outputs_of_any_precision(metric: metrics.Metric, dtype: torch.dtype) -> None:
    outputs = torch.tensor([[0.5, 0.25, 0.0], [0.0, 1.0, 0.5], [2.0, 1.0, 0.0]])
    targets = outputs + 0.5 if metric in REGRESSING else torch.tensor([0, 1, 1])
    assert call(metric, outputs.to(dtype), targets) == call(metric, outputs, targets)


@pytest.mark.parametrize("metric", REGRESSING, ids=lambda m: m.__name__)
def test_shapes_that_torch_would_broadcast_are_refused(metric: metrics.Metric) -> None:
    with pytest.raises(UsageError, match=r"outputs \[4\] and targets \[4, 1\] should have the same shape"):
        metric(torch.zeros(4), torch.zeros(4, 1))


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"outputs \[4, 3\] do not hold scores per class for targets \[4, 1\]"):
        metrics.accuracy(torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64))
