from __future__ import annotations

from typing import Any

import pytest

from hooks.lake_bulk import BULK
from hooks.lake_outputs import LakeFile, OutputLake, Replica
from hooks.rucio_lake import RucioLake, RucioSettings

DATASET = "/ctao/irf/a/irf-1-g1"


class Client:
    """Rucio's client with what a test has put in."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.meta: dict[str, dict[str, Any]] = {}
        self.found: list[str] = []

    def list_replicas(self, dids: list[dict[str, str]]) -> list[dict[str, Any]]:
        self.calls.append(f"list_replicas {len(dids)}")
        return [self.rows[d["name"]] for d in dids if d["name"] in self.rows]

    def bulk_list_files(self, dids: list[dict[str, str]]) -> list[dict[str, Any]]:
        self.calls.append(f"bulk_list_files {len(dids)}")
        return [
            {"parent_name": d["name"], "name": f"{d['name']}/{name}", "bytes": 3, "adler32": "0000002a"}
            for d in dids
            for name in ("b.json", "a.fits")
        ]

    def get_metadata_bulk(self, dids: list[dict[str, str]], plugin: str = "") -> list[dict[str, Any]]:
        self.calls.append(f"get_metadata_bulk {plugin} {len(dids)}")
        return [{"name": d["name"], **self.meta[d["name"]]} for d in dids if d["name"] in self.meta]

    def list_dids(self, scope: str, filters: dict[str, Any], did_type: str) -> list[str]:
        self.calls.append(f"list_dids {scope} {filters} {did_type}")
        return self.found


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def lake(client: Client) -> OutputLake:
    rucio = RucioLake(RucioSettings("http://lake", "esap"))
    rucio.__dict__["client"] = client
    return OutputLake(rucio)


def test_files_of_many_products_cost_two_calls(lake: OutputLake, client: Client) -> None:
    other = "/ctao/irf/a/irf-2-g1"
    client.meta[f"{DATASET}/a.fits"] = {"esap_sha256": "ff" * 32}
    files = lake.product_files([DATASET, other])
    assert [(f.dataset, f.name, f.sha256) for f in files] == [
        (DATASET, "a.fits", "ff" * 32),
        (DATASET, "b.json", ""),
        (other, "a.fits", ""),
        (other, "b.json", ""),
    ]
    assert files[0] == LakeFile(f"{DATASET}/a.fits", DATASET, 3, "0000002a", "ff" * 32)
    assert client.calls == ["bulk_list_files 2", "get_metadata_bulk ALL 4"]


def test_no_product_costs_nothing(lake: OutputLake, client: Client) -> None:
    assert lake.product_files([]) == []
    assert client.calls == []


def test_copies_come_nearest_first_and_tape_last(lake: OutputLake, client: Client) -> None:
    lfn = f"{DATASET}/a.fits"
    client.rows[lfn] = {
        "name": lfn,
        "pfns": {
            "file:///tape/a": {"rse": "TAPE", "type": "TAPE", "priority": 1},
            "file:///far/a": {"rse": "FAR", "type": "DISK", "priority": 3},
            "file:///near/a": {"rse": "NEAR", "type": "DISK", "priority": 2},
        },
    }
    assert lake.replicas([lfn, f"{DATASET}/unknown"]) == {
        lfn: [
            Replica("NEAR", "file:///near/a"),
            Replica("FAR", "file:///far/a"),
            Replica("TAPE", "file:///tape/a"),
        ]
    }
    assert client.calls == ["list_replicas 2"]


def test_replicas_of_many_files_are_asked_for_in_bulk(lake: OutputLake, client: Client) -> None:
    lake.replicas([f"{DATASET}/{n}" for n in range(BULK + 1)])
    assert client.calls == [f"list_replicas {BULK}", "list_replicas 1"]


def test_only_closed_datasets_of_the_run_are_its_products(lake: OutputLake, client: Client) -> None:
    client.found = ["/ctao/dl3/a/one-g1", "/ctao/dl3/a/two-g1"]
    client.meta = {"/ctao/dl3/a/one-g1": {"is_open": True}, "/ctao/dl3/a/two-g1": {"is_open": False}}
    assert lake.published_by("dl3", "cta_reprocessing/run-1") == ["/ctao/dl3/a/two-g1"]
    assert (
        client.calls[0]
        == "list_dids dl3 {'kind': 'observation', 'esap_run': 'cta_reprocessing/run-1'} dataset"
    )
