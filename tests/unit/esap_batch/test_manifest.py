from __future__ import annotations

import json
from typing import Any

import pytest

from esap_batch.manifest import Manifest, build_manifest
from esap_batch.provenance import BatchActivity

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


def test_a_manifest_survives_its_file() -> None:
    manifest = build_manifest(ACTIVITY, "R", [report(0, "a", "b")], ["job 1: lost"])
    assert Manifest.of(json.loads(json.dumps(manifest.document()))) == manifest


def test_files_become_inputs_of_the_next_step() -> None:
    one = build_manifest(ACTIVITY, "R", [report(0, "a", "b")], []).as_inputs()[0]
    assert (one.name, one.size, one.adler32) == ("out_0.json", 10, "00000000")


def test_a_manifest_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed 1"):
        Manifest.of({"schema": 0})


def test_an_empty_batch_has_an_empty_manifest() -> None:
    assert build_manifest(ACTIVITY, "R", [], []).files == ()
