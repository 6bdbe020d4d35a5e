"""The local grid's issuer: what scripts, services and Airflow get of it."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid
from localgrid.setup import diracx, issuer
from localgrid.signin import SignInRefused, passwords, sign_in, walk
from tests.e2e.tokens import Mint

DEVICE = issuer.DEVICE


@pytest.fixture(scope="module")
def metadata(grid: Grid) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{grid.info['issuer']['url']}/.well-known/openid-configuration").json()
    return found


@pytest.fixture(scope="module")
def portal(grid: Grid) -> tuple[str, str]:
    return issuer.PORTAL, grid.layout.secrets["issuer_esap_secret"]


def read(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_access_tokens_have_the_wlcg_profile(grid: Grid) -> None:
    tokens = sign_in(grid.info, "bob", scope="openid profile wlcg.groups eduperson_entitlement")
    claims = read(tokens["access_token"])
    assert jwt.get_unverified_header(tokens["access_token"])["alg"] == "RS256"
    assert claims["wlcg.ver"] == "1.0"
    assert claims["wlcg.groups"] == ["/ctao/users", "/ctao/pi-crab"]
    assert claims["eduperson_entitlement"][0] == "urn:geant:iam.example.org:group:ctao:users"
    assert (claims["aud"], claims["preferred_username"]) == ("esap-batch", "bob")
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 3600
    assert "bob" not in claims["sub"]
    assert "wlcg.groups" not in read(sign_in(grid.info, "bob", scope="openid")["access_token"])
    assert read(sign_in(grid.info, "bob", audience="rucio")["access_token"])["aud"] == "rucio"


def test_a_wrong_password_gives_nothing(grid: Grid) -> None:
    with pytest.raises(SignInRefused, match="401"):
        sign_in(grid.info, "alice", password=passwords(grid.info)["bob"])


def test_refresh_tokens_rotate_and_an_old_one_ends_all(grid: Grid, metadata: dict[str, Any]) -> None:
    def refresh(token: str) -> httpx.Response:
        form = {"grant_type": "refresh_token", "client_id": issuer.SCRIPTS, "refresh_token": token}
        return httpx.post(metadata["token_endpoint"], data=form)

    first = sign_in(grid.info, "alice", scope="openid offline_access wlcg.groups", prompt="consent")
    second = refresh(first["refresh_token"]).json()
    assert read(second["access_token"])["sub"] == read(first["access_token"])["sub"]
    assert second["refresh_token"] != first["refresh_token"]
    assert refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


def test_refresh_tokens_outlive_a_restart_of_the_issuer(grid: Grid, metadata: dict[str, Any]) -> None:
    kept = sign_in(grid.info, "alice", scope="openid offline_access", prompt="consent")["refresh_token"]
    grid.restart("issuer")
    form = {"grant_type": "refresh_token", "client_id": issuer.SCRIPTS, "refresh_token": kept}
    assert httpx.post(metadata["token_endpoint"], data=form).status_code == 200


def test_a_device_is_let_in_by_its_user_in_a_browser(grid: Grid, metadata: dict[str, Any]) -> None:
    asked = {"client_id": issuer.SCRIPTS, "scope": "openid profile wlcg.groups"}
    given = httpx.post(metadata["device_authorization_endpoint"], data=asked).json()
    form = {"grant_type": DEVICE, "client_id": issuer.SCRIPTS, "device_code": given["device_code"]}
    waiting = httpx.post(metadata["token_endpoint"], data=form)
    assert waiting.json()["error"] == "authorization_pending"
    with httpx.Client() as browser:
        page = walk(browser, given["verification_uri_complete"], "dave", passwords(grid.info)["dave"])
    assert "go back to your device" in page.text
    tokens = httpx.post(metadata["token_endpoint"], data=form).json()
    assert read(tokens["access_token"])["preferred_username"] == "dave"


def test_a_service_gets_a_token_of_its_own_which_is_no_user(
    grid: Grid, metadata: dict[str, Any], portal: tuple[str, str]
) -> None:
    form = {"grant_type": "client_credentials", "scope": "storage.read:/"}
    token = httpx.post(metadata["token_endpoint"], data=form, auth=portal).json()["access_token"]
    assert read(token)["sub"] == issuer.PORTAL
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{grid.info['airflow']['url']}/api/v2/dags", headers=headers).status_code == 401


def test_userinfo_introspection_and_revocation_take_access_tokens(
    grid: Grid, metadata: dict[str, Any], portal: tuple[str, str]
) -> None:
    token = sign_in(grid.info, "alice")["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}

    def introspect(client: tuple[str, str]) -> httpx.Response:
        return httpx.post(metadata["introspection_endpoint"], data={"token": token}, auth=client)

    assert httpx.get(metadata["userinfo_endpoint"], headers=bearer).json()["wlcg.groups"] == ["/ctao/users"]
    assert introspect(portal).json()["active"] is True
    assert introspect((portal[0], "guess")).status_code == 401
    assert httpx.post(metadata["revocation_endpoint"], data={"token": token}).status_code == 401
    form = {"token": token, "client_id": issuer.SCRIPTS}
    assert httpx.post(metadata["revocation_endpoint"], data=form).status_code == 200
    assert introspect(portal).json() == {"active": False}
    assert httpx.get(metadata["userinfo_endpoint"], headers=bearer).status_code == 401


@pytest.mark.parametrize(
    ("shift", "accepted"),
    [
        ({"nbf": 20, "iat": 20}, True),
        ({"nbf": 90, "iat": 90}, False),
        ({"exp": -20}, True),
        ({"exp": -90}, False),
    ],
)
def test_clocks_may_differ_by_half_a_minute(grid: Grid, shift: dict[str, int], accepted: bool) -> None:
    times: dict[str, Any] = {name: int(time.time()) + seconds for name, seconds in shift.items()}
    headers = {"Authorization": f"Bearer {Mint(grid.info).token('erin', **times)}"}
    answer = httpx.get(f"{grid.info['airflow']['url']}/api/v2/dags", headers=headers)
    assert answer.status_code == (200 if accepted else 401), answer.text


def test_airflow_takes_tokens_of_a_new_key_and_of_the_one_before(grid: Grid, wait_for: Any) -> None:
    before = AirflowApi.of(grid.info, "alice")
    issuer.rotate_keys(grid.layout)
    grid.restart("issuer")
    after = AirflowApi.of(grid.info, "alice")
    kids = [jwt.get_unverified_header(api.token)["kid"] for api in (before, after)]
    assert kids[0] != kids[1]
    wait_for(lambda: after.call("GET", "/dags").status_code == 200, within=30)
    assert before.call("GET", "/dags").status_code == 200


def test_while_the_issuer_is_away_tokens_are_good_as_before(grid: Grid) -> None:
    api = AirflowApi.of(grid.info, "alice")
    assert api.call("GET", "/dags").status_code == 200
    grid.stop("issuer")
    try:
        assert api.call("GET", "/dags").status_code == 200
    finally:
        grid.start("issuer")


def test_diracx_lets_users_in_by_the_issuer(grid: Grid) -> None:
    """DiracX's own code flow, as its web application begins it."""
    address = diracx.url(grid.layout)
    back = f"{address}/api/docs/oauth2-redirect"
    verifier = "v" * 64
    digest = hashlib.sha256(verifier.encode()).digest()

    def log_in(user: str, scope: str) -> httpx.Response:
        asked = {
            "response_type": "code", "client_id": "myDIRACClientID", "redirect_uri": back, "scope": scope,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256", "state": "s",
        }  # fmt: skip
        with httpx.Client(timeout=30) as browser:
            start = str(httpx.URL(f"{address}/api/auth/authorize", params=asked))
            end = walk(browser, start, user, passwords(grid.info)[user], back)
            code = parse_qs(urlsplit(end.headers["location"]).query)["code"][0]
            form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier,
                    "redirect_uri": back, "client_id": "myDIRACClientID"}  # fmt: skip
            return browser.post(f"{address}/api/auth/token", data=form)

    token = log_in("alice", "vo:ctao group:ctao_user").json()["access_token"]
    assert (read(token)["preferred_username"], read(token)["dirac_group"]) == ("alice", "ctao_user")
    assert log_in("dave", "vo:km3net").json()["access_token"]
    refused = log_in("dave", "vo:ctao")
    assert refused.status_code >= 400, refused.text
