"""The site's view of DiracX's job database: which jobs wait, and their JDL, which no HTTP route gives out."""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from DIRACCommon.WorkloadManagementSystem.DB.JobDBUtils import extractJDL
from diracx.core.models import ScalarSearchOperator, SortDirection, VectorSearchOperator
from diracx.core.settings import FactorySettings
from diracx.db.sql import JobDB

COLUMNS = ["JobID", "Owner", "OwnerGroup", "VO", "Status", "Site"]
SORT = [
    {"parameter": "UserPriority", "direction": SortDirection.DESC},
    {"parameter": "JobID", "direction": SortDirection.ASC},
]
ANYWHERE = "ANY"


@dataclass(frozen=True)
class FoundJob:
    """A job in the database."""

    job_id: int
    vo: str
    owner: str
    group: str
    status: str
    site: str


class Catalog:
    """Short read transactions on the job database; each asks for no more rows than are wanted."""

    def __init__(self) -> None:
        self.database = JobDB(FactorySettings().sql_dbs["JobDB"])

    async def __aenter__(self) -> Catalog:
        self._engine = self.database.engine_context()
        await self._engine.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._engine.__aexit__(*error)

    async def received(self, at_most: int) -> list[FoundJob]:
        """Jobs that nobody has looked at yet, or only half."""
        return await self._search(["Received", "Checking"], [], at_most)

    async def waiting(self, site: str, at_most: int) -> list[FoundJob]:
        """Jobs that wait for a site, or for any."""
        return await self._search(["Waiting"], [site, ANYWHERE], at_most)

    async def underway(self, sites: Sequence[str]) -> list[FoundJob]:
        """Jobs that the database believes to be with these sites."""
        return await self._search(["Matched", "Running", "Completing"], list(sites), 10_000)

    async def status(self, job_id: int) -> str:
        spec = [{"parameter": "JobID", "operator": ScalarSearchOperator.EQUAL, "value": str(job_id)}]
        async with self.database as database:
            _, rows = await database.search(["Status"], spec, [], per_page=1, page=1)
        return str(rows[0]["Status"]) if rows else "Deleted"

    async def jdls(self, job_ids: Sequence[int]) -> dict[int, str]:
        if not job_ids:
            return {}
        async with self.database as database:
            return {i: str(extractJDL(jdl)) for i, jdl in (await database.get_job_jdls(job_ids)).items()}

    async def _search(self, statuses: list[str], sites: list[str], at_most: int) -> list[FoundJob]:
        spec = [{"parameter": "Status", "operator": VectorSearchOperator.IN, "values": statuses}]
        if sites:
            spec.append({"parameter": "Site", "operator": VectorSearchOperator.IN, "values": sites})
        async with self.database as database:
            _, rows = await database.search(COLUMNS, spec, SORT, per_page=at_most, page=1)
        return [
            FoundJob(*(row[k] for k in ("JobID", "VO", "Owner", "OwnerGroup", "Status", "Site")))
            for row in rows
        ]
