"""Addresses that clients are sent to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hooks.settings import service_name

if TYPE_CHECKING:
    from starlette.requests import Request

FORWARDED = ("forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def public_base(request: Request) -> str:
    """Give the address of Airflow's API server as the caller reaches it, without a slash at the end.

    Behind a proxy that is Airflow's setting [api] base_url: what a client says of a proxy is not believed.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host) or any(name in request.headers for name in FORWARDED):
        configured = service_name()
        if configured or not _HOST.fullmatch(host):
            return configured
    scope = request.scope
    prefix = str(scope.get("app_root_path", scope.get("root_path", ""))).rstrip("/")
    return f"{request.url.scheme}://{host}{prefix}"
