"""What all pages of this service share: headers, templates, and the marks by which forms are known again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.tokens import get_signing_key
from itsdangerous import BadData, URLSafeTimedSerializer
from jinja2 import Environment, FileSystemLoader, StrictUndefined

FORM_S = 12 * 3600
HEADERS = {
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def templates(folder: Path, filters: Mapping[str, Any]) -> Environment:
    """Open a folder of templates."""
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters |= filters
    return found


def form_mark(user: str) -> str:
    """Give what a form that is shown to a user carries."""
    return str(_signer().dumps(user))


def shown_to(mark: str) -> str | None:
    """Name the user to whom a form was shown; None when it is too old, or none of ours."""
    try:
        return str(_signer().loads(mark, max_age=FORM_S))
    except BadData:
        return None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="esap-batch form")
