from __future__ import annotations

import json

import pytest
from prov.model import ProvDocument

from esap_batch.jobs import InputFile
from esap_batch.products import ProductFile
from esap_batch.provenance import BatchActivity, Production, prov_json
from hooks.lake_outputs import LakeFile
from portal.core.phases import Phase
from portal.results.papers import bundled, crate_of, parents_of, provenances
from tests.unit.portal.results.conftest import DATASET, STEERING, Lake, finished, job

OTHER = DATASET.replace("-g1", "-g2")
PARENT = "/ctao/dl0/x/y.fits.fz"


def provenance(dataset: str) -> bytes:
    def made(name: str) -> ProductFile:
        return ProductFile(name, f"{dataset}/{name}", "", 5, "0000002a")

    step = BatchActivity(
        group="esap-1",
        step="submit_jobs",
        facility="lapalma",
        jobs=2,
        started="2026-11-21T10:00:00+00:00",
        finished="2026-11-21T10:01:00+00:00",
        runtime="plain",
        software=({"name": "esap-fits", "version": "0.2.0"},),
    )
    production = Production(
        production_id=dataset.rsplit("/", 1)[-1],
        dataset=dataset,
        run="cta_irf/uws-7",
        owner="alice",
        service_version="0.1.0",
        steering=made("steering.json"),
        products=(made("irf.fits.gz"),),
        steps=(step,),
        read={step.group: (InputFile("y.fits.fz", PARENT, 7, "0000002b"),)},
    )
    return json.dumps(prov_json(production)).encode()


@pytest.fixture
def files(lake: Lake) -> list[LakeFile]:
    for dataset in (DATASET, OTHER):
        lake.put("irf.fits.gz", b"12345", dataset=dataset)
        lake.put("provenance.json", provenance(dataset), dataset=dataset)
    return [*lake.contents[DATASET], *lake.contents[OTHER]]


def test_provenance_of_several_products_is_one_document_with_bundles(files: list[LakeFile]) -> None:
    text = "".join(bundled(provenances(files)))
    assert json.loads(text)["bundle"].keys() == {f"esap:{d.rsplit('/', 1)[-1]}" for d in (DATASET, OTHER)}
    document = ProvDocument.deserialize(content=text, format="json")
    assert len(list(document.bundles)) == 2


def test_parents_are_what_was_used_and_neither_steering_file_nor_product(files: list[LakeFile]) -> None:
    assert parents_of(files) == (PARENT,)
    assert parents_of([f for f in files if f.name != "provenance.json"]) == ()


def test_a_crate_of_a_job(files: list[LakeFile], lake: Lake) -> None:
    crate = crate_of(job(), finished(), lake.contents[DATASET], "", "https://esap.example")
    found = {one["@id"]: one for one in crate["@graph"]}
    assert found["irf.fits.gz"]["contentUrl"] == "https://esap.example/batch/jobs/7/results/irf.fits.gz"
    assert found["#value-zenith_deg"]["value"] == "20.0"
    assert "#value-job_name" not in found, "fields that are empty are no input"
    assert found["cta_irf.py"]["name"] == "CTA instrument response function"
    assert found["#software-esap-fits-0.2.0"]["softwareVersion"] == STEERING["software"][0]["version"]  # type: ignore[index]
    (action,) = [one for one in found.values() if one["@type"] == "CreateAction"]
    assert action["url"] == "https://esap.example/batch/jobs/7"
    assert {"@id": f"#lake{PARENT}"} in action["object"]


@pytest.mark.parametrize(
    ("phase", "status"), [(Phase.ERROR, "Failed"), (Phase.ABORTED, "Failed"), (Phase.EXECUTING, "Active")]
)
def test_a_crate_of_a_job_without_product(lake: Lake, phase: Phase, status: str) -> None:
    of = job(phase=phase, end_time=None)
    crate = crate_of(of, finished(report_end=None), [], "it failed", "https://esap.example")
    (action,) = [one for one in crate["@graph"] if one["@type"] == "CreateAction"]
    assert action["actionStatus"].endswith(f"{status}ActionStatus")
    assert action.get("error", "") == ("it failed" if status == "Failed" else "")
