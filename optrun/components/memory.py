"""The memory there is, and what does not fit into it."""

from __future__ import annotations

import os

from optrun.errors import UsageError

__all__ = ["machine_memory", "require_memory"]


def machine_memory() -> int:
    """Bytes of the machine's main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_memory(what: str, size: float) -> None:
    """Raises UsageError unless `size` bytes, which `what` takes, are at most the machine's memory."""
    have = machine_memory()
    if size > have:
        sizes = f"{size / 2**30:,.0f} GiB of memory, and there are {have / 2**30:,.0f}"
        raise UsageError(f"{what} takes {sizes}; make it smaller")
