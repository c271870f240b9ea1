"""JSON Schemas of the files in `.kin/`, made from the models' own declarations: for editors, and for whoever checks elsewhere.

A schema is never stricter than kin: what it complains of, kin refuses. It says less where kin knows more (`kin check` does).
They are written for draft 7, which every language server reads. Importing this module costs pydantic.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from kin.model.decision import Decision
from kin.model.entries import Kind
from kin.model.fields import Declared, Schema, fields_of, schema_of
from kin.model.kinds import KINDS
from kin.model.record import Run
from kin.model.settings import Budget, Settings, StepSpec
from kin.model.task import Note, Task

DRAFT = "http://json-schema.org/draft-07/schema#"
REF = "#/definitions/{model}"
NOT_COMMITTED = ("live",)
"""Fields that no file in `.kin/` holds."""


class _Generator(GenerateJsonSchema):
    """pydantic's schema of what a YAML file may say: scalars untyped, no title beside each name."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Any scalar: `run: true` is a command."""
        return {"type": ["string", "number", "boolean"]}

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """A whole number, quoted or not."""
        return super().int_schema(schema) | {"type": ["integer", "string"], "pattern": "^[+-]?[0-9]+$"}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return super().float_schema(schema) | {"type": ["number", "string"]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        """`yes` is a text for an editor."""
        return {"type": ["boolean", "string"], "pattern": "^([Yy]es|[Nn]o|[Oo]n|[Oo]ff|true|false)$"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """With the default if a person would write it so: no time in seconds, nothing that stands for absence."""
        made = super().default_schema(schema)
        if not isinstance(made.get("default"), (str, int)):
            made.pop("default", None)
        return made


def _of_pydantic(model: Any) -> tuple[Schema, dict[str, Any]]:
    made = model.model_json_schema(ref_template=REF, schema_generator=_Generator)
    return made, made.pop("$defs", {})


def _of_fields(model: type[Any]) -> Schema:
    declared = [d for d in fields_of(model) if d.name not in NOT_COMMITTED]
    properties = {d.name.rstrip("_"): _property(d) for d in declared}
    also = {d.field.aliases: properties[d.name] for d in declared if d.field.aliases and not d.name.endswith("_")}
    made: Schema = {
        "type": "object",
        "description": (model.__doc__ or "").partition(". ")[0].rstrip("."),
        "required": [d.name.rstrip("_") for d in declared if d.required],
        "properties": properties,
    }
    # Aliases are taken, and not offered by completion.
    return made | ({"patternProperties": {f"^({'|'.join(a)})$": p for a, p in also.items()}} if also else {})


def _property(declared: Declared) -> Schema:
    made = schema_of(declared.field, _of_fields) | {"description": declared.field.doc}
    if declared.required:
        return made
    if isinstance(declared.default, (str, int)) and declared.default != "":
        made["default"] = str(declared.default) if isinstance(declared.default, str) else declared.default
    return _or_null(made)


def _or_null(schema: Schema) -> Schema:
    """`schema`, where an empty value is as good as none."""
    made = dict(schema)
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    if "type" in made:
        made["type"] = [*([made["type"]] if isinstance(made["type"], str) else made["type"]), "null"]
    elif "$ref" in made:
        made["anyOf"] = [{"$ref": made.pop("$ref")}, {"type": "null"}]
    elif "anyOf" in made and {"type": "null"} not in made["anyOf"]:
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
    return made


def _task() -> Schema:
    made = _of_fields(Task)
    step, definitions = _of_pydantic(StepSpec)
    budget, more = _of_pydantic(Budget)
    about = made["properties"]
    one = {"anyOf": [{"$ref": REF.format(model="StepSpec")}, {"type": "string"}]}
    steps = {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
    about["pipeline"] = _or_null(steps | {"description": about["pipeline"]["description"]})
    about["budget"] = _or_null(budget | {"description": about["budget"]["description"]})
    return made | {"definitions": definitions | more | {"StepSpec": step}}


def _settings() -> Schema:
    made, definitions = _of_pydantic(Settings)
    about = made["properties"]
    made["properties"] = {n: p if n in made["required"] else _or_null(p) for n, p in about.items()}
    return made | {"definitions": definitions}


def _entries(kind: Kind[Any]) -> Schema:
    one = _of_fields(kind.model)
    del one["properties"][kind.key]
    aliased = {d.name for d in fields_of(kind.model) if d.field.aliases}
    one["required"] = [name for name in one["required"] if name != kind.key and name not in aliased]
    entry = {"anyOf": [one, one["properties"][kind.short]]}
    return {"type": "object", "description": kind.shown, "additionalProperties": entry}


SCHEMAS: dict[str, Callable[[], Schema]] = {
    "kin": _settings,
    "task": _task,
    "decision": lambda: _of_fields(Decision),
    "note": lambda: _of_fields(Note),
    "record": lambda: _of_fields(Run),
    **{kind.stem: partial(_entries, kind) for kind in KINDS},
}
"""How the schema of each kind of file is made."""


def schema_text(kind: str, extra: Mapping[str, Any]) -> str:
    """The schema of a kind of file as JSON, with `extra` keys on top."""
    made = {"$schema": DRAFT, **extra, **SCHEMAS[kind]()}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
