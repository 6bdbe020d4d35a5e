from __future__ import annotations

import os

import pytest

from runner.esap_runner import engines
from runner.esap_runner.containers import Container
from runner.esap_runner.engines import ENGINES
from tests.unit.runner.conftest import Node
from tests.unit.runner.esap_runner.boxes import CLOSED, COMMAND, GIVEN, MOUNTED, OPEN, line
from tests.unit.runner.esap_runner.contained import contained, shell, stand_in


@pytest.fixture(autouse=True)
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    monkeypatch.setattr(engines, "ulimit", lambda name, _number: f"{name}=9:9")


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
    start = ["apptainer", "--silent", "exec", "--containall", "--no-home", "--no-mount", "tmp"]
    end = ["--pwd", "/work", *MOUNTED, "--site", "/cache/0123", *COMMAND]
    assert line("apptainer", box) == [*start, *network, *end]
    environment = ENGINES["apptainer"].environment(box)
    assert environment["APPTAINERENV_COLOUR"] == "red, blue"
    assert "APPTAINERENV_HOME" not in environment


def test_apptainer_as_root_needs_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert line("apptainer", CLOSED)[7] == "--userns"


def test_udocker() -> None:
    assert line("udocker", CLOSED) == [
        *("udocker", "--quiet", "run", "--nobanner", "--workdir=/work", "--volume=/jobs/7:/work"),
        *("--volume=/jobs/7/in, 1.fits:/work/in, 1.fits", "--volume=/cvmfs:/cvmfs"),
        *(*GIVEN, "--site", "--location=/cache/0123", "esap", *COMMAND),
    ]


@pytest.mark.parametrize("engine", ["apptainer", "docker", "podman", "udocker"])
def test_an_engine_that_the_node_lacks(node: Node, image: bytes, engine: str) -> None:
    job = contained(node, image, shell("true"), engine)
    node.environment["PATH"] = str(node.root)
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert f"this node cannot start images: {engine} is not there" in outcome.report["message"]
    assert not (node.directory / "image.tar.gz").exists()


def test_a_docker_without_its_daemon(node: Node, image: bytes) -> None:
    stand_in(node, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    outcome = node.run(contained(node, image, shell("true"), "docker"))
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "docker says: Cannot connect to the Docker daemon" in outcome.report["message"]


def test_a_node_that_cannot_start_images_says_so(node: Node, image: bytes) -> None:
    job = contained(node, image, shell("true"))
    node.runtime["engine"] = "runc"
    outcome = node.run(job)
    assert outcome.report["reason"] == "SOFTWARE_MISSING"
    assert "this node cannot start images: runc is not there" in outcome.report["message"]
