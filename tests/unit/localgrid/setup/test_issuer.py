"""Keys, users and clients of the issuer."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from esap_batch.identity import load_identities
from localgrid.layout import PROJECT, USERS, Layout
from localgrid.setup import issuer


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    issuer.create(layout)
    return layout


def keys(layout: Layout) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(layout.issuer_keys_file.read_text())["keys"]
    return found


def test_files_with_secrets_are_private(layout: Layout) -> None:
    for path in (layout.path("secrets", "issuer.json"), layout.issuer_keys_file, layout.passwords_file):
        assert path.stat().st_mode & 0o777 == 0o600


def test_keys_last_and_rotate_with_the_one_before_kept(layout: Layout) -> None:
    (first,) = keys(layout)
    issuer.create(layout)
    assert keys(layout) == [first]
    issuer.rotate_keys(layout)
    second, kept = keys(layout)
    assert kept == first
    issuer.rotate_keys(layout)
    assert [key["kid"] for key in keys(layout)][1:] == [second["kid"]]
    private = jwt.PyJWK(second).key
    token = jwt.encode({"a": 1}, private, "RS256")
    assert jwt.decode(token, private.public_key(), ["RS256"]) == {"a": 1}


def test_names_in_tokens_last_and_tell_nothing(layout: Layout) -> None:
    users = issuer.users(layout)
    assert [one["username"] for one in users] == list(USERS)
    again = issuer.users(Layout(layout.home))
    assert [one["sub"] for one in users] == [one["sub"] for one in again]
    assert not any(one["username"] in one["sub"] for one in users)
    assert len({one["password"] for one in users}) == len(users)


def test_users_groups_are_those_of_the_configuration(layout: Layout) -> None:
    known = load_identities(PROJECT / "config" / "identity.yaml")
    for name, groups in USERS.items():
        assert known.users[name]["groups"] == list(groups)
    assert known.issuers["iam"].entitlements == issuer.ENTITLEMENTS
    assert issuer.AUDIENCE in known.issuers["iam"].audiences


def test_only_public_clients_have_no_secret_and_each_says_where_it_may_lead(layout: Layout) -> None:
    for client in issuer.clients(layout):
        public = client.get("token_endpoint_auth_method") == "none"
        assert ("client_secret" in client) != public
        assert all(uri.startswith("http://") for uri in client["redirect_uris"])


def test_the_life_of_tokens_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(issuer.TOKEN_VARIABLE, "5")
    assert issuer.token_seconds() == 5
    for wrong in ("0", "-1", "soon"):
        monkeypatch.setenv(issuer.TOKEN_VARIABLE, wrong)
        with pytest.raises(RuntimeError, match="whole number from 1"):
            issuer.token_seconds()


def test_packages_are_locked_by_their_content_and_by_no_address() -> None:
    lock = json.loads((issuer.PROGRAM.parent / "package-lock.json").read_text())["packages"]
    packages = {name: entry for name, entry in lock.items() if name}
    assert "node_modules/oidc-provider" in packages
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())
