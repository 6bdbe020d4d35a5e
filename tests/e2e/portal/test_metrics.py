"""What a real service sends while a run goes through it, as packets where StatsD would listen."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localgrid.grid import Grid
from tests.e2e.conftest import Runs
from tests.e2e.uws import Uws, number
from tests.statsd import listening

DAG = "hello_world"


@pytest.fixture
def heard(grid: Grid) -> Iterator[list[str]]:
    """Gather all packets until the end of the test."""
    found: list[str] = []
    over = threading.Event()
    with listening(grid.layout.ports["statsd"]) as packets:

        def listen() -> None:
            while not over.is_set():
                found.extend(packets.next().splitlines())

        thread = threading.Thread(target=listen)
        thread.start()
        yield found
        over.set()
        thread.join()  # a heartbeat lets it see that


def test_a_run_is_measured_from_its_request_to_its_end(
    heard: list[str], users: Callable[[str], Runs], wait_for: Any
) -> None:
    uws = Uws(users("alice").api)
    path = uws.make(message=uuid.uuid4().hex, facility="cscs")
    uws.post(f"{path}/phase", PHASE="RUN")
    wait_for(lambda: uws.phase(path) == "COMPLETED", 240)

    def has(name: str, *tags: str) -> bool:
        return any(line.startswith(f"airflow.{name}") and all(t in line for t in tags) for line in heard)

    for wanted in (
        ("esap.requests", "door=uws", "outcome=accepted"),
        ("esap.request_seconds", "door=uws"),
        ("esap.acts", "act=job.submit", "outcome=done"),
        ("esap.poll_seconds", "what=jobs", "connection=dirac_local", "outcome=ok"),
        ("esap.jobs", "facility=cscs", "state=running"),
        ("esap.jobs_ended", "facility=cscs", "outcome=done"),
        ("esap.runs", f"workflow={DAG}", "outcome=published"),
        ("dagrun.duration.success", f"dag_id={DAG}"),
        ("scheduler_heartbeat",),
        ("triggerer_heartbeat",),
        ("dag_processor_heartbeat",),
    ):
        wait_for(lambda wanted=wanted: has(*wanted), 60)
    told = "\n".join(line for line in heard if "esap." in line)
    for private in ("alice", f"uws-{number(path)}-", "Bearer", "eyJ"):
        assert private not in told
