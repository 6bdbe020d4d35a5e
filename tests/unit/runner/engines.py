"""The container engines of this machine, for tests that start them for real."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

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


def podman_options() -> tuple[list[str], str]:
    """Give the options that podman needs here, and why it does not work at all, or ""."""
    if shutil.which("podman") is None:
        return [], "podman is not there: apt-get install podman"
    told = ""
    with tempfile.TemporaryDirectory(prefix="esap-podman-") as root:
        for name, content in with_libraries(("true",)).items():
            path = Path(root + name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755)
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
    if shutil.which(program) is None:
        return f"{program} is not there: only its command line is tested, it is not started"
    done = subprocess.run([program, *probe], capture_output=True, text=True, check=False)
    return f"{program} is there but does not work: {done.stderr.strip()[-200:]}" if done.returncode else ""


PODMAN_OPTIONS, PODMAN_WHY_NOT = podman_options()
WHY_NOT = {
    "bwrap": why_not("bwrap", "--version"),
    "unshare": why_not("unshare", "--version"),
    "podman": PODMAN_WHY_NOT,
    "docker": why_not("docker", "version"),
    "apptainer": why_not("apptainer", "--version"),
}
ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=why)) for name, why in WHY_NOT.items()
]
