"""How many runs a user and an experiment may have at a time, whichever way they start, and how many jobs.

All runs come through one place: a row of Airflow's table of runs, written for somebody's request: a new one,
or one that has ended and begins again (Airflow's "clear").
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, status
from sqlalchemy import event, func, inspect, select, text
from sqlalchemy.orm import Session

from access.callers import caller, serving
from access.people import groups_by_user
from access.settings import identities, limits
from esap_batch.limits import Exceeded
from esap_batch.metrics import LIMITED
from hooks.broker import SERVICE
from hooks.metrics import count
from store.tables import Job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy.orm.attributes import History

    from access.users import EsapUser

RETRY_S = 60  # runs end when they end
JOBS_RETRY_S = 3600  # jobs go when their owner deletes them
UNFINISHED = ("queued", "running")
_LOCK = text("select pg_advisory_xact_lock(hashtext(:name))")


def guard_runs() -> None:
    """Begin to count the runs that this process starts for people."""
    if not event.contains(Session, "before_flush", _before_flush):
        event.listen(Session, "before_flush", _before_flush)


def too_many(exceeded: Exceeded) -> HTTPException:
    """Answer who has run into a limit."""
    count(LIMITED, limit=exceeded.name)
    return HTTPException(
        status.HTTP_429_TOO_MANY_REQUESTS, str(exceeded), {"Retry-After": str(exceeded.retry_after_s)}
    )


def require_room(session: Session, owner: str) -> None:
    """Refuse one more job to who has too many for which there never was a run; HTTPException 429.

    Runs have limits of their own. As many as are made in the same moment may overshoot.
    """
    allowed = limits().jobs_per_user
    standing = (Job.owner == owner, Job.deleted_at.is_(None))
    without_run = select(func.count()).where(*standing, Job.dag_run_id.is_(None))
    if (session.scalar(without_run) or 0) >= allowed:
        raise too_many(Exceeded("jobs_per_user", allowed, owner, JOBS_RETRY_S))


def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    who = caller()
    if who is None or who.user is None or who.user.is_service:
        return
    from airflow.models.dagrun import DagRun

    begun = Counter(who.user.name for one in session.new if isinstance(one, DagRun))
    begun.update(_begun_again(session))
    if begun and (exceeded := _exceeded(session, who.user, begun)):
        raise too_many(exceeded)


def _begun_again(session: Session) -> Iterator[str]:
    """Give the owner of each run that has ended and begins again: whoever asks for it, it is the owner's."""
    from airflow.models.dagrun import DagRun

    for run in session.dirty:
        if not isinstance(run, DagRun):
            continue
        change: History = inspect(run).attrs._state.history
        if set(change.added) & set(UNFINISHED) and not set(change.deleted) & set(UNFINISHED):
            owner = run.triggering_user_name
            if owner and owner != SERVICE:
                yield owner


def _exceeded(session: Session, user: EsapUser, begun: Counter[str]) -> Exceeded | None:
    """Find the limit that so many runs by owner, begun for a user, would break.

    Submissions of one user go one after the other from here to their commits, so that theirs is exact.
    That of an experiment may be overshot by as many as its members submit in the same moment.
    """
    allowed = limits()
    with serving(None), session.no_autoflush:
        for owner, number in sorted(begun.items()):  # in order, so that two never wait for each other
            if session.get_bind().dialect.name == "postgresql":
                session.execute(_LOCK, {"name": f"esap runs of {owner}"})
            if _unfinished(session, [owner]) + number > allowed.runs_per_user:
                return Exceeded("runs_per_user", allowed.runs_per_user, owner, RETRY_S)
        for experiment in sorted(user.identity.experiments):
            members = _members(session, experiment)
            number = sum(n for owner, n in begun.items() if owner in members or owner == user.name)
            if number and _unfinished(session, members) + number > allowed.runs_per_experiment:
                return Exceeded("runs_per_experiment", allowed.runs_per_experiment, experiment, RETRY_S)
    return None


def _unfinished(session: Session, owners: Collection[str]) -> int:
    from airflow.models.dagrun import DagRun

    theirs = DagRun.triggering_user_name.in_(owners)
    query = select(func.count()).select_from(DagRun).where(DagRun._state.in_(UNFINISHED), theirs)
    return session.scalar(query) or 0


def _members(session: Session, experiment: str) -> set[str]:
    groups = {g.name for g in identities().groups.values() if experiment in g.experiments}
    return {name for name, own in groups_by_user(session).items() if own & groups}
