"""What starts payloads in images."""

import os
import resource
import shutil
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .containers import INSIDE, ROOTFS, Container, env_options, mount_options
from .logs import last_words
from .reasons import JobError
from .rootfs import UNSHARE, by_bwrap, by_unshare
from .tools import run_tool

ULIMIT = 32768  # of open files and processes in podman's containers, at most


def ulimit(name: str, number: int) -> str:
    """Give a limit that podman is allowed to set: its own defaults may be above the node's."""
    known = [value for value in resource.getrlimit(number) if value != resource.RLIM_INFINITY]
    least = min([ULIMIT, *known])
    return f"{name}={least}:{least}"


def by_podman(box: Container, command: List[str]) -> List[str]:
    """Podman: no daemon, so that the container's processes are the runner's own."""
    settings = ["--name", box.name, "--network", "host" if box.network else "none"]
    settings += ["--read-only", "--read-only-tmpfs=false", "--http-proxy=false", "--systemd=false"]
    settings += ["--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none"]
    settings += ["--ulimit", ulimit("nofile", resource.RLIMIT_NOFILE)]
    settings += ["--ulimit", ulimit("nproc", resource.RLIMIT_NPROC)]
    settings += ["--workdir", INSIDE, *mount_options(box), *env_options(box), *box.options]
    return ["podman", "run", *settings, "--rootfs", box.root, *command]


def by_docker(box: Container, command: List[str]) -> List[str]:
    """Docker: its daemon starts the processes, so that it must hold the memory limit."""
    settings = ["--name", box.name, "--network", "host" if box.network else "none", "--read-only"]
    settings += ["--user", f"{os.getuid()}:{os.getgid()}", "--memory", f"{box.memory_mb:.0f}m"]
    settings += ["--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none"]
    settings += ["--workdir", INSIDE, *mount_options(box), *env_options(box), *box.options]
    return ["docker", "run", *settings, box.root, *command]


def by_apptainer(box: Container, command: List[str]) -> List[str]:
    """Apptainer; the environment goes by variables of its own, since --env splits at commas."""
    settings = ["--containall", "--no-home", "--no-mount", "tmp"]  # it would hide mounts below /tmp
    settings += ["--userns"] if os.getuid() == 0 else []
    settings += [] if box.network else ["--net", "--network", "none"]
    settings += ["--pwd", INSIDE, *mount_options(box), *box.options]
    return ["apptainer", "--silent", "exec", *settings, box.root, *command]


def by_udocker(box: Container, command: List[str]) -> List[str]:
    """udocker: proot neither mounts read-only nor shuts the network off."""
    binds = [f"--volume={box.directory}:{INSIDE}", *(f"--volume={a}:{b}" for a, b in box.binds)]
    settings = ["--nobanner", "--workdir=" + INSIDE, *binds, *env_options(box), *box.options]
    return ["udocker", "--quiet", "run", *settings, "--location=" + box.root, "esap", *command]


def inner_environment(box: Container) -> Dict[str, str]:
    """Give what an engine hands on as it is."""
    return dict(box.environment)


def outer_environment(box: Container) -> Dict[str, str]:
    """Give the node's own environment, for an engine that hands none of it on."""
    return dict(os.environ)


def apptainer_environment(box: Container) -> Dict[str, str]:
    """Give the node's own environment, and the payload's under apptainer's names; HOME is its own affair."""
    given = {"APPTAINERENV_" + k: v for k, v in box.environment.items() if k != "HOME"}
    return dict(os.environ, **given)


class Engine(NamedTuple):
    """A program that starts payloads in images.

    `probe` is a command that works where the engine does; `broken` matches the last line of a log when the
    engine ended with one of `codes` without having started the payload; `remove` ends a container by name.
    """

    command: Callable[[Container, List[str]], List[str]]
    environment: Callable[[Container], Dict[str, str]]
    probe: List[str]
    codes: Tuple[int, ...] = ()
    broken: str = ""
    remove: Tuple[str, ...] = ()


ENGINES: Dict[str, Engine] = {
    "bwrap": Engine(
        by_bwrap, inner_environment, ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--", "true"]
    ),
    "unshare": Engine(by_unshare, inner_environment, [*UNSHARE, "--net", "--", "true"]),
    "podman": Engine(
        by_podman,
        outer_environment,
        ["podman", "--version"],
        codes=(125, 126),
        broken="Error: ",
        remove=("podman", "rm", "--force", "--ignore", "--time=0"),
    ),
    "docker": Engine(
        by_docker,
        outer_environment,
        ["docker", "version"],
        codes=(125, 126),
        broken="docker: ",
        remove=("docker", "rm", "--force"),
    ),
    "apptainer": Engine(
        by_apptainer,
        apptainer_environment,
        ["apptainer", "--version"],
        codes=(255,),
        broken=r"(\x1b\[\d+m)?FATAL: ",
    ),
    "udocker": Engine(by_udocker, outer_environment, ["udocker", "--version"], codes=(1,), broken="Error: "),
}
ROOTFS_ENGINES = ("bwrap", "unshare")  # in order of preference


def find_engine(kind: str, wanted: Optional[str] = None) -> str:
    """Name what starts images here; JobError says why nothing does."""
    if kind != ROOTFS:
        names: Tuple[str, ...] = (kind,)
    else:
        names = (wanted,) if wanted else ROOTFS_ENGINES
    told = []
    for name in names:
        probe = ENGINES[name].probe if name in ENGINES else []
        if not probe or shutil.which(probe[0]) is None:
            told.append(f"{name} is not there")
            continue
        done = run_tool(probe, dict(os.environ))
        if done.returncode == 0:
            return name
        told.append(f"{name} says: {last_words(done.stderr)}")
    raise JobError("SOFTWARE_MISSING", "this node cannot start images: {}".format("; ".join(told)))
