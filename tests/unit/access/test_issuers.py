"""Verification of issuers' tokens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fastapi import HTTPException

from access.issuers import Issuer, issuer_of
from tests.unit.access.conftest import URL, Signer


def refused(issuer: Issuer, token: str) -> HTTPException:
    with pytest.raises(HTTPException) as refusal:
        asyncio.run(issuer.claims(token))
    return refusal.value


def test_a_good_token_is_read_and_keys_are_fetched_once(issuer: Issuer, signer: Signer) -> None:
    for _ in range(3):
        assert asyncio.run(issuer.claims(signer.token()))["sub"] == "sub-alice"
    assert signer.asked == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": int(time.time()) - 100}, "has expired"),
        ({"aud": "rucio"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://other.test"}, "issuer"),
        ({"nbf": int(time.time()) + 100}, "nbf"),
        ({"sub": None}, "sub"),
        ({"exp": None}, "exp"),
        ({"scope": None}, "no access token"),
        ({"nonce": "n"}, "no access token"),
        ({"at_hash": "h"}, "no access token"),
    ],
)
def test_what_is_wrong_is_told_in_the_challenge(
    issuer: Issuer, signer: Signer, changes: dict[str, Any], words: str
) -> None:
    refusal = refused(issuer, signer.token(**changes))
    assert refusal.status_code == 401
    challenge = (refusal.headers or {})["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="esap-batch", error="invalid_token", error_description="')
    assert words in challenge


def test_an_unknown_key_is_looked_for_though_not_again_and_again(issuer: Issuer, signer: Signer) -> None:
    asyncio.run(issuer.claims(signer.token()))
    signer.rotate("second")
    assert refused(issuer, signer.token()).status_code == 401, "looked at just before"
    issuer.keys.last_fetch_attempt_at -= issuer.keys.refresh_retry_interval_secs
    assert asyncio.run(issuer.claims(signer.token()))["sub"] == "sub-alice"
    asked = signer.asked
    signer.rotate("third")
    for _ in range(20):
        refused(issuer, signer.token())
    assert signer.asked == asked


def test_callers_who_come_while_keys_are_looked_for_wait_for_them(issuer: Issuer, signer: Signer) -> None:
    async def together() -> list[dict[str, Any]]:
        return await asyncio.gather(*(issuer.claims(signer.token()) for _ in range(10)))

    assert len(asyncio.run(together())) == 10
    assert signer.asked == 1


def test_an_issuer_that_is_away_is_not_the_callers_fault(issuer: Issuer, signer: Signer) -> None:
    signer.answers = False
    refusal = refused(issuer, signer.token())
    assert refusal.status_code == 503
    assert (refusal.headers or {})["Retry-After"]


def test_keys_that_are_known_outlast_an_issuer_that_is_away(issuer: Issuer, signer: Signer) -> None:
    asyncio.run(issuer.claims(signer.token()))
    signer.answers = False
    issuer.keys.fetched_at -= 2 * issuer.keys.refresh_interval_secs
    issuer.keys.last_fetch_attempt_at -= issuer.keys.refresh_interval_secs
    assert asyncio.run(issuer.claims(signer.token()))["sub"] == "sub-alice"
    assert signer.asked == 2


def test_the_issuer_is_found_by_the_tokens_own_word_and_by_nothing_near_it(
    issuer: Issuer, signer: Signer
) -> None:
    assert issuer_of(signer.token()) is issuer
    for other in (f"{URL}/", f"{URL}.evil", "", None, ["https://iam.test"]):
        assert issuer_of(signer.token(iss=other)) is None if not isinstance(other, list) else True
    for garbage in ("", "a", "a.b.c", "é.é.é"):
        with pytest.raises(HTTPException) as refusal:
            issuer_of(garbage)
        assert refusal.value.status_code == 401


def test_a_secret_is_not_shown(issuer: Issuer) -> None:
    assert "secret" not in repr(issuer)
