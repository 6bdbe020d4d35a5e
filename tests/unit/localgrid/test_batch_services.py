"""Health of the SLURM site's services, as their clients' words tell it."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from localgrid import batch_services
from localgrid.layout import HOST, Layout
from localgrid.parts import Service, Started, UnhealthyError
from localgrid.setup import slurm_control, ssh

ALL = {node.name: node for node in batch_services._NODES}
STARTED = Started(1, 1000.0)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def trouble(layout: Layout, name: str) -> str:
    service = ALL[name]
    assert isinstance(service, Service)
    try:
        service.health(layout, STARTED)
    except UnhealthyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("NodeName=node1 State=IDLE SlurmdStartTime=1000 Reason=", ""),
        ("NodeName=node1 State=MIXED+PLANNED SlurmdStartTime=2000", ""),
        ("NodeName=node1 State=IDLE SlurmdStartTime=999", "not registered with the controller yet"),
        ("NodeName=node1 State=UNKNOWN SlurmdStartTime=None", "not registered with the controller yet"),
        ("NodeName=node1 State=IDLE+DRAIN SlurmdStartTime=2000 Reason=Duplicate", "IDLE+DRAIN Duplicate"),
        ("NodeName=node1 State=MIXED+NOT_RESPONDING SlurmdStartTime=2000", "MIXED+NOT_RESPONDING"),
        ("NodeName=node1 State=IDLE* SlurmdStartTime=2000", "the controller says IDLE*"),
        ("NodeName=node1 State=DOWN SlurmdStartTime=2000 Reason=gone", "the controller says DOWN gone"),
    ],
)
def test_a_node_is_well_when_the_controller_would_use_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, told: str, words: str
) -> None:
    monkeypatch.setattr(slurm_control, "ask", lambda *_: told)
    found = trouble(layout, "slurm-node1")
    assert words in found
    assert bool(found) == bool(words)


def test_a_silent_controller_and_silent_accounting_are_told(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_control, "ask", lambda *_: "Slurmctld(primary) at localhost is DOWN\n")
    assert trouble(layout, "slurmctld") == "scontrol: Slurmctld(primary) at localhost is DOWN"

    def silent(*_: object) -> str:
        raise RuntimeError("no answer within 5 s")

    monkeypatch.setattr(slurm_control, "ask", silent)
    for name in ("munge", "mariadb", "slurmdbd", "slurmctld", "slurm-node2"):
        assert trouble(layout, name) == "no answer within 5 s", name


def test_sshd_is_well_when_it_greets(layout: Layout) -> None:
    assert "refused" in trouble(layout, "sshd")
    for greeting, words in ((b"SSH-2.0-OpenSSH\r\n", ""), (b"220 mail\r\n", "greets with '220 mail")):
        with socket.create_server((HOST, layout.ports["sshd"])) as server:

            def greet(server: socket.socket = server, greeting: bytes = greeting) -> None:
                with server.accept()[0] as connection:
                    connection.sendall(greeting)

            thread = threading.Thread(target=greet)
            thread.start()
            found = trouble(layout, "sshd")
            thread.join()
        assert words in found
        assert bool(found) == bool(words)


def test_those_that_others_need_are_stopped_after_them() -> None:
    left, order = {name for name, node in ALL.items() if isinstance(node, Service)}, list[set[str]]()
    while left:
        now = {name for name in left if left.isdisjoint(ALL[name].outlives)}  # type: ignore[attr-defined]
        assert now, f"they wait for each other: {left}"
        order.append(now)
        left -= now
    assert order == [
        {"slurm-node1", "slurm-node2", "sshd"},
        {"slurmctld"},
        {"slurmdbd"},
        {"munge", "mariadb"},
    ]


def test_logins_are_tried_by_somebody_who_is_admitted(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(_: Layout, *command: str) -> str:
        asked.extend(command)
        return ""

    monkeypatch.setattr(slurm_control, "ask", ask)
    ssh.log_in(layout)
    assert asked[0] == "ssh"
    assert str(layout.path("secrets", "ssh", "alice")) in asked
    assert "StrictHostKeyChecking=yes" in asked
