"""Parameters as text, as UWS and forms send them, and the typed request that they make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from esap_batch.errors import Problem
from esap_batch.request import describe
from esap_batch.workflows import Workflow

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def typed(given: Iterable[tuple[str, str]], workflow: Workflow) -> tuple[dict[str, Any], list[Problem]]:
    """Make fields of a request of pairs of name and text.

    Names are taken in any case where that is unambiguous. A field that repeats is a list where the schema
    has one, and a problem elsewhere. Text that is not of the field's type is left as it is, so that the
    request's own validation names it; unknown names too.
    """
    values: dict[str, list[str]] = {}
    for name, text in given:
        values.setdefault(field_of(name, workflow), []).append(text)
    request: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, texts in values.items():
        schema = workflow.properties.get(name, {})
        if "array" in _types(schema):
            request[name] = _list(texts, schema)
        elif len(texts) > 1:
            problems.append(Problem(name, texts, describe(schema), f"it is given {len(texts)} times"))
        else:
            request[name] = _value(texts[0], schema)
    return request, problems


def text(value: Any) -> str:
    """Give a field's value as the text of a parameter."""
    return value if isinstance(value, str) else json.dumps(value)


def texts(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give a request as parameters, in the order of their names; null is what is not given."""
    return [(name, text(request[name])) for name in sorted(request) if request[name] is not None]


def field_of(name: str, workflow: Workflow) -> str:
    """Give the field that a parameter's name stands for; the name itself when there is none."""
    if name in workflow.properties:
        return name
    same = [field for field in workflow.properties if field.lower() == name.lower()]
    return same[0] if len(same) == 1 else name


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type", ())
    return (kind,) if isinstance(kind, str) else tuple(kind)


def _list(given: list[str], schema: Mapping[str, Any]) -> Any:
    """Read a list: as JSON, by commas, or by repetition of the parameter."""
    if len(given) == 1:
        value = _json(given[0])
        if isinstance(value, list):
            return value
        given = [part.strip() for part in given[0].split(",")] if given[0].strip() else []
    items = schema.get("items", {})
    return [_value(one, items if isinstance(items, Mapping) else {}) for one in given]


def _value(given: str, schema: Mapping[str, Any]) -> Any:
    kinds = _types(schema)
    if not given.strip() and "string" not in kinds:
        return None
    if "boolean" in kinds and given.strip().lower() in (*_TRUE, *_FALSE):
        return given.strip().lower() in _TRUE
    if {"number", "integer", "object", "array"} & set(kinds):
        value = _json(given)
        is_text = "string" in kinds and not isinstance(value, int | float)
        return given if value is None or is_text or isinstance(value, bool) else value
    return given


def _json(given: str) -> Any:
    try:
        return json.loads(given, parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        return None
