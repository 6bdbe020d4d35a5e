"""A token in place of the password."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from portal.core.basic import TokenAsPassword, bearer


def basic(pair: str) -> bytes:
    return b"Basic " + base64.b64encode(pair.encode())


def test_the_password_becomes_the_bearer_token_and_the_user_counts_for_nothing() -> None:
    assert bearer(basic("somebody:tok:en")) == b"Bearer tok:en"
    assert bearer(basic(":t").replace(b"Basic", b"bAsIc")) == b"Bearer t"
    assert bearer(basic("no-colon")) == b"Bearer "


@pytest.mark.parametrize("value", [b"Bearer abc", b"Basic %%%", b"Basic", b""])
def test_everything_else_stays_as_it_is(value: bytes) -> None:
    assert bearer(value) == value


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("/uws/jobs", True),
        ("/uws", True),
        ("/batch/jobs/1/results/x", True),
        ("/uwsx/jobs", False),
        ("/batch/", False),
        ("/api/v2/dags", False),
        ("/auth/token", False),
    ],
)
def test_it_is_for_job_lists_and_results_only(path: str, is_taken: bool) -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.extend(scope["headers"])

    scope = {"type": "http", "path": path, "root_path": "", "headers": [(b"authorization", basic("u:t"))]}
    asyncio.run(TokenAsPassword(app)(scope, None, None))  # type: ignore[arg-type]
    assert seen == [(b"authorization", b"Bearer t" if is_taken else basic("u:t"))]
