"""Supervisor: its configuration and the calls that start, stop and look at processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from localgrid.layout import RUN_VARIABLE, Layout
from localgrid.parts import Service
from localgrid.services import base_environment, of, tail

START_TIMEOUT_S = 20.0
RUNNING_STATES = ("STARTING", "RUNNING", "STOPPING")
LOG_BYTES = "10MB"


@dataclass(frozen=True)
class ProcessState:
    """What supervisor says of a service; `started` and `stopped` in s since 1970, 0 for never."""

    name: str
    state: str
    pid: int
    started: float
    stopped: float
    exit_status: int

    @property
    def runs(self) -> bool:
        return self.state in RUNNING_STATES

    @property
    def crashed(self) -> bool:
        """Whether it ended without having been told to."""
        return self.state in ("EXITED", "FATAL", "BACKOFF", "UNKNOWN")


def _section(layout: Layout, service: Service) -> str:
    return "\n".join(
        (
            f"[program:{service.name}]",
            f"command=/bin/sh {layout.path('services', service.name + '.sh')}",
            "autostart=false",
            "autorestart=false",  # a crash is to be seen, not papered over
            "startsecs=0",
            f"stopsignal={service.stop_signal}",
            f"stopwaitsecs={service.stop_wait_s}",
            "stopasgroup=false" if service.name == "postgres" else "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={layout.log(service.name)}",
            f"stdout_logfile_maxbytes={LOG_BYTES}",
            "stdout_logfile_backups=2",
            "",
        )
    )


def configuration(layout: Layout) -> str:
    """Supervisord's configuration."""
    as_root = "user=root\n" if os.geteuid() == 0 else ""  # it wants to be told that this is meant
    head = f"""[supervisord]
{as_root}logfile={layout.own("supervisord.log")}
logfile_maxbytes={LOG_BYTES}
logfile_backups=1
pidfile={layout.own("supervisord.pid")}
childlogdir={layout.path("logs")}
directory={layout.home}
umask=022

[unix_http_server]
file={layout.socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

"""
    text = head + "\n".join(_section(layout, service) for service in of(layout).values())
    return text.replace("%", "%%")  # supervisor expands %(...)s in values


class Supervisor:
    """One supervisord, reached by its Unix socket."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def _rpc(self) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.layout.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def is_up(self) -> bool:
        try:
            return bool(self._rpc.getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def up(self) -> None:
        """Start supervisord if it is not there, and let it know services that are new.

        Raises:
            RuntimeError: it does not come up; carries its log.

        """
        path = self.layout.own("supervisord.conf")
        path.write_text(configuration(self.layout))
        if self.is_up():
            ((added, _, _),) = self._rpc.reloadConfig()
            for name in added:
                self._rpc.addProcessGroup(name)
            return
        self.end_strays()
        program = self.layout.program("airflow", "supervisord")
        environment = base_environment(self.layout, "supervisord")
        done = subprocess.run(
            [program, "-c", str(path)], env=environment, capture_output=True, text=True, check=False, cwd="/"
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_up():
            if done.returncode or time.monotonic() > deadline:
                words = done.stdout + done.stderr or tail(self.layout.own("supervisord.log"))
                raise RuntimeError(f"localgrid: supervisord did not come up:\n{words}")
            time.sleep(0.02)

    def down(self) -> None:
        """Stop supervisord, with whatever still runs."""
        pid_file = self.layout.own("supervisord.pid")
        if self.is_up():
            pid = int(pid_file.read_text())
            self._rpc.shutdown()
            _wait_gone([pid], 60)
        self.end_strays()

    def start(self, name: str) -> None:
        self._tell("start", name, wait=False, unless="ALREADY_STARTED")

    def stop(self, name: str) -> None:
        """Stop a service and wait for its end."""
        self._tell("stop", name, wait=True, unless="NOT_RUNNING")
        kill_all(self.members(name))

    def _tell(self, verb: str, name: str, *, wait: bool, unless: str) -> None:
        """Have a service started or stopped; `unless` is how supervisord says that it is so already."""
        try:
            getattr(self._rpc, f"{verb}Process")(name, wait)
        except xmlrpc.client.Fault as fault:
            if unless not in fault.faultString:
                words = f"localgrid: supervisor cannot {verb} {name}: {fault.faultString}"
                raise RuntimeError(words) from fault

    def kill(self, name: str) -> None:
        """SIGKILL to every process of a service at once."""
        kill_all(self.members(name))
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.states()[name].runs:  # until supervisor has noticed
            if time.monotonic() > deadline:
                raise RuntimeError(f"localgrid: {name} still runs after SIGKILL")
            time.sleep(0.02)

    def states(self) -> dict[str, ProcessState]:
        """The state of every service, all STOPPED when supervisord is down."""
        try:
            rows = {row["name"]: row for row in self._rpc.getAllProcessInfo()}
        except (OSError, xmlrpc.client.Error):
            rows = {}
        return {name: _state(name, rows.get(name)) for name in of(self.layout)}

    def members(self, name: str) -> list[int]:
        """Every process of a service: supervisor's child, its group, its descendants and what it marked.

        The jobs of the site are not part of it: on a real site they outlive the pilot that started them.
        """
        import psutil

        found = set(self._marked(f"{self.layout.mark}:{name}"))
        if sockets := of(self.layout)[name].sockets:
            found.update(_listening_below(f"{self.layout.path(sockets)}/"))
        if leader := self.states()[name].pid:
            found.update(_group(leader))
        if not of(self.layout)[name].leaves_children:
            for pid in list(found):
                with contextlib.suppress(psutil.Error):
                    found.update(child.pid for child in psutil.Process(pid).children(recursive=True))
        return sorted(found)

    def end_strays(self) -> None:
        """Kill what a killed supervisord has left running."""
        strays = set(self._marked(f"{self.layout.mark}:"))
        pid_file = self.layout.own("supervisord.pid")
        # Some programs overwrite the mark in their environment, but they stay in supervisord's session.
        if pid_file.exists():
            strays |= set(_orphaned_session(int(pid_file.read_text())))
        for service in of(self.layout).values():
            if service.sockets:
                strays |= set(_listening_below(f"{self.layout.path(service.sockets)}/"))
        kill_all(strays)

    def _marked(self, prefix: str) -> Iterator[int]:
        import psutil

        for process in psutil.process_iter():
            try:
                mark = process.environ().get(RUN_VARIABLE, "")
            except (psutil.Error, OSError):
                continue
            if mark == prefix or (prefix.endswith(":") and mark.startswith(prefix)):
                yield process.pid


def _group(leader: int) -> Iterator[int]:
    """The members of a process group."""
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == leader:
                yield pid


def _listening_below(directory: str) -> Iterator[int]:
    """The processes with a Unix socket whose path begins so."""
    import psutil

    for one in psutil.net_connections("unix"):
        if one.pid and str(one.laddr).startswith(directory):
            yield one.pid


def _orphaned_session(leader: int) -> Iterator[int]:
    """The members of a session whose leader is gone; none if it lives."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).status() != psutil.STATUS_ZOMBIE:
            return
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                yield pid


def _state(name: str, row: dict[str, Any] | None) -> ProcessState:
    if row is None:
        return ProcessState(name, "STOPPED", 0, 0, 0, 0)
    times = float(row["start"]), float(row["stop"])
    return ProcessState(name, row["statename"], row["pid"], *times, row["exitstatus"])


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL and wait until they are gone."""
    import psutil

    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
            processes[-1].kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)


def _wait_gone(pids: list[int], timeout_s: float) -> None:
    import psutil

    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    psutil.wait_procs(processes, timeout=timeout_s)
