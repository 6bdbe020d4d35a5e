from __future__ import annotations

from typing import Any

import pytest
from rocrate.rocrate import ROCrate

from esap_batch.crate import CrateFile, Execution, crate_metadata

PROPERTIES = {
    "zenith_deg": {"type": "number", "title": "Zenith angle", "default": 20, "x-esap-unit": "deg"},
    "n_jobs": {"type": "integer", "title": "Jobs"},
    "force": {"type": "boolean", "title": "Again"},
    "ERANGE": {"type": "array", "title": "Energies"},
    "note": {"type": ["string", "null"], "title": "Note"},
    "unused": {"type": "string", "title": "Not asked for"},
}
OUTPUT = CrateFile(
    path="irf.fits.gz",
    name="irf.fits.gz",
    size=5760,
    mime_type="application/gzip",
    lfn="/ctao/irf/a/irf.fits.gz",
    sha256="ab" * 32,
    address="https://esap.example/batch/jobs/7/results/irf.fits.gz",
)


def execution(**changes: Any) -> Execution:
    known: dict[str, Any] = {
        "run": "cta_irf/uws-7",
        "workflow": "cta_irf",
        "title": "CTA instrument response function",
        "description": "Simulate and publish.",
        "source": "cta_irf.py",
        "properties": PROPERTIES,
        "request": {"zenith_deg": 20.0, "n_jobs": 2, "force": False, "ERANGE": [1, 2], "note": "x", "odd": 1},
        "owner": "alice",
        "facility": "lapalma",
        "started": "2026-11-21T10:00:00+00:00",
        "ended": "2026-11-21T10:05:00+00:00",
        "succeeded": True,
        "address": "https://esap.example/batch/jobs/7",
        "service_version": "0.1.0",
        "engine_version": "3.3.2",
        "software": ({"name": "esap-fits", "version": "0.2.0"},),
        "inputs": ("/ctao/dl0/x/y.fits",),
        "outputs": (OUTPUT,),
    }
    return Execution(**{**known, **changes})


def graph(**changes: Any) -> dict[str, dict[str, Any]]:
    return {one["@id"]: one for one in crate_metadata(execution(**changes))["@graph"]}


def by_type(kind: str, **changes: Any) -> list[dict[str, Any]]:
    return [one for one in graph(**changes).values() if kind in one["@type"]]


def test_the_root_is_as_ro_crate_1_1_has_it() -> None:
    found = graph()
    assert found["ro-crate-metadata.json"]["conformsTo"] == [
        {"@id": "https://w3id.org/ro/crate/1.1"},
        {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
    ]
    assert found["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = found["./"]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= set(root)
    assert {one["@id"] for one in root["hasPart"]} == {"cta_irf.py", "irf.fits.gz"}


def test_it_says_which_profiles_it_follows() -> None:
    found = graph()
    profiles = [one["@id"] for one in found["./"]["conformsTo"]]
    assert profiles == [
        "https://w3id.org/ro/wfrun/process/0.5",
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
    ]
    assert {found[profile]["@type"] for profile in profiles} == {"CreativeWork"}


def test_the_main_entity_is_the_workflow_in_a_language() -> None:
    found = graph()
    workflow = found[found["./"]["mainEntity"]["@id"]]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert workflow["name"] == "CTA instrument response function"
    language = found[workflow["programmingLanguage"]["@id"]]
    assert (language["@type"], language["name"], language["version"]) == (
        "ComputerLanguage",
        "Apache Airflow",
        "3.3.2",
    )


def test_the_action_ties_workflow_person_values_and_files_together() -> None:
    found = graph()
    (action,) = by_type("CreateAction")
    assert found["./"]["mentions"] == {"@id": action["@id"]}
    assert action["instrument"] == found["./"]["mainEntity"]
    assert found[action["agent"]["@id"]] == {"@id": "#user-alice", "@type": "Person", "name": "alice"}
    assert (action["startTime"], action["endTime"]) == (
        "2026-11-21T10:00:00+00:00",
        "2026-11-21T10:05:00+00:00",
    )
    assert action["result"] == {"@id": "irf.fits.gz"}
    inputs = [found[one["@id"]] for one in action["object"]]
    assert {one["name"]: one.get("value") for one in inputs} == {
        "zenith_deg": "20.0",
        "n_jobs": "2",
        "force": "false",
        "ERANGE": "[1, 2]",
        "note": "x",
        "odd": "1",
        "y.fits": None,
    }


@pytest.mark.parametrize(("succeeded", "status"), [(True, "Completed"), (False, "Failed"), (None, "Active")])
def test_the_status_is_schema_orgs(succeeded: bool | None, status: str) -> None:
    (action,) = by_type("CreateAction", succeeded=succeeded)
    assert action["actionStatus"] == f"http://schema.org/{status}ActionStatus"


def test_a_failed_run_says_why_and_one_that_goes_on_has_no_end() -> None:
    (action,) = by_type("CreateAction", succeeded=False, error="no facility fits", ended="", outputs=())
    assert action["error"] == "no facility fits"
    assert "endTime" not in action
    assert action.get("result", []) == []


def test_only_a_failed_run_has_an_error() -> None:
    (action,) = by_type("CreateAction", error="left over")
    assert "error" not in action


def test_each_value_is_an_example_of_a_parameter_and_the_other_way_round() -> None:
    found = graph()
    parameters = {p["name"]: p for p in by_type("FormalParameter")}
    assert {name: p["additionalType"] for name, p in parameters.items()} == {
        "zenith_deg": "Float",
        "n_jobs": "Integer",
        "force": "Boolean",
        "ERANGE": "PropertyValue",
        "note": "Text",
    }
    for parameter in parameters.values():
        value = found[parameter["workExample"]["@id"]]
        assert value["exampleOfWork"] == {"@id": parameter["@id"]}
        assert parameter["conformsTo"]["@id"].startswith("https://bioschemas.org/profiles/FormalParameter/")
    assert found["#value-zenith_deg"]["unitText"] == "deg"
    assert parameters["zenith_deg"]["defaultValue"] == "20"


def test_a_file_has_size_type_checksum_and_address() -> None:
    assert graph()["irf.fits.gz"] == {
        "@id": "irf.fits.gz",
        "@type": "File",
        "name": "irf.fits.gz",
        "contentSize": "5760",
        "encodingFormat": "application/gzip",
        "identifier": "/ctao/irf/a/irf.fits.gz",
        "sha256": "ab" * 32,
        "contentUrl": "https://esap.example/batch/jobs/7/results/irf.fits.gz",
    }


def test_nothing_is_referred_to_that_is_not_there_but_public_addresses() -> None:
    found = graph()

    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return {one for part in node for one in references(part)}
        if isinstance(node, dict):
            return {node["@id"]} if set(node) == {"@id"} else references(list(node.values()))
        return set()

    missing = {i for one in found.values() for i in references(list(one.values())) if i not in found}
    assert all(i.startswith(("https://", "http://schema.org/")) for i in missing), missing


def test_the_library_reads_it_back() -> None:
    crate = ROCrate(crate_metadata(execution()))
    assert crate.mainEntity.id == "cta_irf.py"
    assert [file.id for file in crate.get_by_type("File", exact=True)] == ["irf.fits.gz"]
    (action,) = crate.get_by_type("CreateAction")
    assert action["agent"]["name"] == "alice"


def test_names_with_blanks_and_slashes_are_one_entity_each() -> None:
    outputs = (
        CrateFile("a b/c.json", "c.json", 1, "application/json"),
        CrateFile("ü.png", "ü.png", 2, "image/png"),
    )
    files = [one for one in graph(outputs=outputs).values() if one["@type"] == "File"]
    assert sorted(one["name"] for one in files) == ["c.json", "ü.png"]
    assert all(" " not in one["@id"] for one in files)
