"""The form of a workflow, made from its request schema, and the request that a filled form makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esap_batch import parameters
from esap_batch.errors import Problem
from esap_batch.request import MULTILINE, describe
from esap_batch.workflows import Workflow

OTHER = "Other"
PREFIX = "field."  # of names in the form, so that none is one of the page's own
YES, NO = "true", "false"


@dataclass(frozen=True)
class Field:
    """One field as it is shown. `kind` is text, lines, choice, choices or date; `shown` what stands in it.

    `choices` are pairs of value and text; `chosen` those that are marked.
    """

    name: str
    title: str
    help: str
    allowed: str
    unit: str
    kind: str
    is_required: bool
    shown: str = ""
    chosen: tuple[str, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def control(self) -> str:
        """The name that the form sends."""
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True)
class Section:
    """Fields under one heading."""

    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Filled:
    """What a user has typed: the request that it makes, the texts as they were, and what is wrong."""

    request: dict[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problems_of(self, name: str) -> tuple[str, ...]:
        return tuple(_words(p) for p in self.problems if _head(p.field) == name)

    def others(self, workflow: Workflow) -> tuple[str, ...]:
        """Give the problems that belong to no field of the form."""
        return tuple(str(p) for p in self.problems if _head(p.field) not in workflow.properties)


def sections(workflow: Workflow, filled: Filled) -> list[Section]:
    """Lay the form out as Airflow's is: by `section`, in the order of the schema."""
    found: dict[str, list[Field]] = {}
    required = set(workflow.schema.get("required", ()))
    for name, schema in workflow.properties.items():
        one = _field(name, schema, filled, is_required=name in required)
        found.setdefault(str(schema.get("section", OTHER)), []).append(one)
    return [Section(title, tuple(fields)) for title, fields in found.items()]


def filled_with(request: Mapping[str, Any], workflow: Workflow) -> Filled:
    """Fill the form with a request; what it does not have gets its default."""
    texts = {name: _texts(value, workflow.properties[name]) for name, value in request.items()
             if name in workflow.properties and value is not None}  # fmt: skip
    return Filled(dict(request), texts)


def read(form: Iterable[tuple[str, Any]], workflow: Workflow) -> Filled:
    """Read a filled form. An empty field is left out, unless it is text with a default: that can be empty."""
    given: dict[str, list[str]] = {}
    for name, value in form:
        if name.startswith(PREFIX) and isinstance(value, str):
            given.setdefault(name.removeprefix(PREFIX), []).append(value.replace("\r\n", "\n"))
    pairs = [
        (name, text)
        for name, texts in given.items()
        for text in _sent(texts, workflow.properties.get(name, {}))
    ]
    request, problems = parameters.typed(pairs, workflow)
    return Filled({k: v for k, v in request.items() if v is not None}, given, tuple(problems))


def _sent(texts: list[str], schema: Mapping[str, Any]) -> list[str]:
    """Give a control's texts as parameters are written."""
    if _is_lines(schema):
        lines = [line for line in "\n".join(texts).split("\n") if line.strip()]
        return [json.dumps(lines)]
    if _choices(schema) and _is_list(schema):
        return [json.dumps([t for t in texts if t])]  # an empty one stands for none, else nothing is sent
    if texts == [""] and not (schema.get("type") == "string" and schema.get("default")):
        return []
    return texts


def _field(name: str, schema: Mapping[str, Any], filled: Filled, *, is_required: bool) -> Field:
    texts = filled.texts.get(name)
    if texts is None:
        texts = _texts(schema["default"], schema) if schema.get("default") is not None else []
    return Field(
        name=name,
        title=str(schema.get("title", name)),
        help=str(schema.get("description", "")),
        allowed=describe(schema),
        unit=str(schema.get("x-esap-unit", "")),
        kind=_kind(schema),
        is_required=is_required,
        shown="\n".join(texts),
        chosen=tuple(texts),
        choices=_choices(schema),
        problems=filled.problems_of(name),
    )


def _kind(schema: Mapping[str, Any]) -> str:
    if _choices(schema):
        return "choices" if _is_list(schema) else "choice"
    if _is_lines(schema) or schema.get("format") == MULTILINE:
        return "lines"
    return "date" if schema.get("format") == "date" else "text"


def _choices(schema: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if schema.get("type") == "boolean":
        return (YES, "yes"), (NO, "no")
    of = schema.get("items", {}) if _is_list(schema) else schema
    display = schema.get("values_display", {})
    values = of.get("enum", ()) if isinstance(of, Mapping) else ()
    return tuple((str(v), str(display.get(v, v))) for v in values)


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array"


def _is_lines(schema: Mapping[str, Any]) -> bool:
    """Tell whether a field is a list of texts, of which each may hold commas."""
    items = schema.get("items", {})
    return _is_list(schema) and items.get("type") == "string" and "enum" not in items


def _texts(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Write a value as it stands in its control."""
    if isinstance(value, list) and (_choices(schema) or _is_lines(schema)):
        return [str(one) for one in value]
    if isinstance(value, list) and not any(isinstance(one, list | dict) for one in value):
        return [", ".join(parameters.text(one) for one in value)]
    return [parameters.text(value)]


def _head(name: str) -> str:
    return name.split(".", 1)[0]


def _words(problem: Problem) -> str:
    told = f"allowed: {problem.allowed}" if problem.allowed else ""
    return "; ".join(part for part in (problem.message, told) if part)
