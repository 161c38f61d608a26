"""What a run wrote while it trained: metrics.jsonl, read fast, and only if it is whole.

A row is a line, and the lines of a file are mostly alike but for their numbers. So a file is checked by its skeletons:
what is left of its lines without digits, points and signs. Of each skeleton one line is parsed; if that is a row, all
are. Values are then taken out of the text, which is five times as fast as parsing every line.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optrun.runs import files, reader
from optrun.runs.layout import Layout

__all__ = ["History", "torn"]

_NUMBERS = b"0123456789.+-"
_TAIL = 4096
"""Bytes at the end of a file that hold the last row, nearly always."""
_PROBE, _DENSE = 16384, 500
"""A metric that the beginning of a file has oftener than every so many bytes is taken out of its text."""

Curve = tuple["array[float]", "array[float]"]
"""Steps, and the values there, NaN among them."""


class Damaged(Exception):
    """metrics.jsonl is not what a run leaves: why, or the number of a line that is no row."""

    def __init__(self, what: str | int) -> None:
        super().__init__(what if isinstance(what, str) else f"metrics.jsonl is damaged (line {what} is no row)")


def torn(run: Path, steps: int) -> str | None:
    """Why metrics.jsonl cannot be all that a run of so many steps wrote; None if its end is there.

    One that diverged has a row of the step that it did not make, too.
    """
    try:
        end = files.read(Layout(run).metrics, last=_TAIL)
        row = reader.row_of(end[end.rfind(b"\n", 0, -1) + 1 :]) or _last_row(run)
    except FileNotFoundError:
        return "metrics.jsonl is missing"
    except OSError as error:
        return f"metrics.jsonl cannot be read: {error.strerror}"
    if row is None or not end.endswith(b"\n"):
        return "metrics.jsonl is torn (its last line is no row)" if end else "metrics.jsonl is empty"
    return None if row["step"] >= steps else f"metrics.jsonl is torn (it ends at step {row['step']} of {steps})"


def _last_row(run: Path) -> dict[str, Any] | None:
    """Of a file whose last line is longer than most."""
    return reader.row_of(files.read(Layout(run).metrics).rstrip(b"\n").rpartition(b"\n")[2])


class History:
    """The rows of one run. Each metric is read once; `problem` says what was wrong with the file when it was read."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.problem: str | None = None
        self._curves: dict[str, Curve] = {}

    def curve(self, metric: str) -> Curve:
        """Where the metric was written down and its values; none if the file is damaged, and then there is a problem.

        A row that has none or several values of it (learning rates of parameter groups) is left out.
        """
        if metric not in self._curves:
            try:
                self._curves[metric] = _curve(self._whole(), metric)
            except Damaged as error:
                self.problem = str(error)
                self._curves[metric] = array("d"), array("d")
        return self._curves[metric]

    def rows_with(self, metric: str) -> Iterator[dict[str, Any]]:
        """The rows that have a value of the metric, in order; none if the file is damaged."""
        try:
            for row in _rows_with(self._whole(), metric):
                if isinstance(row.get(metric), int | float):
                    yield row
        except Damaged as error:
            self.problem = str(error)

    def metrics(self) -> set[str]:
        """The metrics that some row has."""
        with suppress(Damaged):
            words = re.findall(rb'"((?:[^"\\]|\\.)*)": ', self._whole())
            return {json.loads(b'"%s"' % word) for word in {*words}} - {"step", "epoch", "time"}
        return set()

    def _whole(self) -> bytes:
        """The lines of the file so far, all of them rows. Raises Damaged."""
        try:
            data = files.read(Layout(self.run).metrics)
        except FileNotFoundError:
            return b""  # as before the first row
        except OSError as error:
            raise Damaged(f"metrics.jsonl cannot be read: {error.strerror}") from None
        data = data[: data.rfind(b"\n") + 1]
        skeletons = data.translate(None, _NUMBERS).split(b"\n")[:-1]
        for skeleton in {*skeletons}:
            number = skeletons.index(skeleton)
            if reader.row_of(data.split(b"\n", number + 1)[number]) is None:
                raise Damaged(number + 1)
        return data


def _curve(data: bytes, metric: str) -> Curve:
    key = json.dumps(metric).encode() + b": "
    if data.count(key, 0, _PROBE) > min(len(data), _PROBE) / _DENSE:
        found = re.findall(rb'\{"step": ([0-9]+),.*?' + re.escape(key) + rb'"?([^,}"]+)', data)
        with suppress(ValueError):  # null, a list, or a number that is none
            if len(found) == data.count(key):
                steps, values = zip(*found)
                return array("d", map(float, steps)), array("d", map(float, values))
    rows = [row for row in _rows_with(data, metric) if isinstance(row.get(metric), int | float)]
    return array("d", (_float(row["step"]) for row in rows)), array("d", (_float(row[metric]) for row in rows))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of 400 digits
        return math.inf


def _rows_with(data: bytes, metric: str) -> Iterator[dict[str, Any]]:
    """The rows in which the metric is a key. Raises Damaged."""
    key = json.dumps(metric).encode() + b":"
    found = data.find(key)
    while found >= 0:
        start, stop = data.rfind(b"\n", 0, found) + 1, data.find(b"\n", found)
        row = reader.row_of(data[start:stop])
        if row is None:
            raise Damaged(data.count(b"\n", 0, start) + 1)
        yield row
        found = data.find(key, stop)
