"""Text: Python's own documentation, from the standard library, and the user's own file."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import numpy as np
import torch

from optrun.components.data import Dataset, Examples
from optrun.errors import UsageError

__all__ = ["pydocs", "pydocs_topics", "text"]


def pydocs(*, context: int = 64) -> Dataset:
    """Characters of Python's documentation topics (what `help()` shows): 370,000, each paragraph once.

    An example is `context` characters and the same ones shifted by one; windows do not overlap. The text is that of
    the running Python version, so the fingerprint tells versions apart.
    """
    paragraphs = dict.fromkeys(paragraph for topic in _topics().values() for paragraph in topic)
    return _characters("\n\n".join(paragraphs), context)


def text(*, path: str, context: int = 64) -> Dataset:
    """Characters of your own UTF-8 text file, for a language model; windows of `context` characters."""
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text (byte {error.start}); convert it to UTF-8") from error
    except OSError as error:
        raise UsageError(f"the text file cannot be read: {path}: {error.strerror}") from error
    return _characters(content, context)


def pydocs_topics(*, length: int = 32, min_passages: int = 20, min_count: int = 2) -> Dataset:
    """Which of Python's documentation topics a passage comes from: text classification, 28 topics, 2,500 passages.

    A passage is `length` words and signs in a row; topics with fewer than `min_passages` are left out, and so is a
    paragraph that an even shorter topic has too. Id 0 pads, id 1 is every word seen fewer than `min_count` times.
    """
    if min(length, min_count) < 1 or min_passages < 2:
        raise UsageError("pydocs_topics: length and min_count must be at least 1, min_passages at least 2")
    topics = [_passages("\n\n".join(paragraphs), length) for paragraphs in _paragraphs_of_their_own().values()]
    topics = [passages for passages in topics if len(passages) >= min_passages]
    if len(topics) < 2:
        raise UsageError(
            f"pydocs_topics: {len(topics)} topics have {min_passages} passages of {length} words; ask for less"
        )
    counts = collections.Counter(word for passages in topics for passage in passages for word in passage)
    vocabulary = ("<pad>", "<unk>", *sorted(word for word, count in counts.items() if count >= min_count))
    ids = {word: i for i, word in enumerate(vocabulary)}
    inputs = np.zeros((sum(map(len, topics)), length), dtype=np.int64)
    for row, passage in zip(inputs, (passage for passages in topics for passage in passages)):
        row[: len(passage)] = [ids.get(word, 1) for word in passage]
    targets = np.repeat(np.arange(len(topics)), [len(passages) for passages in topics])
    examples = Examples(torch.from_numpy(inputs), torch.from_numpy(targets))
    return Dataset("classification", examples, num_classes=len(topics), vocabulary=vocabulary)


def _topics() -> dict[str, list[str]]:
    """The paragraphs of every topic, topics in alphabetical order."""
    from pydoc_data.topics import topics

    return {name: [p.strip("\n") for p in re.split(r"\n[ ]*\n", topics[name]) if p.strip()] for name in sorted(topics)}


def _paragraphs_of_their_own() -> dict[str, list[str]]:
    """The topics without what they only quote: a paragraph belongs to the shortest topic that has it."""
    topics = _topics()
    owner: dict[str, str] = {}
    for name in sorted(topics, key=lambda name: (len("".join(topics[name])), name)):
        for paragraph in topics[name]:
            owner.setdefault(paragraph, name)
    return {name: [p for p in dict.fromkeys(paragraphs) if owner[p] == name] for name, paragraphs in topics.items()}


def _passages(content: str, length: int) -> list[list[str]]:
    """Runs of up to `length` lower-case words, numbers and signs; a last one shorter than half of that is dropped."""
    words = re.findall(r"[^\W\d]\w*|\d+|[^\w\s]", content.lower())
    runs = [words[i : i + length] for i in range(0, len(words), length)]
    return [run for run in runs if 2 * len(run) >= length]


def _characters(content: str, context: int) -> Dataset:
    """Windows [n, context] of character ids and their successors, in the order of the text."""
    if context < 1:
        raise UsageError(f"context is {context}; give at least 1")
    codes, ids = np.unique(np.frombuffer(content.encode("utf-32-le"), dtype=np.uint32), return_inverse=True)
    n = (len(ids) - 1) // context
    if n < 2:
        raise UsageError(
            f"the text has {len(ids)} characters: too few for two windows of {context}; give a smaller context"
        )
    characters = torch.from_numpy(ids.astype(np.int64))
    windows = Examples(characters[: n * context].view(n, context), characters[1 : n * context + 1].view(n, context))
    vocabulary = tuple(map(chr, codes))
    return Dataset("language_model", windows, num_classes=len(vocabulary), vocabulary=vocabulary, ordered=True)
