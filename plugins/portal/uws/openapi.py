"""What the requests and answers look like, for the OpenAPI document: FastAPI cannot tell it from the code."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from portal.core.phases import Phase
from portal.uws.representations import MEDIA_TYPE
from portal.uws.waiting import LONGEST_S

TEXT = "text/plain"
_STRING = {"type": "string"}


def _told(what: str, media_type: str = TEXT) -> dict[str, Any]:
    return {"description": what, "content": {media_type: {"schema": _STRING}}}


def _route(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "responses": {status: answer}, "response_class": Response}


# What a route is declared with, by what it answers.
DOCUMENT = _route(200, _told("The document, as UWS has it", MEDIA_TYPE))
PLAIN = _route(200, _told("The value"))
SEE = _route(303, {"description": "Done: see Location", "headers": {"Location": {"schema": _STRING}}})


def _query(name: str, schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": what}


_PHASES = {"type": "string", "enum": list(Phase)}
FILTERS = {
    "parameters": [
        _query("PHASE", {"type": "array", "items": _PHASES}, "Only jobs in one of these phases"),
        _query("AFTER", {"type": "string", "format": "date-time"}, "Only jobs made after this time (UTC)"),
        _query("LAST", {"type": "integer", "minimum": 0}, "Only so many, the newest ones"),
    ]
}
WAITING = {
    "parameters": [
        _query(
            "WAIT", {"type": "integer", "minimum": -1}, f"Seconds; -1 and more than {LONGEST_S}: {LONGEST_S}"
        ),
        _query("PHASE", _PHASES, "Wait only in this phase"),
    ]
}
_FIELDS = {"schema": {"type": "object", "additionalProperties": _STRING}}
_FILE = {"type": "string", "format": "binary", "description": "A request or a steering file, as JSON"}
BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/x-www-form-urlencoded": _FIELDS,
            "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILE}}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}
CHANGE = {**SEE, "openapi_extra": BODY}
VALUE = {"requestBody": {"required": True, "content": {TEXT: {"schema": _STRING}}}}
