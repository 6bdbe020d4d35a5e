"""What a client asks for when it makes or changes a job, however it has sent it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from esap_batch.errors import Problem
from esap_batch.parameters import field_of, text, typed
from portal.core.documents import fields_once, read_object
from portal.core.http import MAX_BODY
from portal.core.refusals import BadRequest, UnsupportedMedia
from portal.uws.values import duration, moment

if TYPE_CHECKING:
    from starlette.requests import Request

    from esap_batch.workflows import Workflow

CONTROLS = ("phase", "runid", "workflow", "destruction", "executionduration", "action")
FORM, MULTIPART, JSON = "application/x-www-form-urlencoded", "multipart/form-data", "application/json"
MAX_FIELDS = 1000
PARAMETERS, STEERING = "Parameters", "steering_version"  # ESAP's flat steering files, and our own


@dataclass
class Asked:
    """Control parameters by name in lower case, and fields of the request as they came.

    `pairs` are fields as text, `document` those of a JSON body or a steering file; a field that is given both
    ways is that of `pairs`.
    """

    controls: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    document: dict[str, Any] | None = None

    @property
    def has_fields(self) -> bool:
        return bool(self.pairs) or self.document is not None

    @property
    def destruction(self) -> datetime | None:
        given = self.controls.get("destruction")
        return None if given is None else moment("DESTRUCTION", given)

    @property
    def execution_duration(self) -> int | None:
        given = self.controls.get("executionduration")
        return None if given is None else duration("EXECUTIONDURATION", given)

    def phase(self, *allowed: str) -> str | None:
        """Give the phase that is asked for."""
        return self._one_of("phase", allowed)

    def action(self) -> str | None:
        return self._one_of("action", ("DELETE",))

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> str | None:
        given = self.controls.get(name)
        if given is not None and given not in allowed:
            raise BadRequest([Problem(name.upper(), given, " or ".join(allowed), "")])
        return given

    def texts(self) -> dict[str, str]:
        """Give the fields that came as text, where no workflow types them; none may be given twice."""
        return fields_once(self.pairs)

    def fields(self, workflow: Workflow) -> dict[str, Any]:
        """Give the fields of the request, typed as the workflow has them."""
        given, problems = typed(self.pairs, workflow)
        if problems:
            raise BadRequest(problems)
        if self.document is None:
            return given
        if PARAMETERS in self.document:
            if given:
                allowed = f"fields inside {PARAMETERS}, beside a steering file of ESAP"
                raise BadRequest([Problem(name, given[name], allowed, "") for name in sorted(given)])
            return self.document
        document: dict[str, Any] = {}
        for name, value in self.document.items():
            if field_of(name, workflow) in document:
                raise BadRequest([Problem(name, value, "each field once", "it is there in another case")])
            document[field_of(name, workflow)] = value
        return document | given


async def read(request: Request) -> Asked:
    """Read query string and body; BadRequest, or UnsupportedMedia for a body of another kind."""
    asked = Asked()
    _sort(asked, request.query_params.multi_items())
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        await _read_multipart(asked, request)
        return asked
    body = await request.body()
    if kind == JSON:
        _take(asked, read_object(body))
    elif kind == FORM:
        _sort(asked, _form(body))
    elif body:
        raise UnsupportedMedia(f"Content-Type = {kind[:100]!r}: allowed are {FORM}, {MULTIPART}, {JSON}")
    return asked


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise BadRequest("body of the request: allowed is UTF-8") from None
    except ValueError:
        raise BadRequest(f"body of the request: allowed are at most {MAX_FIELDS} parameters") from None


async def _read_multipart(asked: Asked, request: Request) -> None:
    form = await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_BODY)
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                _sort(asked, [(name, value)])
            else:
                _take(asked, read_object(await value.read(), f"file in {name[:100]!r}"))
    finally:
        await form.close()


def _sort(asked: Asked, pairs: Iterable[tuple[str, str]]) -> None:
    for name, value in pairs:
        if name.lower() in CONTROLS:
            _control(asked, name, value)
        else:
            asked.pairs.append((name, value))


def _take(asked: Asked, document: dict[str, Any]) -> None:
    """Take a JSON document: a request, also with control parameters, or a steering file of either kind."""
    if PARAMETERS in document:
        asked.document = document
        return
    if STEERING in document:
        document = {"workflow": document.get("workflow"), **_request_of(document)}
    for name, value in document.items():
        if name.lower() in CONTROLS:
            _control(asked, name, text(value))
    asked.document = {k: v for k, v in document.items() if k.lower() not in CONTROLS}


def _request_of(steering: Mapping[str, Any]) -> Mapping[str, Any]:
    request = steering.get("request")
    if not isinstance(request, Mapping):
        raise BadRequest([Problem("request", request, "the request of a steering file", "")])
    return request


def _control(asked: Asked, name: str, value: str) -> None:
    key = name.lower()
    if asked.controls.get(key, value) != value:
        both = [asked.controls[key], value]
        raise BadRequest([Problem(key.upper(), both, "one value", "it is given more than once")])
    asked.controls[key] = value
