"""placeholder"""

from __future__ import annotations


def lr_find() -> None:
    """placeholder"""
