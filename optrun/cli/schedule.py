"""placeholder"""

from __future__ import annotations


def schedule() -> None:
    """placeholder"""
