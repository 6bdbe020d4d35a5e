from __future__ import annotations

from dataclasses import replace

from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, Limits
from esap_batch.use_cases.shared import greeting, needed

FRANK = Identity(
    "frank", ("fair/users",), frozenset({"fair"}), frozenset(), "escape", "user", "frank", "esap"
)
STEERING = {"software": [{"name": "esap-root", "version": "0.1.0"}], "request": {"facility": "auto"}}


def test_a_facility_must_have_enough_for_every_step() -> None:
    steps = [Limits(100, 500, 10), Limits(50, 900, 5)]
    found = needed(STEERING, FRANK, steps, 7)
    assert (found.wall_time_s, found.memory_mb, found.disk_mb, found.n_jobs) == (100, 900, 10, 7)
    assert (found.software, found.runtimes) == ((("esap-root", "0.1.0"),), ("plain",))
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
