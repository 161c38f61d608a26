"""Settings that some configs write out and others leave to the component's default: `{name: SGD}` is `momentum: 0`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from optrun.comparisons.outcomes import Outcome
from optrun.comparisons.settings import Flat

__all__ = ["with_defaults"]

_KINDS = {
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
}
_MISSING = object()


def with_defaults(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, each with the defaults of those settings that others with the same component have.

    Defaults are looked up only for these, since that reads the source of the component; those that are not known (of
    the user's own components, of other packages) stay left out. Runs that shared their settings still do.
    """
    distinct = {id(outcome.settings): outcome.settings for outcome in outcomes}
    added: dict[int, dict[str, Any]] = {}
    for part, kind in _KINDS.items():
        alike: dict[Any, list[Flat]] = {}
        for settings in distinct.values():
            alike.setdefault(settings.get(f"{part}.name"), []).append(settings)
        for name, having in alike.items():
            if isinstance(name, str) and len(having) > 1:
                _fill(part, kind, name, having, added)
    if not added:
        return list(outcomes)
    filled = {key: MappingProxyType({**distinct[key], **more}) for key, more in added.items()}
    return [
        replace(outcome, settings=filled[id(outcome.settings)]) if id(outcome.settings) in filled else outcome
        for outcome in outcomes
    ]


def _fill(part: str, kind: str, name: str, having: Sequence[Flat], added: dict[int, dict[str, Any]]) -> None:
    keys = [[key for key in settings if key.startswith(f"{part}.")] for settings in having]
    everywhere = set(keys[0]).intersection(*keys[1:])
    somewhere = dict.fromkeys(key for its in keys for key in its if key not in everywhere)
    if not somewhere:
        return
    defaults = _defaults(kind, name)
    for key in somewhere:
        value = defaults.get(key.removeprefix(f"{part}."), _MISSING)
        if value is _MISSING:
            continue
        for settings in having:
            if key not in settings:
                added.setdefault(id(settings), {})[key] = list(value) if isinstance(value, tuple) else value


def _defaults(kind: str, name: str) -> Mapping[str, Any]:
    """The defaults that the source of a built-in component or of torch gives; {} where it cannot be read."""
    from optrun.components.registry import KINDS
    from optrun.components.signatures import REQUIRED
    from optrun.errors import UsageError

    if "." in name:  # of another package, which would be imported
        return {}
    try:
        settings = KINDS[kind].find(name).signature.settings
    except UsageError:
        return {}
    return {parameter.name: parameter.default for parameter in settings if parameter.default is not REQUIRED}
