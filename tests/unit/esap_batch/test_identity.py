from __future__ import annotations

from pathlib import Path

import pytest

from esap_batch.errors import ConfigurationError
from esap_batch.identity import Identities, IdentityRefused, Role, load_identities

CONFIG = Path(__file__).parents[3] / "config"
KNOWN = load_identities(CONFIG / "identity.yaml")


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_members_of_ctao(user: str) -> None:
    identity = KNOWN.identity_of(user)
    assert identity.experiments == {"ctao"}
    assert (identity.dirac_vo, identity.dirac_group, identity.dirac_user) == ("ctao", "ctao_user", user)
    assert identity.rucio_account == "esap"
    identity.require_workflow("cta_irf")
    identity.require_workflow("hello_world")


def test_the_administrator_may_all() -> None:
    identity = KNOWN.identity_of("carol")
    identity.require_workflow("cta_irf")
    identity.require_workflow("one that comes later")
    assert identity.is_admin
    assert (identity.dirac_user, identity.dirac_group) == ("carol", "ctao_admin")
    assert identity.experiments == {"ctao", "km3net", "fair", "ska"}


def test_a_workflow_of_another_experiment_is_refused_with_the_groups_that_may() -> None:
    dave = KNOWN.identity_of("dave")
    dave.require_workflow("hello_world")
    with pytest.raises(IdentityRefused) as refusal:
        dave.require_workflow("cta_irf")
    assert str(refusal.value) == (
        "user dave may not run cta_irf: is in km3net/users, needed is one of esap/admins, ctao/users"
    )
    assert isinstance(refusal.value, PermissionError)


@pytest.mark.parametrize("user", ["mallory", "Alice", "alice "])
def test_an_unknown_user_is_refused(user: str) -> None:
    with pytest.raises(IdentityRefused, match=f"user {user} is in no group"):
        KNOWN.identity_of(user)


@pytest.mark.parametrize("user", [None, ""])
def test_a_run_of_nobody_is_refused(user: str | None) -> None:
    with pytest.raises(IdentityRefused, match="the run has no user"):
        KNOWN.identity_of(user)


def test_groups_of_a_token_give_the_same_identity_as_a_local_user() -> None:
    assert KNOWN.identity_from_groups("alice", ["ctao/users", "unheard/of"]) == KNOWN.identity_of("alice")


def test_a_token_without_a_known_group_is_refused() -> None:
    with pytest.raises(IdentityRefused, match="user eve is in unheard/of: allowed is one of esap/admins"):
        KNOWN.identity_from_groups("eve", ["unheard/of"])


ROLES = """
groups:
  ctao/watchers: {experiment: ctao, workflows: [cta_irf, hello_world], airflow_role: viewer}
  ctao/users: {experiment: ctao, workflows: [hello_world]}
  ctao/ops: {experiment: ctao, workflows: [cta_irf], airflow_role: op, shares_runs: true}
users:
  renamed: {groups: [ctao/users], dirac_user: other}
"""


def written(tmp_path: Path, text: str) -> Identities:
    (tmp_path / "identity.schema.json").write_text((CONFIG / "identity.schema.json").read_text())
    (tmp_path / "identity.yaml").write_text(text)
    return load_identities(tmp_path / "identity.yaml")


def test_roles_are_given_for_the_groups_own_workflows(tmp_path: Path) -> None:
    known = written(tmp_path, ROLES)
    user = known.identity_from_groups("zoe", ["ctao/watchers", "ctao/users"])
    assert (user.role_for("cta_irf"), user.role_for("hello_world")) == (Role.VIEWER, Role.USER)
    assert user.role_for("km3net_concordia") is None
    assert user.role is Role.USER
    assert not user.operated
    user.require_workflow("hello_world")
    with pytest.raises(IdentityRefused, match="needed is one of ctao/ops"):
        user.require_workflow("cta_irf")
    operator = known.identity_from_groups("olga", ["ctao/users", "ctao/ops"])
    assert operator.role is Role.OP
    assert operator.operated == {"ctao"}
    assert operator.sharing == {"ctao/ops"}
    assert not operator.is_admin


def test_a_users_name_at_dirac_holds_for_tokens_too(tmp_path: Path) -> None:
    known = written(tmp_path, ROLES)
    assert known.identity_from_groups("renamed", ["ctao/users"]).dirac_user == "other"


def test_two_issuers_whose_users_would_be_mixed_up_are_refused(tmp_path: Path) -> None:
    issuer = "{connection: c, audiences: [a]}"
    with pytest.raises(ConfigurationError, match="user_prefix"):
        written(tmp_path, f"issuers: {{one: {issuer}, two: {issuer}}}\ngroups: {{}}\nusers: {{}}\n")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "identity.schema.json").write_text((CONFIG / "identity.schema.json").read_text())
    (tmp_path / "identity.yaml").write_text("groups: {a: {workflow: [b]}}\nusers: {}\n")
    with pytest.raises(ConfigurationError, match=r"identity\.yaml: .*'workflows' is a required property"):
        load_identities(tmp_path / "identity.yaml")


def test_a_user_of_a_group_that_does_not_exist_is_the_administrators_fault(tmp_path: Path) -> None:
    (tmp_path / "identity.schema.json").write_text((CONFIG / "identity.schema.json").read_text())
    (tmp_path / "identity.yaml").write_text("groups: {a: {workflows: []}}\nusers: {u: {groups: [a, b]}}\n")
    with pytest.raises(ConfigurationError, match=r"identity\.yaml: user u: group b: allowed a"):
        load_identities(tmp_path / "identity.yaml")
