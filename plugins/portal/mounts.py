"""Where the portal's apps are mounted in Airflow's API server, and what stands before all requests."""

from __future__ import annotations

from typing import Any

BROKER, PAGES, UWS, ESAP = "/batch-broker", "/batch", "/uws", "/esap-api"


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
        {"name": "Credentials", "url_prefix": BROKER, "app": broker},
        {"name": "Batch jobs", "url_prefix": PAGES, "app": pages()},
        {"name": "IVOA UWS 1.1", "url_prefix": UWS, "app": uws()},
        {"name": "ESAP", "url_prefix": ESAP, "app": esap()},
    ]


def middlewares() -> list[dict[str, Any]]:
    """Give what stands before every request; the auth manager adds its own."""
    from access.rates import RateLimits
    from access.settings import limits
    from portal.core.basic import TokenAsPassword
    from portal.core.http import AirflowLimits
    from portal.core.keeper import KeeperLifespan

    return [  # the last one is the outermost
        {"name": "Requests in a minute", "middleware": RateLimits},
        {
            "name": "Size of requests to Airflow",
            "middleware": AirflowLimits,
            "kwargs": {
                "doors": (BROKER, PAGES, UWS, ESAP),
                "max_body": limits().airflow_body_bytes,
            },
        },
        {"name": "Token as password", "middleware": TokenAsPassword},
        {"name": "Destruction of jobs", "middleware": KeeperLifespan},
    ]
