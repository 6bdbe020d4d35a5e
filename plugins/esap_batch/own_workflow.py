"""A Snakemake workflow that a request brings: what is wrong with it, and the files that its job gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esap_batch.errors import Problem

SNAKEMAKE = "snakemake"  # the processor that runs workflows
BRINGS = ("snakefile", "workflow_archive")
BELONGS = (*BRINGS, "workflow_config", "workflow_outputs")
CONFIG, SETTINGS, WORKFLOW, SNAKEFILE, ABOUT = (
    "config.json",
    "settings.json",
    "workflow.json",
    "Snakefile",
    "cube.json",
)
GIVEN = ("cube", "about", "settings", "subcubes")  # members of a workflow's configuration that we set


def is_own(request: Mapping[str, Any]) -> bool:
    """Whether a request brings a workflow; ours runs otherwise."""
    return any(request.get(name) for name in BRINGS)


def files_of(
    request: Mapping[str, Any],
    archive: Mapping[str, Any] | None,
    outputs: Sequence[str],
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Give the small files of the job that runs a workflow.

    :param archive: the input that is the archive. :param outputs: names of what it has to make.
    :param given: what its configuration gets from us. :param settings: the configuration of our own steps.
    """
    config = {
        "snakefile": SNAKEFILE if request.get("snakefile") else None,
        "archive": archive["name"] if archive else None,
        "workflow_config": WORKFLOW,
        "outputs": list(outputs),
    }
    merged = {
        **json.loads(request.get("workflow_config") or "{}"),
        **given,
        "about": ABOUT,
        "settings": SETTINGS,
    }
    files: dict[str, Any] = {CONFIG: config, WORKFLOW: merged, SETTINGS: dict(settings)}
    if request.get("snakefile"):
        files[SNAKEFILE] = request["snakefile"]
    return files


def workflow_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    """Say what of a request's workflow cannot be, by the request alone."""
    brought = [name for name in BRINGS if request.get(name)]
    others = [n for n in BELONGS if request.get(n)]
    if request["processor"] != SNAKEMAKE:
        for name in others:
            allowed = f"nothing with processor = {request['processor']}"
            yield Problem(name, request[name], allowed, f"only {SNAKEMAKE} runs a workflow")
        return
    if len(brought) == len(BRINGS):
        yield Problem(
            "workflow_archive", request["workflow_archive"], "nothing beside a snakefile", "there are two"
        )
    outputs = request.get("workflow_outputs", [])
    if brought and not outputs:
        yield Problem("workflow_outputs", outputs, "at least one name", "nothing would come of the workflow")
    if outputs and not brought:
        allowed = f"nothing without {' or '.join(BRINGS)}"
        yield Problem("workflow_outputs", outputs, allowed, "the outputs of our own workflow are known")
    twice = sorted({name for name in outputs if outputs.count(name) > 1})
    reserved = sorted({*outputs} & {CONFIG, SETTINGS, WORKFLOW, SNAKEFILE, ABOUT})
    if twice or reserved:
        yield Problem("workflow_outputs", twice or reserved, "each name once, none of the job's own", "")
    yield from _config_problems(request.get("workflow_config"))


def _config_problems(text: str | None) -> Iterator[Problem]:
    try:
        given = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        yield Problem("workflow_config", text, "a JSON object", str(error))
        return
    if not isinstance(given, dict):
        yield Problem("workflow_config", text, "a JSON object", "it is none")
    elif taken := sorted(set(given) & set(GIVEN)):
        yield Problem(
            "workflow_config", taken, f"members other than {', '.join(GIVEN)}", "the service sets them"
        )
