"""How the site talks to DiracX: tokens for the pilot and for job owners, calls tried until they pass."""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from azure.core.exceptions import HttpResponseError
from diracx.client.aio import AsyncDiracClient
from diracx.core.preferences import DiracxPreferences
from pydantic import AnyHttpUrl

LOG = logging.getLogger("localgrid.site")
T = TypeVar("T")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 3.0
TRIES_WHEN_REFUSED = 6  # SQLite's "database is locked" comes back as a refusal, and passes
TOKEN_MINUTES = 1440
PASSING = (401, 408, 429)  # a lost token, a timeout, too many requests


class RefusedError(Exception):
    """DiracX answered, and refuses for good."""


@dataclass(frozen=True)
class Who:
    """An identity in DiracX."""

    vo: str
    user: str
    group: str


def is_refusal(error: BaseException) -> bool:
    """Whether DiracX understood the request and refuses it (so no lost token, and no failure of its own)."""
    status = None
    if isinstance(error, HttpResponseError):
        status = error.status_code
    elif isinstance(error, httpx.HTTPStatusError):  # the sandbox store's answer
        status = error.response.status_code
    return status is not None and httpx.codes.is_client_error(status) and status not in PASSING


@dataclass
class Access:
    """Clients of DiracX, one per identity, made anew after an error."""

    url: str
    key: str
    directory: Path
    last_error: str = ""
    _clients: dict[Who, AsyncDiracClient] = field(default_factory=dict)

    async def call(self, who: Who, what: Callable[[AsyncDiracClient], Awaitable[T]]) -> T:
        """Call DiracX until it answers.

        Raises:
            RefusedError: it answered, several times, that it will not.

        """
        refusals, wait = 0, FIRST_WAIT_S
        while True:
            try:
                answer = await what(await self._client(who))
            except RefusedError:
                raise
            except Exception as error:  # a server that is down shows in many ways, all of them to be sat out
                self.last_error = f"{type(error).__name__}: {error}"[:300]
                refusals += is_refusal(error)
                if refusals >= TRIES_WHEN_REFUSED:
                    raise RefusedError(self.last_error) from error
                LOG.warning("DiracX call failed, again in %.1f s: %s", wait, self.last_error)
                if not is_refusal(error):
                    await self.forget(who)
            else:
                self.last_error = ""
                return answer
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    async def _client(self, who: Who) -> AsyncDiracClient:
        if who not in self._clients:
            credentials = await asyncio.to_thread(self._exchange, who)
            preferences = DiracxPreferences(url=AnyHttpUrl(self.url), credentials_path=credentials)
            client = AsyncDiracClient(diracx_preferences=preferences)
            await client.__aenter__()
            self._clients[who] = client
        return self._clients[who]

    def _exchange(self, who: Who) -> Path:
        """Get a token for an identity by the site's agreement with DiracX."""
        asked = {
            "preferred_username": who.user,
            "scope": f"vo:{who.vo} group:{who.group}",
            "expires_minutes": TOKEN_MINUTES,
        }
        address = f"{self.url}/api/auth/legacy-exchange?{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(  # noqa: S310  the grid's own http address
            address, headers={"Authorization": f"Bearer diracx:legacy:{self.key}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            token = json.load(answer)
        content = {name: token[name] for name in ("access_token", "refresh_token")}
        content["expires_on"] = int(time.time()) + token["expires_in"] - 15
        path = self.directory / f"{who.vo}_{who.user}_{who.group}.json"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(content, stream)
        return path

    async def forget(self, who: Who) -> None:
        if client := self._clients.pop(who, None):
            await client.__aexit__(None, None, None)

    async def close(self) -> None:
        for who in list(self._clients):
            await self.forget(who)


def as_dict(answer: Any) -> dict[str, Any]:
    """The plain form of an answer of the generated client."""
    return dict(answer.as_dict() if hasattr(answer, "as_dict") else answer)
