from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from esap_batch.errors import Problem
from esap_batch.request import examine
from esap_batch.use_cases.registry import use_case
from esap_batch.workflows import Workflow, load_workflow, workflow_names
from hooks.settings import config_dir
from portal.pages.forms import Field, Filled, filled_with, read, sections

EMPTY = Filled()


def workflow(name: str) -> Workflow:
    return load_workflow(config_dir(), name)


def fields(of: Workflow, filled: Filled = EMPTY) -> dict[str, Field]:
    return {f.name: f for s in sections(of, filled) for f in s.fields}


def sent(form: dict[str, Field], **changes: str | list[str]) -> list[tuple[str, Any]]:
    """Give what a browser sends of a form: what it was shown with, and what its user has changed."""
    pairs: list[tuple[str, Any]] = [("token", "x"), ("action", "run")]
    for name, one in form.items():
        given = changes.get(name)
        if one.kind == "choices":
            chosen = one.chosen if given is None else given
            pairs += [(one.control, ""), *((one.control, value) for value in chosen)]
        elif one.kind == "choice" and given is None:
            first = one.choices[0][0] if one.is_required or one.chosen else ""
            pairs.append((one.control, one.chosen[0] if one.chosen else first))
        else:
            pairs.append((one.control, one.shown if given is None else str(given)))
    return pairs


@pytest.mark.parametrize("name", workflow_names(config_dir()))
def test_a_form_sent_as_it_is_shown_is_the_request_with_all_defaults(name: str) -> None:
    of = workflow(name)
    found = read(sent(fields(of)), of)
    assert found.problems == ()
    defaults = {n: p["default"] for n, p in of.properties.items() if p.get("default") not in (None, "")}
    assert found.request == defaults
    alone = examine({}, of, use_case(name).check)
    assert [str(p) for p in examine(found.request, of, use_case(name).check)] == [str(p) for p in alone]


@pytest.mark.parametrize("name", workflow_names(config_dir()))
def test_a_form_filled_with_a_request_gives_that_request_again(name: str) -> None:
    import json

    of = workflow(name)
    request = json.loads((of.path / "example.json").read_text())
    found = read(sent(fields(of, filled_with(request, of))), of)
    defaults = {n: p["default"] for n, p in of.properties.items() if p.get("default") not in (None, "")}
    assert found.request == {**defaults, **request}


def test_sections_and_fields_are_those_of_the_schema_in_its_order() -> None:
    of = workflow("cta_irf")
    found = sections(of, EMPTY)
    assert [s.title for s in found] == ["Observation", "Array", "Simulation", "Precision", "Running"]
    assert [f.name for s in found for f in s.fields] == list(of.properties)


def test_a_field_has_title_help_unit_and_what_is_allowed() -> None:
    zenith = fields(workflow("cta_irf"))["zenith_deg"]
    assert zenith.title == "Zenith angle (deg)"
    assert (zenith.unit, zenith.allowed, zenith.shown) == ("deg", "a number from 0 to 70 deg", "20")
    assert zenith.help.startswith("Pointing's angle from the zenith")
    assert zenith.control == "field.zenith_deg"


@pytest.mark.parametrize(
    ("of", "name", "kind"),
    [
        ("cta_irf", "period_start", "date"),
        ("cta_irf", "site", "choice"),
        ("cta_irf", "force", "choice"),
        ("cta_irf", "zenith_deg", "text"),
        ("cta_concordia", "OPTIONS", "choices"),
        ("cta_concordia", "SEED", "text"),
        ("cta_pi_analysis", "basket", "lines"),
        ("ska_hi_cube", "snakefile", "lines"),
    ],
)
def test_each_field_gets_the_control_that_suits_it(of: str, name: str, kind: str) -> None:
    assert fields(workflow(of))[name].kind == kind


def test_choices_have_the_texts_of_the_schema() -> None:
    facility = fields(workflow("hello_world"))["facility"]
    assert ("auto", "Best that fits") in facility.choices
    assert facility.chosen == ("auto",)
    assert fields(workflow("hello_world"))["force"].chosen == ("false",)


def test_lists_are_shown_and_read_as_people_write_them() -> None:
    of = workflow("cta_concordia")
    form = fields(of)
    assert (form["ERANGE"].shown, form["SEED"].shown) == ("1000, 100000", "[[1, 0, 0], [2, 0, 0]]")
    found = read(sent(form, ERANGE="100, 2e4", OBSLEV="100", SEED="[[3, 0, 0], [4, 0, 0]]"), of)
    assert found.request["ERANGE"] == [100, 2e4]
    assert found.request["OBSLEV"] == [100]
    assert found.request["SEED"] == [[3, 0, 0], [4, 0, 0]]


@pytest.mark.parametrize("chosen", [[], ["THIN"], ["CERENKOV", "THIN"]])
def test_of_several_choices_any_number_can_be_taken(chosen: list[str]) -> None:
    of = workflow("cta_concordia")
    assert read(sent(fields(of), OPTIONS=chosen), of).request["OPTIONS"] == chosen


def test_lines_may_hold_commas_and_json() -> None:
    of = workflow("cta_pi_analysis")
    items = ['{"archive": "rucio", "record": {"scope": "dl3", "name": "a,b"}}', "second"]
    found = read(sent(fields(of), basket="\r\n".join([items[0], "", items[1], ""])), of)
    assert found.request["basket"] == items
    assert read(sent(fields(of), basket=items[0]), of).request["basket"] == items[:1]


def test_text_of_many_lines_stays_as_it_is() -> None:
    of = workflow("ska_hi_cube")
    code = "rule all:\n    input: 'a'\n\n\nrule a:\n\tshell: 'x, y'\n"
    found = read(sent(fields(of), snakefile=code.replace("\n", "\r\n")), of)
    assert found.request["snakefile"] == code
    assert fields(of, found)["snakefile"].shown == code


def test_an_empty_field_is_left_out_but_text_with_a_default_can_be_empty() -> None:
    of = workflow("hello_world")
    found = read(sent(fields(of), job_name="", n_jobs="", message=""), of).request
    assert "job_name" not in found
    assert "n_jobs" not in found
    assert found["message"] == ""


def test_what_was_typed_is_kept_with_its_problems() -> None:
    of = workflow("hello_world")
    found = read(sent(fields(of), n_jobs="many"), of)
    problems = tuple(examine(found.request, of, use_case("hello_world").check))
    shown = fields(of, replace(found, problems=problems))["n_jobs"]
    assert shown.shown == "many"
    assert shown.problems == ("it is text; allowed: a whole number from 1 to 1000 jobs",)


def test_a_problem_of_an_item_stands_at_its_field_and_others_above_the_form() -> None:
    of = workflow("cta_concordia")
    filled = Filled(
        problems=(Problem("SEED.0.1", 7, "", "bad"), Problem("the request", "x", "", "too large"))
    )
    assert fields(of, filled)["SEED"].problems == ("bad",)
    assert filled.others(of) == ('the request = "x" (too large)',)


def test_a_field_that_is_sent_twice_is_told() -> None:
    of = workflow("hello_world")
    found = read([("field.n_jobs", "1"), ("field.n_jobs", "2")], of)
    assert [p.field for p in found.problems] == ["n_jobs"]


def test_fields_that_nobody_knows_are_told_and_the_pages_own_are_not() -> None:
    of = workflow("hello_world")
    found = read([("token", "x"), ("n_jobs", "5"), ("field.n_job", "5")], of)
    assert found.request == {"n_job": "5"}
    assert [p.field for p in examine(found.request, of, None)] == ["n_job"]
