"""Addresses of this dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.addresses import public_base

if TYPE_CHECKING:
    from starlette.requests import Request

MOUNT = "/esap-api"


def address(request: Request, path: str) -> str:
    """Give the whole address of a path of this app."""
    return f"{public_base(request)}{MOUNT}{path}"


def job_address(request: Request, job_id: int) -> str:
    """Give the address of a job."""
    return address(request, f"/uws/jobs/{job_id}/")


def steering_address(request: Request, key: str) -> str:
    """Give the address of a steering file."""
    return address(request, f"/batch/steering/{key}/")
