"""Sessions on Airflow's database for the portal's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session that commits at the end, or rolls back with the error."""
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session


def now() -> datetime:
    """Give the time as the tables keep it: no finer than documents show it, or AFTER finds a job again."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
