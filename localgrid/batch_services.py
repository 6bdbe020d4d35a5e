"""The parts of the grid that are a SLURM site; none of them where its packages are missing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from localgrid.layout import Layout
from localgrid.parts import Health, Node, Service, Started, Step, UnhealthyError
from localgrid.setup import accounting, slurm, slurm_control, slurm_packages, ssh

WORKING = ("IDLE", "MIXED", "ALLOCATED", "COMPLETING")
UNUSABLE = {"DRAIN", "NOT_RESPONDING"}


def _answers(*command: str, expect: str = "") -> Health:
    def check(layout: Layout, _: Started) -> None:
        try:
            told = slurm_control.ask(layout, *command)
        except RuntimeError as error:
            raise UnhealthyError(str(error)) from error
        if expect not in told:
            raise UnhealthyError(f"{command[0]}: {' '.join(told.split())}")

    return check


def _munge_answers(layout: Layout, _: Started) -> None:
    try:
        slurm_control.ask(layout, "munge", "--no-input", f"--socket={slurm.munge_socket(layout)}")
    except RuntimeError as error:
        raise UnhealthyError(str(error)) from error


def _database_answers(layout: Layout, _: Started) -> None:
    try:
        accounting.query(layout, "select 1")
    except RuntimeError as error:
        raise UnhealthyError(str(error)) from error


def _sshd_greets(layout: Layout, _: Started) -> None:
    try:
        greeting = ssh.banner(layout)
    except OSError as error:
        raise UnhealthyError(str(error)) from error
    if not greeting.startswith("SSH-2.0"):
        raise UnhealthyError(f"greets with {greeting!r}")


def _node_serves(node: str) -> Health:
    """The controller has heard of this process of the node, and would give it jobs."""

    def check(layout: Layout, started: Started) -> None:
        try:
            told = slurm_control.ask(layout, "scontrol", "-o", "show", "node", node)
        except RuntimeError as error:
            raise UnhealthyError(str(error)) from error
        fields = dict(part.split("=", 1) for part in told.split() if "=" in part)
        since = fields.get("SlurmdStartTime", "")
        if not since.isdecimal() or int(since) < int(started.time):
            raise UnhealthyError("not registered with the controller yet since its start")
        state = fields["State"].split("+")
        if state[0] not in WORKING or not UNUSABLE.isdisjoint(state):
            raise UnhealthyError(f"the controller says {fields['State']} {fields.get('Reason', '')}".strip())

    return check


def _node(node: str) -> Service:
    def environment(layout: Layout) -> Mapping[str, str]:
        return slurm_control.environment(layout)

    return Service(
        f"slurm-{node}",
        ("slurm-resume", "software-area"),
        command=partial(slurm_control.node_command, node=node),
        environment=environment,
        health=_node_serves(node),
        prepare=partial(slurm_control.tell_down, node=node),
        listener=f"slurm-{node}",
        sockets=f"slurm/{node}",  # slurmstepd's, one for each job
    )


_NODES: tuple[Node, ...] = (
    Service(
        "munge",
        command=slurm_control.munge_command,
        environment=slurm_control.environment,
        health=_munge_answers,
        outlives=("slurmdbd", "slurmctld"),
    ),
    Service(
        "mariadb",
        command=accounting.database_command,
        health=_database_answers,
        prepare=accounting.create_database,
        outlives=("slurmdbd",),
        stop_wait_s=20,
    ),
    Step("slurm-database", ("mariadb",), accounting.create_tables),
    Service(
        "slurmdbd",
        ("munge", "slurm-database"),
        command=accounting.command,
        environment=accounting.environment,
        health=_answers("sacctmgr", "-n", "-P", "show", "cluster", "format=cluster"),
        prepare=accounting.create,
        listener="slurmdbd",
        outlives=("slurmctld",),
        steps=("slurm-accounts",),
    ),
    Step("slurm-accounts", ("slurmdbd",), accounting.associate),
    Service(
        "slurmctld",
        ("slurm-accounts",),
        command=slurm_control.controller_command,
        environment=slurm_control.environment,
        health=_answers("scontrol", "ping", expect="is UP"),
        prepare=slurm.number_jobs,
        listener="slurmctld",
        steps=("slurm-resume",),
        outlives=tuple(f"slurm-{node}" for node in slurm.NODES),
    ),
    Step("slurm-resume", ("slurmctld",), slurm_control.resume),
    *(_node(node) for node in slurm.NODES),
    Service(
        "sshd",
        command=ssh.command,
        health=_sshd_greets,
        prepare=ssh.prepare,
        listener="sshd",
        steps=("slurm-login",),
    ),
    Step("slurm-login", ("sshd", "slurmctld"), ssh.log_in),
)
NODES = () if slurm_packages.missing() else _NODES
