"""Errors in Airflow's structured logs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.results.failures import LINE, Failure, errors_in


def entry(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_an_exception_is_told_by_what_it_says() -> None:
    first, cause = {"exc_type": "E", "exc_value": "no facility fits"}, {"exc_type": "K", "exc_value": "why"}
    line = entry(level="error", event="Task failed with exception", error_detail=[first, cause])
    assert list(errors_in(line)) == ["no facility fits"]


def test_an_error_without_exception_is_told_by_its_event() -> None:
    assert list(errors_in(entry(level="error", event="it broke", error_detail=None))) == ["it broke"]
    assert list(errors_in(entry(level="error", event="it broke", error_detail=[{"exc_value": ""}]))) == [
        "it broke"
    ]


@pytest.mark.parametrize("raw", [b"", b"plain text", b'"text"', b"[1]", entry(level="warning", event="oh")])
def test_everything_else_is_no_error(raw: bytes) -> None:
    assert list(errors_in(raw)) == []


def test_a_summary_is_one_line() -> None:
    assert Failure("a: b\n  c").summary == "a: b c"
    assert len(Failure("x" * 1000).summary) == LINE
