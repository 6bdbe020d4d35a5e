"""Jobs on their way, in a run that may be ended at any moment.

Airflow cleans up after a run that was ended by hand while its tasks still live for some seconds. So whoever
submits says so first, and looks whether the run has been ended; whoever cleans up says so first, and looks
whether jobs are on their way. One of the two sees the other. Both marks lie in the batch's work area.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from hooks.storage_element import StorageElement

if TYPE_CHECKING:
    from airflow.sdk import Context

SUBMITTING, ENDED = "submitting", "ended"
LINGER_S = 15.0  # Airflow kills a task 5 s after it has told it to end
LOOK_S = 0.2


@contextmanager
def submitting(storage: StorageElement, area: str, context: Context) -> Iterator[None]:
    """Submit within this; AirflowFailException when the run was ended since the task began.

    :param area: PFN of the batch's work area.
    """
    mark, ended = f"{area}/{SUBMITTING}", f"{area}/{ENDED}"
    storage.mark(mark)
    try:
        when, began = storage.changed(ended), context["ti"].start_date
        if when is not None and began is not None and when >= began.timestamp():
            raise AirflowFailException("the run was ended meanwhile: nothing is submitted")
        yield
    finally:
        storage.delete([mark])


def end_submission(storage: StorageElement, area: str) -> bool:
    """Let nothing more be submitted, and wait for what is on its way; False when it takes too long."""
    storage.mark(f"{area}/{ENDED}")
    deadline = time.monotonic() + LINGER_S
    while storage.exists([f"{area}/{SUBMITTING}"]):
        if time.monotonic() > deadline:  # its task was killed before it could say that it is over
            storage.delete([f"{area}/{SUBMITTING}"])
            return False
        time.sleep(LOOK_S)
    return True
