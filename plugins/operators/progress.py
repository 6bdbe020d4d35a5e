"""Telling what a running task waits for, under the same key as its trigger does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from esap_batch.progress import PROGRESS

if TYPE_CHECKING:
    from airflow.sdk import Context


def tell(context: Context, document: Mapping[str, Any]) -> None:
    """Keep `document` as the task's XCom `progress`; its `text` is for people."""
    context["ti"].xcom_push(PROGRESS, dict(document))
