"""Text of parameters to typed fields."""

from __future__ import annotations

from typing import Any

import pytest

from esap_batch.parameters import texts, typed
from esap_batch.workflows import Workflow

PROPERTIES = {
    "n": {"type": "integer"},
    "x": {"type": ["number", "null"]},
    "on": {"type": "boolean"},
    "name": {"type": "string"},
    "label": {"type": ["string", "number"]},
    "many": {"type": "array", "items": {"type": "integer"}},
    "words": {"type": "array", "items": {"type": "string"}},
    "table": {"type": "object"},
    "NSHOW": {"type": "integer"},
}
WORKFLOW = Workflow("w", "W", {"properties": PROPERTIES}, {}, {})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "3", 3),
        ("n", "three", "three"),  # left for the request's validation, which names it
        ("n", "true", "true"),
        ("x", "1e-3", 1e-3),
        ("x", "", None),
        ("x", "NaN", "NaN"),
        ("on", "True", True),
        ("on", "0", False),
        ("on", "maybe", "maybe"),
        ("name", "12", "12"),
        ("name", "", ""),
        ("label", "a", "a"),
        ("label", "2.5", 2.5),
        ("many", "[1, 2]", [1, 2]),
        ("many", "1, 2", [1, 2]),
        ("many", "", []),
        ("words", "a,b", ["a", "b"]),
        ("table", '{"a": 1}', {"a": 1}),
        ("table", "[" * 100_000, "[" * 100_000),
        ("nshow", "7", 7),
        ("no_such", "7", "7"),
    ],
)
def test_text_becomes_what_the_schema_has(name: str, text: str, value: object) -> None:
    request, problems = typed([(name, text)], WORKFLOW)
    field = "NSHOW" if name == "nshow" else name
    assert request == {field: value}
    assert type(request[field]) is type(value)
    assert not problems


def test_a_list_may_be_given_by_repetition() -> None:
    assert typed([("many", "1"), ("many", "2")], WORKFLOW)[0] == {"many": [1, 2]}


def test_any_other_field_that_repeats_is_a_problem() -> None:
    request, (problem,) = typed([("n", "1"), ("N", "2")], WORKFLOW)
    assert request == {}
    assert "2 times" in str(problem)
    assert str(problem).startswith("n")


def test_what_is_written_reads_back() -> None:
    request: dict[str, Any] = {"n": 3, "x": 0.5, "on": True, "name": "12", "many": [1], "table": {"a": None}}
    assert typed(texts(request), WORKFLOW)[0] == request
