from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.facilities import Facility, FacilityLimits, Requirements
from esap_batch.jobs import Load
from esap_batch.matching import TELLING, NoFacilityFits, match
from tests.unit.esap_batch.test_facilities import facility

NEEDS = Requirements(experiments=frozenset({"ctao"}), software=(("prog", "1.0"),), runtimes=("plain",))


def names(needs: Requirements, *facilities: Facility, **running: int) -> list[str]:
    load = {name: Load(running=jobs) for name, jobs in running.items()}
    return [r.facility.name for r in match(needs, facilities, load).ranked]


@pytest.mark.parametrize(
    ("changes", "needs", "reason"),
    [
        ({"enabled": False, "disabled_reason": "no key"}, {}, "is switched off: no key"),
        ({"experiments": frozenset({"km3net"})}, {}, "is open to km3net, the user is in ctao"),
        ({}, {"experiments": frozenset()}, "is open to ctao, the user is in no experiment"),
        ({"runtimes": ({"type": "apptainer"},)}, {}, "starts payloads by apptainer, needed is plain"),
        ({"software": {}}, {}, "needs prog 1.0, which is there as: not at all"),
        ({}, {"software": (("prog", "2.0"),)}, "needs prog 2.0, which is there as: 1.0, 1.1"),
        ({}, {"memory_mb": 4000}, "needs 4000 MB of memory a job, gives at most 2000"),
        ({}, {"wall_time_s": 3601}, "needs 3601 s of wall time a job, gives at most 3600"),
        ({}, {"disk_mb": 10_001}, "needs 10001 MB of scratch disk a job, gives at most 10000"),
        (
            {"other_rses": ("MARS",)},
            {"storage_rse": "MOON"},
            "leaves files at HERE-DISK or MARS, asked for is MOON",
        ),
        ({}, {"n_jobs": 101}, "needs 101 jobs in a batch, gives at most 100"),
    ],
)
def test_each_rejection_has_its_reason(changes: dict[str, Any], needs: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoFacilityFits) as error:
        match(replace(NEEDS, **needs), [facility("here", **changes)], {})
    assert error.value.rejected == {"here": (reason,)}
    assert f"Nearest is here: {reason}" in str(error.value)


def test_a_facility_at_its_limits_fits() -> None:
    needs = replace(NEEDS, memory_mb=2000, wall_time_s=3600, disk_mb=10_000, n_jobs=100)
    assert names(needs, facility("here")) == ["here"]


def test_all_reasons_of_a_rejection_are_given() -> None:
    needs = replace(NEEDS, memory_mb=4000, disk_mb=20_000)
    with pytest.raises(NoFacilityFits) as error:
        match(needs, [facility("here", enabled=False, disabled_reason="x")], {})
    assert len(error.value.rejected["here"]) == 3


def test_the_rejected_are_told_beside_those_that_fit() -> None:
    found = match(replace(NEEDS, memory_mb=4000), [facility("small"), big("large")], {})
    assert [r.facility.name for r in found.ranked] == ["large"]
    assert found.rejected == {"small": ("needs 4000 MB of memory a job, gives at most 2000",)}


def big(name: str) -> Facility:
    return facility(name, limits=FacilityLimits(3600, 8000, 10_000, 100))


def test_near_data_beat_free_capacity_which_beats_priority() -> None:
    near, idle, liked = facility("near"), facility("idle"), facility("liked", priority=50)
    needs = replace(NEEDS, input_rses={"NEAR-DISK": 900, "IDLE-DISK": 100})
    assert names(needs, near, idle, liked, near=100, liked=100) == ["near", "idle", "liked"]
    assert names(NEEDS, near, idle, liked, near=100, liked=100) == ["idle", "liked", "near"]
    assert names(NEEDS, near, idle, liked) == ["liked", "idle", "near"]


def test_reasons_of_the_ranking_have_numbers() -> None:
    needs = replace(NEEDS, input_rses={"HERE-DISK": 3, "ELSEWHERE": 1})
    (ranked,) = match(needs, [facility("here", priority=7)], {"here": Load(30, 10, 1, 8)}).ranked
    assert ranked.reasons == (
        "3 of 4 bytes of input are at HERE-DISK",
        "40 of 100 jobs are taken, 30 of them wait",
        "1 of 8 recent jobs have failed",
        "priority 7",
    )


def test_a_facility_asked_for_by_name_comes_first() -> None:
    found = match(
        replace(NEEDS, preferred="b"), [facility("a", priority=50), facility("b")], {"b": Load(running=100)}
    )
    assert [r.facility.name for r in found.ranked] == ["b", "a"]
    assert found.ranked[0].reasons[0] == "asked for by name"


@pytest.mark.parametrize("preferred", ["auto", None, ""])
def test_no_preference(preferred: str | None) -> None:
    needs = replace(NEEDS, preferred=preferred)
    assert names(needs, facility("a", priority=1), facility("b")) == ["a", "b"]


def test_a_preference_that_does_not_fit_says_why_and_what_would() -> None:
    needs = replace(NEEDS, preferred="small", memory_mb=4000)
    with pytest.raises(NoFacilityFits) as error:
        match(needs, [facility("small"), big("large")], {})
    assert str(error.value) == (
        "facility = 'small': needs 4000 MB of memory a job, gives at most 2000. Fitting: large"
    )


def test_a_preference_that_does_not_exist_lists_those_that_do() -> None:
    off = facility("a", enabled=False, disabled_reason="x")
    with pytest.raises(NoFacilityFits, match=r"facility = 'moon': allowed auto, a, b\. Fitting: b"):
        match(replace(NEEDS, preferred="moon"), [off, facility("b")], {})


def test_the_nearest_miss_is_the_one_that_a_smaller_request_would_fit() -> None:
    off = facility("off", enabled=False, disabled_reason="no key")
    foreign = facility("foreign", experiments=frozenset({"km3net"}))
    with pytest.raises(NoFacilityFits) as error:
        match(replace(NEEDS, memory_mb=9000), [off, foreign, facility("small"), big("large")], {})
    assert error.value.nearest_miss == "large"
    assert str(error.value).startswith("no facility fits. Nearest is large: needs 9000 MB")
    assert "small: needs 9000 MB of memory a job, gives at most 2000" in str(error.value)


def test_without_any_facility() -> None:
    with pytest.raises(NoFacilityFits, match="no facility is configured"):
        match(NEEDS, [], {})


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 90), st.booleans()), min_size=1, max_size=6),
    st.integers(0, 60),
)
def test_every_facility_is_ranked_or_rejected_and_none_is_both(
    drawn: list[tuple[int, int, bool]], memory: int
) -> None:
    facilities = [
        facility(
            f"f{n}",
            priority=priority,
            enabled=enabled,
            disabled_reason="off",
            limits=FacilityLimits(10, most, 10, 10),
        )
        for n, (most, priority, enabled) in enumerate(drawn)
    ]
    fitting = {f.name for f in facilities if f.enabled and memory <= f.limits.max_memory_mb}
    needs = replace(NEEDS, memory_mb=memory)
    if not fitting:
        with pytest.raises(NoFacilityFits) as error:
            match(needs, facilities, {})
        assert set(error.value.rejected) == {f.name for f in facilities}
        return
    found = match(needs, facilities, {})
    assert {r.facility.name for r in found.ranked} == fitting
    assert set(found.rejected) == {f.name for f in facilities} - fitting
    assert match(needs, facilities[::-1], {}).ranked == found.ranked


def best(*facilities: Facility, **load: Load) -> str:
    return match(NEEDS, facilities, load).ranked[0].facility.name


def test_where_jobs_wait_new_ones_will_too() -> None:
    a, b = facility("a"), facility("b")
    assert best(a, b, a=Load(queued=30), b=Load(running=50)) == "b"
    assert best(a, b, a=Load(queued=20), b=Load(running=50)) == "a"


def test_where_most_jobs_fail_less_is_free() -> None:
    a, b = facility("a"), facility("b")
    failing = Load(ended_recently=20, failed_recently=15)
    assert best(a, b, a=failing, b=Load(running=70)) == "b"
    assert best(a, b, a=failing, b=Load(running=80)) == "a"


def test_a_few_failures_say_nothing_of_a_facility() -> None:
    few = Load(ended_recently=TELLING - 1, failed_recently=TELLING - 1)
    enough = Load(ended_recently=TELLING, failed_recently=TELLING)
    a, b = facility("a"), facility("b")
    assert best(a, b, a=few) == "a"
    assert best(a, b, a=enough) == "b"


def test_a_facility_is_full_at_the_limit_of_all_its_jobs_if_it_has_one() -> None:
    limited = facility("a", limits=FacilityLimits(3600, 2000, 10_000, 100, max_active_jobs=10))
    (ranked,) = match(NEEDS, [limited], {"a": Load(running=5)}).ranked
    assert "5 of 10 jobs are taken" in ranked.reasons
    assert best(limited, facility("b"), a=Load(running=5), b=Load(running=40)) == "b"


def test_what_is_out_of_order_is_left_out_and_says_why() -> None:
    fault = "is out of order: connection failed (refused)"
    found = match(NEEDS, [facility("a", priority=9), facility("b")], {}, {"a": fault})
    assert [r.facility.name for r in found.ranked] == ["b"]
    assert found.rejected == {"a": (fault,)}
    with pytest.raises(NoFacilityFits, match="facility = 'a': is out of order"):
        match(replace(NEEDS, preferred="a"), [facility("a"), facility("b")], {}, {"a": fault})


def test_a_smaller_request_helps_sooner_than_a_repair() -> None:
    with pytest.raises(NoFacilityFits) as error:
        match(replace(NEEDS, memory_mb=9000), [facility("a"), facility("b")], {}, {"a": "broken"})
    assert error.value.nearest_miss == "b"


LOADS = st.builds(Load, *(st.integers(0, 200) for _ in range(4))).map(
    lambda load: replace(load, failed_recently=min(load.failed_recently, load.ended_recently))
)


@given(LOADS)
def test_less_load_is_never_worse(load: Load) -> None:
    idle, busy = facility("idle"), facility("busy", priority=0)
    assert best(busy, idle, busy=load) == ("busy" if _is_idle(load) else "idle")


def _is_idle(load: Load) -> bool:
    return load.active == 0 and (load.ended_recently < TELLING or not load.failed_recently)
