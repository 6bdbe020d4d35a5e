"""SLURM's clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgrid.layout import Layout
from localgrid.setup import slurm, slurm_control


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(slurm, "LONGEST_HOME", 200)
    layout = Layout(tmp_path)
    layout.make()
    slurm.create(layout, cpus=1)
    return layout


def test_a_client_that_fails_or_hangs_is_told_with_its_words(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        slurm_control.ask(layout, "sh", "-c", "echo $SLURM_CONF") == f"{slurm.configuration_file(layout)}\n"
    )
    with pytest.raises(RuntimeError, match=r"^sh: no such node$"):
        slurm_control.ask(layout, "sh", "-c", "echo 'no such\nnode' >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"^sh: exit code 3$"):
        slurm_control.ask(layout, "sh", "-c", "exit 3")
    monkeypatch.setattr(slurm_control, "COMMAND_TIMEOUT_S", 0.1)
    with pytest.raises(RuntimeError, match=r"^sleep: no answer within 0 s$"):
        slurm_control.ask(layout, "sleep", "60")


def test_only_drained_nodes_are_resumed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(_: Layout, *command: str) -> str:
        asked.append(command)
        return "node1 drained\nnode1 drained\nnode2 idle\n" if command[0] == "sinfo" else ""

    monkeypatch.setattr(slurm_control, "ask", ask)
    slurm_control.resume(layout)
    assert asked[1:] == [("scontrol", "update", "NodeName=node1", "State=RESUME")]
