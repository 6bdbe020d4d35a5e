"""A run as a Workflow Run RO-Crate (profile 0.5, RO-Crate 1.1): what was asked, what ran, what came out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

RO_CRATE = "1.1"
WORKFLOW_PROFILE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_PROFILE: ("Workflow RO-Crate", "1.0"),
}
BIOSCHEMAS_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
BIOSCHEMAS_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
SCHEMA_ORG = "http://schema.org"
AIRFLOW = "https://w3id.org/workflowhub/workflow-ro-crate#airflow"
_TYPES = {"string": "Text", "integer": "Integer", "number": "Float", "boolean": "Boolean"}


@dataclass(frozen=True)
class CrateFile:
    """A file that the run has made. `path` is its place in the crate, `address` where else it can be had."""

    path: str
    name: str
    size: int
    mime_type: str
    lfn: str = ""
    sha256: str = ""
    address: str = ""


@dataclass(frozen=True)
class Execution:
    """All that a crate says of a run. Times are ISO 8601 with +00:00, empty when there is none yet.

    `properties` are the request's fields with the schema of each; `source` is the place of the workflow's
    own code in the crate; `inputs` are LFNs; `succeeded` is None while the run goes on.
    """

    run: str
    workflow: str
    title: str
    description: str
    source: str
    properties: Mapping[str, Mapping[str, Any]]
    request: Mapping[str, Any]
    owner: str
    facility: str
    started: str
    ended: str
    succeeded: bool | None
    error: str = ""
    address: str = ""
    service_version: str = ""
    engine_version: str = ""
    software: tuple[Mapping[str, str], ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[CrateFile, ...] = field(default=())


def crate_metadata(execution: Execution) -> dict[str, Any]:
    """Make the document `ro-crate-metadata.json`."""
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=RO_CRATE)
    crate.metadata.extra_contexts.append(CONTEXT)
    _describe_root(crate, execution)
    parameters = [
        _parameter(crate, name, schema)
        for name, schema in execution.properties.items()
        if name in execution.request
    ]
    workflow = _workflow(crate, execution, parameters)
    outputs = [_output(crate, one) for one in execution.outputs]
    _action(crate, execution, workflow, outputs)
    crate.metadata["conformsTo"] = [{"@id": crate.metadata.profile}, {"@id": WORKFLOW_PROFILE}]
    document: dict[str, Any] = crate.metadata.generate()
    return document


def _describe_root(crate: ROCrate, execution: Execution) -> None:
    crate.name = f"{execution.title}: {execution.run}"
    crate.description = (
        f"{execution.description} Run {execution.run} of {execution.owner}, with all it has made."
    )
    crate.root_dataset["datePublished"] = execution.ended or execution.started
    licence = {
        "@type": "CreativeWork",
        "name": "No licence has been declared",
        "description": "Ask the owner of the run before you pass these files on.",
    }
    crate.license = _entity(crate, "#licence", licence)
    crate.root_dataset["conformsTo"] = [
        _entity(crate, address, {"@type": "CreativeWork", "name": name, "version": version})
        for address, (name, version) in PROFILES.items()
    ]


def _workflow(crate: ROCrate, execution: Execution, parameters: list[Any]) -> Any:
    from rocrate.model import ComputationalWorkflow

    language = {
        "@type": "ComputerLanguage",
        "name": "Apache Airflow",
        "identifier": {"@id": "https://airflow.apache.org/"},
        "url": {"@id": "https://airflow.apache.org/"},
        **({"version": execution.engine_version} if execution.engine_version else {}),
    }
    properties = {
        "name": execution.title,
        "description": execution.description,
        "encodingFormat": "text/x-python",
        **({"version": execution.service_version} if execution.service_version else {}),
    }
    workflow = crate.add(ComputationalWorkflow(crate, dest_path=execution.source, properties=properties))
    workflow["programmingLanguage"] = _entity(crate, AIRFLOW, language)
    workflow["conformsTo"] = {"@id": BIOSCHEMAS_WORKFLOW}
    workflow["input"] = _one_or_many(parameters)
    workflow["hasPart"] = _one_or_many([_software(crate, one) for one in execution.software])
    crate.mainEntity = workflow
    return workflow


def _software(crate: ROCrate, one: Mapping[str, str]) -> ContextEntity:
    name, version = one["name"], one.get("version", "")
    told = {"@type": "SoftwareApplication", "name": name, "softwareVersion": version}
    return _entity(crate, f"#software-{quote(name)}-{quote(version)}", {k: v for k, v in told.items() if v})


def _parameter(crate: ROCrate, name: str, schema: Mapping[str, Any]) -> ContextEntity:
    given = schema.get("type", "string")
    kinds = [given] if isinstance(given, str) else [k for k in given if k != "null"]
    told = {
        "@type": "FormalParameter",
        "name": name,
        "additionalType": _TYPES.get(kinds[0] if kinds else "", "PropertyValue"),
        "valueRequired": False,
        "conformsTo": {"@id": BIOSCHEMAS_PARAMETER},
        "description": str(schema.get("title", name)),
    }
    if schema.get("default") is not None:
        told["defaultValue"] = _text(schema["default"])
    return _entity(crate, f"#parameter-{quote(name)}", told)


def _action(crate: ROCrate, execution: Execution, workflow: Any, outputs: list[Any]) -> None:
    status = {True: "Completed", False: "Failed", None: "Active"}[execution.succeeded]
    told = {
        "@type": "CreateAction",
        "name": f"Run {execution.run}",
        "description": f"at {execution.facility}" if execution.facility else "",
        "startTime": execution.started,
        "endTime": execution.ended,
        "actionStatus": f"{SCHEMA_ORG}/{status}ActionStatus",
        "error": execution.error if execution.succeeded is False else "",
        "url": execution.address,
    }
    action = _entity(crate, f"#run-{quote(execution.run, safe='')}", {k: v for k, v in told.items() if v})
    person = {"@type": "Person", "name": execution.owner}
    action["instrument"] = workflow
    action["agent"] = _entity(crate, f"#user-{quote(execution.owner)}", person)
    action["object"] = _one_or_many([*_given(crate, execution), *_inputs(crate, execution.inputs)])
    action["result"] = _one_or_many(outputs)
    crate.root_dataset["mentions"] = action
    crate.root_dataset["author"] = action["agent"]


def _given(crate: ROCrate, execution: Execution) -> Iterable[ContextEntity]:
    for name, value in execution.request.items():
        told = {"@type": "PropertyValue", "name": name, "value": _text(value)}
        if unit := execution.properties.get(name, {}).get("x-esap-unit"):
            told["unitText"] = unit
        one = _entity(crate, f"#value-{quote(name)}", told)
        if parameter := crate.dereference(f"#parameter-{quote(name)}"):
            one["exampleOfWork"] = parameter
            parameter["workExample"] = one
        yield one


def _inputs(crate: ROCrate, lfns: Iterable[str]) -> Iterable[ContextEntity]:
    """Name the files of the lake that were read: they are not part of the crate."""
    for lfn in lfns:
        told = {"@type": "CreativeWork", "name": lfn.rsplit("/", 1)[-1], "identifier": lfn}
        yield _entity(crate, f"#lake{quote(lfn)}", told)


def _output(crate: ROCrate, file: CrateFile) -> Any:
    told = {
        "name": file.name,
        "contentSize": str(file.size),
        "encodingFormat": file.mime_type,
        "identifier": file.lfn,
        "sha256": file.sha256,
        "contentUrl": file.address,
    }
    return crate.add_file(dest_path=file.path, properties={k: v for k, v in told.items() if v})


def _entity(crate: ROCrate, identifier: str, properties: Mapping[str, Any]) -> ContextEntity:
    from rocrate.model import ContextEntity

    return crate.add(ContextEntity(crate, identifier, properties=dict(properties)))


def _one_or_many(found: list[Any]) -> Any:
    """Write a list as the specification has it: one member stands alone."""
    return found[0] if len(found) == 1 else found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
