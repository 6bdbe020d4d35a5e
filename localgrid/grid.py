"""The local grid as an object: what the command line, the tests and the demo use."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from localgrid import services
from localgrid.layout import HOST, Layout, default_home, write_private_json
from localgrid.parts import Node, Service, Started, Step, UnhealthyError
from localgrid.services import BY_NAME
from localgrid.setup import airflow, diracx, issuer, rucio, slurm, slurm_packages, ssh
from localgrid.supervision import ProcessState, Supervisor

HEALTH_TIMEOUT_S = 180.0
POLL_S = 0.15
T = TypeVar("T")
Progress = Callable[[str, float], object]


class GridError(RuntimeError):
    """Something of the local grid cannot be done; says what to do."""


class ServiceDown(GridError):  # noqa: N818  it tells a state, as it is caught by
    """A service ended without having been told to, or never came up."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        self.name, self.log = name, log
        self.log_tail = services.tail(log)
        super().__init__(
            f"localgrid: service {name} {reason}. Last lines of {log}:\n{self.log_tail}\n"
            f"Start it again: python -m localgrid start {name}"
        )


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `status`. Memory in MB (shared pages divided among their users), uptime in seconds."""

    name: str
    state: str
    healthy: bool
    detail: str
    pid: int
    uptime_s: float
    memory_mb: float
    port: int
    stand_in_for: str

    @property
    def crashed(self) -> bool:
        return self.state in ("EXITED", "FATAL", "BACKOFF", "UNKNOWN")


class Grid:
    """One local grid, in one state directory."""

    def __init__(self, home: Path | None = None, progress: Progress | None = None) -> None:
        self.layout = Layout((home or default_home()).resolve())
        self.supervisor = Supervisor(self.layout)
        self.progress = progress or (lambda name, seconds: None)

    @property
    def home(self) -> Path:
        return self.layout.home

    @cached_property
    def services(self) -> dict[str, Service]:
        """What runs here.

        Raises:
            GridError: no such system.

        """
        try:
            return services.of(self.layout)
        except RuntimeError as error:
            raise GridError(str(error)) from error

    @property
    def info(self) -> dict[str, Any]:
        """Addresses, paths and ports (grid.json).

        Raises:
            GridError: the grid was never started.

        """
        if not self.layout.grid_file.exists():
            raise GridError(f"localgrid: no grid in {self.home}. Start it: python -m localgrid start")
        document: dict[str, Any] = json.loads(self.layout.grid_file.read_text())
        return document

    def up(self, show: Callable[[str], object] | None = None) -> None:
        """Start whatever does not run, and return when all of it is healthy; `show` gets a line per part.

        Raises:
            ServiceDown: a service did not come up.
            GridError: something that it needs is missing.

        """
        if show:
            self.progress = lambda name, seconds: show(f"  {name:<24}{seconds:6.1f} s")
        self.start()
        if show and (words := slurm_packages.missing_words()):
            show(words)

    def start(self, *names: str) -> None:
        """Start services with what they need, all of them when none is named; those that run are left alone.

        Raises:
            ServiceDown: a service did not come up.
            GridError: unknown name, or something is missing.

        """
        wanted = self._with_needs(self._known(names or tuple(self.services)))
        with self._locked(self.layout.own("start.lock")):
            with self._locked(self.layout.path("run", "configure.lock")):
                self._configure()
            self.supervisor.up()
            self._bring_up(wanted)

    def stop(self, *names: str) -> None:
        """Stop services, all of them when none is named."""
        left = set(self._known(names or tuple(self.services)))
        while left:
            # First those that others wait for: they say goodbye to them.
            now = [name for name in left if left.isdisjoint(self.services[name].outlives)]
            with ThreadPoolExecutor(len(now)) as pool:
                list(pool.map(self.supervisor.stop, now))
            left.difference_update(now)

    def kill(self, name: str) -> None:
        """SIGKILL to every process of a service."""
        (name,) = self._known((name,))
        self.supervisor.kill(name)

    def restart(self, *names: str) -> None:
        self.stop(*names)
        self.start(*names)

    def down(self, purge: bool = False) -> None:
        """Stop everything; with `purge`, remove the state directory."""
        if not self.home.exists():
            return
        if self.supervisor.is_up():
            self.stop()
        self.supervisor.down()
        if purge:
            self._purge()

    def _purge(self) -> None:
        marks = ("ports.json", "grid.json")
        if any(self.home.iterdir()) and not any((self.home / mark).exists() for mark in marks):
            raise GridError(
                f"localgrid: {self.home} does not look like a grid's state directory: not removed"
            )
        shutil.rmtree(self.home)

    def status(self) -> list[ServiceStatus]:
        """The state and health of every service, checked now."""
        states = self.supervisor.states()
        with ThreadPoolExecutor(len(self.services)) as pool:
            return list(pool.map(lambda name: self._status(states[name]), self.services))

    def troubles(self, names: Collection[str]) -> dict[str, str]:
        """What is wrong with those of the services that are not healthy."""
        states = self.supervisor.states()
        with ThreadPoolExecutor(len(names)) as pool:
            found = zip(names, pool.map(lambda name: self._trouble(states[name]), names), strict=True)
            return {name: trouble for name, trouble in found if trouble}

    def check(self, ignore: Collection[str] = ()) -> None:
        """See whether a service has crashed; costs about a millisecond.

        Raises:
            ServiceDown: one has.

        """
        for name, state in self.supervisor.states().items():
            if state.crashed and name not in ignore:
                raise ServiceDown(name, f"ended with exit code {state.exit_status}", self.layout.log(name))

    def wait(
        self,
        condition: Callable[[], T],
        what: str,
        timeout_s: float = 120.0,
        poll_s: float = 0.2,
        ignore: Collection[str] = (),
    ) -> T:
        """Poll until the condition yields something true, and return that; a crash is noticed at once.

        Args:
            condition: called again and again; its exceptions pass through.
            what: what is waited for, in the words of an error message.
            timeout_s: how long to wait, in seconds.
            poll_s: rest between calls, in seconds.
            ignore: services that are down on purpose.

        Raises:
            ServiceDown: a service crashed in the meantime.
            TimeoutError: it took too long.

        """
        deadline = time.monotonic() + timeout_s
        while True:
            if value := condition():
                return value
            self.check(ignore)
            if time.monotonic() > deadline:
                raise TimeoutError(f"localgrid: no {what} after {timeout_s:.0f} s")
            time.sleep(poll_s)

    # How it is done.

    def _known(self, names: Collection[str]) -> list[str]:
        for name in names:
            if name not in self.services:
                words = f"localgrid: unknown service {name!r}, allowed: {', '.join(self.services)}"
                raise GridError(f"{words}. {slurm_packages.missing_words()}".rstrip(" ."))
        return list(names)

    def _with_needs(self, names: list[str]) -> dict[str, Node]:
        wanted: dict[str, Node] = {}
        todo = list(names)
        while todo:
            node = BY_NAME[todo.pop()]
            if node.name not in wanted:
                wanted[node.name] = node
                todo += node.needs + (node.steps if isinstance(node, Service) else ())
        return wanted

    @contextmanager
    def _locked(self, lock: Path) -> Iterator[None]:
        """One at a time; a second one waits for the first."""
        self.layout.make()
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _configure(self) -> None:
        try:
            rucio.create(self.layout)
            if not slurm_packages.missing():
                slurm.create(self.layout, services.slots_per_site())
                ssh.create(self.layout)
            airflow.create(self.layout)
            for service in self.services.values():
                services.write_script(self.layout, service)
        except RuntimeError as error:
            raise GridError(str(error)) from error
        write_private_json(self.layout.grid_file, self._document())

    def _document(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "home": str(layout.home),
            "diracx": {
                "url": diracx.url(layout),
                "vo": diracx.VO,
                "credentials_dir": str(layout.diracx_credentials),
            },
            "rucio": {"url": layout.url("rucio"), "account": "esap", "username": rucio.ESAP_USER},
            "fts": {"url": layout.url("fts")},
            "s3": {"url": layout.url("s3")},
            "connections_file": str(layout.path("secrets", "connections.json")),
            "airflow": {"url": layout.url("airflow-api")},
            "issuer": {
                "url": layout.issuer,
                "client": issuer.SCRIPTS,
                "redirect": issuer.SCRIPTS_REDIRECT,
                "audience": issuer.AUDIENCE,
                "passwords_file": str(layout.passwords_file),
                "keys_file": str(layout.issuer_keys_file),
            },
            "postgres": {"port": layout.ports["postgres"]},
            "storage": {rse: str(layout.storage(rse)) for rse in rucio.RSES},
            "sites": services.slots(),
            "slurm": _slurm_document(layout),
            "airflow_home": str(layout.path("airflow")),
            "environment_file": str(layout.airflow_environment_file),
            "logs": str(layout.path("logs")),
        }

    def _bring_up(self, wanted: dict[str, Node]) -> None:
        """Start everything as soon as its needs are there, the most of it at the same time."""
        left, done = dict(wanted), set[str]()
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(len(wanted)) as pool:
            while left or running:
                for name, node in list(left.items()):
                    if done.issuperset(node.needs):
                        running[pool.submit(self._reach, left.pop(name))] = name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    future.result()
                    done.add(name)

    def _reach(self, node: Node) -> None:
        begin = time.monotonic()
        try:
            if isinstance(node, Step):
                node.action(self.layout)
            elif isinstance(node, Service):
                self._start_one(node)
        except GridError:
            raise
        except Exception as error:  # whichever library it comes from: the user must learn which part failed
            logs = self.layout.path("logs")
            raise GridError(
                f"localgrid: {node.name} failed: {type(error).__name__}: {error} (logs: {logs})"
            ) from error
        self.progress(node.name, time.monotonic() - begin)

    def _start_one(self, service: Service) -> None:
        """Start a service unless it runs, and wait for its health.

        One that was found running may still die of what was wrong before, say a database that went away:
        then it is started. One that dies after it was started here is down.
        """
        started, deadline = False, time.monotonic() + HEALTH_TIMEOUT_S
        while trouble := self._trouble(state := self.supervisor.states()[service.name]):
            if not state.runs and started:
                reason = f"ended with exit code {state.exit_status}"
                raise ServiceDown(service.name, reason, self._log(service))
            if not state.runs:
                service.prepare(self.layout)
                self.supervisor.start(service.name)
                started = True
            elif time.monotonic() > deadline:
                raise ServiceDown(service.name, f"is not healthy: {trouble}", self._log(service))
            time.sleep(POLL_S)

    def _log(self, service: Service) -> Path:
        return self.layout.log(service.name)

    def _trouble(self, state: ProcessState) -> str:
        """What is wrong with a service, empty when nothing is."""
        if not state.runs:
            return state.state.lower()
        try:
            self.services[state.name].health(self.layout, Started(state.pid, state.started))
        except UnhealthyError as error:
            return str(error) or "unhealthy"
        return ""

    def _status(self, state: ProcessState) -> ServiceStatus:
        service, trouble = self.services[state.name], self._trouble(state)
        return ServiceStatus(
            name=state.name,
            state=state.state,
            healthy=not trouble,
            detail=trouble or "ok",
            pid=state.pid,
            uptime_s=time.time() - state.started if state.runs else 0.0,
            memory_mb=self._memory(state) if state.runs else 0.0,
            port=self.layout.ports[service.listener] if service.listener else 0,
            stand_in_for=service.stand_in_for,
        )

    def _memory(self, state: ProcessState) -> float:
        import psutil

        total = 0
        try:
            leader = psutil.Process(state.pid)
            for process in (leader, *leader.children(recursive=True)):
                total += process.memory_full_info().pss
        except psutil.Error:
            return total / 1e6
        return total / 1e6


def _slurm_document(layout: Layout) -> dict[str, Any]:
    """What tests need to know of the SLURM site; `missing` says why there is none."""
    if words := slurm_packages.missing_words():
        return {"missing": words}
    listeners = ("sshd", "slurmdbd", "slurmctld", *(f"slurm-{node}" for node in slurm.NODES))
    return {
        "missing": "",
        "conf": str(slurm.configuration_file(layout)),
        "cluster": slurm.CLUSTER,
        "account": slurm.ACCOUNT,
        "partitions": list(slurm.PARTITIONS),
        "nodes": list(slurm.NODES),
        "login": slurm.account_name(),
        "host": HOST,
        "port": layout.ports["sshd"],
        "ports": {name: layout.ports[name] for name in listeners},
        "host_key": ssh.host_key(layout),
        "known_hosts": str(ssh.known_hosts(layout)),
        "keys_dir": str(ssh.keys_directory(layout)),
        "work_area": str(slurm.work_area(layout)),
    }
