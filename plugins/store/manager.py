"""Lets `airflow db migrate` make and migrate the portal's tables."""

from __future__ import annotations

from pathlib import Path

from airflow.utils.db_manager import BaseDBManager

from store.tables import Table

HERE = Path(__file__).parent


class EsapDBManager(BaseDBManager):
    """Named in Airflow's setting [database] external_db_managers."""

    metadata = Table.metadata
    version_table_name = "alembic_version_esap"
    migration_dir = str(HERE / "migrations")
    alembic_file = str(HERE / "alembic.ini")
    supports_table_dropping = True
