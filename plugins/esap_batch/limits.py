"""What one user, one experiment and one request may take (config/limits.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esap_batch.configuration import read_mapping

FILE = "limits.yaml"


@dataclass(frozen=True)
class Limits:
    """Limits by their names in the file."""

    requests_per_minute: int
    changes_per_minute: int
    airflow_body_bytes: int
    runs_per_user: int
    runs_per_experiment: int


def load_limits(config: Path) -> Limits:
    """Read the file; ConfigurationError with all that is wrong in it."""
    path = config / FILE
    return Limits(**read_mapping(path, path.with_suffix(".schema.json")))


@dataclass(frozen=True)
class Exceeded:
    """A limit that is used up: its name in the file and value, whose it is, when to come again (s)."""

    name: str
    value: int
    whose: str
    retry_after_s: int

    def __str__(self) -> str:
        return f"{self.name} = {self.value} of {self.whose} is used up: try again in {self.retry_after_s} s"
