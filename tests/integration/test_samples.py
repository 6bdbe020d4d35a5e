"""Sample data, put into a real lake."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from hooks.storage_element import StorageElement
from localgrid.grid import Grid
from localgrid.samples import cta_reprocessing, prepare
from localgrid.samples.observations import Observation, SampleFile, register_observations, unpublished
from localgrid.setup import postgres

TAPE, DISK = "LAPALMA-TAPE", "LAPALMA-DISK"


@pytest.fixture
def observation(tmp_path: Path) -> Observation:
    dataset = f"/ctao/acada/DL0/test/{uuid.uuid4().hex[:12]}/obs_000001"
    files = []
    for name in ("a.fits.gz", "b.fits.gz"):
        (tmp_path / name).write_bytes(name.encode())
        adler32 = f"{zlib.adler32(name.encode()):08x}"
        files.append(SampleFile(f"{dataset}/{name}", tmp_path / name, len(name), adler32, {"tel_id": 1}))
    return Observation(dataset, {"obs_id": 1, "project": "PI-1"}, files)


def register(lake: RucioLake, *observations: Observation) -> list[str]:
    return register_observations(lake, scope="acada", rse=TAPE, observations=observations)


def test_an_observation_is_published_once_with_metadata_and_files(
    lake: RucioLake, observation: Observation
) -> None:
    dataset = observation.dataset
    assert unpublished(lake, [dataset]) == [dataset]
    assert register(lake, observation) == [dataset]
    assert register(lake, observation) == []
    assert unpublished(lake, [dataset]) == []
    assert lake.is_published(dataset)
    assert BulkLake(lake).metadata([dataset])[dataset]["project"] == "PI-1"
    first = observation.files[0]
    assert lake.metadata(first.lfn)["tel_id"] == 1
    stored = StorageElement().stat(lake.pfns(TAPE, [first.lfn])[first.lfn])
    assert stored is not None
    assert (stored.size, stored.adler32) == (first.size, first.adler32)


def test_what_was_left_half_done_is_finished(lake: RucioLake, observation: Observation) -> None:
    client, first = lake.client, observation.files[0]
    replica = {"scope": "acada", "name": first.lfn, "bytes": first.size, "adler32": first.adler32}
    client.add_replicas(TAPE, [replica])
    client.add_dataset("acada", observation.dataset)
    client.attach_dids("acada", observation.dataset, [{"scope": "acada", "name": first.lfn}])
    assert register(lake, observation) == [observation.dataset]
    assert len(lake.files(observation.dataset)) == 2


def test_another_file_under_a_known_name_is_refused(lake: RucioLake, observation: Observation) -> None:
    register(lake, observation)
    other = replace(
        observation,
        dataset=f"{observation.dataset}x",
        files=[replace(observation.files[0], adler32="0badcafe")],
    )
    with pytest.raises(ValueError, match="0badcafe"):
        register(lake, other)


def test_tape_copies_outlive_the_rule_that_staged_them(
    grid: Grid, lake: RucioLake, observation: Observation, wait_for: Callable[..., Any]
) -> None:
    register(lake, observation)
    rule = lake.add_rule(observation.dataset, DISK, lifetime=3600)
    wait_for(lambda: lake.rule(rule)["state"] == "OK")
    lake.client.update_replication_rule(rule, {"lifetime": -1})

    def doomed() -> set[str]:
        found = postgres.query(
            grid.layout,
            "select distinct r.rse from dev.replicas c join dev.rses r on r.id = c.rse_id "
            f"where c.name like '{observation.dataset}/%' and c.tombstone is not null",
            "rucio",
        )
        return {str(row[0]) for row in found}

    assert wait_for(doomed) == {DISK}


def test_the_samples_of_the_reprocessing_are_there_after_one_call_or_two(grid: Grid, lake: RucioLake) -> None:
    for _ in range(2):
        prepare("cta_reprocessing", grid, lake)
    asked = {"project": cta_reprocessing.PROJECT_ID, "sb_id": 11, "kind": "observation"}
    found = BulkLake(lake).find("acada", [asked])
    assert [name[-10:] for name in found] == ["obs_000101", "obs_000102", "obs_000103"]
    meta = lake.metadata(found[0])
    assert (meta["obs_id"], meta["zenith_deg"], meta["data_level"]) == (101, 20, "DL0")
    assert (meta["start_time"], meta["stop_time"]) == ("2026-11-05T22:00:00", "2026-11-05T22:20:00")
    assert len(lake.files(found[0])) == 4
