"""Where the results of the last check of each facility are kept: Airflow variables, which tasks may use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.health import VARIABLE, Health
from hooks.settings import config_dir

DESCRIPTION = "What the last check of the facility has found (DAG facilities_check)"


@cache
def check_settings() -> dict[str, Any]:
    """Read config/facilities_check.yaml."""
    path = config_dir() / "facilities_check.yaml"
    return read_mapping(path, path.with_suffix(".schema.json"))


def remember(health: Health) -> None:
    """Keep a result in the place of the one before."""
    from airflow.sdk import Variable

    Variable.set(f"{VARIABLE}{health.facility}", health.document(), DESCRIPTION, serialize_json=True)


def remembered(facilities: Iterable[str]) -> list[Health]:
    """Give the last results of those facilities that have been checked."""
    from airflow.sdk import Variable

    documents = (Variable.get(f"{VARIABLE}{name}", None, deserialize_json=True) for name in facilities)
    return [Health.of(document) for document in documents if document]
