"""What a run would read, with a lake that has three observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from esap_batch.identity import load_identities
from esap_batch.jobs import InputFile
from esap_batch.offers import Work
from esap_batch.request import resolve
from esap_batch.workflows import load_workflow
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from portal.core import inputs
from portal.core.refusals import BadRequest

FILES = {
    f"/ctao/acada/obs_{n}": tuple(
        InputFile(f"t{t}", f"/ctao/acada/obs_{n}/t{t}", 1000 * n, "0" * 8, "") for t in (1, 2)
    )
    for n in (1, 2, 3)
}


class Lake:
    """Finds every observation, two telescopes each."""

    def __init__(self, _lake: Any) -> None:
        self.filters: list[Any] = []

    def find(self, _scope: str, filters: Sequence[Any]) -> list[str]:
        return [] if "9" in str(filters) else sorted(FILES)

    def files(self, names: Sequence[str]) -> dict[str, tuple[InputFile, ...]]:
        return {name: FILES[name] for name in names}

    def metadata(self, lfns: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {lfn: {"tel_id": lfn[-1]} for lfn in lfns}

    def places(self, lfns: Sequence[str]) -> dict[str, list[str]]:
        return {lfn: ["LAPALMA-TAPE"] for lfn in lfns}


@pytest.fixture(autouse=True)
def _lake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RucioLake, "from_connection", lambda _name: None)
    monkeypatch.setattr(inputs, "BulkLake", Lake)


def survey(**request: Any) -> Work:
    workflow = load_workflow(config_dir(), "cta_reprocessing")
    identity = load_identities(config_dir() / "identity.yaml").identity_from_groups("alice", ["ctao/users"])
    steering = resolve({"processor": "esap-noop", **request}, workflow, "alice", "")
    return inputs.SURVEYS["cta_reprocessing"](steering, identity, "rucio_lake")


def test_a_reprocessing_has_a_job_for_each_observation_and_reads_its_files() -> None:
    work = survey(obs_ids="1-3")
    assert work.jobs == 3
    assert sum(work.files.values()) == 12_000
    assert set(work.places) == set(work.files)
    assert "published already" in work.unknown


def test_telescopes_are_taken_out() -> None:
    work = survey(obs_ids="1-3", telescopes="2")
    assert sorted(work.files) == [f"/ctao/acada/obs_{n}/t2" for n in (1, 2, 3)]


def test_what_selects_nothing_is_refused() -> None:
    with pytest.raises(BadRequest, match="there are none"):
        survey(obs_ids="9")
    with pytest.raises(BadRequest, match="there are none"):
        survey(obs_ids="1-3", telescopes="7")


def test_what_reads_nothing_of_the_lake_asks_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "InputLake", lambda _lake: None)
    workflow = load_workflow(config_dir(), "fair_analysis")
    identity = load_identities(config_dir() / "identity.yaml").identity_from_groups("frank", ["fair/users"])
    work = inputs.SURVEYS["fair_analysis"](resolve({}, workflow, "frank", ""), identity, "rucio_lake")
    assert (work.jobs, work.files, work.places) == (1, {}, {})


def test_data_that_may_not_be_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "InputLake", lambda _lake: None)
    workflow = load_workflow(config_dir(), "fair_analysis")
    identity = load_identities(config_dir() / "identity.yaml").identity_from_groups("frank", ["fair/users"])
    steering = resolve({"project": "PI-2026-001"}, workflow, "frank", "")
    with pytest.raises(BadRequest, match="frank may not read project PI-2026-001"):
        inputs.SURVEYS["fair_analysis"](steering, identity, "rucio_lake")
