"""What tasks and triggers of this service ask for: tokens of users, and their groups.

No user's token opens these doors, and what opens them opens nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any

import jwt
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from fastapi import APIRouter, Depends, HTTPException, Request, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from access.observer import note
from access.settings import identities
from broker.credentials import hand_out
from broker.systems import require_known
from hooks.broker import (
    BROKER_CONNECTION,
    TASK_ALGORITHM,
    TASK_AUDIENCE,
    TASK_ISSUER,
    TASK_TOKEN_S,
    keys_of,
)
from store.sessions import transaction
from store.tables import User

router = APIRouter(include_in_schema=False)
CLAIMS = ["iss", "aud", "sub", "iat", "exp"]
SKEW_S = 10
NAME = Field(min_length=1, max_length=250)


class Wanted(BaseModel):
    """Whose token for what; `audience` is for systems whose tokens have one."""

    system: str = NAME
    user: str = NAME
    audience: str = Field(default="", max_length=250)


async def task_user(request: Request) -> str:
    """Give the user whom the calling task acts for; 401 unless it proves to be a task of ours."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise _refused("tasks of this service only")
    for key in await run_in_threadpool(_keys):
        try:
            claims = jwt.decode(
                token.strip(),
                key,
                [TASK_ALGORITHM],
                audience=TASK_AUDIENCE,
                issuer=TASK_ISSUER,
                leeway=SKEW_S,
                options={"require": CLAIMS},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        if claims["exp"] - claims["iat"] > TASK_TOKEN_S:
            raise _refused("it lasts too long")
        return str(claims["sub"])
    raise _refused("tasks of this service only")


TaskUser = Annotated[str, Depends(task_user)]


def _keys() -> list[str]:
    try:
        return keys_of(BaseHook.get_connection(BROKER_CONNECTION))
    except AirflowNotFoundException:
        return []


def _refused(why: str) -> HTTPException:
    return HTTPException(status.HTTP_401_UNAUTHORIZED, why, {"WWW-Authenticate": "Bearer"})


def _require_own(task: str, user: str) -> None:
    if task != user:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"the task acts for {task}, not for {user}")


@router.post("/tokens")
def token(wanted: Wanted, task: TaskUser) -> JSONResponse:
    """Hand a token out; 404 when the user has connected nothing, 409 when that has ended."""
    note(user=wanted.user, system=wanted.system, by=f"a task of {task}")
    _require_own(task, wanted.user)
    require_known(wanted.system)
    handed = hand_out(wanted.user, wanted.system, wanted.audience)
    return JSONResponse(handed.document(), headers={"Cache-Control": "no-store"})


@router.get("/users/{name}")
def user(name: str, task: TaskUser) -> dict[str, Any]:
    """Give a user's groups: those of the last token, or for local users those of identity.yaml."""
    _require_own(task, name)
    if not name.isprintable():  # a text that no database takes
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"nobody knows {name!r}")
    with transaction() as session:
        seen = session.get(User, name)
        groups = list(seen.groups) if seen else None
    if groups is None and name in identities().users:
        groups = list(identities().users[name]["groups"])
    if groups is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"nobody knows {name}")
    return {"name": name, "groups": groups}
