"""The writer of a run directory: what a run leaves behind besides its checkpoints.

    with Record(directory, config=text) as record:
        record.row({"step": 10, "epoch": 0, "time": 0.21, "train/loss": 1.92})
        record.summary({"status": "completed", …})

Rows are written many at once while they come quickly: a row is in the file a quarter of a second later at most, if
another one comes, and whenever a checkpoint or a summary is written that speaks of it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from optrun.runs import files
from optrun.runs.layout import Layout, is_run

__all__ = ["Record", "strict_json"]

_encode = json.JSONEncoder(allow_nan=False).encode
_encode_indented = json.JSONEncoder(allow_nan=False, indent=2).encode


def strict_json(value: Any, *, indented: bool = False) -> str:
    """`value` as JSON that every parser reads: NaN and the infinities become "NaN", "Infinity", "-Infinity".

    Finite floats are written with the fewest digits that read back as the same float. Raises TypeError for what JSON
    has no form for, such as a tensor.
    """
    encode = _encode_indented if indented else _encode
    try:
        return encode(value)
    except ValueError:  # the encoder met a float that JSON cannot write; that is rare, so it is looked for only now
        return encode(_with_words(value))


def _with_words(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _with_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_words(item) for item in value]
    return value


FLUSH_SECONDS = 0.25
"""How long rows wait for others."""


class Record:
    """Writes to the run in `directory`, whose lock the caller holds.

    `config` is the text of config.yaml, which makes the directory a run and is written first; None leaves it alone.
    `metrics_bytes` is the length of metrics.jsonl up to which its rows are kept: 0 to start, and on a resume what
    `position` was when the checkpoint was saved. What had to be done otherwise stands in `notes`, as sentences.

    Every method raises RunError if the disk does not take what it writes; what was there before is then unharmed.
    """

    def __init__(self, directory: Path, *, config: str | None = None, metrics_bytes: int = 0) -> None:
        self.paths = Layout(directory)
        self.notes: list[str] = []
        self._rows: list[Mapping[str, Any]] = []
        self._flushed = time.monotonic()
        if config is not None:
            self._write(self.paths.config, config)
        with self._writing(self.paths.metrics):
            self._metrics = files.LineFile(self.paths.metrics, keep=metrics_bytes)
        with self._writing(self.paths.error):
            files.remove(self.paths.error)
        if self.position < metrics_bytes:
            self.notes.append(
                f"{self.paths.metrics} has {self.position} of the {metrics_bytes} bytes it had at the checkpoint: "
                "rows are missing from it"
            )

    @property
    def position(self) -> int:
        """The length of metrics.jsonl in bytes: with it a checkpoint knows which rows come before it."""
        self.flush()
        return self._metrics.size

    def environment(self, environment: Mapping[str, Any]) -> None:
        """Write environment.json."""
        self._write(self.paths.environment, strict_json(environment, indented=True) + "\n", durable=False)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json. One that says `running` may be lost in a power cut: nothing runs any more after that."""
        self.flush()
        durable = summary.get("status") != "running"
        self._write(self.paths.summary, strict_json(summary, indented=True) + "\n", durable)

    def error(self, text: str) -> None:
        """Write error.txt: why the run failed."""
        self._write(self.paths.error, text)

    def row(self, row: Mapping[str, Any]) -> None:
        """Add a row to metrics.jsonl; it must not be changed afterwards."""
        self._rows.append(row)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Let readers see all rows so far, which from now on outlive the process."""
        rows, self._rows = self._rows, []
        self._flushed = time.monotonic()
        if rows:
            lines = "".join(strict_json(row) + "\n" for row in rows)
            with self._writing(self.paths.metrics):
                self._metrics.append(lines.encode())

    def sync(self) -> None:
        """Bring the rows to the disk. Call it before a checkpoint is saved, which relies on them."""
        self.flush()
        with self._writing(self.paths.metrics):
            self._metrics.sync()

    def close(self) -> None:
        """The last rows."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, path: Path, text: str, durable: bool = True) -> None:
        with self._writing(path):
            files.write_atomically(path, text.encode(errors="backslashreplace"), durable)

    def _writing(self, path: Path) -> Any:
        directory = self.paths.directory
        return files.reporting("write", path, directory if is_run(directory) else None)  # else there is none to resume
