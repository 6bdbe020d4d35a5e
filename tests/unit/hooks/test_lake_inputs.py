from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hooks.lake_inputs import ACTIVITY, InputLake, Staging
from hooks.rucio_lake import RucioLake, RucioSettings

ROW: dict[str, Any] = {
    "id": "r1",
    "state": "REPLICATING",
    "locks_ok_cnt": 2,
    "locks_replicating_cnt": 1,
    "locks_stuck_cnt": 1,
    "error": None,
    "updated_at": "2026-11-21T10:00:00",
}


def lake(**answers: Any) -> tuple[InputLake, list[Any]]:
    """Give a lake whose client answers as told, and the list of what it was asked."""
    asked: list[Any] = []

    def method(name: str, answer: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            asked.append((name, *arguments, options) if options else (name, *arguments))
            return answer

        return call

    made = RucioLake(RucioSettings("http://lake", "esap"))
    made.__dict__["client"] = SimpleNamespace(**{n: method(n, a) for n, a in answers.items()})
    return InputLake(made), asked


def test_all_rules_are_asked_for_in_one_call_and_one_that_is_not_there_is_gone() -> None:
    inputs, asked = lake(list_replication_rules=[ROW, {**ROW, "id": "r2", "state": "OK"}])
    found = inputs.stagings(["r1", "r3"])
    assert found == {"r1": Staging("REPLICATING", 2, 4, "", "2026-11-21T10:00:00"), "r3": Staging("GONE")}
    assert asked == [("list_replication_rules", {"activity": ACTIVITY, "account": "esap"})]


def test_how_far_it_is_is_said_in_words() -> None:
    assert str(Staging("REPLICATING", 2, 4)) == "inputs 2 of 4 files staged"
    assert str(Staging("STUCK", 2, 4, "no tape")) == "inputs 2 of 4 files staged, stuck: no tape"


def test_names_that_are_no_lfns_are_not_asked_for() -> None:
    inputs, asked = lake(get_metadata_bulk=[{"name": "/ctao/dl3/a", "did_type": "DATASET"}])
    assert set(inputs.columns(["/ctao/dl3/a", "weird", ""])) == {"/ctao/dl3/a"}
    assert asked == [("get_metadata_bulk", [{"scope": "dl3", "name": "/ctao/dl3/a"}])]


@pytest.mark.parametrize(
    ("parents", "dataset"),
    [
        ([], ""),
        ([{"scope": "dl3", "name": "/ctao/dl3/b", "type": "DATASET"}], "/ctao/dl3/b"),
        (
            [
                {"scope": "esap", "name": "/ctao/esap/work/x/inputs", "type": "DATASET"},
                {"scope": "dl3", "name": "/ctao/dl3/b", "type": "DATASET"},
                {"scope": "dl3", "name": "/ctao/dl3/z", "type": "CONTAINER"},
            ],
            "/ctao/dl3/b",
        ),
    ],
)
def test_the_dataset_of_a_file_is_that_of_its_own_scope(parents: list[dict[str, str]], dataset: str) -> None:
    inputs, _ = lake(list_parent_dids=parents)
    assert inputs.dataset_of("/ctao/dl3/b/f") == dataset


def test_files_of_several_scopes_become_one_dataset() -> None:
    inputs, asked = lake(add_dataset=None, set_metadata=None, add_files_to_datasets=None)
    inputs.collect("/ctao/esap/work/g/inputs", ["/ctao/dl3/a/f", "/ctao/irf/i/g"], {"kind": "inputs"}, 60)
    assert ("set_metadata", "esap", "/ctao/esap/work/g/inputs", "lifetime", 60) in asked
    name, (attachment,), options = asked[-1]
    assert (name, options) == ("add_files_to_datasets", {"ignore_duplicate": True})
    assert attachment["scope"] == "esap"
    assert [d["scope"] for d in attachment["dids"]] == ["dl3", "irf"]


def test_a_rule_that_was_told_to_end_soon_stands_as_long_as_a_new_one() -> None:
    inputs, asked = lake(update_replication_rule=None)
    inputs.lake.__dict__["add_rule"] = lambda *_, **__: "r1"  # one that stands
    assert inputs.bring("/ctao/esap/work/g/inputs", "LAPALMA-DISK", 3600) == "r1"
    assert asked == [("update_replication_rule", "r1", {"lifetime": 3600})]


def test_a_rule_that_is_gone_cannot_be_held() -> None:
    client = {"list_replication_rules": [ROW], "update_replication_rule": None, "set_metadata": None}
    inputs, asked = lake(**client)
    dataset = "/ctao/esap/work/g/inputs"
    assert not inputs.hold(dataset, "r2", 60)
    assert len(asked) == 1
    assert inputs.hold(dataset, "r1", 60)
    assert asked[2:] == [
        ("set_metadata", "esap", dataset, "lifetime", 60),
        ("update_replication_rule", "r1", {"lifetime": 60}),
    ]
