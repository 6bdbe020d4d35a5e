"""The lake hook against a real Rucio."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from esap_batch.products import ProductFile
from hooks.errors import BackendRefused, BackendUnavailable
from hooks.rucio_lake import RucioLake, RucioSettings
from hooks.storage_element import StorageElement
from localgrid.grid import Grid
from localgrid.signin import sign_in

HERE, ELSEWHERE = "LAPALMA-DISK", "CSCS-DISK"
META = {"esap_run": "d/r1", "esap_owner": "alice"}


@pytest.fixture
def lake(lake_settings: RucioSettings) -> RucioLake:
    return RucioLake(lake_settings)


@pytest.fixture
def base() -> str:
    return f"/ctao/irf/test/{uuid.uuid4().hex[:12]}"


def stored(lake: RucioLake, dataset: str, name: str, content: bytes = b"data") -> ProductFile:
    lfn = f"{dataset}/{name}"
    pfn = lake.pfns(HERE, [lfn])[lfn]
    put = StorageElement().put(pfn, content)
    return ProductFile(name, lfn, pfn, put.size, put.adler32)


def test_of_many_equal_claims_one_is_granted(
    lake: RucioLake, lake_settings: RucioSettings, base: str
) -> None:
    lakes = [RucioLake(lake_settings) for _ in range(8)]

    def claim(n: int) -> bool:
        return lakes[n % 8].claim(f"{base}-g1", {"esap_run": f"d/r{n}"})

    with ThreadPoolExecutor(8) as pool:
        granted = list(pool.map(claim, range(100)))
    assert granted.count(True) == 1
    assert [c.run for c in lake.claims(base)] == [f"d/r{granted.index(True)}"]


def test_a_claim_tells_whose_it_is_from_its_first_moment(lake: RucioLake, base: str) -> None:
    assert lake.claims(base) == []
    assert lake.claim(f"{base}-g1", META)
    assert lake.metadata(f"{base}-g1")["esap_owner"] == "alice"
    found = lake.claims(base)
    assert [(c.generation, c.run, c.is_published) for c in found] == [(1, "d/r1", False)]


def test_files_are_added_once_and_a_closed_dataset_is_published(lake: RucioLake, base: str) -> None:
    dataset = f"{base}-g1"
    lake.claim(dataset, META)
    files = [stored(lake, dataset, n) for n in ("a.json", "b.json")]
    lake.add_files(dataset, HERE, files[:1])
    for _ in range(2):
        lake.add_files(dataset, HERE, files)
        lake.close(dataset)
    assert lake.is_published(dataset)
    assert sorted(f["name"] for f in lake.files(dataset)) == [f.lfn for f in files]
    assert {f["adler32"] for f in lake.files(dataset)} == {files[0].adler32}


def test_a_file_of_another_checksum_under_a_known_name_is_refused(lake: RucioLake, base: str) -> None:
    dataset = f"{base}-g1"
    lake.claim(dataset, META)
    one = stored(lake, dataset, "a.json")
    lake.add_files(dataset, HERE, [one])
    with pytest.raises(BackendRefused, match=r"a\.json"):
        lake.add_files(dataset, HERE, [replace(one, adler32="0badcafe")])


def test_a_rule_is_adopted_and_really_copies(lake: RucioLake, base: str, wait_for: Any) -> None:
    dataset = f"{base}-g1"
    lake.claim(dataset, META)
    file = stored(lake, dataset, "a.json", b"precious")
    lake.add_files(dataset, HERE, [file])
    rule = lake.add_rule(dataset, ELSEWHERE)
    assert lake.add_rule(dataset, ELSEWHERE) == rule
    assert lake.rules(dataset) == {ELSEWHERE: rule}
    lake.close(dataset)
    wait_for(lambda: lake.rule(rule)["state"] == "OK")
    copy = StorageElement().stat(lake.pfns(ELSEWHERE, [file.lfn])[file.lfn])
    assert copy is not None
    assert copy.adler32 == file.adler32


def test_a_dataset_is_found_by_its_metadata(lake: RucioLake, base: str) -> None:
    lake.claim(f"{base}-g1", META)
    mark = uuid.uuid4().hex
    lake.set_metadata(f"{base}-g1", {"request_zenith_deg": 20.0, "mark": mark})
    assert lake.find("irf", {"mark": mark, "request_zenith_deg.lt": 30}) == [f"{base}-g1"]
    assert lake.find("irf", {"mark": mark, "request_zenith_deg.gt": 30}) == []


def test_a_wrong_password_is_refused(lake_settings: RucioSettings) -> None:
    wrong = {**lake_settings.credentials, "password": "wrong", "username": "mallory"}
    with pytest.raises(BackendRefused):
        RucioLake(replace(lake_settings, credentials=wrong)).claims("/ctao/irf/x")


def test_a_lake_that_is_away_is_named(lake_settings: RucioSettings) -> None:
    away = RucioLake(replace(lake_settings, url="http://127.0.0.1:9"))
    with pytest.raises(BackendUnavailable, match=r"Rucio at http://127\.0\.0\.1:9 does not answer"):
        away.claims("/ctao/irf/x")


@pytest.mark.parametrize("user", ["alice", "dave", "carol"])
@pytest.mark.parametrize("path", ["/accounts/whoami", "/scopes/", "/dids/irf/dids/search?type=all"])
def test_users_have_no_way_of_their_own_into_the_lake(grid: Grid, user: str, path: str) -> None:
    token = sign_in(grid.info, user, audience="rucio")["access_token"]
    answer = httpx.get(f"{grid.info['rucio']['url']}{path}", headers={"X-Rucio-Auth-Token": token})
    assert answer.status_code == 401, answer.text
