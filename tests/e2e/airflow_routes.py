"""Every route of Airflow's REST API and of its UI, as the installed Airflow has them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_LIST = """
import json
from airflow.api_fastapi.core_api.routes.public import public_router
from airflow.api_fastapi.core_api.routes.ui import ui_router
routes = [*ui_router.routes, *public_router.routes]
print(json.dumps([(method, route.path) for route in routes for method in sorted(route.methods)]))
"""
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


@dataclass(frozen=True)
class Route:
    """A route, with the names of what is to be filled in."""

    method: str
    path: str

    @property
    def parameters(self) -> set[str]:
        return set(_PARAMETER.findall(self.path))

    def url(self, **values: object) -> str:
        return _PARAMETER.sub(lambda found: str(values[found[1]]), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def airflow_routes(home: Path) -> list[Route]:
    """List the routes; asked of a process of its own, which has Airflow's settings in `home`."""
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", _LIST], env=environment, capture_output=True, text=True, check=True
    )
    return [Route(*found) for found in json.loads(done.stdout.splitlines()[-1])]
