"""The users who have been here: whose name is whose, and the groups their last token told."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from access.callers import serving
from access.refusals import forbidden
from access.settings import identities
from store.sessions import now, transaction
from store.tables import User

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from access.users import EsapUser

log = logging.getLogger(__name__)
LOOK_AGAIN_S = 60  # another process may have seen the same user with another token
SEEN_STEP = timedelta(days=1)
GROUPS_AGE_S = 10

_remembered: dict[str, tuple[tuple[object, ...], float]] = {}
_groups: tuple[dict[str, frozenset[str]], float] | None = None


def remember(user: EsapUser) -> None:
    """Keep who a user is and the groups; HTTPException 403 when the name belongs to somebody else.

    Names of users own runs and products, so a name stays with the account that came with it first.
    """
    state = (user.issuer, user.subject, user.groups)
    known = _remembered.get(user.name)
    if known and known[0] == state and time.monotonic() - known[1] < LOOK_AGAIN_S:
        return
    with serving(None):
        try:
            _write(user)
        except IntegrityError:  # another process was faster to write the first row
            _write(user)
    _remembered[user.name] = (state, time.monotonic())


def forget_groups(name: str, issuer: str, subject: str) -> None:
    """Keep that an account is in no group any more: its runs that go on ask for the groups."""
    row = (User.name == name, User.issuer == issuer, User.subject == subject)
    with serving(None), transaction() as session:
        # Read first: who is refused again and again, strangers too, costs no write.
        if session.scalar(select(User.groups).where(*row)):
            session.execute(update(User).where(*row).values(groups=[]))
    _remembered.pop(name, None)


def _write(user: EsapUser) -> None:
    with transaction() as session:
        row = session.get(User, user.name)
        if row is None:
            row = User(name=user.name, issuer=user.issuer, subject=user.subject, groups=[], seen_at=now())
            session.add(row)
        elif (row.issuer, row.subject) != (user.issuer, user.subject):
            log.error("%s of %s claims the name %s of %s", user.subject, user.issuer, user.name, row.subject)
            raise forbidden(f"the name {user.name} belongs to another account: tell an administrator")
        if row.groups != list(user.groups):
            row.groups = list(user.groups)
            row.seen_at = now()
        elif now() - row.seen_at > SEEN_STEP:
            row.seen_at = now()


def groups_by_user(session: Session) -> dict[str, frozenset[str]]:
    """Give the groups of everybody who was here or stands in identity.yaml; up to some seconds old."""
    global _groups  # noqa: PLW0603 - asked for with each request of those who see others' runs
    if _groups is None or time.monotonic() - _groups[1] > GROUPS_AGE_S:
        local = {name: frozenset(entry["groups"]) for name, entry in identities().users.items()}
        seen = {name: frozenset(groups) for name, groups in session.execute(select(User.name, User.groups))}
        _groups = (local | seen, time.monotonic())
    return _groups[0]
