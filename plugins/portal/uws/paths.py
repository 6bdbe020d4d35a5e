"""Paths as clients write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class PlainPaths:
    """Takes `/jobs/` for `/jobs`: a redirect would lose the body of a POST with some clients."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await self.app(scope, receive, send)
