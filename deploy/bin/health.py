#!/opt/venv/bin/python
"""Whether this container's part of Airflow works; exit code 0 if so. Cheap: no import of Airflow.

`health http URL` gets an address; `health job KIND` looks for this container's heartbeat in the database;
`health worker` asks the Celery worker of this container through the queue.
"""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

HEARTBEAT_AGE_S = 60
ALIVE = "select 1 from job where job_type = %s and hostname = %s and state = 'running' and latest_heartbeat > now() - %s * interval '1 s'"  # noqa: E501 - one statement


def _secret(name: str) -> str:
    return Path("/run/secrets", name).read_text().strip()


def http(url: str) -> bool:
    """Whether an address answers; raises OSError if not."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - addresses stand in the compose file
        return bool(answer.status == 200)  # noqa: PLR2004


def job(kind: str) -> bool:
    """Whether this container's scheduler, triggerer or DAG processor has told lately that it lives."""
    import psycopg2

    address = _secret("database_url").replace("postgresql+psycopg2:", "postgresql:")
    connection = psycopg2.connect(address, connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute(ALIVE, (kind, socket.gethostname(), HEARTBEAT_AGE_S))
            return cursor.fetchone() is not None
    finally:
        connection.close()


def worker() -> bool:
    """Whether this container's Celery worker answers a ping."""
    from celery import Celery

    app = Celery(broker=_secret("broker_url"))
    return bool(app.control.ping([f"celery@{socket.gethostname()}"], timeout=5))


CHECKS: dict[str, Callable[..., bool]] = {"http": http, "job": job, "worker": worker}

if __name__ == "__main__":
    sys.exit(0 if CHECKS[sys.argv[1]](*sys.argv[2:]) else 1)
