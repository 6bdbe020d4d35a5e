from __future__ import annotations

from typing import Any

import pytest

from esap_batch.issuers import ClaimsRefused, TokenIssuer, token_issuer

EGI = TokenIssuer("egi", "c", ("a",), entitlements="urn:mace:egi.eu", group_claims=("eduperson_entitlement",))
IAM = TokenIssuer("iam", "c", ("a",))


@pytest.mark.parametrize(
    ("entitlement", "groups"),
    [
        ("urn:mace:egi.eu:group:vo.cta:role=member#aai.egi.eu", ["vo.cta"]),
        ("urn:mace:egi.eu:group:vo.cta#aai.egi.eu", ["vo.cta"]),
        ("urn:mace:egi.eu:group:vo.cta", ["vo.cta"]),
        ("urn:mace:egi.eu:group:ctao:users:role=member", ["ctao/users"]),
        ("urn:mace:egi.eu:group:ctao:users:role=vm_operator#x", ["ctao/users/role=vm_operator"]),
        ("urn:mace:egi.eu:group:with%3Acolon", ["with:colon"]),
        ("urn:geant:elsewhere:group:ctao:users", []),  # another authority's word
        ("urn:mace:egi.eu.evil:group:ctao:users", []),
        ("urn:mace:egi.eu:res:gocdb", []),  # AARC-G027: a resource, no group
        ("urn:mace:egi.eu:group:", []),
        ("urn:mace:egi.eu:group:role=member", []),
        ("urn:mace:egi.eu:group:a::b", []),
    ],
)
def test_groups_of_entitlements(entitlement: str, groups: list[str]) -> None:
    """AARC-G069, section 2; without `entitlements` nobody's count."""
    assert EGI.groups_of({"eduperson_entitlement": [entitlement]}) == groups
    assert IAM.groups_of({"eduperson_entitlement": [entitlement]}) == []


def test_groups_of_wlcg_lose_their_slash_and_are_told_once() -> None:
    claims = {"wlcg.groups": ["/ctao/users", "/ctao"], "groups": ["ctao/users", "more"]}
    assert IAM.groups_of(claims) == ["ctao/users", "ctao", "more"]
    assert IAM.groups_of({"groups": "one"}) == ["one"]
    assert IAM.groups_of({"wlcg.groups": [7, None, {"a": 1}], "groups": {"a": 1}}) == []
    assert IAM.groups_of({}) == []


def test_an_issuer_vouches_only_for_its_own_groups() -> None:
    issuer = TokenIssuer("km3net", "c", ("a",), groups=("km3net/*",))
    assert issuer.groups_of({"groups": ["km3net/users", "esap/admins"]}) == ["km3net/users"]


@pytest.mark.parametrize("name", [None, "", 7, ["alice"], "(esap-batch)", "a\nb", "../x", "a b", "x" * 101])
def test_a_name_that_could_do_harm_is_refused(name: Any) -> None:
    with pytest.raises(ClaimsRefused, match="must name a user"):
        IAM.user_of({"preferred_username": name})


def test_users_of_several_issuers_are_kept_apart() -> None:
    claims = {"preferred_username": "alice", "sub": "1-2"}
    assert IAM.user_of(claims) == "alice"
    assert TokenIssuer("k", "c", ("a",), user_prefix="km3net.").user_of(claims) == "km3net.alice"
    assert TokenIssuer("k", "c", ("a",), user_claim="sub").user_of(claims) == "1-2"


def test_an_entry_of_the_file_becomes_an_issuer() -> None:
    entry = {"title": "x", "connection": "c", "audiences": ["a", "b"], "groups": ["ctao/*"]}
    issuer = token_issuer("iam", entry)
    assert (issuer.name, issuer.audiences, issuer.groups) == ("iam", ("a", "b"), ("ctao/*",))
