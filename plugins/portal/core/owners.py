"""Whose jobs a caller may see: the same rule as for runs in Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from access.users import EsapUser
    from portal.core.jobs import Owners


def visible_owners(session: Session, user: EsapUser) -> Owners:
    """Name the owners; None for everybody, which is what administrators see."""
    from access.rights import visible_owners as shared

    return shared(session, user)
