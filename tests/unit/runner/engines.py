"""The container engines of this machine, for tests that start them for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.runner.conftest import PATH

HOW_TO_GET = {"apptainer": "localgrid/bootstrap.sh apptainer"}
# Where cgroups are neither v1 nor v2 alone, crun does not start; runc does.
_CHOICES: tuple[list[str], ...] = ([], ["--runtime=runc", "--cgroup-manager=cgroupfs"])


def with_libraries(programs: tuple[str, ...]) -> dict[str, bytes]:
    """Give programs of this machine with the libraries that they load, by their paths in an image."""
    files: dict[str, bytes] = {}
    for name in programs:
        path = str(shutil.which(name))
        files[f"/usr/bin/{name}"] = Path(path).read_bytes()
        told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for word in told.split():
            if word.startswith("/"):
                files[word] = Path(word).read_bytes()
    return files


@contextmanager
def smallest_image() -> Iterator[str]:
    """Give a root filesystem that holds `true`, and places to mount at."""
    with tempfile.TemporaryDirectory(prefix="esap-image-") as root:
        for name in ("dev", "etc", "proc", "sys", "tmp"):
            Path(root, name).mkdir()
        for name, content in with_libraries(("true",)).items():
            path = Path(root + name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755)
        yield root


def podman_options() -> tuple[list[str], str]:
    """Give the options that podman needs here, and why it does not work at all, or ""."""
    if shutil.which("podman") is None:
        return [], "podman is not there: apt-get install podman"
    told = ""
    with smallest_image() as root:
        for options in _CHOICES:
            done = _start(options, root)
            if done.returncode == 0:
                return options, ""
            told = done.stderr.strip()[-200:]
    return [], f"podman is there but does not work: {told}"


def _start(options: list[str], root: str) -> subprocess.CompletedProcess[str]:
    settings = ["--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    command = ["podman", "run", *settings, *options, "--rootfs", root, "/usr/bin/true"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def why_not(program: str, *probe: str) -> str:
    """Say why a program cannot be used here, or ""."""
    found = shutil.which(program, path=PATH)
    if found is None:
        how = f", {HOW_TO_GET[program]}" if program in HOW_TO_GET else ""
        return f"{program} is not there{how}: only its command line is tested, it is not started"
    done = subprocess.run([found, *probe], capture_output=True, text=True, check=False)
    return f"{program} is there but does not work: {done.stderr.strip()[-200:]}" if done.returncode else ""


def apptainer_why_not() -> str:
    """Say why Apptainer cannot be used here, or ""."""
    apart = ["--containall", *(["--userns"] if os.getuid() == 0 else []), "--net", "--network=none"]
    with smallest_image() as root:
        return why_not("apptainer", "exec", *apart, root, "/usr/bin/true")


PODMAN_OPTIONS, PODMAN_WHY_NOT = podman_options()
WHY_NOT = {
    "bwrap": why_not("bwrap", "--version"),
    "unshare": why_not("unshare", "--version"),
    "podman": PODMAN_WHY_NOT,
    "docker": why_not("docker", "version"),
    "apptainer": apptainer_why_not(),
}
ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=why)) for name, why in WHY_NOT.items()
]
