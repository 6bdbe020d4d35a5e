from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.run_card import HIGHEST_SEED, Run, card_problems, card_text, job_seeds, runs_of

CARD: dict[str, Any] = {
    "RUNNR": 7,
    "EVTNR": 1,
    "NSHOW": 10,
    "n_jobs": 3,
    "SEED": [[1, 0, 0], [2, 0, 0]],
    "PRMPAR": 14,
    "ERANGE": [100, 1000],
    "ESLOPE": -2.7,
    "THETAP": [20, 20],
    "GEOMETRY": "FLAT",
    "PHIP": [-180, 180],
    "OBSLEV": [0, 220000],
    "ECUTS": [0.3, 0.1, 0.02, 0.02],
    "ATMOD": 1,
    "MAGNET": [30.8, 23.2],
}


def told(**changes: Any) -> list[str]:
    return [str(p) for p in card_problems({**CARD, **changes})]


def test_a_sound_card_has_no_problem() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ERANGE": [200, 100]}, "ERANGE = [200, 100]: allowed a lower value first"),
        ({"THETAP": [30, 20]}, "THETAP = [30, 20]: allowed a lower value first"),
        ({"PHIP": [10, -10]}, "PHIP = [10, -10]: allowed a lower value first"),
        ({"VIEWCONE": [5, 1]}, "VIEWCONE = [5, 1]: allowed a lower value first"),
        ({"PRMPAR": 197}, "PRMPAR = 197: allowed 1 to 195, or 100 A + Z from 200"),
        ({"PRMPAR": 405}, "PRMPAR = 405: allowed 100 A + Z with Z from 1 to A = 4"),
        ({"PRMPAR": 5600, "ERANGE": [100, 1000]}, "PRMPAR = 5600"),
        ({"PRMPAR": 5626, "ERANGE": [50, 1000]}, "ERANGE = [50, 1000]: allowed above 52.16 GeV"),
        ({"ERANGE": [0.5, 10]}, "allowed above 0.9383 GeV"),
        ({"n_jobs": 11}, "n_jobs = 11: allowed at most NSHOW = 10"),
        ({"RUNNR": 999_998}, "RUNNR = 999998: allowed at most 999997 with 3 jobs"),
        ({"EVTNR": 999_997}, "EVTNR = 999997: allowed at most 999996"),
        ({"SEED": [[1, 0, 0], [1, 0, 0]]}, "SEED = [[1, 0, 0], [1, 0, 0]]: allowed another first number"),
        ({"THETAP": [0, 20], "VIEWCONE": [0, 10]}, "THETAP = [0, 20]: allowed two equal angles"),
        ({"THETAP": [0, 87]}, "THETAP = [0, 87]: allowed at most 70 deg with GEOMETRY = FLAT"),
        ({"THETAP": [71, 72], "GEOMETRY": "VOLUMEDET"}, "allowed at most 70 deg with GEOMETRY = VOLUMEDET"),
        ({"THETAP": [0, 87]}, "CURVED and VOLUMEDET_CURVED go to 89 deg"),
        ({"CSCAT": [1.5, 0, 0]}, "CSCAT = [1.5, 0, 0]: allowed a whole number from 1 to 20"),
        ({"CSCAT": [21, 0, 0]}, "CSCAT = [21, 0, 0]"),
    ],
)
def test_each_mistake_is_told_with_field_value_and_what_is_allowed(
    changes: dict[str, Any], words: str
) -> None:
    (problem,) = told(**changes)
    assert words in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"RUNNR": 999_997},
        {"EVTNR": 999_996},
        {"PRMPAR": 5626, "ERANGE": [60, 60]},
        {"VIEWCONE": [0, 10]},
        {"THETAP": [0, 70]},
        {"THETAP": [0, 87], "GEOMETRY": "CURVED"},
        {"THETAP": [0, 89], "GEOMETRY": "VOLUMEDET_CURVED"},
        {"CSCAT": [20, 1e4, 1e4]},
    ],
)
def test_bounds_are_allowed(changes: dict[str, Any]) -> None:
    assert told(**changes) == []


def test_showers_are_divided_among_runs_with_numbers_of_their_own() -> None:
    runs = runs_of(CARD)
    assert [(r.number, r.showers, r.file) for r in runs] == [
        (7, 4, "DAT000007"),
        (8, 3, "DAT000008"),
        (9, 3, "DAT000009"),
    ]
    assert runs[0].seeds == ((1, 0, 0), (2, 0, 0))


@given(
    st.lists(st.integers(1, HIGHEST_SEED), min_size=2, max_size=7, unique=True),
    st.integers(1, 50),
)
def test_no_two_runs_share_a_seed(firsts: list[int], jobs: int) -> None:
    seeds = [line[0] for job in job_seeds([[n, 0, 0] for n in firsts], jobs) for line in job]
    assert len(set(seeds)) == len(seeds) == jobs * len(firsts)
    assert all(1 <= s <= HIGHEST_SEED for s in seeds)


def test_more_jobs_do_not_change_the_seeds_of_the_first_ones() -> None:
    assert job_seeds(CARD["SEED"], 20)[:5] == job_seeds(CARD["SEED"], 5)


def test_numbers_that_are_equal_give_equal_seeds() -> None:
    assert job_seeds([[1.0, 0, 0], [2, 0, 0]], 3) == job_seeds([[1, 0, 0], [2, 0, 0]], 3)  # type: ignore[list-item]


def test_the_card_is_written_as_corsika_reads_it() -> None:
    text = card_text(CARD, Run(8, 3, ((1, 0, 0), (2, 5, 6))))
    assert text.splitlines() == [
        "RUNNR   8",
        "EVTNR   1",
        "NSHOW   3",
        "PRMPAR  14",
        "ESLOPE  -2.7",
        "ERANGE  100  1000",
        "THETAP  20  20",
        "PHIP    -180  180",
        "ATMOD   1",
        "MAGNET  30.8  23.2",
        "ECUTS   0.3  0.1  0.02  0.02",
        "SEED    1  0  0",
        "SEED    2  5  6",
        "OBSLEV  0",
        "OBSLEV  220000",
        "EXIT",
    ]
