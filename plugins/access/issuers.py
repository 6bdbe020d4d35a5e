"""The issuers of identities: their addresses, their keys, and what their tokens say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import attrs
import httpx
import jwt
from airflow.api_fastapi.auth.tokens import JWKS, JWTValidator

from access.refusals import invalid_token, issuer_away
from access.settings import identities
from esap_batch.issuers import TokenIssuer

log = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
PATIENCE_S = 10  # for the issuer's answers
CLOCK_SKEW_S = 30
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
REQUIRED = frozenset({"exp", "iat", "iss", "aud", "sub"})
ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash")


@attrs.define(repr=False, slots=False)
class PublishedKeys(JWKS):
    """The keys that an issuer publishes, found by its discovery document (`url`).

    Unlike Airflow's class it looks again when a token names a key that is unknown, since issuers rotate keys,
    though not more often than every few seconds; and callers who come while it looks wait for the answer.
    """

    issuer: str = ""
    refresh_retry_interval_secs: int = 5
    _missed: bool = False
    _looking: asyncio.Task[None] | None = None

    def _should_fetch_jwks(self) -> bool:
        now = time.monotonic()
        if self.last_fetch_attempt_at and now - self.last_fetch_attempt_at < self.refresh_retry_interval_secs:
            return False
        return self._jwks is None or self._missed or now - self.fetched_at > self.refresh_interval_secs

    async def fetch_jwks(self) -> None:
        """Look for the keys where that is due."""
        if self._looking is None or self._looking.done():
            if not self._should_fetch_jwks():
                return
            self._looking = asyncio.create_task(super().fetch_jwks())
        await asyncio.shield(self._looking)

    async def _fetch_remote_jwks(self) -> dict[str, Any] | None:
        self.last_fetch_attempt_at = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                metadata = (await client.get(self.url)).raise_for_status().json()
                if metadata["issuer"] != self.issuer:
                    raise ValueError(f"the issuer calls itself {metadata['issuer']}")
                keys: dict[str, Any] = (await client.get(metadata["jwks_uri"])).raise_for_status().json()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            log.error("no keys from %s: %s", self.url, error or type(error).__name__)
            return None
        self.fetched_at = time.monotonic()
        return keys

    async def get_key(self, kid: str) -> jwt.PyJWK:
        """Find a key; KeyError when the issuer has none of this name."""
        try:
            return await super().get_key(kid)
        except KeyError:
            self._missed = True
            try:
                return await super().get_key(kid)
            finally:
                self._missed = False

    @property
    def are_known(self) -> bool:
        return self._jwks is not None


@dataclass
class Issuer:
    """An issuer with its address and our client there, as its Airflow connection has them."""

    settings: TokenIssuer
    url: str
    client_id: str
    client_secret: str = field(repr=False)

    @cached_property
    def keys(self) -> PublishedKeys:
        return PublishedKeys(url=f"{self.url}{DISCOVERY}", issuer=self.url)

    @cached_property
    def _validator(self) -> JWTValidator:
        return JWTValidator(
            jwks=self.keys,
            issuer=self.url,
            audience=self.settings.audiences,
            algorithm=ALGORITHMS,
            required_claims=REQUIRED,
            leeway=CLOCK_SKEW_S,
        )

    async def claims(self, token: str) -> dict[str, Any]:
        """Verify an access token and give its claims; HTTPException 401, or 503 without the issuer's keys."""
        try:
            claims = await self._validator.avalidated_claims(token)
        except jwt.ExpiredSignatureError:
            raise invalid_token("the token has expired") from None
        except jwt.PyJWTError as error:
            if not self.keys.are_known:
                raise issuer_away(self.url) from None
            raise invalid_token(f"the token is refused: {error}") from None
        if any(name in claims for name in ID_TOKEN_CLAIMS) or "scope" not in claims:
            raise invalid_token("the token is refused: it is no access token")
        return claims


def issuer_of(token: str) -> Issuer | None:
    """Find the issuer that a token names, without trust in it; None for every other one, Airflow included."""
    try:
        named = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, RecursionError):
        raise invalid_token("the token is refused: it cannot be read") from None
    return next((issuer for issuer in known_issuers().values() if issuer.url == named), None)


_known: tuple[Mapping[str, TokenIssuer], dict[str, Issuer]] | None = None


def known_issuers() -> dict[str, Issuer]:
    """Give the issuers of identity.yaml by their names there; the first one serves the login.

    AirflowNotFoundException: an issuer has no connection.
    """
    global _known  # noqa: PLW0603 - one for the process: its keys are fetched once
    settings = identities().issuers
    if _known is None or _known[0] != settings:
        _known = (settings, {name: _connected(one) for name, one in settings.items()})
    return _known[1]


def _connected(settings: TokenIssuer) -> Issuer:
    from airflow.sdk.bases.hook import BaseHook

    connection = BaseHook.get_connection(settings.connection)
    return Issuer(settings, connection.host or "", connection.login or "", connection.password or "")
