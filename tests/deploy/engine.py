"""A Docker engine of our own that leaves nothing, or with ESAP_TEST_DOCKER=standing the one that there is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.shell import run

HERE = Path(__file__).parent
CHOICE = "ESAP_TEST_DOCKER"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 120


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and what leads `docker` to it."""

    environment: dict[str, str]
    own: bool

    def docker(self, *arguments: str | Path, cwd: Path | None = None, within: float = 900) -> str:
        return run("docker", *arguments, env=self.environment, cwd=cwd, within=within)


def _answers(environment: dict[str, str]) -> bool:
    command = ["docker", "info"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def engine(home: Path) -> Iterator[Engine]:
    """Give an engine; one of our own is removed with all that it had and its network rules.

    Raises:
        RuntimeError: the engine that is to be used does not answer, or one that runs containers would suffer.

    """
    plugins = home / "config"
    plugins.mkdir(parents=True)
    environment = {"DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", str(plugins))}
    run(HERE / "tools.sh", environment["DOCKER_CONFIG"])
    chosen = os.environ.get(CHOICE, "own")
    if chosen not in ("own", "standing"):
        raise RuntimeError(f"{CHOICE} is {chosen!r}: own (the default) and standing are allowed")
    answers = _answers(environment)
    if chosen == "standing":
        if not answers:
            raise RuntimeError(f"{CHOICE} is standing, and no engine answers")
        yield Engine(environment, own=False)
        return
    if answers and run("docker", "ps", "--quiet", env=environment):
        # A second engine writes the network rules anew, and the first one's published ports are lost.
        raise RuntimeError(f"an engine runs containers here: stop them, or use it ({CHOICE}=standing)")
    environment["DOCKER_HOST"] = f"unix://{home}/docker.sock"
    rules, links = run("iptables-save"), _links()
    process = _start(home, environment)
    try:
        yield Engine(environment, own=True)
    finally:
        _stop(process)
        subprocess.run(["iptables-restore"], input=rules, text=True, check=True)
        for link in _links() - links:
            run("ip", "link", "delete", link)
        for place in _mounts(home):
            run("umount", place)
        shutil.rmtree(home)


def _links() -> set[str]:
    return {line.split(": ")[1].split("@")[0] for line in run("ip", "-o", "link").splitlines()}


def _mounts(home: Path) -> list[str]:
    """Give what is mounted below a folder, the innermost first: an engine may leave a network's namespace."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((place for place in places if Path(place).is_relative_to(home)), reverse=True)


def _start(home: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = ["dockerd", "-H", environment["DOCKER_HOST"], "--data-root", home / "data"]
    command += ["--exec-root", home / "exec", "--pidfile", home / "pid", "--log-level", "warn"]
    # Small machines without CAP_SYS_RESOURCE can neither lower the score nor raise the limits.
    command += ["--oom-score-adjust", "0", "--default-ulimit", "nofile=20000:20000", "--ip", "127.0.0.1"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(environment):
        if process.poll() is not None or time.monotonic() > deadline:
            words = (home / "log").read_text()[-2000:]
            _stop(process)
            raise RuntimeError(f"dockerd did not come up:\n{words}")
        time.sleep(0.2)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(STOP_TIMEOUT_S)
