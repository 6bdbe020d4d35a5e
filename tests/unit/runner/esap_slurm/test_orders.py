from __future__ import annotations

from typing import Any

import pytest

from runner.esap_slurm.commands import SiteError
from runner.esap_slurm.folders import Area, read_json, write_json
from runner.esap_slurm.orders import chunks, known_orders, place_order, sbatch, settle
from tests.unit.runner.esap_slurm.conftest import Says

LIMITS = {"wall_time_s": 100, "memory_mb": 500, "disk_mb": 10}
QUESTION: dict[str, Any] = {
    "batch": {"group": "esap-abc", "jobs": [{"index": i, "limits": LIMITS} for i in range(5)]},
    "site": "main",
    "options": {"partition": "main", "account": "esap", "qos": ""},
    "overhead": {"wall_time_s": 60, "memory_mb": 256},
}


def test_jobs_are_divided_by_what_the_site_takes_and_by_their_limits(says: Says) -> None:
    says("scontrol", "MaxArraySize = 3\n")
    jobs = [{"index": i, "limits": {**LIMITS, "memory_mb": 900 if i == 2 else 500}} for i in range(6)]
    found = chunks({"jobs": jobs}, [(i, 1) for i in range(6)])
    assert found == [[(0, 1), (1, 1)], [(3, 1), (4, 1)], [(5, 1)], [(2, 1)]]


def test_an_array_is_asked_for_by_name_with_room_for_the_runner(says: Says, area: Area) -> None:
    log = says("sbatch", "4711;cluster\n")
    place_order(area, 0, QUESTION, [(0, 1), (3, 2)])
    words = log.read_text().split()
    assert {"--job-name=esap-abc.0000", "--array=0-1", "--time=3", "--mem=756M", "--no-requeue"} <= set(words)
    assert {"--partition=main", "--account=esap", "--cpus-per-task=1"} <= set(words)
    assert not [w for w in words if w.startswith("--qos")]
    (order,) = area.orders()
    assert (order.slurm_id, order.jobs) == ("4711", [[0, 1], [3, 2]])
    assert "batch" not in order.document  # every poll reads it
    assert [job["index"] for job in read_json(area.path("0000.batch"))["jobs"]] == [0, 3]


def test_cores_are_asked_for(area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1]], "time": 0})
    assert "--cpus-per-task=4" in sbatch(area, area.orders()[0], QUESTION, {**LIMITS, "cores": 4})


def test_an_order_that_is_refused_is_given_up(says: Says, area: Area) -> None:
    says("sbatch", errors="Invalid partition name specified", code=1)
    with pytest.raises(SiteError, match="Invalid partition"):
        place_order(area, 0, QUESTION, [(0, 1)])
    assert area.orders() == []
    assert read_json(area.path("0000.batch")) is None


def test_an_order_that_nobody_answered_is_kept_until_it_is_known(says: Says, area: Area) -> None:
    says("sbatch", errors="Socket timed out on send/recv operation", code=1)
    with pytest.raises(SiteError, match="timed out"):
        place_order(area, 0, QUESTION, [(0, 1)])
    (order,) = area.orders()
    assert order.slurm_id == ""
    says("squeue", "815|0|PENDING|None\n")
    assert [o.slurm_id for o in settle(area, area.orders())] == ["815"]
    assert [o.slurm_id for o in area.orders()] == ["815"]


def test_of_two_arrays_of_one_name_the_older_stays(says: Says, area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1]], "time": 0})
    says("squeue", "1000|0|PENDING|None\n999|0|RUNNING|None\n")
    log = says("scancel")
    assert [o.slurm_id for o in settle(area, area.orders())] == ["999"]
    assert log.read_text() == "1000\n"


def test_an_array_that_has_left_the_queue_is_found_in_accounting(says: Says, area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1]], "time": 1e9})
    says("squeue")
    says("sacct", "31_[0-4]|PENDING|0:0\n31_0|COMPLETED|0:0\n")
    assert [o.slurm_id for o in settle(area, area.orders())] == ["31"]


def test_an_order_that_never_got_through_is_dropped(says: Says, area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1]], "time": 1e9})
    says("squeue")
    says("sacct")
    assert settle(area, area.orders()) == []
    assert area.orders() == []
    assert area.next_serial() == 1


def test_an_order_that_somebody_is_submitting_is_left_to_them(area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1]], "time": 0})
    with area.lock():
        known, coming = known_orders(area)
    assert (known, [o.serial for o in coming]) == ([], [0])
