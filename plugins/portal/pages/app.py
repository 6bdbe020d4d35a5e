"""The pages for people, and what jobs have to give, mounted at /batch."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from portal.core.http import documented, harden
from portal.pages import create, facilities, job, lists
from portal.pages.web import HERE, StaticHeaders, refused
from portal.results import routes as results


def create_app() -> FastAPI:
    """Make the app; what it refuses is a page for people and text for programs."""
    refusals = documented("text/html", "text/plain")
    app = FastAPI(title="Batch jobs", docs_url=None, redoc_url=None, responses=refusals)
    for router in (results.router, lists.router, create.router, facilities.router, job.router):
        app.include_router(router)
    app.mount("/static", StaticHeaders(StaticFiles(directory=HERE / "static")), name="static")
    return harden(app, refused)
