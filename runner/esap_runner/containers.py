"""What decides how a payload is contained, and how engines are told."""

import os
import re
from typing import Dict, List, NamedTuple, Tuple

PLAIN, ROOTFS, DOCKER = "plain", "rootfs", "docker"
CONTAINED = (ROOTFS, "apptainer", DOCKER, "podman", "udocker")
INSIDE = "/work"  # the job's directory as a contained payload sees it


class Container(NamedTuple):
    """All that decides a contained payload's command line.

    `root` is the image's root directory (docker: the name of the loaded image), `read_only` are files of the
    job's `directory`, `mounts` paths of the node.
    """

    root: str
    directory: str
    environment: Dict[str, str]
    name: str = ""
    read_only: Tuple[str, ...] = ()
    mounts: Tuple[str, ...] = ()
    network: bool = False
    memory_mb: float = 0.0
    options: Tuple[str, ...] = ()

    @property
    def binds(self) -> List[Tuple[str, str]]:
        """Give what is mounted read-only: its place on the node and inside."""
        inputs = [(os.path.join(self.directory, n), f"{INSIDE}/{n}") for n in self.read_only]
        return inputs + [(path, path) for path in self.mounts]


def csv_line(*fields: str) -> str:
    """Write one record of comma-separated values, as mount options are read."""
    quoted = ['"{}"'.format(f.replace('"', '""')) if re.search(r'[",\n]', f) else f for f in fields]
    return ",".join(quoted)


def mount_options(box: Container) -> List[str]:
    """Give the mounts as podman, docker and apptainer understand them."""
    places = [csv_line("type=bind", "src=" + box.directory, "dst=" + INSIDE)]
    places += [csv_line("type=bind", "src=" + a, "dst=" + b, "ro") for a, b in box.binds]
    return [word for place in places for word in ("--mount", place)]


def env_options(box: Container) -> List[str]:
    """Give the environment as podman, docker and udocker understand it."""
    return [f"--env={name}={value}" for name, value in sorted(box.environment.items())]
