"""Prints how many SQL statements a list of few and of 1,000 jobs takes, with the settings of a grid."""

from __future__ import annotations

import json
import sys

from sqlalchemy import delete, event

from portal.core import jobs
from portal.core.jobs import Wanted
from store.sessions import transaction
from store.tables import Job

OWNER = "(counted)"  # no issuer can give a user this name


def statements() -> int:
    """Count those of one list."""
    from airflow import settings

    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    with transaction() as session:
        jobs.listed(session, Wanted(), {OWNER})
    event.remove(settings.engine, "before_cursor_execute", note)
    return len(seen)


def add(count: int) -> None:
    with transaction() as session:
        for _ in range(count):
            jobs.create(session, OWNER, "hello_world", {"n_jobs": 3})


def main() -> None:
    found = {}
    try:
        for total, more in ((3, 3), (1000, 997)):
            add(more)
            found[total] = statements()
    finally:
        with transaction() as session:
            session.execute(delete(Job).where(Job.owner == OWNER))
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
