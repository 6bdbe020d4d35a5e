"""How many jobs each facility has, of all batches that this triggerer watches."""

from __future__ import annotations

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from esap_batch.jobs import JobState
from esap_batch.metrics import JOBS
from hooks.metrics import gauge

PACE_S = 5.0  # at most so often sums are made: a thousand batches tell of themselves at each poll


class Tally:
    """Sums of all batches by facility. Triggerers know only of their own batches: each gives its sums."""

    def __init__(self, pace: float = PACE_S) -> None:
        self._pace = pace
        self._batches: dict[str, dict[str, Counter[JobState]]] = defaultdict(dict)
        self._sent: dict[str, float] = {}

    @contextmanager
    def watching(self, facility: str, batch: str) -> Iterator[None]:
        """Count a batch as long as it is watched."""
        self._batches[facility][batch] = Counter()
        try:
            yield
        finally:
            self._batches[facility].pop(batch, None)
            if not self._batches[facility]:
                self._send(facility)

    def tell(self, facility: str, batch: str, counts: Counter[JobState]) -> None:
        """Note what a poll has said of a batch."""
        self._batches[facility][batch] = counts
        if time.monotonic() - self._sent.get(facility, -self._pace) >= self._pace:
            self._send(facility)

    def _send(self, facility: str) -> None:
        self._sent[facility] = time.monotonic()
        batches, triggerer = self._batches[facility].values(), socket.gethostname()
        for state in JobState:
            number = sum(counts[state] for counts in batches)
            gauge(JOBS, number, facility=facility, state=state.lower(), triggerer=triggerer)


TALLY = Tally()
