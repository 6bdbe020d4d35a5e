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

    def downgrade(
        self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False
    ) -> None:
        """Take the tables back, before an earlier version of the service is started again.

        By `airflow db-manager downgrade store.manager.EsapDBManager --to-revision 0001`.
        """
        from alembic import command

        span = f"{from_revision}:{to_revision}" if from_revision else to_revision
        config = self.get_alembic_config()  # type: ignore[no-untyped-call]
        command.downgrade(config, revision=span, sql=show_sql_only)
