"""SLURM's configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from localgrid.layout import Layout
from localgrid.setup import slurm, slurm_control


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(slurm, "LONGEST_HOME", 200)
    layout = Layout(tmp_path)
    layout.make()
    slurm.create(layout, cpus=3)
    return layout


def settings(layout: Layout) -> dict[str, str]:
    lines = slurm.configuration_file(layout).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def rows(layout: Layout, kind: str) -> dict[str, dict[str, str]]:
    lines = slurm.configuration_file(layout).read_text().splitlines()
    found = [dict(part.split("=", 1) for part in line.split()) for line in lines if line.startswith(kind)]
    return {row.pop(kind): row for row in found}


def test_two_nodes_have_ports_and_pretended_resources_of_their_own(layout: Layout) -> None:
    nodes = rows(layout, "NodeName")
    assert set(nodes) == {"node1", "node2"}
    assert {node["CPUs"] for node in nodes.values()} == {"3"}
    assert {node["RealMemory"] for node in nodes.values()} == {"16000"}
    assert {node["Port"] for node in nodes.values()} == {
        str(layout.ports[f"slurm-{name}"]) for name in ("node1", "node2")
    }


def test_partitions_have_limits_and_one_is_the_default(layout: Layout) -> None:
    partitions = rows(layout, "PartitionName")
    assert {name: row["MaxTime"] for name, row in partitions.items()} == {
        "main": "1-00:00:00",
        "short": "00:05:00",
    }
    assert [name for name, row in partitions.items() if row["Default"] == "YES"] == ["main"]


def test_everything_lies_in_the_state_directory_and_on_loopback(layout: Layout) -> None:
    found = settings(layout)
    for name in ("StateSaveLocation", "SlurmdSpoolDir", "SlurmctldPidFile", "SlurmdPidFile", "TmpFS"):
        assert found[name].startswith(str(layout.home)), name
    assert found["SlurmctldHost"] == "localhost(127.0.0.1)"
    assert "NoInAddrAny" in found["CommunicationParameters"]
    assert slurm_control.environment(layout)["NSS_WRAPPER_HOSTNAME"] == "localhost"


def test_accounting_decides_who_may_submit(layout: Layout) -> None:
    found = settings(layout)
    assert found["AccountingStorageEnforce"] == "associations"
    assert found["AccountingStoragePort"] == str(layout.ports["slurmdbd"])
    assert found["JobRequeue"] == "0"
    assert found["MaxArraySize"] == "1001"


def test_the_key_is_private_and_kept(layout: Layout) -> None:
    key = layout.path("secrets", "munge.key")
    before = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    assert 32 <= len(before) <= 1024  # what munged takes
    slurm.create(layout, cpus=3)
    assert key.read_text() == before


def test_no_number_of_a_job_is_given_twice(layout: Layout) -> None:
    numbers = layout.path("slurm", "etc", "numbers.conf")
    assert f"include {numbers}" in slurm.configuration_file(layout).read_text()
    assert numbers.read_text() == "FirstJobId=1\n"
    layout.path("slurm", "state", "hash.4", "job.1234").mkdir(parents=True)
    layout.path("slurm", "node2", "job01300").mkdir(parents=True)
    layout.path("slurm", "node2", "jobs.old").mkdir()
    slurm.create(layout, cpus=3)
    assert numbers.read_text() == "FirstJobId=1\n", "only a new start of the controller changes it"
    slurm.number_jobs(layout)
    assert numbers.read_text() == f"FirstJobId={1300 + slurm.UNSAVED_JOBS}\n"


def test_too_long_a_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "LONGEST_HOME", 10)
    with pytest.raises(RuntimeError, match=r"too long a path for SLURM's sockets \(\d+ > 10 characters\)"):
        slurm.create(Layout(tmp_path), cpus=1)


def test_a_path_that_slurm_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="SLURM cannot have ' ,' in the path"):
        slurm.create(Layout(tmp_path / "a b,c"), cpus=1)


def test_the_account_is_the_current_one() -> None:
    name = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert slurm.account_name() == name
