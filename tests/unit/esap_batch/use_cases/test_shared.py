from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, Limits
from esap_batch.projects import Project, Projects
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases.shared import asked_data, greeting, is_noop, needed

FRANK = Identity(
    "frank", ("fair/users",), frozenset({"fair"}), frozenset(), "escape", "user", "frank", "esap"
)
STEERING = {"software": [{"name": "esap-root", "version": "0.2.0"}], "request": {"facility": "auto"}}


def test_a_facility_must_have_enough_for_every_step() -> None:
    steps = [Limits(100, 500, 10), Limits(50, 900, 5)]
    found = needed(STEERING, FRANK, steps, 7)
    assert (found.wall_time_s, found.memory_mb, found.disk_mb, found.n_jobs) == (100, 900, 10, 7)
    assert (found.software, found.runtimes) == ((("esap-root", "0.2.0"),), ("plain",))
    assert (found.experiments, found.preferred, found.input_rses) == (frozenset({"fair"}), "auto", {})
    near = needed({**STEERING, "needs": {"input_rses": {"CSCS-DISK": 5}}}, FRANK, steps, 7, ("rootfs",))
    assert near == replace(found, runtimes=("rootfs",), input_rses={"CSCS-DISK": 5})


def test_a_greeting_takes_the_inputs_and_says_what_was_not_done() -> None:
    given = (InputFile("a.root", "/a.root", 1, "0" * 8),)
    job = greeting("/products/x", 3, "hello.json", Limits(), given)
    assert job.inputs == given
    assert job.files["config.json"]["message"] == "1 files, nothing done, as asked"
    (output,) = job.outputs
    assert (output.lfn, output.validator) == (
        "/products/x/hello.json",
        ("esap-noop", "validate", "hello.json"),
    )
    assert greeting("/x", 0, "a.json", Limits(), message="hi").files["config.json"]["message"] == "hi"


def test_data_of_a_project_are_for_those_who_may_read_it() -> None:
    catalogue: Any = None  # which is not asked
    projects = Projects({"PI-1": Project("x", users=frozenset({"frank"}), groups=frozenset())})
    item = json.dumps({"archive": "rucio", "record": {"scope": "fair", "name": "/ctao/fair/a"}})
    (entry,) = asked_data({"basket": [item]}, [], FRANK, projects, catalogue)
    assert entry.source == "basket.0"
    assert asked_data({"project": "PI-1"}, [], FRANK, projects, catalogue) == []
    with pytest.raises(SelectionRefused, match=r"project = 'PI-2': not permitted: .*; allowed: PI-1"):
        asked_data({"project": "PI-2"}, [], FRANK, projects, catalogue)


def test_greetings_are_asked_for_by_the_processor() -> None:
    assert is_noop({"request": {"processor": "esap-noop"}})
    assert not is_noop({"request": {"processor": "esap-root"}})
