"""What alembic runs to migrate the portal's tables."""

from __future__ import annotations

from airflow import settings
from alembic import context

from store.manager import EsapDBManager
from store.tables import Table


def _is_own(_object: object, name: str | None, kind: str, *_: object) -> bool:
    """Airflow's tables in the same database are none of ours."""
    return kind != "table" or name in Table.metadata.tables


def _configure(**where: object) -> None:
    context.configure(
        target_metadata=Table.metadata,
        include_object=_is_own,
        version_table=EsapDBManager.version_table_name,
        **where,  # type: ignore[arg-type]
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _configure(url=settings.SQL_ALCHEMY_CONN, literal_binds=True)
elif connection := context.config.attributes.get("connection"):
    _configure(connection=connection)
else:
    with settings.get_engine().connect() as own:
        _configure(connection=own)
        own.commit()
