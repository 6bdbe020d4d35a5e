"""Asking several back ends at once, and waiting for none for long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from threading import Thread

from esap_batch.jobs import JobBackend, Load


def ask_loads(places: Mapping[str, tuple[JobBackend, str]], within_s: float) -> dict[str, Load | Exception]:
    """Ask each back end what its place has to do; what goes wrong is an answer too.

    :param places: back end and the name that it has for the place, by facility.
    :param within_s: seconds after which one that has not answered gets TimeoutError.
    """
    answers: SimpleQueue[tuple[str, Load | Exception]] = SimpleQueue()

    def ask(name: str, backend: JobBackend, site: str) -> None:
        try:
            answers.put((name, backend.load(site)))
        except Exception as error:
            answers.put((name, error))

    for name, (backend, site) in places.items():
        # Daemons, since a back end may hang for longer than the task is to live.
        Thread(target=ask, args=(name, backend, site), name=f"load of {name}", daemon=True).start()
    late = TimeoutError(f"no answer within {within_s:g} s")
    found: dict[str, Load | Exception] = dict.fromkeys(places, late)
    deadline = time.monotonic() + within_s
    for _ in places:
        try:
            name, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        found[name] = answer
    return found
