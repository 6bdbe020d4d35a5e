"""What several use cases are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esap_batch.basket import Entry, InputRule, read_basket
from esap_batch.facilities import AUTO, Requirements
from esap_batch.identity import Identity
from esap_batch.jobs import InputFile, JobSpec, Limits, OutputSpec
from esap_batch.projects import Projects
from esap_batch.runtimes import PLAIN
from esap_batch.selection import Catalogue, SelectionRefused, search_project

CONFIG = "config.json"
NOOP = "esap-noop"


def needed(
    steering: Mapping[str, Any],
    identity: Identity,
    steps: Iterable[Limits],
    n_jobs: int,
    runtimes: Sequence[str] = (PLAIN,),
) -> Requirements:
    """Say what a facility must have for all steps of a run, which run at the same one.

    :param steps: limits of the largest job of each step. :param n_jobs: of the step that has the most.
    """
    largest = tuple(steps)
    return Requirements(
        experiments=identity.experiments,
        software=tuple((s["name"], s["version"]) for s in steering["software"]),
        runtimes=tuple(runtimes),
        memory_mb=max(s.memory_mb for s in largest),
        wall_time_s=max(s.wall_time_s for s in largest),
        disk_mb=max(s.disk_mb for s in largest),
        n_jobs=n_jobs,
        preferred=steering["request"]["facility"],
        storage_rse=steering["request"].get("temporary_rse", AUTO),
        input_rses=steering.get("needs", {}).get("input_rses", {}),
    )


def asked_data(
    request: Mapping[str, Any],
    rules: Sequence[InputRule],
    identity: Identity,
    projects: Projects,
    catalogue: Catalogue,
) -> list[Entry]:
    """List the data of basket and project; SelectionRefused for a project that the user may not read."""
    entries, _ = read_basket(request.get("basket", []))
    project = request.get("project")
    if not project:
        return entries
    if reason := projects.refuses(project, identity):
        allowed = ", ".join(projects.readable(identity)) or "none"
        raise SelectionRefused(f"project = {project!r}: {reason}; allowed: {allowed}")
    return [*entries, *search_project(catalogue, rules, project)]


def dated(steering: Mapping[str, Any]) -> dict[str, str]:
    """Give the date that products bear: of the request, since every try has to write the same file."""
    when = steering["requested_at"]
    return {"date": when} if when else {}


def is_noop(steering: Mapping[str, Any]) -> bool:
    """Say whether a request asks for greetings instead of science."""
    return bool(steering["request"]["processor"] == NOOP)


def greeting(
    directory: str, index: int, name: str, limits: Limits, inputs: Sequence[InputFile] = (), message: str = ""
) -> JobSpec:
    """Make a job that writes a greeting instead of doing science, to try a workflow out."""
    told = message or f"{len(inputs)} files, nothing done, as asked"
    config = {"behaviour": "ok", "outputs": [name], "message": told, "index": index}
    return JobSpec(
        index=index,
        command=(NOOP, "run", "--config", CONFIG),
        files={CONFIG: config},
        inputs=tuple(inputs),
        outputs=(OutputSpec(name, f"{directory}/{name}", (NOOP, "validate", name)),),
        limits=limits,
    )
