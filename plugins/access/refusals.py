"""Answers to callers who are not let in (RFC 6750, section 3)."""

from __future__ import annotations

import re

from fastapi import HTTPException, status

CHALLENGE = 'Bearer realm="esap-batch"'
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # what error_description may not hold


def not_authenticated() -> HTTPException:
    """No credentials at all: no error code, says section 3.1."""
    return HTTPException(status.HTTP_401_UNAUTHORIZED, "Not authenticated", {"WWW-Authenticate": CHALLENGE})


def invalid_token(why: str) -> HTTPException:
    """Credentials that are expired, revoked, forged, of another issuer, or for another audience."""
    told = _UNSAFE.sub("'", why)
    challenge = f'{CHALLENGE}, error="invalid_token", error_description="{told}"'
    return HTTPException(status.HTTP_401_UNAUTHORIZED, why, {"WWW-Authenticate": challenge})


def forbidden(why: str) -> HTTPException:
    """Good credentials of somebody who has no business here."""
    return HTTPException(status.HTTP_403_FORBIDDEN, why)


def issuer_away(issuer: str) -> HTTPException:
    """The issuer's keys cannot be had: nobody can be told apart, which is not the caller's fault."""
    return HTTPException(
        status.HTTP_503_SERVICE_UNAVAILABLE,
        f"the issuer {issuer} does not answer: try again",
        {"Retry-After": "10"},
    )
