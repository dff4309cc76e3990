"""JSON schemas drawn at random, and whether a value is valid under one: the part of the language that is drawn."""

from __future__ import annotations

import random
import re
from typing import Any

__all__ = ["draw_schema", "is_valid"]

_WORDS = ["a", "id", "name", "x1", "größe", "to be", "q"]


def draw_schema(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    """A schema whose values are of bounded length, so that a model that knows nothing comes to an end."""
    kinds = ["enum", "const", "boolean", "null", "integer", "string", "pattern"]
    if depth:
        kinds += ["object", "object", "array", "anyOf"]
    kind = rng.choice(kinds)
    if kind == "enum":
        return {"enum": rng.sample(["red", "blue", 7, -1.5, True, None, "ä"], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice(["fixed", 12, False])}
    if kind == "integer":
        least = rng.randint(-50, 50)
        return {"type": "integer", "minimum": least, "maximum": least + rng.randint(0, 2000)}
    if kind == "string":
        least = rng.randint(0, 2)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 4)}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[a-c]{2}$", "^(yes|no)$", "^[0-9]{4}-[0-9]{2}$"])}
    if kind == "array":
        least = rng.randint(0, 2)
        return {
            "type": "array",
            "items": draw_schema(rng, depth - 1),
            "minItems": least,
            "maxItems": least + rng.randint(0, 2),
        }
    if kind == "object":
        names = rng.sample(_WORDS, rng.randint(0, 4))
        return {
            "type": "object",
            "properties": {name: draw_schema(rng, depth - 1) for name in names},
            "required": [name for name in names if rng.random() < 0.6],
            "additionalProperties": False,
        }
    if kind == "anyOf":
        return {"anyOf": [draw_schema(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    return {"type": kind}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether ``value`` is what ``schema``, drawn above, allows.

    >>> is_valid({"a": 3}, {"type": "object", "properties": {"a": {"type": "null"}}, "required": []})
    False
    """
    if "anyOf" in schema:
        return any(is_valid(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return any(value == one and type(value) is type(one) for one in schema["enum"])
    if "const" in schema:
        return bool(value == schema["const"]) and type(value) is type(schema["const"])
    kind = schema["type"]
    if kind == "integer":
        return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
    if kind == "string":
        fits = isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 99)
        return fits and re.search(schema.get("pattern", ""), value) is not None
    if kind == "array":
        fits = isinstance(value, list) and schema["minItems"] <= len(value) <= schema["maxItems"]
        return fits and all(is_valid(one, schema["items"]) for one in value)
    if kind == "object":
        return (
            isinstance(value, dict)
            and set(schema["required"]) <= set(value) <= set(schema["properties"])
            and all(is_valid(one, schema["properties"][name]) for name, one in value.items())
        )
    return value is None if kind == "null" else isinstance(value, bool)
