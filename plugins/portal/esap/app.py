"""What ESAP itself calls: its dialect of UWS, its batch page's searches, steering files, offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.utils import get_flat_dependant
from starlette._utils import get_route_path

from esap_batch.errors import Problem
from portal.core.http import as_json, harden
from portal.core.refusals import BadRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OWN_PAGES = ("/openapi.json", "/docs", "/redoc")  # FastAPI's, which have no slash at the end


def create_app() -> FastAPI:
    """Make the app that is mounted at /esap-api."""
    from portal.esap import catalogue, jobs, offers, steering

    app = FastAPI(
        title="ESAP batch",
        version="1.0",
        description="ESAP's dialect of UWS, facilities and workflows, steering files, IVOA Execution Broker.",
        redirect_slashes=False,
        dependencies=[Depends(require_known_query)],
    )
    for part in (jobs, catalogue, steering, offers):
        app.include_router(part.router)
    app.add_middleware(SlashAtEnd)
    return harden(app, as_json)


class SlashAtEnd:
    """Takes paths without ESAP's slash at the end as if they had it; a redirect would lose the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path = get_route_path(scope)
            if not path.endswith("/") and not path.startswith(OWN_PAGES):
                scope = {**scope, "path": f"{scope['path']}/"}
        await self.app(scope, receive, send)


async def require_known_query(request: Request) -> None:
    """Refuse query parameters that the call does not have, or that are given twice where it takes one."""
    dependant = get_flat_dependant(request.scope["route"].dependant)
    known = {p.alias: p for p in dependant.query_params}
    sent = [name for name, _ in request.query_params.multi_items()]
    problems = [
        Problem(
            name, request.query_params[name], ", ".join(sorted(known)) or "none", "there is no such parameter"
        )
        for name in sorted(set(sent) - set(known))
    ]
    problems += [
        Problem(name, request.query_params.getlist(name), "one value", "it is given twice")
        for name in sorted(set(sent) & set(known))
        if sent.count(name) > 1 and not _is_list(known[name])
    ]
    if problems:
        raise BadRequest(problems)


def _is_list(parameter: object) -> bool:
    annotation = getattr(getattr(parameter, "field_info", None), "annotation", None)
    return "list" in str(annotation)
