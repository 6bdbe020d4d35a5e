from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esap_batch.flat_steering import Converted, convert
from esap_batch.request import examine
from esap_batch.use_cases.cta_concordia import check
from esap_batch.workflows import load_workflow

WORKFLOW = load_workflow(Path(__file__).parents[3] / "config", "cta_concordia")
FLAT = {
    "uuid": "0f1c",
    "type": "URL",
    "title": "ESAP CONCORDIA",
    "description": "air showers",
    "workflow": "CONCORDIA",
    "Parameters": {
        "singularity_image": "auto",
        "output_file_name": "",
        "cputime": "600",
        "job_name": "protons",
        "group_name": "november",
        "dirac_path": "",
        "dirac_SE": "CSCS-DISK",
        "arguement1": "",
        "arguement2": "",
        "arguement3": "",
        "RUNNR": "12",
        "NSHOW": "20",
        "ERANGE": "1.E2 1.D4",
        "ESLOPE": "-2.7",
        "SEED": "1 0 0; 2 0 0",
        "OBSLEV": "2200.E2",
        "OPTIONS": "CERENKOV, THIN",
        "HIGH_MODEL": "EPOS",
    },
}


def with_parameters(**changes: Any) -> dict[str, Any]:
    return {**FLAT, "Parameters": {**FLAT["Parameters"], **changes}}  # type: ignore[dict-item]


def told(conf: dict[str, Any]) -> list[str]:
    """Say what the first task would, with the spelling of the user."""
    converted = convert(conf, WORKFLOW)
    found = [converted.as_spelled(p) for p in examine(converted.conf, WORKFLOW, check)]
    return [str(p) for p in (*converted.problems, *found)]


def test_strings_become_the_typed_request() -> None:
    assert convert(FLAT, WORKFLOW).conf == {
        "cputime_s": 600,
        "job_name": "protons",
        "group_name": "november",
        "output_rse": "CSCS-DISK",
        "RUNNR": 12,
        "NSHOW": 20,
        "ERANGE": [100.0, 10000.0],
        "ESLOPE": -2.7,
        "SEED": [[1, 0, 0], [2, 0, 0]],
        "OBSLEV": [220000.0],
        "OPTIONS": ["CERENKOV", "THIN"],
        "HIGH_MODEL": "EPOS",
    }
    assert told(FLAT) == []


@pytest.mark.parametrize(
    ("text", "number"), [("12.", 12), ("+.5D1", 5), ("1e3", 1000), ("1.2d+1", 12), ("007", 7)]
)
def test_numbers_are_read_as_fortran_writes_them(text: str, number: int) -> None:
    assert convert(with_parameters(RUNNR=text), WORKFLOW).conf["RUNNR"] == number


def test_a_typed_request_is_left_alone() -> None:
    conf = {"NSHOW": 3}
    assert convert(conf, WORKFLOW) == Converted(conf)
    assert convert([1], WORKFLOW) == Converted([1])


def test_form_fields_may_be_given_as_strings_too() -> None:
    assert convert(with_parameters(n_jobs="2", force="true"), WORKFLOW).conf["force"] is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RUNNR": "twelve"}, 'Parameters.RUNNR = "twelve": allowed a whole number from 1 to 999999'),
        ({"RUNNR": "1.5"}, "1.5 is no whole number"),
        ({"RUNNR": 12}, "Parameters.RUNNR = 12: allowed a string"),
        ({"RUNNR": "1_0"}, "1_0 is no number"),
        ({"RUNNR": "\u0661\u0662"}, "\u0661\u0662 is no number"),
        ({"ERANGE": "1.E2 infinity"}, "infinity is no number"),
        ({"RUNNR": "1.D999"}, "is no whole number"),
        ({"ERANGE": "100"}, "Parameters.ERANGE = [100.0]: allowed two energies in GeV"),
        ({"ERANGE": "100 to 1000"}, "to is no number"),
        ({"THETAP": "0 95"}, "Parameters.THETAP.1 = 95.0: allowed a number from 0 to 89 deg"),
        ({"THETAP": "0 80"}, "Parameters.THETAP = [0.0, 80.0]: allowed at most 70 deg with GEOMETRY = FLAT"),
        ({"SEED": "1 0 0"}, "Parameters.SEED = [[1, 0, 0]]: allowed 2 to 7 lines"),
        ({"cputime": "5"}, "Parameters.cputime = 5: allowed a whole number from 60 to 172800 s"),
        ({"dirac_SE": "MOON-DISK"}, 'Parameters.dirac_SE = "MOON-DISK": allowed auto, LAPALMA-DISK'),
        ({"singularity_image": "corsika.sif"}, "the image follows from HIGH_MODEL"),
        ({"dirac_path": "/vo/x"}, "places in the lake are named by the service"),
        ({"arguement1": "--fast"}, "give CORSIKA's keywords"),
        ({"ERANG": "1 2"}, 'Parameters.ERANG = "1 2" (there is no such field: did you mean ERANGE?)'),
        ({"cputime_s": "100"}, "did you mean cputime?"),
        ({"force": "maybe"}, "neither true nor false"),
        ({"ERANGE": "200 100"}, "Parameters.ERANGE = [200.0, 100.0]: allowed a lower value first"),
    ],
)
def test_each_mistake_is_told_as_the_user_spelled_it(changes: dict[str, Any], words: str) -> None:
    (problem,) = told(with_parameters(**changes))
    assert words in problem


def test_every_mistake_is_told_at_once() -> None:
    assert len(told(with_parameters(RUNNR="x", dirac_SE="MOON", nothing="1"))) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workflow": "OTHER"}, 'workflow = "OTHER": allowed CONCORDIA'),
        ({"colour": "red"}, 'colour = "red" (there is no such field'),
        ({"Parameters": "RUNNR=1"}, 'Parameters = "RUNNR=1": allowed an object of strings'),
    ],
)
def test_what_stands_beside_the_parameters_is_checked_too(change: dict[str, Any], words: str) -> None:
    problems = convert({**FLAT, **change}, WORKFLOW).problems
    assert [words in str(p) for p in problems] == [True]
