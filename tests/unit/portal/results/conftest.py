"""A lake on a folder, and jobs that have run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hooks.lake_outputs import LakeFile, Replica
from portal.core.jobs import JobView
from portal.core.phases import Phase
from portal.results import files, listing, reports
from portal.results.run import GIVEN, Run, Task

DATASET = "/ctao/irf/a/cta-irf-0123456789ab-g1"
MOMENT = datetime(2026, 11, 21, 10, tzinfo=UTC)


@dataclass
class Lake:
    """What the lake knows: files of datasets, and where copies are."""

    folder: Path
    contents: dict[str, list[LakeFile]] = field(default_factory=dict)
    copies: dict[str, list[Replica]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    made_by: dict[str, list[str]] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return self

    def put(self, name: str, content: bytes, dataset: str = DATASET, sha256: str = "") -> LakeFile:
        """Write a file, register it with one copy."""
        path = self.folder / dataset.rsplit("/", 1)[-1] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        lfn = f"{dataset}/{name}"
        file = LakeFile(lfn, dataset, len(content), f"{zlib.adler32(content):08x}", sha256)
        self.contents.setdefault(dataset, []).append(file)
        self.copies[lfn] = [Replica("NEAR-DISK", f"file://localhost:0{path}")]
        return file

    def path(self, file: LakeFile) -> Path:
        return self.folder / file.dataset.rsplit("/", 1)[-1] / file.name

    def product_files(self, datasets: Sequence[str]) -> list[LakeFile]:
        self.asked.append(f"files of {len(datasets)}")
        return [f for name in datasets for f in self.contents[name]]

    def replicas(self, lfns: Sequence[str]) -> dict[str, list[Replica]]:
        self.asked.append(f"replicas of {len(lfns)}")
        return {lfn: self.copies.get(lfn, []) for lfn in lfns}

    def published_by(self, scope: str, run: str) -> list[str]:
        self.asked.append(f"products of {run} in {scope}")
        return self.made_by.get(run, [])

    def pfns(self, rse: str, lfns: Sequence[str]) -> dict[str, str]:
        self.asked.append(f"places at {rse}")
        return {lfn: f"file://localhost:0{self.folder}/{rse}{lfn}" for lfn in lfns}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    lake = Lake(tmp_path)
    for module in (files, listing, reports):
        monkeypatch.setattr(module, "lake", lambda: lake)
    listing._known.clear()
    return lake


def job(**changes: Any) -> JobView:
    known: dict[str, Any] = {
        "id": 7,
        "owner": "alice",
        "workflow": "cta_irf",
        "run_label": None,
        "request": {"zenith_deg": 20},
        "phase": Phase.COMPLETED,
        "dag_id": "cta_irf",
        "dag_run_id": "uws-7",
        "created_at": MOMENT,
        "started_at": MOMENT,
        "start_time": MOMENT,
        "end_time": MOMENT,
        "destruction": MOMENT,
        "execution_duration": 0,
        "quote": None,
        "error": None,
        "fingerprint": None,
        "notes": {},
    }
    return JobView(**{**known, **changes})


STEERING = {
    "steering_version": 1,
    "request": {"zenith_deg": 20.0, "site": "LaPalma", "job_name": None},
    "software": [{"name": "esap-fits", "version": "0.2.0"}],
    "product_lfn": "/ctao/irf/a/cta-irf-0123456789ab",
}


def task(name: str, **changes: Any) -> Task:
    return replace(Task(name, "success", 1, MOMENT, MOMENT), **changes)


def finished(**told: Any) -> Run:
    """A run that has made its product, with what else tasks return."""
    given = {
        "validate_request": STEERING,
        "check_duplicate": {"dataset": DATASET},
        "select_facility": {"facility": "lapalma"},
        "submit_jobs": {"group": "esap-1", "count": 2, "facility": "lapalma", "journal": {}},
        "report_end": {"outcome": "published", "product": {"dataset": DATASET}},
        **told,
    }
    kept = {name: {GIVEN: value} for name, value in given.items() if value is not None}
    return Run(tuple(task(name) for name in kept), kept)
