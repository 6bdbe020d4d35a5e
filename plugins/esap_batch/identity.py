"""Who a user is to the experiments, to Airflow, to DIRAC and to Rucio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError
from esap_batch.issuers import TokenIssuer, token_issuer

EVERY_WORKFLOW = "*"


class Role(IntEnum):
    """What members of a group may do in Airflow with the group's workflows; each may what those before may.

    A viewer reads, a user runs, an op pauses DAGs, manages pools and answers for everybody of the experiment,
    an admin does everything.
    """

    VIEWER = 0
    USER = 1
    OP = 2
    ADMIN = 3


class IdentityRefused(PermissionError):  # noqa: N818 - says what happened
    """A user who is unknown, or may not do what was asked."""


@dataclass(frozen=True)
class Group:
    """A group of the identity provider and what it stands for. Empty text: nothing at that system."""

    name: str
    experiments: frozenset[str] = frozenset()
    dirac_vo: str = ""
    dirac_group: str = ""
    rucio_account: str = ""
    workflows: tuple[str, ...] = ()
    role: Role = Role.USER
    shares_runs: bool = False

    def allows(self, workflow: str) -> bool:
        return workflow in self.workflows or EVERY_WORKFLOW in self.workflows


@dataclass(frozen=True)
class Identity:
    """A user with all that their groups give. DIRAC and Rucio names come from the first group with one."""

    user: str
    groups: tuple[str, ...]
    experiments: frozenset[str]
    workflows: frozenset[str]
    dirac_vo: str
    dirac_group: str
    dirac_user: str
    rucio_account: str
    known_groups: tuple[Group, ...] = ()

    @property
    def own_groups(self) -> tuple[Group, ...]:
        return tuple(g for g in self.known_groups if g.name in self.groups)

    @property
    def role(self) -> Role:
        """The highest role that any group gives."""
        return max((g.role for g in self.own_groups), default=Role.VIEWER)

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    @property
    def sharing(self) -> frozenset[str]:
        """The user's groups whose members see each other's runs."""
        return frozenset(g.name for g in self.own_groups if g.shares_runs)

    @property
    def operated(self) -> frozenset[str]:
        """The experiments for whose members' runs the user answers."""
        return frozenset(e for g in self.own_groups if g.role >= Role.OP for e in g.experiments)

    def role_for(self, workflow: str) -> Role | None:
        """Give the highest role of the groups that allow a workflow; None when no group does."""
        return max((g.role for g in self.own_groups if g.allows(workflow)), default=None)

    def require_workflow(self, workflow: str) -> None:
        """Raise IdentityRefused unless the user may run the workflow."""
        role = self.role_for(workflow)
        if role is not None and role >= Role.USER:
            return
        needed = [g.name for g in self.known_groups if g.allows(workflow) and g.role >= Role.USER]
        raise IdentityRefused(
            f"user {self.user} may not run {workflow}: is in {_listed(self.groups)}, "
            f"needed is one of {_listed(needed)}"
        )


@dataclass(frozen=True)
class Identities:
    """The content of config/identity.yaml."""

    groups: Mapping[str, Group]
    users: Mapping[str, Mapping[str, Any]]
    issuers: Mapping[str, TokenIssuer] = field(default_factory=dict)

    def identity_of(self, user: str | None) -> Identity:
        """Look a local user up; IdentityRefused for one who is unknown."""
        if not user:
            raise IdentityRefused("the run has no user: it must be triggered by somebody who is logged in")
        if user not in self.users:
            raise IdentityRefused(f"user {user} is in no group: an administrator adds users to identity.yaml")
        entry = self.users[user]
        return self.identity_from_groups(user, entry["groups"])

    def identity_from_groups(self, user: str, groups: list[str]) -> Identity:
        """Make the identity of a user whose groups come with a token; unknown groups are ignored."""
        own = [self.groups[name] for name in groups if name in self.groups]
        if not own:
            raise IdentityRefused(
                f"user {user} is in {_listed(groups)}: allowed is one of {_listed(self.groups)}"
            )
        return self._identity(user, own)

    def former(self, user: str) -> Identity:
        """Give a user who may be in no group any more: all that ending what they have begun needs."""
        return self._identity(user, [])

    def _identity(self, user: str, own: list[Group]) -> Identity:
        dirac = next((g for g in own if g.dirac_vo), Group(""))
        return Identity(
            user=user,
            groups=tuple(g.name for g in own),
            experiments=frozenset(e for g in own for e in g.experiments),
            workflows=frozenset(w for g in own if g.role >= Role.USER for w in g.workflows),
            dirac_vo=dirac.dirac_vo,
            dirac_group=dirac.dirac_group,
            dirac_user=str(self.users.get(user, {}).get("dirac_user", user)),
            rucio_account=next((g.rucio_account for g in own if g.rucio_account), ""),
            known_groups=tuple(self.groups.values()),
        )


def load_identities(path: Path) -> Identities:
    """Read identity.yaml; ConfigurationError when it is missing or against identity.schema.json beside it."""
    document = read_mapping(path, path.with_name("identity.schema.json"))
    groups = {name: _group(name, entry) for name, entry in document["groups"].items()}
    for user, entry in document["users"].items():
        for name in entry["groups"]:
            if name not in groups:
                raise ConfigurationError(path, f"user {user}: group {name}: allowed {_listed(groups)}")
    issuers = {name: token_issuer(name, entry) for name, entry in document.get("issuers", {}).items()}
    prefixes = [issuer.user_prefix for issuer in issuers.values()]
    if len(set(prefixes)) < len(prefixes):
        raise ConfigurationError(
            path, "issuers: two have the same user_prefix: their users would be mixed up"
        )
    return Identities(groups, document["users"], issuers)


def _group(name: str, entry: Mapping[str, Any]) -> Group:
    dirac = entry.get("dirac") or {}
    experiments = entry.get("experiments") or [entry.get("experiment")]
    return Group(
        name=name,
        experiments=frozenset(str(e) for e in experiments if e),
        dirac_vo=str(dirac.get("vo", "")),
        dirac_group=str(dirac.get("group", "")),
        rucio_account=str(entry.get("rucio_account", "")),
        workflows=tuple(entry["workflows"]),
        role=Role[str(entry.get("airflow_role", "user")).upper()],
        shares_runs=bool(entry.get("shares_runs", False)),
    )


def _listed(names: Any) -> str:
    return ", ".join(names) or "no group"
