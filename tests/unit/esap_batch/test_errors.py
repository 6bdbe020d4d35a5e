from __future__ import annotations

from pathlib import Path

import pytest

from esap_batch.errors import (
    MISSING,
    SHOWN_CHARACTERS,
    SHOWN_PROBLEMS,
    ConfigurationError,
    Problem,
    RequestRefused,
    shown,
)


def test_a_problem_names_field_value_and_what_is_allowed() -> None:
    problem = Problem("energy_range_tev.min", 300, "0.02 to 200 TeV", "lower bound above upper bound 200")
    assert str(problem) == (
        "energy_range_tev.min = 300: allowed 0.02 to 200 TeV (lower bound above upper bound 200)"
    )


def test_a_problem_without_more_to_say_ends_after_the_value() -> None:
    assert str(Problem("a", "b", "", "")) == 'a = "b"'


def test_a_missing_value_is_told_from_null() -> None:
    assert shown(MISSING) == "(not given)"
    assert shown(None) == "null"


@pytest.mark.parametrize("value", ["x" * 10_000, {"a": list(range(1000))}, ["é" * 500]])
def test_long_values_are_cut(value: object) -> None:
    assert len(shown(value)) == SHOWN_CHARACTERS
    assert shown(value).endswith("...")


def test_values_that_are_no_json_are_named_by_type() -> None:
    assert shown(object()) == "a object"
    endless: list[object] = []
    endless.append(endless)
    assert shown(endless) == "a list"


def test_a_refusal_lists_every_problem() -> None:
    refusal = RequestRefused([Problem("a", 1, "2", ""), Problem("b", 3, "4", "")])
    assert refusal.problems[1].field == "b"
    assert str(refusal) == "the request is refused, 2 problems:\n- a = 1: allowed 2\n- b = 3: allowed 4"
    assert "1 problem:" in str(RequestRefused([Problem("a", 1, "2", "")]))


def test_a_refusal_for_very_many_reasons_stays_readable() -> None:
    refusal = RequestRefused(Problem(f"f{n}", n, "", "") for n in range(SHOWN_PROBLEMS + 7))
    assert len(refusal.problems) == SHOWN_PROBLEMS + 7
    assert str(refusal).splitlines()[-1] == "- and 7 more"


def test_a_configuration_error_names_the_file() -> None:
    assert str(ConfigurationError(Path("config/a.yaml"), "is empty")) == "config/a.yaml: is empty"
