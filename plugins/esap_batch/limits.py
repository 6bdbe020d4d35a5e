"""What one user, one experiment and one request may take (config/limits.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from esap_batch.configuration import read_mapping

FILE = "limits.yaml"


@dataclass(frozen=True)
class Limits:
    """Limits by their names in the file, as they are where a site has no such file."""

    requests_per_minute: int = 3000
    changes_per_minute: int = 600
    airflow_body_bytes: int = 1 << 20
    runs_per_user: int = 200
    runs_per_experiment: int = 1000
    jobs_per_user: int = 5000


_BARE_SCHEMA = {
    "additionalProperties": False,
    "properties": {one.name: {"type": "integer", "minimum": 1} for one in fields(Limits)},
}


def load_limits(config: Path) -> Limits:
    """Read the file, where there is one; ConfigurationError with all that is wrong in it.

    A site whose folder is older than the limits has neither the file nor its schema.
    """
    path = config / FILE
    if not path.exists():
        return Limits()
    schema = path.with_suffix(".schema.json")
    return Limits(**read_mapping(path, schema if schema.exists() else _BARE_SCHEMA))


@dataclass(frozen=True)
class Exceeded:
    """A limit that is used up: its name in the file and value, whose it is, when to come again (s)."""

    name: str
    value: int
    whose: str
    retry_after_s: int

    def __str__(self) -> str:
        return f"{self.name} = {self.value} of {self.whose} is used up: try again in {self.retry_after_s} s"
