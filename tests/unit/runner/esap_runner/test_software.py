from __future__ import annotations

import os

import pytest

from runner.esap_runner.software import cores_of
from tests.unit.runner.conftest import Node, sh


def test_site_without_software_area(node: Node) -> None:
    del node.environment["VO_CTAO_SW_DIR"]
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (11, "SOFTWARE_MISSING")
    assert "VO_CTAO_SW_DIR" in outcome.report["message"]


def test_software_version_that_the_site_lacks(node: Node) -> None:
    node.software = [{"name": "esap-noop", "version": "9.9.9"}]
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 11
    assert "esap-noop 9.9.9" in outcome.report["message"]


def test_runtime_that_the_runner_lacks(node: Node) -> None:
    node.runtime = {"type": "teleport"}
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 11
    assert '"teleport"' in outcome.report["message"]


def test_program_that_is_not_on_the_path(node: Node) -> None:
    outcome = node.run(node.job(["no-such-program"]))
    assert outcome.code == 11
    assert "no-such-program" in outcome.report["message"]


def test_missing_validator_is_seen_before_the_payload_runs(node: Node) -> None:
    job = node.job(sh("touch ran a"), outputs=[node.output("a", ["no-such-validator"])])
    assert node.run(job).code == 11
    assert not (node.directory / "ran").exists()


def test_the_payload_is_told_its_cores(node: Node) -> None:
    node.environment["SLURM_CPUS_PER_TASK"] = "3"
    job = node.job(sh("echo $ESAP_CORES >out.txt"), outputs=[node.output("out.txt")], limits={"cores": 2})
    outcome = node.run(job)
    assert node.stored("out.txt").read_text() == "3\n"
    assert outcome.report["cores"] == 3
    assert outcome.report["limits"]["cores"] == 2


@pytest.mark.parametrize(
    ("limits", "environment", "cores"),
    [
        ({"cores": 1}, {"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 4),
        ({"cores": 1}, {"SLURM_CPUS_ON_NODE": "8"}, 8),
        ({"cores": 1}, {}, 1),
        ({}, {}, 1),
        ({"cores": 1}, {"SLURM_CPUS_PER_TASK": "many"}, 1),
        ({"cores": 10_000}, {}, len(os.sched_getaffinity(0))),
    ],
)
def test_the_cores_are_what_the_site_gave_or_what_was_asked_for(
    limits: dict[str, int], environment: dict[str, str], cores: int
) -> None:
    assert cores_of(limits, environment) == cores


MODULES = """
module() {
    [ "$2" = prog/1.0 ] || { echo "ERROR: Unable to locate a modulefile for '$2'" >&2; return 1; }
    export PROG_HOME="/opt/prog with blanks"
}
"""


def test_modules_are_loaded_as_the_site_has_them(node: Node) -> None:
    (node.root / ".bash_profile").write_text(MODULES)
    node.runtime["modules"] = ["prog/1.0"]
    node.software = []
    job = node.job(sh("echo $PROG_HOME >out.txt"), outputs=[node.output("out.txt")])
    outcome = node.run(job)
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert node.stored("out.txt").read_text() == "/opt/prog with blanks\n"


def test_a_module_that_the_site_lacks(node: Node) -> None:
    (node.root / ".bash_profile").write_text(MODULES)
    node.runtime["modules"] = ["other/2.0"]
    outcome = node.run(node.job(sh("true")))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "module load other/2.0 does not work here: ERROR: Unable to locate" in outcome.report["message"]
