"""How the facilities are doing now: jobs of this service there, and what the last check has found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from sqlalchemy import Integer, and_, cast, func, select
from sqlalchemy.orm import aliased

from access.callers import serving
from esap_batch.facilities import Facility, load_facilities
from esap_batch.health import VARIABLE, Health, as_found, faults, recent
from esap_batch.jobs import Load
from esap_batch.progress import PROGRESS
from hooks.facility_health import check_settings
from hooks.settings import config_dir
from portal.core.phases import UNFINISHED
from store.sessions import transaction

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SELECT_FACILITY = "select_facility"


@dataclass(frozen=True)
class Standing:
    """Load and results of the last checks by facility; `faults` says what is out of order.

    `facilities` are those of the configuration, without software that is missing there.
    """

    load: Mapping[str, Load]
    health: Mapping[str, Health]
    faults: Mapping[str, str]
    facilities: Sequence[Facility] = ()

    def words(self, facility: str) -> str:
        """Say in a few words how a facility is doing."""
        health, load = self.health.get(facility), self.load.get(facility)
        jobs = (
            f"{load.running} jobs run and {load.queued} wait" if load and load.active else "no jobs are there"
        )
        if facility in self.faults:
            return f"{self.faults[facility]}; {jobs}"
        lacking = f" but for {', '.join(health.lacking)}" if health and health.lacking else ""
        return f"in order{lacking}, checked at {health.when}; {jobs}" if health else f"not checked; {jobs}"


def standing() -> Standing:
    """Look how all facilities are doing, in two queries; the jobs of all users count."""
    with serving(None), transaction() as session:
        load, health = load_of_facilities(session), health_of_facilities(session)
    known = recent(health.values(), time.time(), check_settings()["trust_s"])
    listed = load_facilities(config_dir() / "facilities.yaml")
    return Standing(load, health, faults(known), as_found(listed, known))


def health_of_facilities(session: Session) -> dict[str, Health]:
    """Read what the last check of each facility has found, in one query."""
    kept = session.scalars(select(Variable).where(Variable.key.startswith(VARIABLE, autoescape=True)))
    found = (Health.of(json.loads(one.val)) for one in kept if one.val)
    return {health.facility: health for health in found}


def load_of_facilities(session: Session) -> dict[str, Load]:
    """Count the jobs of all runs that wait or run at each facility now, in one query."""
    chosen, told = aliased(XComModel), aliased(XComModel)
    queued, running = (
        func.sum(func.coalesce(cast(told.value[state].as_string(), Integer), 0))
        for state in ("queued", "running")
    )
    facility = chosen.value["facility"].as_string()
    query = (
        select(facility, queued, running)
        .select_from(TaskInstance)
        .join(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .join(
            told,
            and_(told.dag_run_id == DagRun.id, told.task_id == TaskInstance.task_id, told.key == PROGRESS),
        )
        .join(chosen, and_(chosen.dag_run_id == DagRun.id, chosen.task_id == SELECT_FACILITY))
        .where(chosen.key == "return_value", TaskInstance.state.in_(UNFINISHED), DagRun._state == "running")
        .group_by(facility)
    )
    return {name: Load(int(q), int(r)) for name, q, r in session.execute(query) if name}
