from __future__ import annotations

import time
from pathlib import Path

import pytest

from runner.esap_slurm.commands import SiteError
from runner.esap_slurm.folders import Area, Order, write_json
from runner.esap_slurm.states import State, states_of
from tests.unit.runner.esap_slurm.conftest import Says


def an_order(area: Area, slurm_id: str = "12", tasks: int = 3, age_s: float = 3600) -> Order:
    write_json(area.path("0000.json"), {"jobs": [[i, 1] for i in range(tasks)], "time": time.time() - age_s})
    order = Order(area.folder, 0)
    order.accepted(slurm_id)
    return order


def states(area: Area, order: Order) -> list[State]:
    found = states_of([area], {area.group: [order]})[area.group]
    return [found["12", n] for n in range(len(order.jobs))]


def test_the_queue_is_believed(says: Says, area: Area) -> None:
    says("squeue", "12|0|RUNNING|None\n12|1|PENDING|Resources\n12|2|COMPLETED|None\n9|0|FAILED|None\n")
    assert states(area, an_order(area)) == [("RUNNING", ""), ("PENDING", "Resources"), ("COMPLETED", "")]


def test_what_has_ended_is_not_asked_for_again(says: Says, area: Area) -> None:
    log, order = (
        says("squeue", "12|0|TIMEOUT|TimeLimit\n12|1|COMPLETED|None\n12|2|COMPLETED|None\n"),
        an_order(area),
    )
    first = states(area, order)
    assert states(area, order) == first
    assert len(log.read_text().splitlines()) == 1


def test_accounting_knows_what_the_queue_has_forgotten(says: Says, area: Area) -> None:
    says("squeue", "12|0|RUNNING|None\n")
    says("sacct", "12_1|CANCELLED by 1000|0:15\n12_2|FAILED|30:0\n")
    assert states(area, an_order(area)) == [
        ("RUNNING", ""),
        ("CANCELLED", "exit code 0:15"),
        ("FAILED", "exit code 30:0"),
    ]


@pytest.mark.parametrize("word", ["RUNNING", "PENDING"])
def test_what_accounting_takes_for_running_and_the_queue_does_not_know_is_lost(
    says: Says, area: Area, word: str
) -> None:
    says("squeue")
    says("sacct", f"12_[0-2]|{word}|0:0\n")
    assert [state for state, _ in states(area, an_order(area))] == ["LOST"] * 3
    assert not Path(area.path("states.json")).exists()  # it may come to light again


def test_a_report_tells_what_nobody_knows(says: Says, area: Area) -> None:
    says("squeue")
    says("sacct", errors="Slurm accounting storage is disabled", code=1)
    for index, code in enumerate((0, 30)):
        folder = Path(area.out(index, 1))
        folder.mkdir(parents=True)
        write_json(
            str(folder / "job-report.json"),
            {"exit_code": code, "reason": "OK" if not code else "PAYLOAD_FAILED"},
        )
    found = states(area, an_order(area))
    assert [state for state, _ in found] == ["COMPLETED", "FAILED", "LOST"]
    assert "keeps no accounting" in found[2][1]


def test_a_young_job_may_not_be_seen_yet(says: Says, area: Area) -> None:
    says("squeue")
    says("sacct")
    assert {state for state, _ in states(area, an_order(area, age_s=1))} == {"PENDING"}


def test_nothing_is_lost_while_accounting_is_down(says: Says, area: Area) -> None:
    says("squeue")
    says("sacct", errors="Problem talking to the database: Connection refused", code=1)
    with pytest.raises(SiteError, match="Problem talking"):
        states(area, an_order(area))
