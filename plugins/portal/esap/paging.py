"""Lists in pages, as ESAP's gateway gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from starlette._utils import get_route_path

from portal.esap.addresses import address

DESCRIPTION, VERSION = "ESAP API Gateway", "esap-batch"
PAGE_SIZE, MAX_PAGE_SIZE, LAST_PAGE = 50, 500, 1_000_000
Entry = TypeVar("Entry")


class Links(BaseModel):
    """Addresses of the neighbouring pages."""

    next: str | None
    previous: str | None


class Page(BaseModel, Generic[Entry]):
    """A page of a list."""

    description: str
    version: str
    requested_page: str
    requested_page_size: str | None
    default_page_size: int
    max_page_size: int
    count: int
    pages: int
    links: Links
    results: list[Entry]


@dataclass(frozen=True)
class Wish:
    """Which page a caller wants."""

    page: int
    size: int
    asked_size: int | None

    @property
    def skip(self) -> int:
        return (self.page - 1) * self.size


def _wish(
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
    page_size: Annotated[int | None, Query(ge=1, le=MAX_PAGE_SIZE)] = None,
) -> Wish:
    return Wish(page, page_size or PAGE_SIZE, page_size)


PageWish = Annotated[Wish, Depends(_wish)]


def page_of(request: Request, wish: Wish, entries: Sequence[Any], total: int) -> dict[str, Any]:
    """Give a page; one beyond the end is empty."""
    pages = max(1, math.ceil(total / wish.size))
    return {
        "description": DESCRIPTION,
        "version": VERSION,
        "requested_page": str(wish.page),
        "requested_page_size": str(wish.asked_size) if wish.asked_size else None,
        "default_page_size": PAGE_SIZE,
        "max_page_size": MAX_PAGE_SIZE,
        "count": total,
        "pages": pages,
        "links": {
            "next": _address(request, wish.page + 1) if wish.page < pages else None,
            "previous": _address(request, wish.page - 1) if 1 < wish.page <= pages + 1 else None,
        },
        "results": list(entries),
    }


def _address(request: Request, page: int) -> str:
    query = request.url.include_query_params(page=page).query
    return f"{address(request, get_route_path(request.scope))}?{query}"
