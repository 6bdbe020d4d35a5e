"""The software of the site, and the environment that payloads find."""

import json
import os
import shutil
from typing import Dict, List

from .containers import CONTAINED, PLAIN
from .logs import last_words
from .reasons import JobError, Json
from .tools import run_tool


def software_root(batch: Json) -> str:
    """Give the root of the site's software area, "" when the runtime names none; JobError without it."""
    name = batch["runtime"].get("software_root_env")
    if name and not os.environ.get(name):
        raise JobError("SOFTWARE_MISSING", f"this site does not set {name}, the root of its software area")
    return os.environ[name] if name else ""


def software_path(batch: Json, path: str) -> str:
    """Put the software of the site's software area in front of a PATH; JobError for what is not there."""
    root = software_root(batch)
    if not root:
        return path
    places = [os.path.join(root, one["name"], one["version"], "bin") for one in batch["software"]]
    for one, place in zip(batch["software"], places):
        if not os.path.isdir(place):
            message = "this site has no {} {}: {} is not there".format(one["name"], one["version"], place)
            raise JobError("SOFTWARE_MISSING", message)
    return os.pathsep.join([*places, path])


def module_environment(names: List[str]) -> Dict[str, str]:
    """Give the environment after `module load`, in a login shell as the site sets it up."""
    if not names:
        return dict(os.environ)
    script = 'module load "$@" >&2 && exec env -0'
    done = run_tool(["bash", "-lc", script, "modules", *names], dict(os.environ))
    if done.returncode:
        message = "module load {} does not work here: {}"
        raise JobError("SOFTWARE_MISSING", message.format(" ".join(names), last_words(done.stderr)))
    pairs = (os.fsdecode(item).partition("=") for item in done.stdout.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def has_software_inside(runtime: Json) -> bool:
    """True when the software is the site's image itself, so that validators run in it too."""
    return runtime["type"] in CONTAINED and runtime.get("image") is None


def cores_of(limits: Json, environment: Dict[str, str]) -> int:
    """Give the cores that the job has: what SLURM gave it, else what it asked for, at most the node's."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if environment.get(name, "").isdigit():
            return max(1, int(environment[name]))
    return min(limits.get("cores") or 1, len(os.sched_getaffinity(0)))


def job_environment(batch: Json, job: Json, attempt: int) -> Dict[str, str]:
    """Give the environment of payload and validators; JobError when the site lacks what they need."""
    runtime = batch["runtime"]
    kind = runtime["type"]
    if kind not in (PLAIN, *CONTAINED):
        message = "runtime {}: this runner has {}".format(json.dumps(kind), ", ".join((PLAIN, *CONTAINED)))
        raise JobError("SOFTWARE_MISSING", message)
    environment = dict(module_environment(runtime.get("modules") or []), **job["environment"])
    environment.update(ESAP_GROUP=batch["group"], ESAP_INDEX=str(job["index"]), ESAP_ATTEMPT=str(attempt))
    environment["ESAP_CORES"] = str(cores_of(job["limits"], environment))
    if has_software_inside(runtime):  # what an image holds is seen when it is started
        return environment
    environment["PATH"] = software_path(batch, environment.get("PATH", os.defpath))
    commands = [job["command"]] if kind == PLAIN else []
    commands += [one["validator"] for one in job["outputs"] if one["validator"]]
    for command in commands:
        if shutil.which(command[0], path=environment.get("PATH")) is None:
            raise JobError("SOFTWARE_MISSING", f"the program {command[0]} is not on PATH")
    return environment
