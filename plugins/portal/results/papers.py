"""Documents about a job that are made on request: its RO-Crate, and provenance of several products."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models.dag_version import DagVersion
from airflow.models.dagcode import DagCode
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select

from esap_batch import __version__
from esap_batch.crate import CrateFile, Execution, crate_metadata
from esap_batch.provenance import PREFIX
from esap_batch.workflows import load_workflow
from hooks.settings import config_dir
from hooks.storage_element import StorageElement
from portal.core.phases import Phase
from portal.results.files import mime_type, places_of
from portal.results.listing import PREFIX as JOBS
from portal.results.listing import PROVENANCE, href, names_of
from store.sessions import transaction

if TYPE_CHECKING:
    from hooks.lake_outputs import LakeFile
    from portal.core.jobs import JobView
    from portal.results.run import Run

STEERING_ENTITY = "esap:steering"  # as esap_batch.provenance names it
SUCCEEDED = {Phase.COMPLETED: True, Phase.ERROR: False, Phase.ABORTED: False}


def crate_of(job: JobView, run: Run, files: Sequence[LakeFile], error: str, base: str) -> dict[str, Any]:
    """Describe a job's run; `base` is the address of the API server, for the links."""
    from airflow import __version__ as airflow_version

    workflow, steering = load_workflow(config_dir(), job.workflow), run.steering or {}
    request = steering.get("request") or job.request
    return crate_metadata(
        Execution(
            run=job.run_key,
            workflow=job.workflow,
            title=workflow.title,
            description=str(workflow.schema.get("description", "")),
            source=source_name(job),
            properties=workflow.properties,
            request={k: v for k, v in request.items() if v is not None},
            owner=job.owner,
            facility=run.facility,
            started=_iso(job.start_time),
            ended=_iso(job.end_time),
            succeeded=SUCCEEDED.get(job.phase),
            error=error,
            address=f"{base}{JOBS}/{job.id}",
            service_version=__version__,
            engine_version=airflow_version,
            software=tuple(steering.get("software", ())),
            inputs=parents_of(files),
            outputs=tuple(
                CrateFile(
                    path=name,
                    name=f.name,
                    size=f.size,
                    mime_type=mime_type(f.name),
                    lfn=f.lfn,
                    sha256=f.sha256,
                    address=base + href(job, "results", name),
                )
                for name, f in names_of(files).items()
            ),
        )
    )


def source_name(job: JobView) -> str:
    """Name the file with the workflow's own code in a crate."""
    return f"{job.dag_id}.py"


def source_of(job: JobView) -> str:
    """Give the code of the DAG as the run has used it; empty when Airflow does not keep it any more."""
    version = (
        select(TaskInstance.dag_version_id)
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(DagRun.dag_id == job.dag_id, DagRun.run_id == job.dag_run_id)
        .where(TaskInstance.dag_version_id.is_not(None))
        .order_by(TaskInstance.start_date.asc().nulls_last())
        .limit(1)
    )
    query = select(DagCode.source_code).join(DagVersion).where(DagVersion.id == version.scalar_subquery())
    with transaction() as session:
        return session.scalar(query) or ""


def provenances(files: Sequence[LakeFile]) -> list[LakeFile]:
    """Give the files that tell where a product comes from, one for each product."""
    return [f for f in files if f.name == PROVENANCE]


def bundled(files: Sequence[LakeFile]) -> Iterator[str]:
    """Write the provenance of products as one PROV-JSON document, a bundle for each, piece by piece."""
    places, storage = places_of(files), StorageElement()
    yield f'{{"prefix": {json.dumps(PREFIX)}, "bundle": {{'
    for number, file in enumerate(files):
        name = f"esap:{file.dataset.rsplit('/', 1)[-1]}"
        yield f"{', ' if number else ''}{json.dumps(name)}: {storage.read(places[file.lfn]).decode()}"
    yield "}}\n"


def parents_of(files: Sequence[LakeFile], most: int = 1000) -> tuple[str, ...]:
    """Give the LFNs of what products were made of, as their provenance says, of at most so many products."""
    found: dict[str, None] = {}
    told = provenances(files)[:most]
    places = places_of(told) if told else {}
    for file in told:
        document = json.loads(StorageElement().read(places[file.lfn]))
        made = {one["prov:entity"] for one in document.get("wasGeneratedBy", {}).values()}
        used = {one["prov:entity"]: None for one in document.get("used", {}).values()}
        for name in used:
            lfn = document["entity"].get(name, {}).get("esap:lfn")
            if lfn and name not in made and name != STEERING_ENTITY:
                found[lfn] = None
    return tuple(found)


def _iso(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""
