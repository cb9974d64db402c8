"""The small values that shapes are put together from."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Schema = {**COUNT, "type": ["integer", "null"]}
SECONDS: Schema = {"type": "number", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.000Z"]}
MOMENT_OR_NULL: Schema = {**MOMENT, "type": ["string", "null"]}
LINK: Schema = {"type": "string", "format": "uri"}
ID: Schema = {"type": "string", "format": "uuid"}
NOTICES: Schema = {"type": "array", "items": TEXT, "description": "What its owner should know about the pictures."}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: dict[str, Schema], *, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    wanted = list(properties) if required is None else list(required)
    return {"type": "object", **more, "properties": properties, "required": wanted, "additionalProperties": False}


def said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}
