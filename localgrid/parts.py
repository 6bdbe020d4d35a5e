"""What the grid is made of: steps and services, and when a service is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from localgrid.layout import Layout


class Started(NamedTuple):
    """The process of a service: its id and its start (s since 1970, rounded down)."""

    pid: int
    time: float


class UnhealthyError(Exception):
    """A service runs and yet does not do its work; says why."""


Health = Callable[[Layout, Started], None]


@dataclass(frozen=True)
class Node:
    """Something that is there once its needs are there."""

    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step(Node):
    """Work to be done once, or at each start; quick when there is nothing to do."""

    action: Callable[[Layout], None] = lambda _: None


@dataclass(frozen=True)
class Service(Node):
    """A process under supervisor.

    `prepare` runs before it starts; `health` gets its process and raises `UnhealthyError`;
    `steps` are the names of steps that belong to it and run each time it has been started;
    `outlives` names the services that are stopped before it; `sockets` is a directory below the state
    directory where only its processes listen, which finds those that overwrite their environment.
    """

    command: Callable[[Layout], Sequence[str]] = lambda _: ()
    environment: Callable[[Layout], Mapping[str, str]] = lambda _: {}
    health: Health = lambda _, __: None
    prepare: Callable[[Layout], None] = lambda _: None
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    listener: str = ""
    stand_in_for: str = ""
    leaves_children: bool = False  # its children are no part of it and outlive it
    steps: tuple[str, ...] = field(default=())
    outlives: tuple[str, ...] = ()
    sockets: str = ""
