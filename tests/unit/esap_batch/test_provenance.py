from __future__ import annotations

import json
from dataclasses import replace

from prov.model import ProvActivity, ProvDocument, ProvEntity

from esap_batch.jobs import InputFile
from esap_batch.products import ProductFile
from esap_batch.provenance import BatchActivity, Production, prov_json

SOFTWARE = ({"name": "esap-fits", "version": "0.2.0"},)
STEPS = tuple(
    BatchActivity(
        f"g{n}", step, "lapalma", 8, f"2026-01-01T00:0{n}:00Z", f"2026-01-01T00:0{n}:30Z", "plain", SOFTWARE
    )
    for n, step in enumerate(("submit_simulation", "submit_merge"))
)
FILES = tuple(ProductFile(n, f"/ctao/irf/x/{n}", "file:///x", 5, "0000abcd", "ff") for n in ("irf", "png"))
PRODUCTION = Production("p-g1", "/ctao/irf/x", "cta_irf/r1", "alice", "0.1.0", FILES[0], FILES, STEPS)


def test_another_library_reads_it_back() -> None:
    document = ProvDocument.deserialize(content=json.dumps(prov_json(PRODUCTION)), format="json")
    activities = {str(a.identifier) for a in document.get_records(ProvActivity)}
    assert activities == {"esap:run/p-g1", "esap:batch/g0", "esap:batch/g1"}
    assert len(list(document.get_records(ProvEntity))) == 3


def test_products_come_from_the_last_step_and_steps_from_each_other() -> None:
    document = prov_json(PRODUCTION)
    assert {g["prov:activity"] for g in document["wasGeneratedBy"].values()} == {"esap:batch/g1"}
    chain = {i["prov:informed"]: i["prov:informant"] for i in document["wasInformedBy"].values()}
    assert chain == {"esap:batch/g0": "esap:run/p-g1", "esap:batch/g1": "esap:batch/g0"}


def test_it_names_owner_software_and_checksums() -> None:
    document = prov_json(PRODUCTION)
    assert "esap:user/alice" in document["agent"]
    assert document["agent"]["esap:software/esap-fits-0.2.0"]["esap:version"] == "0.2.0"
    assert document["entity"]["ctao:ctao/irf/x/irf"]["esap:adler32"] == "0000abcd"


def test_it_names_the_images_that_payloads_ran_in() -> None:
    contained = replace(STEPS[1], runtime="rootfs", images=("0f", "1e"))
    document = prov_json(replace(PRODUCTION, steps=(STEPS[0], contained)))
    assert "esap:image_sha256" not in document["activity"]["esap:batch/g0"]
    assert document["activity"]["esap:batch/g1"]["esap:image_sha256"] == ["0f", "1e"]
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    (last,) = [a for a in read.get_records(ProvActivity) if str(a.identifier) == "esap:batch/g1"]
    assert {str(v) for name, v in last.attributes if str(name) == "esap:image_sha256"} == {"0f", "1e"}


def test_a_product_without_steps_is_still_described() -> None:
    bare = Production("p", "/ctao/irf/x", "d/r", "bob", "0", FILES[0], FILES, ())
    assert {g["prov:activity"] for g in prov_json(bare)["wasGeneratedBy"].values()} == {"esap:run/p"}


def test_each_batch_has_used_what_its_jobs_have_read() -> None:
    raw = InputFile("local.fits", "/ctao/dl0/x/events.fits", 7, "0000002a")
    own = InputFile("png", FILES[1].lfn, 5, "0000abcd")
    document = prov_json(replace(PRODUCTION, read={"g0": (raw,), "g1": (own,)}))
    used = [(u["prov:activity"], u["prov:entity"]) for u in document["used"].values()]
    assert ("esap:batch/g0", "ctao:ctao/dl0/x/events.fits") in used
    assert ("esap:batch/g1", "ctao:ctao/irf/x/png") in used
    assert len(used) == 3 + 2
    entity = document["entity"]["ctao:ctao/dl0/x/events.fits"]
    assert entity["prov:label"] == "events.fits", "as the lake names it, not the job's directory"
    assert document["entity"]["ctao:ctao/irf/x/png"]["esap:sha256"] == "ff", "a product that was read too"
