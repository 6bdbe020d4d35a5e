from __future__ import annotations

from pathlib import Path

import pytest

from runner.esap_slurm.folders import Area, Order, write_json
from runner.esap_slurm.stages import line_of, stages_of

RUNNING, ENDED = ("RUNNING", ""), ("COMPLETED", "")


@pytest.fixture
def orders(area: Area) -> list[Order]:
    write_json(area.path("0000.json"), {"jobs": [[0, 1], [1, 1], [7, 2]]})
    area.orders()[0].accepted("12")
    Path(area.path("stages")).mkdir()
    return area.orders()


def tell(area: Area, name: str, text: str) -> None:
    Path(area.path("stages", name)).write_text(text)


def test_what_running_jobs_say_is_summed_up(area: Area, orders: list[Order]) -> None:
    tell(area, "00000-01", "fetching inputs: 1 of 3 files, 100 of 400 bytes")
    tell(area, "00007-02", "fetching inputs: 0 of 1 files, 20 of 50 bytes")
    tell(area, "00001-01", "storing outputs: 0 of 2 files, 0 of 7 bytes")
    states = {("12", n): RUNNING for n in range(3)}
    assert stages_of(area, orders, states) == {
        "fetching inputs": [2, 1, 4, 120, 450],
        "storing outputs": [1, 0, 2, 0, 7],
    }


def test_what_ended_jobs_have_left_does_not_count(area: Area, orders: list[Order]) -> None:
    tell(area, "00000-01", "fetching inputs: 1 of 3 files, 100 of 400 bytes")
    tell(area, "00005-01", "fetching inputs: 1 of 3 files, 100 of 400 bytes")  # of no such job
    states = {("12", 0): ENDED, ("12", 1): RUNNING, ("12", 2): RUNNING}
    assert stages_of(area, orders, states) == {}


@pytest.mark.parametrize("text", ["", "x", "a: 1 of 1 files, -1 of 1 bytes", "\xe4: 1 of 1 files"])
def test_what_is_no_such_line_does_not_count(area: Area, orders: list[Order], text: str) -> None:
    tell(area, "00000-01", text)
    tell(area, "00000-01.part", "fetching inputs: 1 of 3 files, 100 of 400 bytes")
    assert stages_of(area, orders, {("12", n): RUNNING for n in range(3)}) == {}


def test_only_files_that_are_there_are_read(area: Area, orders: list[Order], tmp_path: Path) -> None:
    Path(area.path("stages")).rmdir()
    assert stages_of(area, orders, {}) == {}
    assert line_of(str(tmp_path / "gone")) == ""
