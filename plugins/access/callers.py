"""Who makes the request that is being served: known to everything below, threads included.

A request begins with nobody. Whoever verifies its credentials says whose it is, so that what asks for rows
before that gets none (`access.rows`). Outside of requests of people there is no caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from access.users import EsapUser

NESTED = "esap_batch.nested"  # in the scope of a request, where no client can put it


@dataclass(frozen=True)
class Reach:
    """Runs of these owners, and of these of all campaigns (by their DAGs)."""

    owners: Sequence[str] = ()
    every_campaign: Sequence[str] = ()
    own_campaigns: Sequence[str] = ()


@dataclass
class Caller:
    """The caller of one request; `changes` when the request may change something.

    `reach` says whose runs the request may read or change; nobody's before `access.rows` has found out.
    `token` is what the user was known by. A request that the portal itself makes for another one is nested.
    """

    changes: bool = False
    user: EsapUser | None = None
    reach: Reach | None = None
    token: str = field(default="", repr=False)
    is_nested: bool = False

    def become(self, user: EsapUser, token: str = "") -> None:
        self.user, self.reach, self.token = user, None, token


_current: ContextVar[Caller | None] = ContextVar("esap_caller", default=None)


def nested(app: ASGIApp) -> ASGIApp:
    """Give an app as the portal calls it for the request that it serves.

    That a caller is known already does not tell: a server begins a pipelined request in the context of the
    one before.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, NESTED: True}, receive, send)

    return call


def caller() -> Caller | None:
    """Give the caller; None in what no person has asked for."""
    return _current.get()


@contextmanager
def serving(who: Caller | None) -> Iterator[None]:
    """Serve a caller; None for work of the service itself, which sees all rows."""
    token = _current.set(who)
    try:
        yield
    finally:
        _current.reset(token)
