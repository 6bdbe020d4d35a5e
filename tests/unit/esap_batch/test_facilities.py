from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.errors import ConfigurationError
from esap_batch.facilities import (
    Facility,
    FacilityLimits,
    NoFacilityFits,
    Requirements,
    load_facilities,
    match,
)

CONFIG = Path(__file__).parents[3] / "config"
NEEDS = Requirements(experiments=frozenset({"ctao"}), software=(("prog", "1.0"),), runtimes=("plain",))


def facility(name: str, **changes: Any) -> Facility:
    usual = Facility(
        name=name,
        title=name.title(),
        type="dirac",
        connection="c",
        enabled=True,
        disabled_reason="",
        experiments=frozenset({"ctao"}),
        vo="ctao",
        group="ctao_user",
        site="S",
        runtimes=({"type": "plain"},),
        software={"prog": ("1.0", "1.1")},
        limits=FacilityLimits(3600, 2000, 10_000, 100),
        storage_rse=f"{name.upper()}-DISK",
    )
    return replace(usual, **changes)


def names(needs: Requirements, *facilities: Facility, **load: int) -> list[str]:
    return [r.facility.name for r in match(needs, facilities, load).ranked]


def test_the_configured_facilities() -> None:
    known = {f.name: f for f in load_facilities(CONFIG / "facilities.yaml")}
    assert list(known) == ["lapalma", "cscs", "km3net-local", "cta-dirac", "egi-dirac"]
    assert [f.name for f in known.values() if f.enabled] == ["lapalma", "cscs", "km3net-local"]
    assert all(f.disabled_reason for f in known.values() if not f.enabled)
    lapalma, cscs = known["lapalma"], known["cscs"]
    assert (lapalma.site, lapalma.storage_rse) == ("ESAP.LaPalma.local", "LAPALMA-DISK")
    assert (cscs.site, cscs.storage_rse) == ("ESAP.CSCS.local", "CSCS-DISK")
    assert (lapalma.limits.max_memory_mb, lapalma.limits.max_wall_time_s) == (2000, 7200)
    assert (cscs.limits.max_memory_mb, cscs.limits.max_wall_time_s) == (8000, 86400)
    assert lapalma.priority > cscs.priority
    assert set(lapalma.software) >= {"esap-noop", "esap-fits", "esap-corsika"}
    assert {f.name for f in known.values() if "km3net" in f.experiments} == {"km3net-local", "egi-dirac"}


def test_a_facility_gives_its_preferred_runtime_of_a_type() -> None:
    runtimes = ({"type": "plain"}, {"type": "rootfs", "engine": "bwrap"}, {"type": "rootfs"})
    assert facility("a", runtimes=runtimes).runtime("rootfs") == {"type": "rootfs", "engine": "bwrap"}
    with pytest.raises(LookupError, match="facility a has no runtime rootfs"):
        facility("a").runtime("rootfs")


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
    (ranked,) = match(needs, [facility("here", priority=7)], {"here": 40}).ranked
    assert ranked.reasons == (
        "3 of 4 bytes of input are at HERE-DISK",
        "40 of 100 jobs are taken",
        "priority 7",
    )


def test_a_facility_asked_for_by_name_comes_first() -> None:
    found = match(replace(NEEDS, preferred="b"), [facility("a", priority=50), facility("b")], {"b": 100})
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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "cloud"}, "'cloud' is not one of"),
        ({"colour": "red"}, "'colour' was unexpected"),
        ({"enabled": False}, "'disabled_reason' is a required property"),
        ({"runtimes": []}, r"runtimes: \[\]"),
        ({"limits": {"max_jobs": 0}}, "max_memory_mb"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    document = yaml.safe_load((CONFIG / "facilities.yaml").read_text())
    document["facilities"][0].update(change)
    with pytest.raises(ConfigurationError, match=reason):
        load_facilities(written(tmp_path, document))


def test_two_facilities_of_one_name_are_refused(tmp_path: Path) -> None:
    document = yaml.safe_load((CONFIG / "facilities.yaml").read_text())
    document["facilities"].append(document["facilities"][0])
    with pytest.raises(ConfigurationError, match="two facilities have the name lapalma"):
        load_facilities(written(tmp_path, document))


def written(folder: Path, document: dict[str, Any]) -> Path:
    (folder / "facilities.schema.json").write_text((CONFIG / "facilities.schema.json").read_text())
    (folder / "facilities.yaml").write_text(yaml.safe_dump(document))
    return folder / "facilities.yaml"
