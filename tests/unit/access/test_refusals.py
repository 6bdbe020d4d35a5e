from __future__ import annotations

from access.refusals import forbidden, invalid_token, issuer_away, not_authenticated


def test_a_challenge_holds_only_what_rfc_6750_allows() -> None:
    """Section 3: error_description has neither quotes, backslashes, nor anything beyond ASCII."""
    challenge = (invalid_token('the "name" \\ é\r\nSet-Cookie: a=b').headers or {})["WWW-Authenticate"]
    _, _, told = challenge.partition("error_description=")
    assert told == "\"the 'name' ' '''Set-Cookie: a=b\""


def test_statuses() -> None:
    found = [
        one.status_code for one in (not_authenticated(), invalid_token("x"), forbidden("x"), issuer_away("x"))
    ]
    assert found == [401, 401, 403, 503]
