"""JSON Schema of the config formats, for editors: built from the same models and signatures that judge a config."""

from __future__ import annotations

import ast
import dataclasses
import functools
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from optrun.components.registry import KINDS, Component, Registry
from optrun.components.schedulers import HORIZONS
from optrun.components.signatures import Parameter, parsed
from optrun.config.choices import RESERVED
from optrun.config.spec import EarlyStop, Spec, Steps, Target
from optrun.config.sweep.keys import SweepKeys
from optrun.config.sweep.objective import ObjectiveKeys, Prune
from optrun.config.sweep.reading import field_types
from optrun.config.sweep.space import SAMPLERS, SPACES, SearchKeys
from optrun.config.types import setting_type

__all__ = ["json_schema", "sweep_json_schema"]

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


def sweep_json_schema() -> dict[str, Any]:
    """The schema of a sweep (JSON Schema, draft 2020-12)."""
    run = json_schema()
    base = {"type": "object", "properties": run["properties"], "additionalProperties": False}
    candidates = {key: _candidates(schema) for key, schema in run["properties"].items()}
    product = {
        "type": "object",
        "properties": candidates,
        "patternProperties": {rf"^({'|'.join(candidates)})\.": _candidates({})},
        "additionalProperties": False,
    }
    properties = _of_fields(SweepKeys) | {
        "base": {"anyOf": [{"type": "string", "minLength": 1}, base]},
        "grid": {"anyOf": [product, {"type": "array", "items": product, "minItems": 1}, {"type": "null"}]},
        "search": _or_null(_mapping(SearchKeys, sampler={"enum": list(SAMPLERS)}, space=_space())),
        "objective": _or_null(_mapping(ObjectiveKeys)),
        "prune": _or_null(_mapping(Prune)),
    }
    properties["seeds"] = _or_null(properties["seeds"])
    properties["seeds"]["anyOf"][1] |= {"minItems": 1, "uniqueItems": True}
    _describe(properties, SweepKeys)
    given = {key: {"not": {"type": "null"}} for key in ("grid", "search")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optrun sweep",
        "type": "object",
        "properties": properties,
        "required": ["base"],
        "not": {"required": ["grid", "search"], "properties": given},
        "additionalProperties": False,
        "$defs": run["$defs"],
    }


def _candidates(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {key: value for key, value in schema.items() if key != "default"}, "minItems": 1}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}


def _of_fields(fields: type) -> dict[str, Any]:
    """The schema of each field of a dataclass."""
    defaults = {field.name: field.default for field in dataclasses.fields(fields)}
    return {
        key: _of_type(kind) | ({} if defaults[key] is dataclasses.MISSING else _default(defaults[key]))
        for key, kind in field_types(fields).items()
    }


def _mapping(fields: type, **better: dict[str, Any]) -> dict[str, Any]:
    """The schema of a mapping with the fields of a dataclass, some of them said `better` than by their type."""
    properties = _of_fields(fields) | better
    _describe(properties, fields)
    required = [field.name for field in dataclasses.fields(fields) if field.default is dataclasses.MISSING]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _space() -> dict[str, Any]:
    """The keys of a search, each with one of the kinds of spaces."""

    def of(kind: str, meaning: str) -> dict[str, Any]:
        items = {} if kind == "choice" else {"type": "integer" if kind == "int" else "number"}
        size = {"minItems": 1} if kind == "choice" else {"minItems": 2, "maxItems": 2}
        value = {"type": "array", "items": items, **size, "description": meaning}
        return {"type": "object", "properties": {kind: value}, "required": [kind], "additionalProperties": False}

    each = {"anyOf": [of(kind, meaning) for kind, meaning in SPACES.items()]}
    return {"type": "object", "additionalProperties": each, "minProperties": 1}


def _given(key: str) -> dict[str, Any]:
    """Null says nothing: `epochs: null` is like no epochs."""
    return {"required": [key], "properties": {key: {"type": "integer"}}}


def _describe(properties: dict[str, Any], model: type) -> None:
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
