"""Credentials of every kind, good and bad, to try on any endpoint.

mint = Mint(grid.info)
for kind in REFUSED:
    answer = httpx.get(url, headers=mint.headers(kind, "alice"))
    require_refusal(answer, kind)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HOUR_S = 3600
# What nobody may be let in with: each is answered with 401 and a challenge (RFC 6750, section 3).
REFUSED = (
    "no token",
    "garbage",
    "expired",
    "not yet valid",
    "wrong audience",
    "no audience",
    "wrong issuer",
    "unknown key",
    "another's key under the right name",
    "alg none",
    "HS256 with the public key",
    "changed after signing",
    "ID token",
    "no user",
    "forged session",
)


@cache
def _stranger() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Mint:
    """Makes tokens as the issuer of a grid would, with its own key, and as forgers would."""

    info: Mapping[str, Any]

    @cached_property
    def _jwk(self) -> dict[str, Any]:
        keys: list[dict[str, Any]] = json.loads(Path(self.info["issuer"]["keys_file"]).read_text())["keys"]
        return keys[0]

    @cached_property
    def _key(self) -> Any:
        return jwt.PyJWK(self._jwk).key

    @cached_property
    def _public_pem(self) -> bytes:
        pem: bytes = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def claims(self, user: str, groups: tuple[str, ...] = ("ctao/users",), **changes: Any) -> dict[str, Any]:
        """Give the claims of a good access token; a change to None takes a claim out."""
        now = int(time.time())
        made = {
            "iss": self.info["issuer"]["url"],
            "sub": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.info['home']}/{user}")),
            "aud": self.info["issuer"]["audience"],
            "iat": now,
            "nbf": now,
            "exp": now + HOUR_S,
            "jti": uuid.uuid4().hex,
            "scope": "openid profile wlcg.groups",
            "preferred_username": user,
            "wlcg.ver": "1.0",
            "wlcg.groups": [f"/{group}" for group in groups],
            "client_id": "esap-cli",
        } | changes
        return {name: value for name, value in made.items() if value is not None}

    def token(self, user: str, groups: tuple[str, ...] = ("ctao/users",), **changes: Any) -> str:
        """Make a token that the issuer has signed."""
        return self._signed(self.claims(user, groups, **changes))

    def _signed(self, claims: Mapping[str, Any], key: Any = None, **header: Any) -> str:
        named = {"kid": self._jwk["kid"], "typ": "at+jwt"} | header
        return jwt.encode(dict(claims), key or self._key, "RS256", headers=named)

    def bad(self, kind: str, user: str) -> str | None:
        """Make credentials that must be refused; None for none."""
        now, good = int(time.time()), self.claims(user)
        earlier = {"exp": now - HOUR_S, "iat": now - 2 * HOUR_S, "nbf": now - 2 * HOUR_S}
        made: dict[str, Callable[[], str | None]] = {
            "no token": lambda: None,
            "garbage": lambda: "eyJhbGciOiJSUzI1NiJ9.e30",  # pragma: allowlist secret
            "expired": lambda: self._signed(good | earlier),
            "not yet valid": lambda: self._signed(good | {"nbf": now + HOUR_S}),
            "wrong audience": lambda: self._signed(good | {"aud": "rucio"}),
            "no audience": lambda: self.token(user, aud=None),
            "wrong issuer": lambda: self._signed(good | {"iss": "https://iam.example.org"}),
            "unknown key": lambda: self._signed(good, _stranger(), kid="nobody's"),
            "another's key under the right name": lambda: self._signed(good, _stranger()),
            "alg none": lambda: f"{_part({'alg': 'none', 'typ': 'at+jwt'})}.{_part(good)}.",
            "HS256 with the public key": lambda: self._hmac(good),
            "changed after signing": lambda: self._changed(good),
            "ID token": lambda: self._id_token(user),
            "no user": lambda: self.token(user, preferred_username=None),
            "forged session": lambda: _session(user, now),
        }
        return made[kind]()

    def _changed(self, claims: Mapping[str, Any]) -> str:
        head, _, signature = self._signed(claims).split(".")
        return f"{head}.{_part({**claims, 'wlcg.groups': ['/esap/admins']})}.{signature}"

    def _id_token(self, user: str) -> str:
        """Make an ID token for the very audience that our access tokens have."""
        claims = self.claims(user, scope=None, nonce="n", at_hash="h")
        return self._signed(claims, typ="JWT")

    def _hmac(self, claims: Mapping[str, Any]) -> str:
        """Sign with the public key as if it were a shared secret; by hand, since libraries refuse to."""
        signed = f"{_part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': self._jwk['kid']})}.{_part(claims)}"
        digest = hmac.new(self._public_pem, signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def headers(self, kind: str, user: str) -> dict[str, str]:
        """Give the headers of a request with credentials that must be refused."""
        token = self.bad(kind, user)
        return {} if token is None else {"Authorization": f"Bearer {token}"}


def _session(user: str, now: int) -> str:
    claims = {"sub": user, "groups": ["esap/admins"], "idp": "", "idp_sub": "", "aud": "apache-airflow"}
    times = {"exp": now + HOUR_S, "iat": now, "nbf": now}
    return jwt.encode(claims | times, "k" * 64, "HS512")


def _part(document: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def require_refusal(answer: httpx.Response, kind: str) -> None:
    """Fail unless an answer refuses bad credentials as RFC 6750 says, and tells nothing else."""
    where = f"{answer.request.method} {answer.request.url.path} with {kind}"
    assert answer.status_code == 401, f"{where}: {answer.status_code} {answer.text[:300]}"
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer "), where
    assert ('error="invalid_token"' in challenge) == (kind != "no token"), f"{where}: {challenge}"
