"""HTTP Basic authentication for clients that know no other, with an access token in place of the password."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from starlette._utils import get_route_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIXES = ("/uws/", "/batch/jobs/")  # job lists, and the results that they lead to
HEADER, SCHEME = b"authorization", b"basic "


class TokenAsPassword:
    """Turns `Authorization: Basic` into `Bearer`, as clients of UWS 1.0 need it. A password is no token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and f"{get_route_path(scope)}/".startswith(PREFIXES):
            headers = [(k, bearer(v) if k == HEADER else v) for k, v in scope["headers"]]
            scope = {**scope, "headers": headers}
        await self.app(scope, receive, send)


def bearer(value: bytes) -> bytes:
    """Give the header as a bearer token; one of another scheme as it is."""
    if not value.lower().startswith(SCHEME):
        return value
    try:
        pair = base64.b64decode(value[len(SCHEME) :].strip(), validate=True)
    except binascii.Error:
        return value
    return b"Bearer " + pair.partition(b":")[2]
