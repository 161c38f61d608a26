"""JSON Schema of the config format, for editors: built from the same models and signatures that judge a config."""

from __future__ import annotations

import ast
import functools
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from optrun.components.registry import KINDS, Component, Registry
from optrun.components.schedulers import HORIZONS
from optrun.components.signatures import Parameter, parsed
from optrun.config.choices import RESERVED
from optrun.config.spec import EarlyStop, Spec, Steps, Target
from optrun.config.types import setting_type

__all__ = ["json_schema"]

_FIELDS = {
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
}


def json_schema() -> dict[str, Any]:
    """The schema of a run's config (JSON Schema, draft 2020-12)."""
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {kind: _any_of(registry) for kind, registry in KINDS.items()}
    for key, field in Spec.model_fields.items():
        if key in _FIELDS:
            properties[key] = _reference(_FIELDS[key], *(["null"] if key == "scheduler" else []))
        elif key == "metrics":
            properties[key] = {"type": "array", "items": {"$ref": "#/$defs/metrics"}}
        else:
            schema = TypeAdapter(field.rebuild_annotation()).json_schema()
            definitions |= schema.pop("$defs", {})
            properties[key] = {**schema, **_default(field.default)}
    for model in (EarlyStop, Steps, Target):
        _describe(definitions[model.__name__]["properties"], model)
    _describe(properties, Spec)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optrun config",
        "type": "object",
        "properties": properties,
        "required": ["dataset", "model", "loss", "optimizer"],
        "oneOf": [_given("epochs"), _given("steps")],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _given(key: str) -> dict[str, Any]:
    """Null says nothing: `epochs: null` is like no epochs."""
    return {"required": [key], "properties": {key: {"type": "integer"}}}


def _describe(properties: dict[str, Any], model: type[BaseModel]) -> None:
    """Add to each property what is written under the model's field.

    pydantic would read that, too, but whenever the model is imported, which is at every start.
    """
    node = parsed(model.__module__).nodes[model.__name__]
    for field, below in zip(node.body, node.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            properties[ast.unparse(field.target)]["description"] = " ".join(str(below.value.value).split())


def _any_of(registry: Registry) -> dict[str, Any]:
    """A name alone, or a mapping with the settings of that name."""
    components = [registry.find(name) for name in registry.names()]
    names = {"type": "string", "enum": [component.name for component in components if not _required(component)]}
    prefixed = [{"type": "string", "pattern": rf"^({'|'.join(registry.prefixes)})\."}] if registry.prefixes else []
    whole = [_whole(component) for component in components]
    other = [{"type": "object", "properties": {"name": prefixed[0]}, "required": ["name"]}] if prefixed else []
    return {"anyOf": [names, *prefixed, *whole, *other]}


def _whole(component: Component) -> dict[str, Any]:
    signature = component.signature
    properties: dict[str, Any] = {"name": {"const": component.name}}
    for parameter in signature.settings:
        properties[parameter.name] = _setting(component, parameter)
    for key, (kind, meaning) in RESERVED.get(component.kind, {}).items():
        properties[key] = {**(_inside(component, key) or _of_type(kind)), "description": meaning}
    return {
        "type": "object",
        "description": component.summary,
        "properties": properties,
        "required": ["name", *_required(component)],
        "additionalProperties": signature.takes_any,
    }


def _required(component: Component) -> list[str]:
    """The settings that must be given."""
    own = ["batch_size"] if component.kind == "datasets" else []
    filled = HORIZONS.get(component.name)
    return own + [p.name for p in component.signature.settings if p.required and p.name != filled]


def _inside(component: Component, key: str) -> dict[str, Any] | None:
    """The schema of an own key that holds components or settings of them."""
    if key == "fallback":
        return _reference("optimizers", "null")
    if key == "param_groups":
        values = {parameter.name: _setting(component, parameter) for parameter in component.signature.settings}
        group = {"type": "object", "properties": {"match": {"type": "string"}, **values}, "required": ["match"]}
        return {"type": "array", "items": {**group, "additionalProperties": component.signature.takes_any}}
    if key == "transforms":
        each = {"type": "array", "items": {"$ref": "#/$defs/transforms"}}
        parts = {"type": "object", "properties": {"train": each, "val": each}, "additionalProperties": False}
        return {"anyOf": [each, parts]}
    return None


def _setting(component: Component, parameter: Parameter) -> dict[str, Any]:
    if "LRScheduler" in parameter.annotation:
        return {"type": "array", "items": {"$ref": "#/$defs/schedulers"}}
    if "Callable" in parameter.annotation:
        return _reference("transforms" if component.kind == "transforms" else "functions", "null", "list")
    kind = setting_type(parameter)
    schema = _of_type(kind)
    if component.kind in ("schedulers", "functions") and int in (kind, *get_args(kind)):
        schema = {"anyOf": [schema, {"const": "run"}]}
    return {**schema, **({} if parameter.required else _default(parameter.default))}


def _reference(kind: str, *others: str) -> dict[str, Any]:
    """A component of that kind, or null, or a list of them."""
    reference = {"$ref": f"#/$defs/{kind}"}
    allowed = {"null": {"type": "null"}, "list": {"type": "array", "items": reference}}
    return {"anyOf": [reference, *(allowed[other] for other in others)]}


@functools.cache
def _of_type(kind: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(kind).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return {}


def _default(value: Any) -> dict[str, Any]:
    plain = isinstance(value, bool | int | float | str | list) or value is None
    return {"default": value} if plain and value != ... else {}
