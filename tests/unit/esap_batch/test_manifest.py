from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.jobs import JobSpec, OutputSpec
from esap_batch.manifest import Manifest, build_manifest, missing_jobs
from esap_batch.provenance import BatchActivity
from esap_batch.retries import Diagnosis

ACTIVITY = BatchActivity("g", "submit_jobs", "lapalma", 2, "", "", "plain", ({"name": "n", "version": "1"},))


def report(index: int, started: str, finished: str) -> dict[str, Any]:
    output = {
        "name": "out.json",
        "lfn": f"/ctao/esap/x/out_{index}.json",
        "pfn": f"file:///x/out_{index}.json",
        "size": 10 + index,
        "adler32": f"0000000{index}",
        "sha256": "ab",
    }
    checked = {"output": "out.json", "verdict": "valid", "exit_code": 0, "report": {}}
    return {
        "index": index,
        "started": started,
        "finished": finished,
        "outputs": [output],
        "validation": [checked],
    }


def test_a_manifest_lists_the_files_in_the_order_of_the_jobs_and_spans_their_time() -> None:
    reports = [
        report(1, "2026-01-01T00:00:05Z", "2026-01-01T00:00:09Z"),
        report(0, "2026-01-01T00:00:01Z", "Z"),
    ]
    reports[1]["finished"] = "2026-01-01T00:00:02Z"
    manifest = build_manifest(ACTIVITY, "LAPALMA-DISK", reports, [])
    assert [f.name for f in manifest.files] == ["out_0.json", "out_1.json"]
    assert manifest.activity.started == "2026-01-01T00:00:01Z"
    assert manifest.activity.finished == "2026-01-01T00:00:09Z"


def test_a_manifest_names_the_images_that_the_jobs_ran_in() -> None:
    reports = [{**report(n, "a", "b"), "runtime": {"type": "rootfs", "sha256": "0f"}} for n in range(2)]
    assert build_manifest(ACTIVITY, "R", reports, []).activity.images == ("0f",)
    reports.append({**report(2, "a", "b"), "runtime": {"type": "plain"}})
    manifest = build_manifest(ACTIVITY, "R", reports, [])
    assert Manifest.of(json.loads(json.dumps(manifest.document()))).activity.images == ("0f",)
    assert build_manifest(ACTIVITY, "R", reports[2:], []).activity.images == ()


def test_a_manifest_survives_its_file() -> None:
    manifest = build_manifest(ACTIVITY, "R", [report(0, "a", "b")], ["job 1: lost"], [{"job": 1}])
    assert Manifest.of(json.loads(json.dumps(manifest.document()))) == manifest


def test_files_become_inputs_of_the_next_step() -> None:
    one = build_manifest(ACTIVITY, "R", [report(0, "a", "b")], []).as_inputs()[0]
    assert (one.name, one.size, one.adler32) == ("out_0.json", 10, "00000000")


def test_a_manifest_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed 1"):
        Manifest.of({"schema": 0})


def test_an_empty_batch_has_an_empty_manifest() -> None:
    assert build_manifest(ACTIVITY, "R", [], []).files == ()


def test_a_missing_job_is_told_with_the_files_it_owes() -> None:
    jobs = [JobSpec(i, ("run",), outputs=(OutputSpec("o", f"/ctao/esap/x/{i}"),)) for i in range(2)]
    assert missing_jobs(jobs, [Diagnosis(1, 3, "7", "TIME_LIMIT", "it was slow", advice="split it")]) == [
        {
            "job": 1,
            "files": ["/ctao/esap/x/1"],
            "diagnosis": "TIME_LIMIT",
            "message": "it was slow",
            "action": "split it",
        }
    ]


def test_joined_manifests_have_all_files_and_the_last_activity() -> None:
    activities = [replace(ACTIVITY, group=group) for group in "xy"]
    both = Manifest.joined(
        [build_manifest(one, "R", [report(n, "a", "b")], []) for n, one in enumerate(activities)]
    )
    assert [f.name for f in both.files] == ["out_0.json", "out_1.json"]
    assert len(both.validation) == 2
    assert both.activity.group == "y"
