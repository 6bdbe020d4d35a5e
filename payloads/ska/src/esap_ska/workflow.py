"""Runs somebody's Snakemake workflow in the job's directory, on the cores that the job has, without network.

What it needs comes with the job: its Snakefile as text or in an archive, its configuration, and the inputs.
Its outputs are the files that its request has declared.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from esap_fits.reading import Key, PayloadError, names, read_document, text

from .archive import unpack
from .snakefile import problems_of

log = logging.getLogger(__name__)
OWN = Path(__file__).parent / "workflows" / "hi_cube.smk"
SNAKEFILES = ("Snakefile", "workflow/Snakefile")  # places that Snakemake itself looks at
CORES = "ESAP_CORES"
KEPT, SHOWN = 2000, 12  # lines of output that are searched for a failure, and of a log that are told


def _file_or_none() -> Key:
    return Key(
        "a file's name, or null", lambda v: v is None or (isinstance(v, str) and Path(v).name == v), None
    )


KEYS = {
    "snakefile": _file_or_none(),
    "archive": _file_or_none(),
    "workflow_config": text(200),
    "outputs": names(),
}
LOOPBACK = "lo"
NO_NETWORK = ["unshare", "--user", "--map-root-user", "--net", "--"]
OFFLINE = re.compile(
    r"Network is unreachable|Name or service not known|name resolution|Could not resolve|No route to host"
    r"|URLError|ConnectionError|Connection refused",
)
FAILED_RULE = re.compile(r"^Error in rule (?P<rule>\S+?),?(?: jobid: \d+)?:?$")
PATHS = re.compile(r"^\s+(?P<kind>input|output|log|benchmark): (?P<paths>.+)$")
FENCE = re.compile(r"^=+$")


def run_workflow(config: Path) -> int:
    """Run the workflow; the exit code is Snakemake's. PayloadError when it cannot be run here at all."""
    settings = read_document(config, KEYS)
    snakefile = _snakefile(settings)
    if problems := problems_of(snakefile):
        raise PayloadError("\n".join(problems))
    command = _command(snakefile, settings)
    _rehearse(command)
    lines: deque[str] = deque(maxlen=KEPT)
    code = _run([*_apart(), *command, "--show-failed-logs", "--printshellcmds"], lines)
    if code:
        told = "\n".join(failures(lines)) or f"Snakemake ended with exit code {code}"
        print(f"esap-ska workflow: {told}", file=sys.stderr)
        return code
    if missing := [name for name in settings["outputs"] if not Path(name).is_file()]:
        raise PayloadError(f"the workflow ended well and did not make {', '.join(missing)}")
    return 0


def _snakefile(settings: Mapping[str, Any]) -> Path:
    if settings["snakefile"]:
        return Path(settings["snakefile"])
    if not settings["archive"]:
        return OWN
    unpack(Path(settings["archive"]), Path())
    found = [p for p in map(Path, SNAKEFILES) if p.is_file()]
    if not found:
        raise PayloadError(f"{settings['archive']}: allowed is an archive with {' or '.join(SNAKEFILES)}")
    return found[0]


def _command(snakefile: Path, settings: Mapping[str, Any]) -> list[str]:
    # The greedy scheduler needs no solver; without a lock nothing is left behind by a job that was killed.
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", "."),
        *("--configfile", settings["workflow_config"], "--cores", str(cores())),
        *("--scheduler", "greedy", "--nolock", "--nocolor"),
    ]


def cores() -> int:
    """Give how many cores the job has; PayloadError when what it was told is no number."""
    given = os.environ.get(CORES, "1")
    if not given.isdecimal() or int(given) < 1:
        raise PayloadError(f"{CORES} = {given!r}: allowed is a whole number of at least 1")
    return int(given)


def _environment() -> dict[str, str]:
    """Keep what programs need: nobody's profile, nobody's credentials."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR") or k.startswith("ESAP_")}
    home = Path.cwd() / ".home"
    home.mkdir(exist_ok=True)
    return {"LANG": "C.UTF-8", **kept, "HOME": str(home), "PYTHONNOUSERSITE": "1"}


def _rehearse(command: list[str]) -> None:
    """Have Snakemake plan the work: what it cannot plan fails here, as do paths outside of the directory."""
    done = subprocess.run(
        [*command, "--dryrun"],
        env=_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    told = f"{done.stdout}\n{done.stderr}"
    if done.returncode:
        tail = "\n".join(told.strip().splitlines()[-SHOWN:])
        raise PayloadError(f"Snakemake cannot plan this workflow:\n{tail}{_hint(told)}")
    if outside := sorted(set(_outside(told.splitlines()))):
        raise PayloadError(
            "\n".join(f"{path}: allowed are paths within the job's directory" for path in outside)
        )


def _outside(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if match := PATHS.match(line):
            for path in match["paths"].split(", "):
                if path.startswith(("/", "~")) or ".." in Path(path).parts:
                    yield f"{match['kind']} {path}"


def _apart() -> list[str]:
    """Give what starts a program without network; nothing where there is none, as in a container."""
    if {name for _, name in socket.if_nameindex()} <= {LOOPBACK}:
        return []
    if shutil.which(NO_NETWORK[0]):
        tried = subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return NO_NETWORK
    log.warning("this node cannot take the network away from a job: a workflow that uses it may pass here")
    return []


def _run(command: list[str], lines: deque[str]) -> int:
    with subprocess.Popen(
        command,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            lines.append(line.rstrip("\n"))
    return process.returncode


def failures(lines: Iterable[str]) -> list[str]:
    """Say which rules have failed, with the end of their logs, as Snakemake has shown them."""
    given = list(lines)
    rules = list(dict.fromkeys(m["rule"] for line in given if (m := FAILED_RULE.match(line))))
    told = [f"rule {', '.join(rules)} failed"] if rules else []
    for number, line in enumerate(given):
        if line.startswith("Logfile ") and line.endswith(":"):
            told += [f"end of {line.removeprefix('Logfile ').rstrip(':')}:", *_fenced(given[number + 1 :])]
    hint = _hint("\n".join(given))
    return [*told, *([hint.strip()] if hint else [])]


def _fenced(lines: list[str]) -> list[str]:
    fences = [n for n, line in enumerate(lines) if FENCE.match(line)][:2]
    if len(fences) < 2:  # noqa: PLR2004 - one before, one after
        return []
    return [f"  {line}" for line in lines[fences[0] + 1 : fences[1]][-SHOWN:]]


def _hint(told: str) -> str:
    if not OFFLINE.search(told):
        return ""
    return "\njobs have no network: what the workflow needs has to be in its archive, or among the inputs"
