"""Forms and objects, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from portal.core.bodies import FORM_TYPES, media_type, read_fields, read_form
from portal.core.refusals import BadRequest, UnsupportedMedia

FORM = FORM_TYPES[0]


def request(body: bytes, type_: str) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", type_.encode())]}, receive)


def read(reader: Callable[[Request], Awaitable[Any]], body: bytes, type_: str) -> Any:
    async def run() -> Any:
        return await reader(request(body, type_))

    return asyncio.run(run())


def test_fields_come_as_json_or_as_a_form() -> None:
    assert read(read_fields, b'{"PHASE": "RUN"}', "Application/JSON; charset=utf-8") == {"PHASE": "RUN"}
    assert read(read_fields, b"PHASE=RUN&x=%0A", FORM) == {"PHASE": "RUN", "x": "\n"}
    assert media_type(request(b"", "")) == ""


@pytest.mark.parametrize(
    ("body", "type_", "why"),
    [
        (b"a=1&a=2", FORM, "more than once"),
        (b"a=%00", FORM, "control characters"),
        (b"%07=1", FORM, "control characters"),
        (b"[]", "application/json", "a JSON object"),
    ],
)
def test_fields_that_cannot_be_used(body: bytes, type_: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        read(read_fields, body, type_)


@pytest.mark.parametrize("type_", ["", "text/plain", "application/xml"])
def test_bodies_of_other_types(type_: str) -> None:
    with pytest.raises(UnsupportedMedia, match="allowed are application/json"):
        read(read_fields, b"a=1", type_)
    with pytest.raises(UnsupportedMedia):
        read(read_form, b"a=1", "application/json")
