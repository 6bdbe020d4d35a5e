from __future__ import annotations

from typing import Any

from runner.esap_runner.containers import Container
from runner.esap_runner.engines import ENGINES

COMMAND = ["prog", "a b"]

PLACES: dict[str, Any] = {
    "root": "/cache/0123",
    "directory": "/jobs/7",
    "environment": {"HOME": "/work", "COLOUR": "red, blue"},
    "name": "esap-g-7-1",
    "read_only": ("in, 1.fits",),
    "mounts": ("/cvmfs",),
    "memory_mb": 400.0,
    "options": ("--site",),
}

CLOSED, OPEN = Container(**PLACES), Container(**PLACES, network=True)

MOUNTED = [
    *("--mount", "type=bind,src=/jobs/7,dst=/work"),
    *("--mount", 'type=bind,"src=/jobs/7/in, 1.fits","dst=/work/in, 1.fits",ro'),
    *("--mount", "type=bind,src=/cvmfs,dst=/cvmfs,ro"),
]

GIVEN = ["--env=COLOUR=red, blue", "--env=HOME=/work"]


def line(engine: str, box: Container) -> list[str]:
    return ENGINES[engine].command(box, COMMAND)
