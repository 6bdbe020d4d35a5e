"""What workflows that read the lake would read, looked up before there is a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from esap_batch.errors import Problem
from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from esap_batch.offers import Work
from esap_batch.projects import Projects, load_projects
from esap_batch.selection import Catalogue, DataSelection, SelectionRefused
from esap_batch.use_cases import (
    cta_pi_analysis,
    cta_reprocessing,
    fair_analysis,
    km3net_reduction,
    ska_hi_cube,
)
from hooks.lake_bulk import BulkLake
from hooks.lake_inputs import InputLake
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from portal.core.refusals import BadRequest

Survey = Callable[[Mapping[str, Any], Identity, str], Work]


class Selecting(Protocol):
    """A use case that chooses the data of its run by itself."""

    def choose(
        self, steering: Mapping[str, Any], identity: Identity, projects: Projects, catalogue: Catalogue
    ) -> DataSelection: ...

    def requirements(self, steering: Mapping[str, Any], identity: Identity) -> Requirements: ...


def _selected(use_case: Selecting, steering: Mapping[str, Any], identity: Identity, connection: str) -> Work:
    """Choose the data of an analysis as its run will."""
    lake = InputLake(RucioLake.from_connection(connection))
    try:
        projects = load_projects(config_dir() / "projects.yaml")
        selection = use_case.choose(steering, identity, projects, lake)
    except SelectionRefused as refusal:
        raise BadRequest(str(refusal)) from None
    files = {f.lfn: f.size for f in selection.inputs}
    places = lake.places(sorted(files)) if files else {}
    needs = use_case.requirements({**steering, "needs": selection.needs(places)}, identity)
    return Work(needs, needs.n_jobs, files, places)


def _observed(steering: Mapping[str, Any], identity: Identity, connection: str) -> Work:
    """Find the observations of a reprocessing; some may turn out to be done when it runs."""
    lake = BulkLake(RucioLake.from_connection(connection))
    selection = cta_reprocessing.selection(steering["request"])
    names = lake.find(cta_reprocessing.SCOPE, selection.filters())
    found = lake.files(names)
    if selection.tel_ids:
        about = lake.metadata([f.lfn for files in found.values() for f in files])
        mine = {lfn for lfn, known in about.items() if selection.takes_telescope(int(known["tel_id"]))}
        found = {name: tuple(f for f in files if f.lfn in mine) for name, files in found.items()}
    by_dataset = {name: files for name, files in found.items() if files}
    if not by_dataset:
        asked = {k: v for k, v in steering["request"].items() if v and k in cta_reprocessing.SELECTING}
        raise BadRequest(
            [Problem("the request", asked, "observations that are in the lake", "there are none")]
        )
    files = {f.lfn: f.size for one in by_dataset.values() for f in one}
    largest = max(sum(f.size for f in one) for one in by_dataset.values())
    needs = cta_reprocessing.requirements(steering, identity)
    limits = cta_reprocessing.limits(steering, largest)
    return Work(
        replace(needs, wall_time_s=limits.wall_time_s, disk_mb=limits.disk_mb),
        len(by_dataset),
        files,
        lake.places(sorted(files)),
        unknown="observations whose product is published already are left out",
    )


SURVEYS: dict[str, Survey] = {
    "cta_pi_analysis": partial(_selected, cta_pi_analysis),
    "cta_reprocessing": _observed,
    "fair_analysis": partial(_selected, fair_analysis),
    "km3net_reduction": partial(_selected, km3net_reduction),
    "ska_hi_cube": partial(_selected, ska_hi_cube),
}
