"""A slash at the end makes no difference."""

from __future__ import annotations

import asyncio
from typing import Any

from portal.uws.paths import PlainPaths


def test_a_slash_at_the_end_is_dropped_without_a_redirect() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append((scope["type"], scope.get("path")))

    async def call(scope: Any) -> None:
        await PlainPaths(app)(scope, None, None)  # type: ignore[arg-type]

    for path in ("/uws/jobs/", "/uws/jobs", "/"):
        asyncio.run(call({"type": "http", "path": path}))
    asyncio.run(call({"type": "lifespan"}))
    assert seen == [("http", "/uws/jobs"), ("http", "/uws/jobs"), ("http", ""), ("lifespan", None)]
