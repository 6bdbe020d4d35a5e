"""What the tasks of every workflow have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def task_defaults() -> dict[str, Any]:
    """Retry with backoff for as long as a system may be down for an ordinary restart (about ten minutes)."""
    return {
        "owner": "esap-batch",
        "retries": 7,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=3),
    }
