from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.jobs import InputFile
from esap_batch.observations import (
    KIND,
    Observation,
    Selection,
    named_apart,
    parse_numbers,
    volume_by_place,
)


def observation(obs_id: int = 7, sizes: tuple[int, ...] = (10, 20)) -> Observation:
    files = tuple(InputFile(f"f{n}", f"/ctao/acada/o{obs_id}/f{n}", s, "0") for n, s in enumerate(sizes))
    return Observation(obs_id, f"/ctao/acada/o{obs_id}", {"obs_id": obs_id}, files)


def test_the_document_gives_the_same_observation_back() -> None:
    one = observation()
    assert Observation.of(json.loads(json.dumps(one.document()))) == one


def test_some_of_the_files_make_a_partial_observation() -> None:
    one = observation().only(["/ctao/acada/o7/f1", "another"])
    assert (one.size, one.is_partial) == (20, True)
    assert not observation().only(f.lfn for f in observation().files).is_partial


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("7", ((7, 7),)), (" 101-103, 105 ", ((101, 103), (105, 105))), ("5 - 5", ((5, 5),))],
)
def test_numbers_and_ranges_are_read(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert parse_numbers(text) == ranges


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither a number"),
        ("1,,2", "neither a number"),
        ("1-", "neither"),
        ("-4", "neither"),
        ("a", "'a' is neither"),
        ("9-3", "ends before it begins"),
        ("0-100000", "longer than 100000"),
    ],
)
def test_what_is_no_list_of_numbers_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_numbers(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 500)), min_size=1))
def test_what_is_written_is_read(ranges: list[tuple[int, int]]) -> None:
    expected = tuple((low, low + more) for low, more in ranges)
    assert parse_numbers(",".join(f"{low}-{high}" for low, high in expected)) == expected


def test_ranges_of_both_kinds_are_combined() -> None:
    asked = Selection(
        obs_ids=((1, 3), (5, 5)), sb_ids=((2, 2),), start_from="2026-11-05", equal={"site": "LaPalma"}
    )
    common = {"kind": KIND, "site": "LaPalma", "start_time.gte": "2026-11-05", "sb_id": 2}
    assert asked.filters() == [{**common, "obs_id.gte": 1, "obs_id.lte": 3}, {**common, "obs_id": 5}]
    assert Selection().filters() == [{"kind": KIND}]


def test_telescopes() -> None:
    assert Selection().takes_telescope(99)
    assert [n for n in range(6) if Selection(tel_ids=((1, 2), (4, 4))).takes_telescope(n)] == [1, 2, 4]


def test_a_file_at_two_places_counts_at_both() -> None:
    places = {"/ctao/acada/o7/f0": ["DISK", "TAPE"], "/ctao/acada/o7/f1": ["TAPE"]}
    assert volume_by_place([observation()], places) == {"DISK": 10, "TAPE": 30}


def test_files_of_equal_names_get_names_of_their_own() -> None:
    first, second = named_apart([observation(1), observation(2, (10, 20, 30))])
    names = [f.name for f in (*first.files, *second.files)]
    assert len(set(names)) == 5
    assert [n.rpartition("_")[2] for n in names] == ["f0", "f1", "f0", "f1", "f2"]
    assert names[-1] == "f2", "who has its name alone keeps it"
    assert [f.lfn for f in first.files] == [f.lfn for f in observation(1).files]
    assert named_apart([observation(1), observation(3)])[0] == first, "whatever it meets"


def test_files_of_one_observation_are_named_apart_too() -> None:
    files = tuple(InputFile("events.root", f"/km3/raw/o1/{part}/events.root", 5, "0") for part in "ab")
    (one,) = named_apart([Observation(1, "/km3/raw/o1", files=files)])
    assert len({f.name for f in one.files}) == 2
