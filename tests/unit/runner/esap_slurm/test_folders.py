from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.esap_slurm.commands import SiteError
from runner.esap_slurm.folders import Area, Order, locked, read_json, tail, write_json


@pytest.mark.parametrize(
    ("owner", "group"), [("../bob", "esap-1"), ("alice", "a/b"), ("", "x"), ("a b", "x"), ("a", "")]
)
def test_names_that_lead_elsewhere_are_refused(owner: str, group: str) -> None:
    with pytest.raises(SiteError, match="allowed are letters, digits"):
        Area("/work", owner, group)


def test_a_work_area_without_a_slash_lies_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Area("batch", "alice", "esap-1").folder == str(tmp_path / "batch" / "alice" / "esap-1")


def test_the_number_of_an_order_is_never_used_again(area: Area) -> None:
    for serial in range(3):
        assert area.next_serial() == serial
        write_json(area.path(f"{serial:04d}.json"), {"jobs": [[serial, 1]]})
    Order(area.folder, 2).drop()
    assert [o.serial for o in area.orders()] == [0, 1]
    assert area.next_serial() == 3


def test_there_may_be_more_orders_than_four_digits_count(area: Area) -> None:
    for serial in (9999, 10000):
        assert area.next_serial() in (0, serial)
        write_json(area.path(f"{serial:04d}.json"), {"jobs": [[serial, 1]]})
    assert [o.serial for o in area.orders()] == [9999, 10000]
    Order(area.folder, 10000).drop()
    assert area.next_serial() == 10001


def test_a_document_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "states.json"
    write_json(str(path), [1])
    with pytest.raises(TypeError):
        write_json(str(path), {1, 2})
    assert read_json(str(path)) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["states.json"]
    assert read_json(str(tmp_path / "none")) is None


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locked(path, 0) as first, locked(path, 0) as second:
        assert (first, second) == (True, False)
    with locked(path, 0) as again:
        assert again


def test_the_end_of_a_log_is_given_as_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10 + b"\xff end")
    assert tail(str(log), 5) == "\ufffd end"


def test_an_accepted_order_keeps_its_id(area: Area) -> None:
    write_json(area.path("0000.json"), {"jobs": [[0, 1], [4, 1]]})
    Order(area.folder, 0).accepted("77")
    (order,) = area.orders()
    assert (order.slurm_id, order.jobs) == ("77", [[0, 1], [4, 1]])
    assert json.loads(Path(area.path("0000.id")).read_text()) == "77"
