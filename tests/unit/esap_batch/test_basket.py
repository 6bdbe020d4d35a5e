from __future__ import annotations

import json
from typing import Any

import pytest

from esap_batch.basket import Entry, InputRule, input_rules, read_basket, sorted_out, without_repeats

RULE = InputRule("a DL3 observation", "rucio", "dl3", "dl3_*.fits.gz", metadata={"data_level": "DL3"})


def item(archive: str = "rucio", **record: Any) -> str:
    return json.dumps({"archive": archive, "record": record})


def test_an_item_of_the_lake_is_read_as_esap_keeps_it() -> None:
    entries, problems = read_basket(
        [item(scope="dl3", name="/ctao/dl3/a", type="DATASET", bytes=5, adler32="0")]
    )
    assert problems == []
    assert entries == [Entry("basket.0", "rucio", "/ctao/dl3/a", "dl3", "dataset")]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("no json", "it is not JSON"),
        ('{"archive": "rucio"', "it is not JSON"),
        ("[1, 2]", "it is no JSON object"),
        ("{}", "archive is missing"),
        ('{"archive": 5, "record": {}}', "archive is wrong"),
        ('{"archive": "zenodo"}', "record is missing"),
        ('{"archive": "rucio", "record": "x"}', "record is wrong"),
        ('{"archive": "rucio", "record": {"scope": "dl3"}}', "record.name is missing"),
        ('{"archive": "rucio", "record": {"name": "/ctao/dl3/a"}}', "record.scope is missing"),
    ],
)
def test_every_broken_item_is_a_problem_that_names_its_place(broken: str, told: str) -> None:
    entries, problems = read_basket([item(scope="dl3", name="a"), broken, broken])
    assert len(entries) == 1
    assert [p.field for p in problems] == ["basket.1", "basket.2"]
    assert told in str(problems[0])


@pytest.mark.parametrize("archive", ["apertif", "zooniverse", "zenodo", "vo", "lofar", "never heard of"])
def test_what_another_archive_holds_is_reported_with_a_name(archive: str) -> None:
    entries, problems = read_basket([item(archive, title="A title", id=7), item(archive, ra=1.5)])
    assert problems == []
    matched, unmatched = sorted_out(entries, [RULE])
    assert matched == []
    assert [u.entry.name for u in unmatched] == ["A title", '{"ra": 1.5}']
    assert f"no rule for archive {archive}" in unmatched[0].reason


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (Entry("basket.0", "rucio", "n", "irf"), "no rule for scope irf: a DL3 observation has scope dl3"),
        (Entry("basket.0", "rucio", "n", "dl3", "container"), "no rule for a container"),
    ],
)
def test_what_no_rule_takes_is_told_why(entry: Entry, told: str) -> None:
    _, (unmatched,) = sorted_out([entry], [RULE])
    assert told in unmatched.reason
    assert str(unmatched).startswith("basket.0, rucio ")


def test_the_first_rule_that_fits_takes_an_entry() -> None:
    other = InputRule("an image", "rucio", "dl5", "*.fits")
    third = InputRule("anything of dl3", "rucio", "dl3", "*")
    entry = Entry("basket.0", "rucio", "n", "dl3")
    matched, unmatched = sorted_out([entry], [other, RULE, third])
    assert matched == [(entry, RULE)]
    assert unmatched == []


def test_metadata_decide_too() -> None:
    assert RULE.refuses_metadata({"data_level": "DL3", "more": 1}) == ""
    assert 'data_level = "DL0", a DL3 observation has "DL3"' in RULE.refuses_metadata({"data_level": "DL0"})
    assert "data_level = null" in RULE.refuses_metadata({})


def test_rules_are_read_from_the_steering_file() -> None:
    (rule,) = input_rules([{"title": "t", "archive": "rucio", "scope": "s", "files": "*", "kinds": ["file"]}])
    assert rule.kinds == ("file",)
    assert rule.takes("anything")


def test_a_thing_that_is_named_twice_counts_once() -> None:
    twice = [Entry(f"basket.{n}", "rucio", "a", "dl3") for n in range(2)]
    other = Entry("basket.2", "rucio", "a", "dl2")
    assert list(without_repeats([*twice, other])) == [twice[0], other]
