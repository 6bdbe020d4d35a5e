from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esap_batch.carousel import Item
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile
from esap_batch.observations import Observation
from esap_batch.request import examine, resolve
from esap_batch.use_cases import cta_reprocessing as case
from esap_batch.use_cases import shared
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[4] / "config"
WORKFLOW = load_workflow(CONFIG, "cta_reprocessing")
METADATA = {
    "obs_id": 7, "sb_id": 2, "project": "P", "target": "Crab", "site": "LaPalma",
    "array_layout": "beta", "model_version": "prod5-v2.0",
    "start_time": "2026-11-05T20:00:00", "stop_time": "2026-11-05T20:20:00",
    "ra_pnt_deg": 83.6, "dec_pnt_deg": 22.5, "ra_obj_deg": 83.6, "dec_obj_deg": 22.0,
    "zenith_deg": 20.0, "azimuth_deg": 180.0,
}  # fmt: skip


def steering(**request: Any) -> dict[str, Any]:
    return resolve({"obs_ids": "7", **request}, WORKFLOW, "alice", "d/r")


def item(files: int = 2, **more: Any) -> Item:
    parts = tuple(InputFile(f"f{n}.gz", f"/ctao/acada/o7/f{n}.gz", 1000, "0") for n in range(files))
    return Item(3, Observation(7, "/ctao/acada/o7", METADATA, parts), "/ctao/dl3/x/obs_7-g1", **more)


def told(**request: Any) -> list[str]:
    return [str(p) for p in examine(request, WORKFLOW, case.check)]


def test_the_example_is_a_good_request() -> None:
    import json

    example = json.loads((CONFIG / "workflows" / "cta_reprocessing" / "example.json").read_text())
    assert examine(example, WORKFLOW, case.check) == []


def test_something_has_to_be_selected() -> None:
    (problem,) = told()
    assert problem.startswith("obs_ids = (not given): allowed at least one of obs_ids, sb_ids")
    assert told(project="PI") == []


@pytest.mark.parametrize("field", ["obs_ids", "sb_ids", "telescopes"])
def test_numbers_that_are_none_are_named(field: str) -> None:
    problems = told(**{"project": "PI", field: "1-x"})
    assert problems == [
        f"{field} = \"1-x\": allowed numbers and ranges like 101-103, 105 ('1-x' is neither a number "
        "nor a range like 101-103)"
    ]


def test_a_period_ends_after_it_begins() -> None:
    assert told(start_from="2026-02-02", start_to="2026-02-01")[0].startswith('start_from = "2026-02-02"')
    assert told(start_from="05.11.2026")[0].startswith("start_from")


def test_the_last_night_counts() -> None:
    asked = case.selection(steering(start_from="2026-11-05", start_to="2026-11-06")["request"])
    assert (asked.start_from, asked.start_before) == ("2026-11-05", "2026-11-07")


def test_the_job_reads_what_has_come_and_writes_dl2_to_its_work_area_and_dl3_to_the_product() -> None:
    job = case.job(steering(), "group", item(missing=("/ctao/acada/o7/f1.gz",)))
    assert (job.index, [f.name for f in job.inputs]) == (3, ["f0.gz"])
    assert job.files[shared.CONFIG]["missing_files"] == ["/ctao/acada/o7/f1.gz"]
    assert job.files[shared.CONFIG]["expected_files"] == 2
    lfns = [o.lfn for o in job.outputs]
    assert lfns[0] == "/ctao/esap/work/group/dl2_000007.fits.gz"
    assert [case.is_transient(lfn) for lfn in lfns] == [True, False, False, False]
    assert lfns[1] == "/ctao/dl3/x/obs_7-g1/dl3_000007.fits.gz"
    assert all(o.validator for o in job.outputs[1:])


def test_the_job_is_told_the_array_and_when_the_product_was_asked_for() -> None:
    asked = {**steering(), "requested_at": "2026-11-21T10:00:00"}
    config = case.job(asked, "g", item()).files[shared.CONFIG]
    assert (config["array_layout"], config["model_version"]) == ("beta", "prod5-v2.0")
    assert config["date"] == "2026-11-21T10:00:00"
    assert "date" not in case.job(steering(), "g", item()).files[shared.CONFIG]


def test_the_pointing_is_checked_against_the_observation() -> None:
    expected = case.job(steering(pointing_tolerance_deg=0.5), "g", item()).files[case.EXPECT]
    assert (expected["ra_pnt_deg"], expected["tolerance_deg"], expected["obs_id"]) == (83.6, 0.5, 7)


def test_each_processor_has_its_program_and_software() -> None:
    programs = {
        p: case.job(steering(processor=p), "g", item()).command[0]
        for p in ("esap-fits", "ctapipe", "esap-noop")
    }
    assert programs == {"esap-fits": "esap-fits", "ctapipe": "esap-ctapipe", "esap-noop": "esap-noop"}
    assert [s["name"] for s in steering(processor="ctapipe")["software"]] == ["esap-ctapipe", "esap-fits"]


def test_a_product_is_named_by_what_it_is_made_of_and_by_what() -> None:
    base = case.product_base(steering(), item().observation)
    assert base.startswith("/ctao/dl3/esap-fits/0.2.0/obs_000007-")
    assert (
        case.product_base(steering(window_gb=7, job_name="x", missing_fraction=0.5), item().observation)
        == base
    )
    changed = replace(item().observation, files=item(1).observation.files)
    others = {
        case.product_base(steering(processor="ctapipe"), item().observation),
        case.product_base(steering(), changed),
    }
    assert base not in others
    assert len(others) == 2


def test_limits_grow_with_the_observation_or_are_those_of_the_retry() -> None:
    small, large = (case.limits(steering(), size) for size in (0, 10**10))
    assert (large.wall_time_s, large.disk_mb) > (small.wall_time_s, small.disk_mb)
    given = {"wall_time_s": 5, "memory_mb": 6, "disk_mb": 7}
    assert case.job(steering(), "g", item(limits=given)).limits.memory_mb == 6


def test_metadata_say_where_it_comes_from_and_what_is_missing() -> None:
    found = case.product_metadata(steering(), item(missing=("/ctao/acada/o7/f1.gz",)))
    assert (found["esap_parents"], found["esap_missing_files"], found["esap_complete"]) == (
        "/ctao/acada/o7",
        1,
        False,
    )
    assert (found["data_level"], found["project"], found["esap_campaign"]) == ("DL3", "P", "")
    assert (found["zenith_deg"], found["azimuth_deg"]) == (20.0, 180.0)  # a response is chosen by them


def test_what_a_facility_needs() -> None:
    user = Identity("alice", (), frozenset({"ctao"}), frozenset(), "ctao", "u", "alice", "esap")
    needs = case.requirements(steering(facility="cscs"), user)
    assert (needs.preferred, needs.software) == ("cscs", (("esap-fits", "0.2.0"),))


def test_what_the_validator_has_measured_is_taken_over() -> None:
    event_list = {"format": "gadf-dl3", "summary": {"events": 12, "header": {"LIVETIME": 1100.5}}}
    assert case.measured([event_list, {"format": "gadf-obs-index"}]) == {"n_events": 12, "livetime_s": 1100.5}
    assert case.measured([{}]) == {}
