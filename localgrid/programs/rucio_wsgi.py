"""Rucio's WSGI application with `%2F` in paths left encoded, as Apache's `AllowEncodedSlashes NoDecode` does.

Names of CTAO's files have slashes; WSGI servers decode them before Rucio can tell them from separators. Needs
RUCIO_HTTPD_ENCODED_SLASHES_NO_DECODE=True in the environment.
"""
# ruff: noqa: TID253  this is the Rucio server's own process

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from rucio.web.rest.flaskapi.v1.main import application as rucio_application

_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Rucio's application behind a path in which only `%2F` is still encoded."""
    raw = str(environ.get("RAW_URI", "")).split("?", 1)[0]
    if _ENCODED_SLASH.search(raw):
        environ["PATH_INFO"] = unquote(_ENCODED_SLASH.sub("%252F", raw), "latin-1")
    answer: Iterable[bytes] = rucio_application(environ, start_response)
    return answer
