"""The small classics that scikit-learn brings along, read from its CSV files without importing it (2 seconds)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from optrun.components.data import Dataset, Examples
from optrun.errors import UsageError

__all__ = ["breast_cancer", "diabetes", "digits", "iris", "wine"]


def digits() -> Dataset:
    """Handwritten digits: 1,797 grey images of 8×8 pixels in 10 classes.

    Source: UCI Optical Recognition of Handwritten Digits, as in sklearn.datasets.load_digits; pixels 0 … 16 over 16.
    """
    table = _read("digits.csv.gz")
    images = torch.from_numpy(table[:, :-1]).float().reshape(-1, 1, 8, 8) / 16
    return Dataset("classification", Examples(images, torch.from_numpy(table[:, -1]).long()), num_classes=10)


def wine() -> Dataset:
    """Chemical analysis of 178 wines: 13 columns, 3 cultivars. As in sklearn.datasets.load_wine."""
    return _classes("wine_data.csv")


def breast_cancer() -> Dataset:
    """Breast cancer Wisconsin: 569 tumours, 30 columns, malignant (0) or benign (1), as in sklearn.datasets."""
    return _classes("breast_cancer.csv")


def iris() -> Dataset:
    """Fisher's irises: 150 flowers, 4 columns, 3 species. As in sklearn.datasets.load_iris."""
    return _classes("iris.csv")


def diabetes() -> Dataset:
    """Diabetes progression within a year (25 to 346): 442 patients, 10 columns, regression.

    As in sklearn.datasets.load_diabetes(scaled=False); the target keeps its unit.
    """
    inputs, targets = _read("diabetes_data_raw.csv.gz", delimiter=None), _read("diabetes_target.csv.gz")
    examples = Examples(torch.from_numpy(inputs), torch.from_numpy(targets).reshape(-1, 1))
    return Dataset("regression", examples, standardize=True)


def _classes(file: str) -> Dataset:
    """A table whose last column is the class; its first line says how many rows and columns, then the class names."""
    table = _read(file, skiprows=1)
    targets = torch.from_numpy(table[:, -1]).long()
    examples = Examples(torch.from_numpy(np.ascontiguousarray(table[:, :-1])), targets)
    return Dataset("classification", examples, num_classes=int(targets.max()) + 1, standardize=True)


def _read(file: str, *, delimiter: str | None = ",", skiprows: int = 0) -> np.ndarray:
    """float64 [rows, columns] of one of scikit-learn's files; numpy opens what is compressed."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UsageError("this data set comes with scikit-learn; pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "data" / file
    try:
        return np.loadtxt(path, delimiter=delimiter, skiprows=skiprows)
    except OSError as error:
        raise UsageError(f"the installed scikit-learn does not bring {file}: {error}") from error
