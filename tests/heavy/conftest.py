"""Heavy tests use the same Airflow as the e2e tests."""

from __future__ import annotations

from tests.e2e.conftest import alice, dirac, users

__all__ = ["alice", "dirac", "users"]
