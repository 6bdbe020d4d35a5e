from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.basket import Entry, InputRule
from esap_batch.irf_matching import CONFIGURATION, Fit
from esap_batch.jobs import InputFile
from esap_batch.partition import Split, Splitting
from esap_batch.selection import DataSelection, Policy, SelectionRefused, search_project, select

RULE = InputRule("a DL3 observation", "rucio", "dl3", "dl3_*.fits.gz", metadata={"data_level": "DL3"})
OWN, OTHER = "PI-1", "PI-2"
OBSERVATION: dict[str, Any] = {
    "project": OWN,
    "target": "Crab (toy)",
    "data_level": "DL3",
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod6-v1.1",
    "zenith_deg": 20.0,
    "azimuth_deg": 180.0,
    "start_time": "2026-11-05T22:00:00",
}
IRF: dict[str, Any] = {
    "esap_workflow": "cta_irf",
    "esap_state": "published",
    "esap_file": "irf.fits.gz",
    "request_period_start": "2026-11-01",
    "request_period_end": "2026-11-30",
    **{f"request_{k}": OBSERVATION[k] for k in (*CONFIGURATION, "zenith_deg", "azimuth_deg")},
}


class FakeCatalogue:
    """A lake in memory: observations with one event list and one index file each, and responses."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.known: dict[str, dict[str, Any]] = {}

    def put(self, obs_id: int, name: str = "", is_open: bool = False, **metadata: Any) -> str:
        dataset = name or f"/ctao/dl3/obs_{obs_id}"
        self.rows[dataset] = {"did_type": "DATASET", "is_open": is_open, "bytes": None, "adler32": None}
        self.known[dataset] = {**OBSERVATION, "obs_id": obs_id, **metadata}
        for file in (f"dl3_{obs_id}.fits.gz", "obs-index.fits.gz"):
            self.known[f"{dataset}/{file}"] = self.known[dataset]  # files have the metadata too
            self.rows[f"{dataset}/{file}"] = {
                "did_type": "FILE",
                "is_open": None,
                "bytes": 10,
                "adler32": f"{obs_id:08x}",
            }
        return dataset

    def put_irf(self, name: str = "irf-g1", is_open: bool = False, **metadata: Any) -> str:
        dataset = f"/ctao/irf/x/{name}"
        self.rows[dataset] = {"did_type": "DATASET", "is_open": is_open, "bytes": None, "adler32": None}
        file = f"{dataset}/irf.fits.gz"
        self.rows[file] = {"did_type": "FILE", "is_open": None, "bytes": 5, "adler32": "0000000f"}
        self.known[file] = {**IRF, **metadata}
        return dataset

    def find(self, scope: str, filters: Sequence[Mapping[str, Any]]) -> list[str]:
        return [
            name
            for name, meta in self.known.items()
            if name.split("/")[2] == scope and any(f.items() <= meta.items() for f in filters)
        ]

    def columns(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {n: self.rows[n] for n in names if n in self.rows}

    def metadata(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {n: self.known[n] for n in names if n in self.known}

    def files(self, datasets: Sequence[str]) -> dict[str, tuple[InputFile, ...]]:
        return {
            d: tuple(
                InputFile(n.rsplit("/", 1)[-1], n, row["bytes"], row["adler32"])
                for n, row in sorted(self.rows.items())
                if n.startswith(f"{d}/")
            )
            for d in datasets
        }

    def dataset_of(self, lfn: str) -> str:
        return lfn.rsplit("/", 1)[0]


@pytest.fixture
def lake() -> FakeCatalogue:
    made = FakeCatalogue()
    made.put_irf()
    return made


POLICY = Policy(
    rules=(RULE,),
    refuses=lambda project: "" if project == OWN else f"not permitted: project {project}",
    splitting=Splitting(Split.PER_OBSERVATION),
    fit=Fit(10, 90, (0.05, 25)),
)


def entries(*names: str) -> list[Entry]:
    return [Entry(f"basket.{n}", "rucio", name, "dl3") for n, name in enumerate(names)]


def reasons(selection: DataSelection) -> list[tuple[str, str]]:
    return [(u.entry.source, u.reason) for u in selection.unmatched]


def test_a_dataset_becomes_a_job_with_event_list_and_response(lake: FakeCatalogue) -> None:
    selection = select(entries(lake.put(7)), lake, POLICY)
    document = selection.document()
    assert document["units"] == [
        {
            "label": "observation 7",
            "parts": [
                {
                    "obs_id": 7,
                    "events": ["dl3_7.fits.gz"],
                    "irf": "irf_irf-g1.fits.gz",
                    "lfns": ["/ctao/dl3/obs_7/dl3_7.fits.gz", "/ctao/irf/x/irf-g1/irf.fits.gz"],
                }
            ],
        }
    ]
    assert [i["name"] for i in document["inputs"]] == ["dl3_7.fits.gz", "irf_irf-g1.fits.gz"]
    assert document["observations"][0]["irf"] == "/ctao/irf/x/irf-g1"
    assert json.loads(json.dumps(document)) == document


def test_every_entry_that_cannot_be_used_is_reported_in_the_order_of_the_basket(lake: FakeCatalogue) -> None:
    given = [
        Entry("basket.0", "zenodo", "42"),
        Entry("basket.1", "rucio", "/ctao/dl3/nowhere", "dl3"),
        Entry("basket.2", "rucio", lake.put(2, project=OTHER), "dl3"),
        Entry("basket.3", "rucio", lake.put(3, is_open=True), "dl3"),
        Entry("basket.4", "rucio", lake.put(4, data_level="DL0"), "dl3"),
        Entry("basket.5", "rucio", f"{lake.put(5)}/obs-index.fits.gz", "dl3"),
        Entry("basket.6", "rucio", lake.put(6), "dl3"),
        Entry("basket.7", "rucio", lake.put(7, zenith_deg=60.0), "dl3"),
    ]
    found = reasons(select(given, lake, replace(POLICY, fail_on_missing_irf=False)))
    assert [source for source, _ in found] == [f"basket.{n}" for n in (0, 1, 2, 3, 4, 5, 7)]
    words = ["no rule for archive zenodo", "not in the data lake", "not permitted", "its dataset is open"]
    words += ['data_level = "DL0"', "no file of it is named like dl3_*.fits.gz", "no IRF fits"]
    assert [(word, word in reason) for word, (_, reason) in zip(words, found, strict=True)] == [
        (word, True) for word in words
    ]


def test_of_what_a_user_may_not_read_nothing_is_told(lake: FakeCatalogue) -> None:
    with pytest.raises(SelectionRefused) as refusal:
        select(entries(lake.put(2, project=OTHER, data_level="DL0", is_open=True)), lake, POLICY)
    assert "not permitted: project PI-2" in str(refusal.value)
    assert "DL0" not in str(refusal.value)


def test_files_of_one_observation_and_the_observation_itself_count_once(lake: FakeCatalogue) -> None:
    dataset = lake.put(1)
    selection = select(entries(f"{dataset}/dl3_1.fits.gz", dataset), lake, POLICY)
    assert [len(p.files) for u in selection.units for p in u.parts] == [1]
    assert selection.unmatched == ()


def test_an_observation_is_taken_from_one_dataset_only(lake: FakeCatalogue) -> None:
    first, again = lake.put(1), lake.put(1, name="/ctao/dl3/again")
    selection = select(entries(first, again), lake, POLICY)
    assert [c.observation.dataset for c in selection.chosen] == [first]
    assert reasons(selection) == [("basket.1", f"observation 1 is taken from {first} already (basket.0)")]


def test_files_of_equal_names_are_told_apart_in_units_and_inputs(lake: FakeCatalogue) -> None:
    files = []
    for obs_id in (1, 2):
        dataset = lake.put(obs_id)
        lake.rows[f"{dataset}/dl3_events.fits.gz"] = lake.rows.pop(f"{dataset}/dl3_{obs_id}.fits.gz")
        files.append(f"{dataset}/dl3_events.fits.gz")
    one_job = replace(POLICY, splitting=Splitting(Split.PER_FILES, 2))
    document = select(entries(*files), lake, one_job).document()
    names = {i["lfn"]: i["name"] for i in document["inputs"]}
    assert len({names[f] for f in files}) == 2
    (unit,) = document["units"]
    assert [part["events"] for part in unit["parts"]] == [[names[f]] for f in files]


def test_a_search_finds_the_project_and_takes_the_newest(lake: FakeCatalogue) -> None:
    lake.put(1, product_creation_time="2026-11-06")
    newer = lake.put(1, name="/ctao/dl3/newer", product_creation_time="2026-11-07")
    lake.put(2, project=OTHER)
    lake.put(3, data_level="DL2")
    found = search_project(lake, [RULE], OWN)
    assert [e.name for e in found] == [newer, "/ctao/dl3/obs_1"]
    assert {e.source for e in found} == {"project PI-1"}
    assert [c.observation.dataset for c in select(found, lake, POLICY).chosen] == [newer]


def test_a_search_leaves_out_what_is_superseded_and_says_so(lake: FakeCatalogue) -> None:
    lake.put(1, esap_state="superseded", esap_superseded_by="/ctao/dl3/other")
    lake.put(2)
    selection = select(search_project(lake, [RULE], OWN), lake, POLICY)
    assert reasons(selection) == [("project PI-1", "it is superseded by /ctao/dl3/other")]


def test_what_is_missing_fails_the_run_where_the_policy_says_so(lake: FakeCatalogue) -> None:
    some = entries(lake.put(1), lake.put(2, zenith_deg=60.0))
    with pytest.raises(
        SelectionRefused, match=r"on_missing_irf = fail.*\n- basket.1.*zenith angle is 40 deg"
    ):
        select(some, lake, POLICY)
    with pytest.raises(SelectionRefused, match="unmatched = fail"):
        select(some, lake, replace(POLICY, fail_on_missing_irf=False, fail_on_unmatched=True))


def test_a_search_that_finds_nothing_is_refused(lake: FakeCatalogue) -> None:
    with pytest.raises(SelectionRefused, match=r"nothing is left to be analysed:\n.*nothing was found"):
        select([], lake, POLICY)


def test_metadata_to_group_by_must_be_there(lake: FakeCatalogue) -> None:
    policy = replace(POLICY, splitting=Splitting(Split.PER_GROUP, group_by="sb_id"))
    with pytest.raises(SelectionRefused, match="group_by = 'sb_id'"):
        select(entries(lake.put(1)), lake, policy)


def test_a_response_that_is_not_published_is_none() -> None:
    lake = FakeCatalogue()
    lake.put_irf(is_open=True)
    with pytest.raises(SelectionRefused, match="no IRF is published"):
        select(entries(lake.put(1)), lake, POLICY)


def test_the_digest_tells_data_responses_and_their_division(lake: FakeCatalogue) -> None:
    some = entries(lake.put(1), lake.put(2))
    digest = select(some, lake, POLICY).digest
    assert select(list(reversed(some)), lake, POLICY).digest == digest
    together = replace(POLICY, splitting=Splitting(Split.PER_FILES, files=2))
    assert select(some, lake, together).digest != digest
    assert select(some[:1], lake, POLICY).digest != digest
    lake.rows["/ctao/irf/x/irf-g1/irf.fits.gz"]["adler32"] = "000000ff"
    assert select(some, lake, POLICY).digest != digest


def test_it_says_what_a_facility_needs_and_what_the_product_is_about(lake: FakeCatalogue) -> None:
    selection = select([*entries(lake.put(1), lake.put(2)), Entry("basket.9", "vo", "x")], lake, POLICY)
    places = {f.lfn: ["CSCS-DISK"] for f in selection.inputs}
    assert selection.needs(places) == {"jobs": 2, "input_rses": {"CSCS-DISK": 25}}
    assert selection.about == {
        "project": "PI-1",
        "target": "Crab (toy)",
        "selected_obs_ids": "1, 2",
        "selected_irfs": "/ctao/irf/x/irf-g1",
        "start_time": "2026-11-05T22:00:00",
        "selected_observations": 2,
        "selected_unmatched": 1,
    }


def test_it_tells_the_time_of_all_observations_and_where_the_only_one_has_looked(lake: FakeCatalogue) -> None:
    looked: dict[str, Any] = {"ra_pnt_deg": 83.6, "dec_pnt_deg": 22.7}
    first = lake.put(1, **looked, stop_time="2026-11-05T22:20:00")
    second = lake.put(2, **looked, start_time="2026-11-06T01:00:00", stop_time="2026-11-06T01:20:00")
    about = select(entries(first, second), lake, POLICY).about
    assert (about["start_time"], about["stop_time"]) == ("2026-11-05T22:00:00", "2026-11-06T01:20:00")
    assert "ra_pnt_deg" not in about
    assert looked.items() <= select(entries(first), lake, POLICY).about.items()
    unknown = lake.put(3)
    assert "stop_time" not in select(entries(first, unknown), lake, POLICY).about


def test_without_need_of_a_response_none_is_looked_for() -> None:
    lake = FakeCatalogue()
    name = lake.put(1)
    selection = select(entries(name), lake, replace(POLICY, fit=None))
    assert [(c.observation.obs_id, c.irf) for c in selection.chosen] == [(1, None)]
    assert [f.name for f in selection.inputs] == ["dl3_1.fits.gz"]
    document = selection.document()
    assert "irf" not in document["observations"][0]
    (part,) = document["units"][0]["parts"]
    assert part == {"obs_id": 1, "events": ["dl3_1.fits.gz"], "lfns": [f"{name}/dl3_1.fits.gz"]}
    assert "selected_irfs" not in selection.about
    assert selection.needs({f"{name}/dl3_1.fits.gz": ["CSCS-DISK"]})["input_rses"] == {"CSCS-DISK": 10}
    lake.put_irf()
    with_response = select(entries(name), lake, POLICY)
    assert with_response.digest != selection.digest
