"""Rucio's client, told where to keep its token and to ask again when the server's database gave way.

A module of its own because it imports Rucio: only `RucioLake.client` imports it.
"""

from __future__ import annotations

from typing import Any

from requests import Response
from rucio.client import Client
from tenacity import retry, retry_if_result, stop_after_attempt, wait_random_exponential

# Both leave no trace: the server has rolled its transaction back because a daemon held the same rows. A rule
# for files that the reaper is deleting fails so until it has come to its end, which takes it some seconds.
GAVE_WAY = {"DatabaseException", "ReplicationRuleCreationTemporaryFailed"}
ATTEMPTS = 12  # half a minute on average


def gave_way(answer: Response | None) -> bool:
    """Tell whether a transaction lost against another one, so that it may be tried again as it was."""
    return answer is not None and answer.headers.get("ExceptionClass") in GAVE_WAY


class LakeClient(Client):
    """A Rucio client for many tasks that work on the same datasets at once."""

    @retry(
        retry=retry_if_result(gave_way),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    def _send_request(self, *args: Any, **options: Any) -> Response | None:
        answer: Response | None = super()._send_request(*args, **options)
        return answer
