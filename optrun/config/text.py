"""Which characters a config may consist of: from the bytes of a file to text, and what of it may be shown."""

from __future__ import annotations

import re

from optrun.errors import ConfigError, Problem

__all__ = ["MAX_SIZE", "check_text", "fit_to_parse", "legible"]

MAX_SIZE = 128 * 1024
"""Bytes. A larger config is refused: it is surely another kind of file, and would take more than a second to read."""

# A terminal could obey a control character, and a file could not store half of a surrogate pair.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Those that would also confuse line numbers: PyYAML takes the first two for line breaks, and editors do not.
_UNFIT_UNESCAPED = re.compile(f"{_UNFIT.pattern[:-1]}\u2028\u2029\ufeff\ufffe\uffff]")


def fit_to_parse(content: str | bytes, source: str) -> str:
    """The text without byte order mark. Raises ConfigError if it is too long, no UTF-8, or holds control characters."""
    if len(content) > MAX_SIZE:
        message = f"a config can have {MAX_SIZE // 1024} KiB at most; is this the right file?"
        raise ConfigError([Problem(source, 0, 0, "", message)])
    text = content if isinstance(content, str) else _decoded(content, source)
    text = text.removeprefix("\ufeff")
    if unfit := _UNFIT_UNESCAPED.search(text):
        message = f"the character {unfit[0]!r} may not stand here; remove it"
        raise ConfigError([Problem(source, *_line_and_column(text[: unfit.start()]), "", message)])
    return text


def _decoded(content: bytes, source: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:2]:
        raise ConfigError([Problem(source, 0, 0, "", "this is UTF-16 or UTF-32; save the file as UTF-8")])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigError([Problem(source, *_line_and_column(before), "", message)]) from None


def _line_and_column(before: str) -> tuple[int, int]:
    lines = re.split("\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


def check_text(text: str) -> str:
    """A string of a config, with surrogate pairs (JSON's way to write 😀) joined.

    Raises ValueError, with a sentence for the user, for characters that no string may hold, even if written as escapes.
    """
    unfit = _UNFIT.search(text)
    if unfit and "\ud800" <= unfit[0] <= "\udfff":
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        unfit = _UNFIT.search(text)
    if unfit:
        raise ValueError(f"the character {unfit[0]!r} may not stand in a string; remove it")
    return text


def legible(text: str, limit: int = 60) -> str:
    """`text` cut to `limit` characters, with an escape for each one that a terminal would not show but obey."""
    text = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
