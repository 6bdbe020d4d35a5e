"""Where the portal's apps are mounted in Airflow's API server, and what stands before all requests."""

from __future__ import annotations

from typing import Any


def apps() -> list[dict[str, Any]]:
    """Give the apps. A longer prefix stands before the one that it begins with: the first match serves."""
    from broker.app import create_app as create_broker
    from portal.core.http import MAX_BODY, Limits, as_json
    from portal.esap.app import create_app as esap
    from portal.pages.app import create_app as pages
    from portal.uws.app import create_app as uws

    broker = create_broker()
    broker.add_middleware(Limits, render=as_json, max_body=MAX_BODY)
    return [
        {"name": "Credentials", "url_prefix": "/batch-broker", "app": broker},
        {"name": "Batch jobs", "url_prefix": "/batch", "app": pages()},
        {"name": "IVOA UWS 1.1", "url_prefix": "/uws", "app": uws()},
        {"name": "ESAP", "url_prefix": "/esap-api", "app": esap()},
    ]


def middlewares() -> list[dict[str, Any]]:
    """Give what stands before every request; the auth manager adds its own."""
    from portal.core.basic import TokenAsPassword
    from portal.core.keeper import KeeperLifespan

    return [
        {"name": "Token as password", "middleware": TokenAsPassword},
        {"name": "Destruction of jobs", "middleware": KeeperLifespan},
    ]
