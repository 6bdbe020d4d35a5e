"""Fair share, by hand and by simulation."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esap_batch.fair_share import Claim, Holder, grants, shares

A, B, C = Holder("ctao", "alice"), Holder("ctao", "bob"), Holder("km3net", "dave")
MANY = 10_000


def claims(**waiting: int) -> list[Claim]:
    names = {"a": A, "b": B, "c": C}
    return [Claim(names[n], 0, jobs) for n, jobs in waiting.items()]


def rounded(found: Mapping[Holder, float]) -> dict[Holder, float]:
    return {holder: round(share, 6) for holder, share in found.items()}


def test_experiments_share_by_weight_and_users_of_one_equally() -> None:
    found = shares(60, claims(a=MANY, b=MANY, c=MANY), {"ctao": 4, "km3net": 2})
    assert rounded(found) == {A: 20, B: 20, C: 20}
    assert rounded(shares(60, claims(a=MANY, c=MANY), {"ctao": 2})) == {A: 40, C: 20}


def test_what_one_cannot_use_goes_to_the_others_by_their_weights() -> None:
    assert rounded(shares(60, claims(a=MANY, b=5, c=MANY), {})) == {A: 18.333333, B: 5, C: 36.666667}
    assert rounded(shares(60, claims(a=3, c=4), {})) == {A: 3, C: 4}


def test_the_smallest_share_is_a_job() -> None:
    assert rounded(shares(10, claims(a=MANY, c=MANY), {"ctao": 1000, "km3net": 1})) == {A: 9, C: 1}


def test_with_more_holders_than_places_those_who_have_waited_longest_come_first() -> None:
    waiting = [Claim(A, 0, 5, since=3), Claim(B, 0, 5, since=1), Claim(C, 0, 5, since=2)]
    assert grants(2, waiting, {"ctao": 1000}) == {A: 0, B: 1, C: 1}


def test_who_is_furthest_below_their_share_comes_first_and_nothing_is_stopped() -> None:
    full = [Claim(A, 10, MANY), Claim(C, 0, MANY)]
    assert grants(10, full, {}) == {A: 0, C: 0}
    assert grants(12, full, {}) == {A: 0, C: 2}


def test_without_anybody_there_is_nothing_to_give() -> None:
    assert grants(5, [], {}) == {}
    assert grants(5, [Claim(A, 0, 0)], {}) == {A: 0}


@pytest.mark.parametrize("over", [0, 3])
def test_a_limit_that_is_passed_already_gives_nothing(over: int) -> None:
    assert grants(4, [Claim(A, 4 + over, 5)], {}) == {A: 0}


@dataclass
class Facility:
    """Runs jobs, each until a test ends it; `now` counts what has happened."""

    limit: int
    weights: Mapping[str, float]
    running: deque[Holder] = field(default_factory=deque)
    waiting: dict[Holder, int] = field(default_factory=dict)
    since: dict[Holder, float] = field(default_factory=dict)
    now: float = 0

    def claims(self) -> list[Claim]:
        return [
            Claim(h, self.running.count(h), jobs, self.since.get(h, 0)) for h, jobs in self.waiting.items()
        ]

    def submit(self, holder: Holder, jobs: int) -> None:
        self.now += 1
        if not self.waiting.get(holder):
            self.since[holder] = self.now
        self.waiting[holder] = self.waiting.get(holder, 0) + jobs

    def turn(self) -> dict[Holder, int]:
        self.now += 1
        given = grants(self.limit, self.claims(), self.weights)
        for holder, jobs in given.items():
            self.waiting[holder] -= jobs
            self.running.extend([holder] * jobs)
            if jobs:
                self.since[holder] = self.now
        return given

    def end(self, position: int) -> None:
        del self.running[position % len(self.running)]


HOLDERS = st.lists(
    st.builds(Holder, st.sampled_from(["ctao", "km3net", "fair", "ska"]), st.sampled_from("abcde")),
    unique=True,
    min_size=1,
    max_size=8,
)
WEIGHTS = st.dictionaries(st.sampled_from(["ctao", "km3net", "fair"]), st.integers(1, 50))
LIMITS = st.integers(1, 40)
HAPPENINGS = st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 30)), max_size=40)


@settings(deadline=None)  # a simulation takes as long as it takes
@given(HOLDERS, WEIGHTS, LIMITS, HAPPENINGS)
def test_the_limit_holds_and_no_place_is_free_while_anybody_waits(
    holders: list[Holder], weights: dict[str, int], limit: int, happenings: list[tuple[bool, int, int]]
) -> None:
    place = Facility(limit, weights)
    for arrives, who, number in happenings:
        if arrives:
            place.submit(holders[who % len(holders)], number)
        elif place.running:
            place.end(number)
        place.turn()
        assert len(place.running) <= limit
        assert len(place.running) == limit or not any(place.waiting.values())
        assert all(jobs >= 0 for jobs in place.waiting.values())


@settings(deadline=None)  # a simulation takes as long as it takes
@given(HOLDERS, WEIGHTS, LIMITS, st.lists(st.integers(0, 1000), min_size=1))
def test_shares_become_what_the_weights_say_within_a_job(
    holders: list[Holder], weights: dict[str, int], limit: int, order: list[int]
) -> None:
    place = Facility(limit, weights)
    for holder in holders:  # who comes first takes everything, as long as nobody else is there
        place.submit(holder, MANY)
        place.turn()
    for n in range(limit * 3):  # so that every job of the beginning has ended
        place.end(0)
        place.turn()
        place.end(order[n % len(order)])
        place.turn()
    goal = shares(limit, place.claims(), weights)
    for holder in holders:
        assert abs(place.running.count(holder) - goal[holder]) <= 1 + 1e-6


@settings(deadline=None)  # a simulation takes as long as it takes
@given(HOLDERS, WEIGHTS, LIMITS)
def test_nobody_starves(holders: list[Holder], weights: dict[str, int], limit: int) -> None:
    place, first = Facility(limit, weights), holders[0]
    for holder in holders[1:]:
        place.submit(holder, MANY)
    place.turn()
    place.submit(first, 1)
    # Everything that runs now ends once, and with fewer places than holders each of them has a turn.
    for _ in range(limit + len(holders)):
        if first in place.running:
            break
        if place.running:
            place.end(0)
        place.turn()
    assert first in place.running
