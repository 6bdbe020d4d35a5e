"""Where a run's jobs go and whose they are: what several operators need of facility, user and storage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.exceptions import AirflowFailException
from structlog.contextvars import bind_contextvars

from esap_batch.facilities import AUTO, Facility
from esap_batch.housekeeping import RUN_FILE
from esap_batch.identity import Identity, IdentityRefused, load_identities
from esap_batch.jobs import Batch, InputFile, JobBackend, JobSpec, OutputSpec
from esap_batch.manifest import Manifest
from esap_batch.products import work_lfn
from hooks.backends import BackendRef, facility_named, open_backend, require_login
from hooks.broker import Broker
from hooks.lake_outputs import OutputLake
from hooks.places import Places, PlacesRef, places_ref
from hooks.rucio_lake import RucioLake, dump
from hooks.settings import LAKE_CONNECTION, config_dir, service_name
from hooks.storage_element import StorageElement

if TYPE_CHECKING:
    from airflow.sdk import Context

AnyFile = TypeVar("AnyFile", InputFile, OutputSpec)


def owner_of(context: Context) -> str | None:
    """Name the user whose run it is: who triggered it, never a field of its conf.

    Not for tasks of campaigns: their owner is in the steering file.
    """
    return context["dag_run"].triggering_user_name


def run_key(context: Context) -> str:
    """Name a run across DAGs."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def parts_of(run: str) -> tuple[str, str]:
    """Give DAG and run of what `run_key` made."""
    dag_id, _, run_id = run.partition("/")
    return dag_id, run_id


def identity_of(user: str | None, *, closing: bool = False) -> Identity:
    """Say who a user is: with the groups of their last token, or else those of config/identity.yaml.

    :param closing: to end what was begun, also by somebody who is in no group any more.
    """
    identities, broker = load_identities(config_dir() / "identity.yaml"), Broker.standing()
    groups = broker.groups(user) if broker and user else None
    try:
        if user is None or groups is None:
            return identities.identity_of(user)
        return identities.identity_from_groups(user, groups)
    except IdentityRefused:
        if not (closing and user):
            raise
        return identities.former(user)


@dataclass(frozen=True)
class Site:
    """A facility as one user's run sees it."""

    facility: Facility
    identity: Identity
    closing: bool = False

    @classmethod
    def of(cls, where: Mapping[str, Any], user: str | None, *, closing: bool = False) -> Site:
        """Find a site; `closing` to end what was begun there, even if the user's login has ended.

        :param where: has what `Site.where` gave, as the results of tasks that depend on the place do.
        """
        facility = facility_named(where["facility"]).storing_at(where.get("storage_rse", AUTO))
        bind_contextvars(facility=facility.name, user=user or "")  # in all that the task logs
        return cls(facility, identity_of(user, closing=closing), closing)

    @property
    def where(self) -> dict[str, str]:
        """Name facility and storage element, for XCom."""
        return {"facility": self.facility.name, "storage_rse": self.facility.storage_rse}

    @property
    def backend_ref(self) -> BackendRef:
        ref: BackendRef = {
            "type": self.facility.type,
            "connection": self.facility.connection,
            "user": self.identity.dirac_user,
            "owner": self.identity.user,
        }
        return {**ref, "facility": self.facility.name} if self.facility.type == "slurm" else ref

    @cached_property
    def backend(self) -> JobBackend:
        return open_backend(self.backend_ref, closing=self.closing)

    def require_login(self, jobs: Iterable[JobSpec]) -> None:
        """Raise LoginNeeded when the user's own login is bound to end before these jobs."""
        if longest := max((job.limits.wall_time_s for job in jobs), default=0):
            require_login(self.backend_ref, longest)

    @property
    def places_ref(self) -> PlacesRef | None:
        return places_ref(self.facility, self.identity)

    def places(self, group: str) -> Places | None:
        """Give what a batch may have here; None where the number of jobs is not limited."""
        return Places.of(self.places_ref, group)

    @cached_property
    def lake(self) -> RucioLake:
        return RucioLake.from_connection(LAKE_CONNECTION)

    @cached_property
    def storage(self) -> StorageElement:
        return StorageElement()

    def pfns(self, lfns: Iterable[str]) -> dict[str, str]:
        """Give the PFNs at the facility's storage element in one call."""
        return self.lake.pfns(self.facility.storage_rse, sorted(set(lfns)))

    def located(self, jobs: Iterable[JobSpec]) -> tuple[JobSpec, ...]:
        """Fill in where the jobs find their inputs and leave their outputs, where that is open."""
        jobs = tuple(jobs)
        open_inputs = (f.lfn for job in jobs for f in job.inputs if not f.pfn)
        open_outputs = (o.lfn for job in jobs for o in job.outputs if not o.pfn)
        pfns = self.pfns((*open_inputs, *open_outputs))
        inputs = {**pfns, **self._nearest(f.lfn for job in jobs for f in job.inputs if not f.pfn)}
        return tuple(
            replace(
                job,
                inputs=tuple(_placed(f, inputs) for f in job.inputs),
                outputs=tuple(_placed(f, pfns) for f in job.outputs),
            )
            for job in jobs
        )

    def _nearest(self, lfns: Iterable[str]) -> dict[str, str]:
        """Say where inputs lie that the runner is to fetch itself; nothing where they come by rule."""
        wanted = sorted(set(lfns)) if self.facility.fetches_inputs else []
        found = OutputLake(self.lake).replicas(wanted)
        return {lfn: places[0].pfn for lfn, places in found.items() if places}

    def area(self, group: str) -> str:
        """Give the PFN of a batch's work area."""
        lfn = work_lfn(group)
        return self.pfns([lfn])[lfn]

    def sign(self, group: str, run: str, task: str) -> None:
        """Say in a batch's work area whose it is: `EndOrphans` ends it when nobody knows the run any more.

        :param task: what the group is named by, beside the run.
        """
        whose = {"run": run, "task": task, "owner": self.identity.user, "service": service_name()}
        self.keep(group, RUN_FILE, {**whose, **self.where})

    def keep(self, group: str, name: str, document: Mapping[str, Any]) -> dict[str, str]:
        """Write a document into the batch's work area; give the reference that XCom carries."""
        lfn = f"{work_lfn(group)}/{name}"
        pfn = self.pfns([lfn])[lfn]
        stored = self.storage.put(pfn, dump(document))
        return {"lfn": lfn, "pfn": pfn, "adler32": stored.adler32}

    def recall(self, reference: Mapping[str, str]) -> dict[str, Any]:
        """Read a document that `keep` wrote; AirflowFailException when it is gone or changed."""
        stored = self.storage.stat(reference["pfn"])
        if stored is None or stored.adler32 != reference["adler32"]:
            state = "is gone" if stored is None else "has changed"
            raise AirflowFailException(
                f"{reference['lfn']} {state} on {self.facility.storage_rse}: "
                "clear the submitting task that wrote it, and what follows"
            )
        document: dict[str, Any] = json.loads(self.storage.read(reference["pfn"]))
        return document

    def jobs(self, group: str) -> tuple[JobSpec, ...]:
        """Read the jobs of a batch from its journal as it is now; none when it never got one."""
        batch = self.journal(group)
        return batch.jobs if batch else ()

    def journal(self, group: str) -> Batch | None:
        """Read the journal of a batch as it is now; None when it never got one."""
        lfn = f"{work_lfn(group)}/batch.json"
        pfn = self.pfns([lfn])[lfn]
        if not self.storage.exists([pfn]):
            return None
        return Batch.from_journal(json.loads(self.storage.read(pfn)))

    def batch(self, submission: Mapping[str, Any]) -> Batch:
        """Read the journal of a submission."""
        return Batch.from_journal(self.recall(submission["journal"]))

    def manifest(self, ended: Mapping[str, Any]) -> Manifest:
        """Read the manifest of a batch that has ended."""
        return Manifest.of(self.recall(ended["manifest"]))


def _placed(file: AnyFile, pfns: Mapping[str, str]) -> AnyFile:
    return file if file.pfn else replace(file, pfn=pfns[file.lfn])
