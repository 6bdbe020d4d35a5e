"""What workflows that read the lake would read, looked up before there is a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from esap_batch.errors import Problem
from esap_batch.identity import Identity
from esap_batch.offers import Work
from esap_batch.projects import load_projects
from esap_batch.selection import SelectionRefused
from esap_batch.use_cases import cta_pi_analysis, cta_reprocessing
from hooks.lake_bulk import BulkLake
from hooks.lake_inputs import InputLake
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from portal.core.refusals import BadRequest

Survey = Callable[[Mapping[str, Any], Identity, str], Work]


def _selected(steering: Mapping[str, Any], identity: Identity, connection: str) -> Work:
    """Choose the data of an analysis as its run will."""
    lake = InputLake(RucioLake.from_connection(connection))
    try:
        projects = load_projects(config_dir() / "projects.yaml")
        selection = cta_pi_analysis.choose(steering, identity, projects, lake)
    except SelectionRefused as refusal:
        raise BadRequest(str(refusal)) from None
    files = {f.lfn: f.size for f in selection.inputs}
    places = lake.places(sorted(files))
    needs = cta_pi_analysis.requirements({**steering, "needs": selection.needs(places)}, identity)
    return Work(needs, len(selection.units), files, places)


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


SURVEYS: dict[str, Survey] = {"cta_pi_analysis": _selected, "cta_reprocessing": _observed}
