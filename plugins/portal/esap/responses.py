"""What is said in the OpenAPI document of answers and bodies that FastAPI cannot know of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from portal.core.http import WHY
from portal.esap.shapes import JobDocument, Told

Responses = dict[int | str, dict[str, Any]]
ALWAYS = (400, 401, 403, 405, 503)


def refusals(*status: int) -> Responses:
    """Document refusals: those of every call, and the given ones."""
    return {code: {"description": WHY[code], "model": Told} for code in sorted({*ALWAYS, *status})}


def answer(status: int, model: type[BaseModel] | None, description: str) -> Responses:
    """Document an answer."""
    return {status: {"description": description, **({"model": model} if model else {})}}


def to_job(description: str) -> Responses:
    """Document the way to a job: 303 with its address, and the job as body."""
    location = {"Location": {"schema": {"type": "string"}, "required": True}}
    return {303: {"description": description, "model": JobDocument, "headers": location}}


def body(schema: dict[str, Any], *types: str) -> dict[str, Any]:
    """Document a body that is read by hand."""
    content = {type_: {"schema": schema} for type_ in types or ("application/json",)}
    return {"requestBody": {"required": True, "content": content}}
