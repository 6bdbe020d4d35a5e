"""The description of a job: read, checked as a whole, and its files written."""

import json
from typing import List

from .containers import CONTAINED
from .reasons import JobError, Json
from .rules import (
    BATCH_RULES,
    IMAGE_RULES,
    INPUT_RULES,
    JOB_RULES,
    LIMIT_RULES,
    OUTPUT_RULES,
    PLAIN_NAME,
    RUNTIME_RULES,
    TRANSFER_RULES,
    problems_of,
)
from .values import is_plain_name


def job_problems(job: Json, where: str) -> List[str]:
    """Check one job's description as a whole."""
    problems = problems_of(job, JOB_RULES, where)
    if problems:
        return problems
    problems = problems_of(job["limits"], LIMIT_RULES, where + ".limits")
    for kind, rules in (("inputs", INPUT_RULES), ("outputs", OUTPUT_RULES)):
        for n, one in enumerate(job[kind]):
            problems += problems_of(one, rules, f"{where}.{kind}[{n}]")
    problems += [
        f"{where}.files: {json.dumps(name)} is no allowed name: {PLAIN_NAME}"
        for name in job["files"]
        if not is_plain_name(name)
    ]
    if not problems:
        names = list(job["files"]) + [one["name"] for one in job["inputs"] + job["outputs"]]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"{where}: {name} is the name of two files" for name in twice]
    return problems


def runtime_problems(runtime: Json, job: Json) -> List[str]:
    """Check a runtime; an image must be named by its digest, unless the site's own list names it."""
    problems = problems_of(runtime, RUNTIME_RULES, "runtime")
    if runtime["type"] not in CONTAINED:
        return problems
    problems += problems_of(runtime, IMAGE_RULES, "runtime")
    if problems:
        return problems
    sources = [name for name in ("image", "image_path", "images") if runtime.get(name) is not None]
    if not sources:
        return ["runtime.image = null: allowed is an image, an image_path or images"]
    if sources[0] != "images" and runtime.get("sha256") is None:
        return ["runtime.sha256 = null: allowed 64 hex digits"]
    names = [one["name"] for one in job["inputs"]]
    if sources[0] == "image" and runtime["image"] not in names:
        return ["runtime.image = {}: allowed is the name of an input".format(json.dumps(runtime["image"]))]
    return []


def load_batch(path: str) -> Json:
    """Read `batch.json`; JobError says what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as stream:
            batch = json.load(stream)
    except (OSError, ValueError) as error:
        raise JobError("BAD_DESCRIPTION", f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(batch, dict):
        raise JobError("BAD_DESCRIPTION", f"{path}: allowed is an object")
    return batch


def select_job(batch: Json, index: int) -> Json:
    """Give the job of an index, checked; JobError names every member that is wrong."""
    problems = problems_of(batch, BATCH_RULES, "")
    problems += problems or problems_of(batch.get("transfer") or {}, TRANSFER_RULES, "transfer")
    if problems:
        raise JobError("BAD_DESCRIPTION", "; ".join(problems))
    for n, job in enumerate(batch["jobs"]):
        if isinstance(job, dict) and job.get("index") == index:
            problems = job_problems(job, f"jobs[{n}]") or runtime_problems(batch["runtime"], job)
            if problems:
                raise JobError("BAD_DESCRIPTION", "; ".join(problems))
            return dict(job)
    message = "no job has index {}: the batch has {} jobs".format(index, len(batch["jobs"]))
    raise JobError("BAD_DESCRIPTION", message)


def write_files(files: Json) -> None:
    """Write the small files that come with the job: text as it is, all else as JSON."""
    for name, content in files.items():
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(content if isinstance(content, str) else json.dumps(content, indent=1) + "\n")
