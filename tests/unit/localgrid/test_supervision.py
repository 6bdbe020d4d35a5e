"""Configuration of supervisor and what is made of its answers."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from localgrid.layout import Layout
from localgrid.services import SERVICES
from localgrid.supervision import ProcessState, Supervisor, _orphaned_session, configuration, kill_all


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_every_service_is_there_and_none_restarts_by_itself(layout: Layout) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(configuration(layout))
    for name in SERVICES:
        section = parser[f"program:{name}"]
        assert section["autorestart"] == "false"
        assert section["killasgroup"] == "true"
        assert section["stdout_logfile"] == str(layout.log(name))


def test_percent_signs_of_the_path_are_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "100%d")
    layout.make()
    text = configuration(layout)
    assert "100%%d" in text
    assert "100%d" not in text.replace("%%", "")


def test_without_supervisord_all_is_stopped(layout: Layout) -> None:
    supervisor = Supervisor(layout)
    assert not supervisor.is_up()
    assert {state.state for state in supervisor.states().values()} == {"STOPPED"}


@pytest.mark.parametrize(
    ("state", "runs", "crashed"),
    [("RUNNING", True, False), ("STOPPED", False, False), ("EXITED", False, True), ("FATAL", False, True)],
)
def test_states(state: str, runs: bool, crashed: bool) -> None:
    process = ProcessState("fts", state, 1, 0, 0, 0)
    assert (process.runs, process.crashed) == (runs, crashed)


def test_what_a_killed_supervisord_leaves_is_found_and_ended(layout: Layout) -> None:
    program = "import time; time.sleep(600)"
    mine = subprocess.Popen([sys.executable, "-c", program], env={"ESAP_LOCALGRID_RUN": f"{layout.home}:fts"})
    other = subprocess.Popen([sys.executable, "-c", program], env={"ESAP_LOCALGRID_RUN": "/elsewhere:fts"})
    try:
        supervisor = Supervisor(layout)
        assert supervisor.members("fts") == [mine.pid]
        assert supervisor.members("rucio") == []
        supervisor.end_strays()
        assert mine.poll() is not None
        assert not psutil.pid_exists(mine.pid)
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def test_orphans_of_a_session_are_found_only_when_its_leader_is_gone() -> None:
    command = ["sh", "-c", "sleep 600 & echo $!; exec sleep 600"]
    leader = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert leader.stdout
    child = int(leader.stdout.readline())
    try:
        assert list(_orphaned_session(leader.pid)) == []
        leader.kill()
        leader.wait()
        assert list(_orphaned_session(leader.pid)) == [child]
    finally:
        leader.kill()
        kill_all([child])


def test_kill_all_ignores_those_that_are_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    kill_all([process.pid])
    assert not psutil.pid_exists(process.pid)
