"""Each engine's exact command line; those that this machine has are started in test_esap_runner_images."""

from __future__ import annotations

import os
from typing import Any

import pytest

from runner import esap_runner
from runner.esap_runner import ENGINES, Container, cores_of, csv_line

COMMAND = ["prog", "a b"]
PLACES: dict[str, Any] = {
    "root": "/cache/0123",
    "directory": "/jobs/7",
    "environment": {"HOME": "/work", "COLOUR": "red, blue"},
    "name": "esap-g-7-1",
    "read_only": ("in, 1.fits",),
    "mounts": ("/cvmfs",),
    "memory_mb": 400.0,
    "options": ("--site",),
}
CLOSED, OPEN = Container(**PLACES), Container(**PLACES, network=True)
MOUNTED = [
    *("--mount", "type=bind,src=/jobs/7,dst=/work"),
    *("--mount", 'type=bind,"src=/jobs/7/in, 1.fits","dst=/work/in, 1.fits",ro'),
    *("--mount", "type=bind,src=/cvmfs,dst=/cvmfs,ro"),
]
GIVEN = ["--env=COLOUR=red, blue", "--env=HOME=/work"]


@pytest.fixture(autouse=True)
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    monkeypatch.setattr(esap_runner, "ulimit", lambda name, _number: f"{name}=9:9")


def line(engine: str, box: Container) -> list[str]:
    return ENGINES[engine].command(box, COMMAND)


def test_bwrap() -> None:
    start = ["bwrap", "--ro-bind", "/cache/0123", "/", "--dev", "/dev", "--proc", "/proc"]
    binds = ["--bind", "/jobs/7", "/work", "--ro-bind", "/jobs/7/in, 1.fits", "/work/in, 1.fits"]
    binds += ["--ro-bind", "/cvmfs", "/cvmfs", "--chdir", "/work", "--unshare-all"]
    end = ["--die-with-parent", "--new-session", "--site", "--", *COMMAND]
    assert line("bwrap", CLOSED) == [*start, *binds, *end]
    assert line("bwrap", OPEN) == [*start, *binds, "--share-net", *end]


def test_unshare() -> None:
    start = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--ipc", "--fork", "--kill-child"]
    script = ["--site", "--", "sh", "-c", esap_runner.MOUNTS, "esap-rootfs", "/cache/0123", "/jobs/7"]
    binds = ["/jobs/7/in, 1.fits", "/work/in, 1.fits", "/cvmfs", "/cvmfs", "--", *COMMAND]
    assert line("unshare", CLOSED) == [*start, "--net", *script, *binds]
    assert line("unshare", OPEN) == [*start, *script, *binds]


@pytest.mark.parametrize(("box", "network"), [(CLOSED, "none"), (OPEN, "host")])
def test_podman(box: Container, network: str) -> None:
    assert line("podman", box) == [
        *("podman", "run", "--name", "esap-g-7-1", "--network", network),
        *("--read-only", "--read-only-tmpfs=false", "--http-proxy=false", "--systemd=false"),
        *("--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none"),
        *("--ulimit", "nofile=9:9", "--ulimit", "nproc=9:9", "--workdir", "/work"),
        *(*MOUNTED, *GIVEN, "--site", "--rootfs", "/cache/0123", *COMMAND),
    ]


@pytest.mark.parametrize(("box", "network"), [(CLOSED, "none"), (OPEN, "host")])
def test_docker(box: Container, network: str) -> None:
    assert line("docker", box) == [
        *("docker", "run", "--name", "esap-g-7-1", "--network", network, "--read-only"),
        *("--user", "1000:100", "--memory", "400m"),
        *("--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none", "--workdir", "/work"),
        *(*MOUNTED, *GIVEN, "--site", "/cache/0123", *COMMAND),
    ]


@pytest.mark.parametrize(("box", "network"), [(CLOSED, ["--net", "--network", "none"]), (OPEN, [])])
def test_apptainer(box: Container, network: list[str]) -> None:
    start = ["apptainer", "--quiet", "exec", "--containall", "--no-home"]
    end = ["--pwd", "/work", *MOUNTED, "--site", "/cache/0123", *COMMAND]
    assert line("apptainer", box) == [*start, *network, *end]
    environment = ENGINES["apptainer"].environment(box)
    assert environment["APPTAINERENV_COLOUR"] == "red, blue"
    assert "APPTAINERENV_HOME" not in environment


def test_apptainer_as_root_needs_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert line("apptainer", CLOSED)[5] == "--userns"


def test_udocker() -> None:
    assert line("udocker", CLOSED) == [
        *("udocker", "--quiet", "run", "--nobanner", "--workdir=/work", "--volume=/jobs/7:/work"),
        *("--volume=/jobs/7/in, 1.fits:/work/in, 1.fits", "--volume=/cvmfs:/cvmfs"),
        *(*GIVEN, "--site", "--location=/cache/0123", "esap", *COMMAND),
    ]


def test_a_field_with_quotes_stays_one_field() -> None:
    assert csv_line("ro", 'src=/a"b') == 'ro,"src=/a""b"'


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
