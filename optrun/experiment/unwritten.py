"""What the processes of a run have that leave the writing to the first one: a record and a lock of nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

__all__ = ["Unlocked", "Unwritten"]


class Unwritten:
    """Has the methods of a `Record` and writes nothing."""

    position = 0

    def __init__(self) -> None:
        self.notes: list[str] = []

    def environment(self, environment: Mapping[str, Any]) -> None: ...

    def summary(self, summary: Mapping[str, Any]) -> None: ...

    def error(self, text: str) -> None: ...

    def row(self, row: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...


class Unlocked:
    """Has the methods of a `Lock` and holds nothing."""

    def release(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...
