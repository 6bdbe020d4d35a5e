from __future__ import annotations

import pytest

from runner.esap_slurm import commands
from runner.esap_slurm.commands import SiteError, accounting, largest_array, queue, slurm, tasks_of
from tests.unit.runner.esap_slurm.conftest import Says

VIOLATES = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("4", [4]),
        ("0", [0]),
        ("[1-3,7]", [1, 2, 3, 7]),
        ("[0-4%2]", [0, 1, 2, 3, 4]),
        ("[5]", [5]),
        ("", []),
        ("N/A", []),
    ],
)
def test_tasks_of_an_array_are_read(text: str, tasks: list[int]) -> None:
    assert tasks_of(text) == tasks


def test_the_queue_is_asked_for_ended_jobs_too(says: Says) -> None:
    log = says("squeue", "12|0|RUNNING|None\n12|1|FAILED|NonZeroExitCode\nslurm_load_jobs: warning\n")
    assert queue("--name", "x") == [["12", "0", "RUNNING", "None"], ["12", "1", "FAILED", "NonZeroExitCode"]]
    asked = log.read_text()
    assert "--states=all" in asked
    assert "--array" in asked
    assert asked.rstrip().endswith("--name x")


def test_a_site_without_accounting_is_known_by_what_it_says(says: Says) -> None:
    says("sacct", errors="Slurm accounting storage is disabled", code=1)
    assert accounting(0) is None


def test_accounting_that_is_down_is_no_missing_accounting(says: Says) -> None:
    says("sacct", errors="sacct: error: Problem talking to the database: Connection refused", code=1)
    with pytest.raises(SiteError, match="Problem talking") as caught:
        accounting(0)
    assert caught.value.kind == "unavailable"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Unable to contact slurm controller (connect failure)", "unavailable"),
        ("Batch job submission failed: Socket timed out on send/recv operation", "unavailable"),
        ("Batch job submission failed: Resource temporarily unavailable", "unavailable"),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{VIOLATES}", "unavailable"),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{VIOLATES}", "unavailable"),
        (f"sbatch: error: QOSGrpSubmitJobsLimit\n{VIOLATES}", "unavailable"),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{VIOLATES}", "refused_for_good"),
        ("Required partition not available (inactive or drain)", "unavailable"),
        ("Job can not start due to maintenance reservation.", "unavailable"),
        ("Batch job submission failed: Invalid partition name specified", "refused_for_good"),
        ("Batch job submission failed: Invalid account or account/partition combination", "refused_for_good"),
    ],
)
def test_faults_of_the_controller_are_told_from_refusals(says: Says, said: str, kind: str) -> None:
    says("sbatch", errors=said, code=1)
    with pytest.raises(SiteError, match="sbatch: ") as caught:
        slurm(["sbatch"])
    assert caught.value.kind == kind


def test_a_command_that_is_not_there_is_named(says: Says) -> None:
    with pytest.raises(SiteError, match="sbatch9 is not on PATH of the login node") as caught:
        slurm(["sbatch9"])
    assert caught.value.kind == "refused_for_good"


def test_a_command_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMAND_TIMEOUT_S", 0.05)
    with pytest.raises(SiteError, match=r"sleep did not answer within 0\.05 s") as caught:
        slurm(["sleep", "60"])
    assert caught.value.kind == "unavailable"


@pytest.mark.parametrize(
    ("said", "most"), [("MaxArraySize            = 1001\n", 1000), ("nothing of it", 1000)]
)
def test_the_largest_array_is_the_sites(says: Says, said: str, most: int) -> None:
    says("scontrol", said)
    assert largest_array() == most
