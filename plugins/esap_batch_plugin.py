"""The one Airflow plugin: mounts the portal. Every Airflow process runs it, so all else is imported late."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

VIEWS = [
    {
        "name": "My batch jobs",
        "href": "/batch/",
        "destination": "nav",
        "category": "browse",
        # No url_route: Airflow would show the pages in a frame that lets nobody log in or leave it.
    }
]


class EsapBatchPlugin(AirflowPlugin):
    """The portal's apps and what stands before them in the API server."""

    name = "esap_batch"
    external_views = VIEWS

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The apps and where they are: only the API server asks."""
        from portal.mounts import apps

        return apps()

    @property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """What stands before every request of the API server."""
        from portal.mounts import middlewares

        return middlewares()
