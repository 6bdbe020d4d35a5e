"""Where this deployment keeps its configuration."""

from __future__ import annotations

import os
from pathlib import Path

from esap_batch.errors import ConfigurationError

_PROJECT = Path(__file__).resolve().parents[2]
LAKE_CONNECTION = "rucio_lake"


def project_dir() -> Path:
    """Give this project's folder."""
    return _PROJECT


def config_dir() -> Path:
    """Give the folder with facilities.yaml, identity.yaml and workflows/ (`ESAP_CONFIG_DIR`)."""
    return Path(os.environ.get("ESAP_CONFIG_DIR", _PROJECT / "config"))


def service_name() -> str:
    """Give the address that users know ([api] base_url); others that use the same storage have another."""
    from airflow.configuration import conf

    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def runner_dir() -> Path:
    """Give the folder of the programs that run at the sites (`ESAP_RUNNER_DIR`); ConfigurationError."""
    given = os.environ.get("ESAP_RUNNER_DIR")
    if given is None and (old := os.environ.get("ESAP_RUNNER")):
        reason = "ESAP_RUNNER is not read any more: name the folder of the programs in ESAP_RUNNER_DIR"
        raise ConfigurationError(Path(old), reason)
    return Path(given or _PROJECT / "runner")
