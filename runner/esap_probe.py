#!/usr/bin/env python3
"""Looks around on a worker node: is the software there, do the runtimes work, what time is it.

Standard library only, Python >= 3.6. Reads `probe.json`: `{"software": [[name, version], ...], "runtimes":
[{"type", "software_root_env"?, "engine"?}, ...]}`. Writes `found.json`: `{"time": Unix time, "software":
{"name version": fault}, "runtimes": {type: fault}}`, a fault being empty for what is in order.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, List

TIMEOUT_S = 60
# What tells that an engine works for this user; a rootless one needs more than to be installed.
ENGINES = {
    "bwrap": ["bwrap", "--ro-bind", "/", "/", "true"],
    "unshare": ["unshare", "--user", "--map-root-user", "true"],
    "apptainer": ["apptainer", "--version"],
    "podman": ["podman", "--version"],
    "docker": ["docker", "info"],
    "udocker": ["udocker", "--version"],
}
ROOTFS = ("bwrap", "unshare")

Json = Dict[str, Any]


def engine_fault(name: str) -> str:
    """Say why an engine does not work; nothing when it does."""
    command = ENGINES[name]
    if shutil.which(command[0]) is None:
        return f"{name} is not there"
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name}: {error}"
    last = ended.stdout.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"{name} ends with {ended.returncode}: {' '.join(last)}" if ended.returncode else ""


def runtime_fault(runtime: Json) -> str:
    """Say why a runtime does not work; nothing when it does."""
    kind = runtime["type"]
    if kind == "plain":
        return ""
    if kind == "rootfs":
        wanted = [runtime["engine"]] if runtime.get("engine") else list(ROOTFS)
    elif kind in ENGINES:
        wanted = [kind]
    else:
        return "this probe does not know how to test it"
    faults = [engine_fault(name) for name in wanted]
    return "" if "" in faults else "; ".join(faults)


def software_fault(roots: List[str], name: str, version: str) -> str:
    """Say why a version of a program is not to be had; nothing when it is."""
    if not roots:
        return ""  # it comes with the images
    for variable in roots:
        root = os.environ.get(variable)
        if not root:
            return f"{variable} is not set"
        place = os.path.join(root, name, version, "bin")
        if not os.path.isdir(place):
            return f"{place} is not there"
    return ""


def look(asked: Json) -> Json:
    """Look at all that is asked for."""
    roots = sorted({r["software_root_env"] for r in asked["runtimes"] if r.get("software_root_env")})
    return {
        "time": time.time(),
        "software": {f"{n} {v}": software_fault(roots, n, v) for n, v in asked["software"]},
        "runtimes": {r["type"]: runtime_fault(r) for r in asked["runtimes"]},
    }


def main() -> int:
    """Look around and leave what was found."""
    with open("probe.json", encoding="utf-8") as stream:
        found = look(json.load(stream))
    with open("found.json", "w", encoding="utf-8") as stream:
        json.dump(found, stream, indent=1, sort_keys=True)
    print(json.dumps(found, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
