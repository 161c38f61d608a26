"""JSON Schema of the config format, for editors: built from the same models and signatures that judge a config."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from optrun.components.registry import KINDS, Component, Registry
from optrun.components.schedulers import HORIZONS
from optrun.components.signatures import Parameter
from optrun.config.choices import RESERVED
from optrun.config.spec import Spec
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
        described = {"description": " ".join((field.description or "").split())} if field.description else {}
        if key in _FIELDS:
            reference = {"$ref": f"#/$defs/{_FIELDS[key]}"}
            properties[key] = (
                {"anyOf": [reference, {"type": "null"}], **described} if key == "scheduler" else reference | described
            )
        elif key == "metrics":
            properties[key] = {"type": "array", "items": {"$ref": "#/$defs/metrics"}, **described}
        else:
            schema = TypeAdapter(field.rebuild_annotation()).json_schema()
            definitions |= schema.pop("$defs", {})
            properties[key] = {**schema, **described, **_default(field.default)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optrun config",
        "type": "object",
        "properties": properties,
        "required": ["dataset", "model", "loss", "optimizer"],
        "oneOf": [{"required": ["epochs"]}, {"required": ["steps"]}],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _any_of(registry: Registry) -> dict[str, Any]:
    """A name alone, or a mapping with the settings of that name."""
    components = [registry.find(name) for name in registry.names()]
    names = {"type": "string", "enum": [component.name for component in components]}
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
        properties[key] = {**_of_type(kind), "description": meaning}
    filled = HORIZONS.get(component.name)
    required = [p.name for p in signature.settings if p.required and p.name != filled]
    return {
        "type": "object",
        "description": component.summary,
        "properties": properties,
        "required": ["name", *required],
        "additionalProperties": signature.takes_any,
    }


def _setting(component: Component, parameter: Parameter) -> dict[str, Any]:
    if "LRScheduler" in parameter.annotation:
        return {"type": "array", "items": {"$ref": "#/$defs/schedulers"}}
    if "Callable" in parameter.annotation:
        reference = {"$ref": "#/$defs/" + ("transforms" if component.kind == "transforms" else "functions")}
        return {"anyOf": [reference, {"type": "array", "items": reference}, {"type": "null"}]}
    schema = _of_type(setting_type(parameter))
    if component.kind in ("schedulers", "functions") and schema.get("type") == "integer":
        schema = {"anyOf": [schema, {"const": "run"}]}
    return {**schema, **({} if parameter.required else _default(parameter.default))}


def _of_type(kind: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(kind).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return {}


def _default(value: Any) -> dict[str, Any]:
    plain = isinstance(value, bool | int | float | str | list) or value is None
    return {"default": value} if plain and value != ... else {}
