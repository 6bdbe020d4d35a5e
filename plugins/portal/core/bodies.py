"""Bodies of requests that come as JSON or as a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from esap_batch.errors import Problem
from esap_batch.text import is_printable
from portal.core.documents import read_object
from portal.core.refusals import BadRequest, UnsupportedMedia

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request

JSON_TYPE = "application/json"
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
MAX_FIELDS, MAX_FILES = 1000, 10


async def read_fields(request: Request) -> dict[str, Any]:
    """Read an object as JSON, or as a form, whose fields are texts (or files) and may not repeat."""
    if media_type(request) == JSON_TYPE:
        return read_object(await request.body())
    require_media(request, (JSON_TYPE, *FORM_TYPES))
    form = await read_form(request)
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise BadRequest([Problem(name, value, "one value", "it is given more than once")])
        fields[name] = value
    return fields


async def read_form(request: Request) -> FormData:
    """Read a form of printable text; files are left in it for who wants them."""
    require_media(request, FORM_TYPES)
    form = await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS)
    for name, value in form.multi_items():
        for text in (name, value):
            if isinstance(text, str) and not is_printable(text):
                why = "it has control characters"
                raise BadRequest([Problem(name, text, "printable text and line breaks", why)])
    return form


def media_type(request: Request) -> str:
    """Give the media type of the body without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media(request: Request, allowed: tuple[str, ...]) -> None:
    """Refuse a body of another type (415)."""
    if (given := media_type(request)) not in allowed:
        raise UnsupportedMedia(f"Content-Type = {given[:80]!r}: allowed are {', '.join(allowed)}")
