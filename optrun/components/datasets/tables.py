"""The user's own table: a CSV file."""

from __future__ import annotations

import csv as csv_format
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from optrun.components.data import Dataset, Examples
from optrun.errors import UsageError

__all__ = ["csv"]

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


def csv(
    *,
    path: str,
    target: str | int,
    features: list[str | int] | None = None,
    one_hot: list[str | int] | None = None,
    task: Literal["auto", "classification", "regression"] = "auto",
    delimiter: str = ",",
    header: bool = True,
) -> Dataset:
    """Your own CSV file: one row an example. Columns are standardised with the training part's mean and deviation.

    `target` and `features` (default: every other column) are columns by name, or by number from 0, negative from the
    end. Columns in `one_hot` become one column of 0 and 1 for each of their values; all others must be numbers. With
    task auto, a target of texts, or of at most 20 different whole numbers, is a class; other numbers are a regression.
    Classes are numbered in the order of their labels. Raises UsageError with the line of the first bad value.
    """
    table = _read(Path(path), delimiter, header)
    goal = table.column(target, "target")
    others = [column for column in range(len(table.names)) if column != goal]
    chosen = others if features is None else [table.column(column, "features") for column in features]
    coded = [table.column(column, "one_hot") for column in one_hot or []]
    for column in coded:
        if column not in chosen:
            raise UsageError(f"{path}: one_hot: column {table.names[column]!r} is not among the features")
    if goal in chosen:
        raise UsageError(f"{path}: features: {table.names[goal]!r} is the target")
    if not chosen:
        raise UsageError(f"{path}: there is no column beside the target")
    blocks = [table.indicators(c) if c in coded else table.numbers(c)[:, None] for c in chosen]
    inputs = torch.from_numpy(np.concatenate(blocks, axis=1))
    if task == "regression" or (task == "auto" and not table.looks_like_classes(goal)):
        numbers = torch.from_numpy(table.numbers(goal)[:, None])
        return Dataset("regression", Examples(inputs, numbers), standardize=True)
    classes, targets = table.classes(goal)
    if len(classes) < 2:
        raise UsageError(f"{path}: the target {table.names[goal]!r} has one class only ({classes[0]})")
    return Dataset(
        "classification", Examples(inputs, torch.from_numpy(targets)), num_classes=len(classes), standardize=True
    )


@dataclass(frozen=True)
class _Table:
    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    """The line of the file on which each row ends, counted from 1."""

    def column(self, key: str | int, setting: str) -> int:
        """The index of a column given by name or number."""
        if isinstance(key, str) and key in self.names:
            if self.names.count(key) > 1:
                raise UsageError(f"{self.path}: {setting}: {key!r} is the name of two columns; give the number")
            return self.names.index(key)
        if isinstance(key, int) and -len(self.names) <= key < len(self.names):
            return key % len(self.names)
        raise UsageError(f"{self.path}: {setting}: there is no column {key!r}; the columns are {', '.join(self.names)}")

    def texts(self, column: int) -> list[str]:
        """The values of a column. Raises UsageError at the first one that is missing."""
        values = [row[column].strip() for row in self.rows]
        for value, line in zip(values, self.lines):
            if value.lower() in _MISSING:
                raise UsageError(
                    f"{self.path}:{line}: column {self.names[column]!r} has a missing value ({value!r}); "
                    "fill it in, remove the row, or leave the column out of features"
                )
        return values

    def numbers(self, column: int) -> np.ndarray:
        """float64 [n]. Raises UsageError at the first value that is no finite number."""
        values = self.texts(column)
        numbers = [_number(value) for value in values]
        for number, value, line in zip(numbers, values, self.lines):
            if not math.isfinite(number):
                raise UsageError(
                    f"{self.path}:{line}: column {self.names[column]!r}: {value!r} is no finite number; "
                    "name the column in one_hot, or leave it out of features"
                )
        return np.array(numbers)

    def looks_like_classes(self, column: int) -> bool:
        numbers = [_number(value) for value in self.texts(column)]
        if not all(map(math.isfinite, numbers)):
            return True
        return all(number.is_integer() for number in numbers) and len(set(numbers)) <= 20

    def classes(self, column: int) -> tuple[list[str], np.ndarray]:
        """The labels in order (numbers by value, texts alphabetically) and int64 [n], each row's place among them."""
        values = self.texts(column)
        numeric = all(math.isfinite(_number(value)) for value in values)
        keys = [_number(value) for value in values] if numeric else values
        labels, indices = np.unique(np.array(keys), return_inverse=True)
        return [str(label) for label in labels], indices.astype(np.int64)

    def indicators(self, column: int) -> np.ndarray:
        """float64 [n, values]: 1 where the row has the value."""
        labels, indices = self.classes(column)
        return np.eye(len(labels))[indices]


def _read(path: Path, delimiter: str, header: bool) -> _Table:
    if len(delimiter) != 1:
        raise UsageError(f"csv: delimiter is {delimiter!r}; give one character")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_format.reader(file, delimiter=delimiter, strict=True)
            read = [(row, reader.line_num) for row in reader if row]
    except OSError as error:
        raise UsageError(f"the CSV file cannot be read: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text (byte {error.start}); convert it to UTF-8") from error
    except csv_format.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}") from error
    names = [name.strip() for name in read.pop(0)[0]] if header and read else []
    if not read:
        raise UsageError(f"{path}: there are no rows" + (" below the header" if header else ""))
    names = names or [str(column) for column in range(len(read[0][0]))]
    for row, line in read:
        if len(row) != len(names):
            raise UsageError(
                f"{path}:{line}: {len(row)} columns where there should be {len(names)}; is the delimiter {delimiter!r}?"
            )
    return _Table(path, names, [row for row, _ in read], [line for _, line in read])


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_000 as a number; a table means a name
    except ValueError:
        return math.nan
