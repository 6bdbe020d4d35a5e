"""ESAP's steering file of CONCORDIA: one flat object whose values are all strings, as ESAP spells them.

It becomes the typed request of the form. Fields of ESAP that this service decides itself may be empty or
`auto`; any other value is refused with a hint, and nothing is dropped silently.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from esap_batch.errors import Problem
from esap_batch.request import CrossCheck, describe, examine
from esap_batch.workflows import Workflow

PARAMETERS = "Parameters"
WORKFLOW = "CONCORDIA"
DESCRIPTIVE = ("uuid", "type", "title", "description")  # of the file itself; they have no effect
RENAMED = {
    "cputime": "cputime_s",
    "job_name": "job_name",
    "group_name": "group_name",
    "dirac_SE": "output_rse",
}
DECIDED_HERE = {
    "singularity_image": "the image follows from HIGH_MODEL, LOW_MODEL, GEOMETRY and OPTIONS",
    "output_file_name": "files are named DATnnnnnn by RUNNR",
    "dirac_path": "places in the lake are named by the service",
    "arguement1": "give CORSIKA's keywords (RUNNR, ERANGE, ...) among the Parameters",
    "arguement2": "give CORSIKA's keywords (RUNNR, ERANGE, ...) among the Parameters",
    "arguement3": "give CORSIKA's keywords (RUNNR, ERANGE, ...) among the Parameters",
}
UNDECIDED = ("", "auto")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", re.ASCII)
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Converted:
    """A request made of another document: what is wrong already, and how its fields were spelled there."""

    conf: Any
    problems: tuple[Problem, ...] = ()
    spelled: Mapping[str, str] = field(default_factory=dict)

    def as_spelled(self, problem: Problem) -> Problem:
        """Name the field of a problem as the user did."""
        head, dot, rest = problem.field.partition(".")
        return replace(problem, field=f"{self.spelled.get(head, head)}{dot}{rest}")


Convert = Callable[[Any, Workflow], Converted]


def convert(conf: Any, workflow: Workflow) -> Converted:
    """Turn a flat steering file into a request; a conf of another shape is given back as it is."""
    if not isinstance(conf, Mapping) or PARAMETERS not in conf:
        return Converted(conf)
    given = conf[PARAMETERS]
    if not isinstance(given, Mapping):
        return Converted(conf, (Problem(PARAMETERS, given, "an object of strings", ""),))
    problems = [p for name, value in conf.items() if (p := _outer_problem(name, value))]
    request: dict[str, Any] = {}
    for key, text in given.items():
        try:
            request |= _one(str(key), text, workflow)
        except Refused as refusal:
            problems.append(refusal.problem)
    spelled = {RENAMED.get(str(key), str(key)): f"{PARAMETERS}.{key}" for key in given}
    return Converted(request, tuple(problems), spelled)


def examined(asked: Any, workflow: Workflow, check: CrossCheck | None, convert: Convert | None) -> Converted:
    """Convert a document where there is a way to, and check it as a request; problems as spelled there."""
    made = convert(asked, workflow) if convert else Converted(asked)
    found = (made.as_spelled(p) for p in examine(made.conf, workflow, check))
    return replace(made, problems=(*made.problems, *found))


class Refused(ValueError):  # noqa: N818 - says what happened
    """One entry that cannot be taken over."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _outer_problem(name: str, value: object) -> Problem | None:
    if name in (PARAMETERS, *DESCRIPTIVE):
        return None
    if name == "workflow":
        allowed = value == WORKFLOW
        return None if allowed else Problem(name, value, WORKFLOW, "this is another workflow's file")
    known = ", ".join(["workflow", *DESCRIPTIVE])
    return Problem(name, value, "", f"there is no such field: beside {PARAMETERS} there are {known}")


def _one(key: str, text: object, workflow: Workflow) -> dict[str, Any]:
    """Give the field of the request that an entry stands for; none for what is left to the service."""
    where = f"{PARAMETERS}.{key}"
    if not isinstance(text, str):
        raise Refused(Problem(where, text, "a string", "all values of ESAP's steering file are strings"))
    if key in DECIDED_HERE:
        if text.strip() in UNDECIDED:
            return {}
        raise Refused(Problem(where, text, "an empty string or auto", DECIDED_HERE[key]))
    name = RENAMED.get(key, key)
    if name not in workflow.properties or (key in RENAMED.values() and key not in RENAMED):
        raise Refused(_unknown(where, key, text, workflow))
    if not text.strip():
        return {}
    schema = workflow.properties[name]
    try:
        return {name: _parsed(text.strip(), schema)}
    except ValueError as error:
        raise Refused(Problem(where, text, describe(schema), str(error))) from None


def _unknown(where: str, key: str, text: str, workflow: Workflow) -> Problem:
    own = [name for name in workflow.properties if name not in RENAMED.values()]
    known = {k.lower(): k for k in (*own, *RENAMED, *DECIDED_HERE)}
    near = [known[k] for k in difflib.get_close_matches(key.lower(), known, n=1)]
    hint = f": did you mean {near[0]}?" if near else ""
    return Problem(where, text, "", f"there is no such field{hint}")


def _parsed(text: str, schema: Mapping[str, Any]) -> Any:
    """Read a value as the schema has it; lists by blanks or commas, lists of lists by lines or semicolons."""
    kind = schema["type"]
    if kind == "array":
        items = schema["items"]
        nested = items.get("type") == "array"
        parts = [p for p in re.split(r"[;\n]" if nested else r"[\s,]+", text) if p.strip()]
        return [_parsed(part.strip(), items) for part in parts]
    if kind == "boolean":
        if text.lower() not in _TRUTH:
            raise ValueError("it is neither true nor false")
        return _TRUTH[text.lower()]
    readers: dict[str, Callable[[str], Any]] = {"integer": _whole, "number": _number}
    return readers.get(kind, str)(text)


def _number(text: str) -> float:
    """Read a number as Fortran writes it, also 1.D3 and 1.E3; Python's own reading allows more, as 1_0."""
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{text} is no number")
    return float(re.sub(r"[dD]", "e", text))


def _whole(text: str) -> int:
    number = _number(text)
    if not number.is_integer():
        raise ValueError(f"{text} is no whole number")
    return int(number)
