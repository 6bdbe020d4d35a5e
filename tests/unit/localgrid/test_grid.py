"""The grid object, without starting anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgrid.grid import Grid, GridError, ServiceDown
from localgrid.services import SERVICES
from localgrid.supervision import ProcessState


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    grid = Grid(tmp_path)
    grid.layout.make()
    return grid


def states(**changed: str) -> dict[str, ProcessState]:
    return {name: ProcessState(name, changed.get(name, "RUNNING"), 1, 0, 0, 9) for name in SERVICES}


def test_unknown_services_are_named_with_the_known_ones(grid: Grid) -> None:
    for action in (grid.start, grid.stop, grid.kill):
        with pytest.raises(GridError, match="unknown service 'rucoi', allowed: postgres, "):
            action("rucoi")


def test_info_of_a_grid_that_never_was(grid: Grid) -> None:
    with pytest.raises(GridError, match="python -m localgrid start"):
        _ = grid.info


def test_waiting_ends_with_the_value(grid: Grid) -> None:
    values = iter([0, 0, 7])
    assert grid.wait(lambda: next(values), "seven", poll_s=0.001) == 7


def test_waiting_notices_a_crash_and_shows_its_log(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid.supervisor, "states", lambda: states(rucio="EXITED"))
    grid.layout.log("rucio").write_text("last words\n")
    with pytest.raises(ServiceDown, match="last words") as error:
        grid.wait(lambda: False, "wonder")
    assert error.value.name == "rucio"
    assert "exit code 9" in str(error.value)
    assert "python -m localgrid start rucio" in str(error.value)
    with pytest.raises(TimeoutError, match="no wonder after"):
        grid.wait(lambda: False, "wonder", timeout_s=0, ignore={"rucio"})


def test_a_stopped_service_is_no_crash(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid.supervisor, "states", lambda: states(rucio="STOPPED"))
    grid.check()


def test_a_failing_step_is_named(grid: Grid) -> None:
    from localgrid.parts import Step

    def fail(_: object) -> None:
        raise ValueError("no such thing")

    with pytest.raises(GridError, match="lake failed: ValueError: no such thing"):
        grid._reach(Step("lake", (), fail))


def test_purging_refuses_a_directory_that_is_no_grid(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(GridError, match="does not look like"):
        Grid(tmp_path).down(purge=True)
    assert (tmp_path / "thesis.tex").exists()


def test_down_of_nothing_is_nothing(tmp_path: Path) -> None:
    home = tmp_path / "none"
    Grid(home).down(purge=True)
    assert not home.exists()
