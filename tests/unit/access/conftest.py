"""Users of every kind, and an issuer whose keys are at hand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from access import issuers, people
from access.issuers import Issuer, PublishedKeys
from access.users import EsapUser
from esap_batch.identity import Identities, load_identities
from esap_batch.issuers import TokenIssuer

CONFIG = Path(__file__).parents[3] / "config"
URL = "https://iam.test"
IDENTITY = """
groups:
  esap/admins: {experiments: [ctao, km3net], workflows: ["*"], airflow_role: admin}
  ctao/ops: {experiment: ctao, workflows: [cta_irf, hello_world, cta_reprocessing], airflow_role: op}
  ctao/users: {experiment: ctao, workflows: [cta_irf, hello_world, cta_reprocessing]}
  ctao/pair: {experiment: ctao, workflows: [], shares_runs: true}
  ctao/guests: {experiment: ctao, workflows: [cta_irf], airflow_role: viewer}
  km3net/users: {experiment: km3net, workflows: [hello_world, km3net_concordia]}
users:
  alice: {groups: [ctao/users]}
  bob: {groups: [ctao/users, ctao/pair]}
  erin: {groups: [ctao/users, ctao/pair]}
  dave: {groups: [km3net/users]}
"""
GROUPS = {
    "alice": ["ctao/users"],
    "bob": ["ctao/users", "ctao/pair"],
    "carol": ["esap/admins"],
    "dave": ["km3net/users"],
    "erin": ["ctao/users", "ctao/pair"],
    "gail": ["ctao/guests"],
    "olga": ["ctao/users", "ctao/ops"],
}


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Identities:
    """Have the groups above in place of config/identity.yaml."""
    (tmp_path / "identity.schema.json").write_text((CONFIG / "identity.schema.json").read_text())
    (tmp_path / "identity.yaml").write_text(IDENTITY)
    found = load_identities(tmp_path / "identity.yaml")
    for module in ("access.people", "access.rights", "access.manager"):
        monkeypatch.setattr(f"{module}.identities", lambda: found)
    monkeypatch.setattr(people, "_groups", None)
    return found


@pytest.fixture
def user(known: Identities) -> Callable[[str], EsapUser]:
    return lambda name: EsapUser(name, known.identity_from_groups(name, GROUPS[name]), URL, f"sub-{name}")


class Signer:
    """An issuer's private side: signs tokens, publishes keys, counts how often it is asked for them."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = True
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate("first")

    def rotate(self, kid: str) -> None:
        self.keys = {kid: rsa.generate_private_key(65537, 2048)}

    def token(self, **changes: Any) -> str:
        now, (kid, key) = int(time.time()), next(iter(self.keys.items()))
        claims = {
            "iss": URL, "sub": "sub-alice", "aud": "esap-batch", "iat": now, "exp": now + 600,
            "jti": uuid.uuid4().hex, "scope": "openid", "preferred_username": "alice",
            "wlcg.groups": ["/ctao/users"],
        } | changes  # fmt: skip
        good = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(good, key, "RS256", headers={"kid": kid, "typ": "at+jwt"})

    def published(self, keys: PublishedKeys) -> dict[str, Any] | None:
        self.asked += 1
        keys.last_fetch_attempt_at = time.monotonic()
        if not self.answers:
            return None
        keys.fetched_at = time.monotonic()
        made = [
            {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        return {"keys": made}


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Signer:
    signer = Signer()

    async def fetch(keys: PublishedKeys) -> dict[str, Any] | None:
        return signer.published(keys)

    monkeypatch.setattr(PublishedKeys, "_fetch_remote_jwks", fetch)
    return signer


@pytest.fixture
def issuer(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    made = Issuer(TokenIssuer("iam", "esap_iam", ("esap-batch",)), URL, "esap-batch", "secret")
    monkeypatch.setattr(issuers, "known_issuers", lambda: {"iam": made})
    return made
