from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.facilities import FacilityLimits, Requirements
from esap_batch.jobs import Load
from esap_batch.offers import OVERHEAD_S, Work, offers
from tests.unit.esap_batch.test_facilities import facility

NEEDS = Requirements(
    experiments=frozenset({"ctao"}),
    software=(("prog", "1.0"),),
    runtimes=("plain",),
    wall_time_s=600,
    n_jobs=4,
)
NEAR, FAR = facility("near"), facility("far", priority=5)


def work(**changes: Any) -> Work:
    return replace(Work(NEEDS, 4), **changes)


def test_an_offer_says_why_when_and_what_it_costs_at_most() -> None:
    found = offers(work(), [NEAR], {})
    offer = found.made[0]
    assert (offer.start_s, offer.duration_s, offer.end_s) == (0, 600, 600 + OVERHEAD_S)
    assert offer.cpu_hours == pytest.approx(4 * 600 / 3600)
    assert offer.reasons[:3] == ("is open to ctao", "has prog 1.0", "a job takes at most 600 of 3600 s")
    assert found.refused == {}


def test_the_data_that_must_move_counts_each_file_once() -> None:
    files = {"/a": 10, "/b": 20, "/c": 40, "/d": 80}
    places = {"/a": ["NEAR-DISK", "TAPE"], "/b": ["TAPE", "OTHER"], "/c": ["TAPE"], "/d": []}
    found = offers(work(files=files, places=places), [FAR, NEAR], {})
    near, far = found.made
    assert (near.facility.name, near.move, near.nowhere) == ("near", {"OTHER": 20, "TAPE": 40}, 80)
    assert (far.move, far.nowhere) == ({"NEAR-DISK": 10, "OTHER": 20, "TAPE": 40}, 80)
    assert "10 of 150 bytes of input are at NEAR-DISK" in near.reasons


def test_jobs_that_are_there_are_waited_for() -> None:
    small = facility("small", limits=FacilityLimits(3600, 2000, 10_000, 4))
    busy = offers(work(), [small], {"small": Load(running=9)}).made[0]
    assert (busy.start_s, busy.duration_s) == (1200, 1200)  # 9 fill two turns and a bit of the third


def test_what_is_asked_for_by_name_comes_first_if_it_fits() -> None:
    asked = work(needs=replace(NEEDS, preferred="near"))
    assert [o.facility.name for o in offers(asked, [FAR, NEAR], {}).made] == ["near", "far"]
    off = offers(asked, [FAR, replace(NEAR, enabled=False, disabled_reason="broken")], {})
    assert [o.facility.name for o in off.made] == ["far"]
    assert off.refused["near"] == ("is switched off: broken",)


def test_no_offer_at_all_has_the_reasons() -> None:
    found = offers(work(needs=replace(NEEDS, experiments=frozenset({"km3net"}))), [NEAR], {})
    assert found.made == ()
    assert found.refused == {"near": ("is open to ctao, the user is in km3net",)}
    assert offers(work(), [], {}).made == ()


def test_what_is_out_of_order_offers_nothing() -> None:
    found = offers(work(), [FAR, NEAR], {}, {"near": "is out of order: x"})
    assert [o.facility.name for o in found.made] == ["far"]
    assert found.refused == {"near": ("is out of order: x",)}


@given(jobs=st.integers(1, 10_000), load=st.integers(0, 10_000), slots=st.integers(1, 500))
def test_more_load_never_ends_earlier(jobs: int, load: int, slots: int) -> None:
    place = facility("f", limits=FacilityLimits(3600, 2000, 10_000, slots))
    needs = replace(NEEDS, n_jobs=min(jobs, slots))
    free, busy = (
        offers(Work(needs, jobs), [place], {"f": Load(running=n)}).made[0] for n in (load, load + 1)
    )
    assert busy.end_s >= free.end_s
    assert free.duration_s * slots >= jobs * needs.wall_time_s - free.start_s * slots
