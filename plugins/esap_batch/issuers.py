"""What the claims of an issuer's tokens mean: the user's name here, and the user's groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
ENTITLEMENTS = "eduperson_entitlement"
MEMBER = "member"  # the role that everybody of a group has


class ClaimsRefused(ValueError):  # noqa: N818 - says what happened
    """A token that is genuine and yet does not tell who its user is."""


@dataclass(frozen=True)
class TokenIssuer:
    """An issuer of identities whose tokens are accepted.

    `connection` is the Airflow connection with its address and our client there. `entitlements` is the name
    space of its own entitlements (AARC-G069); those of others are ignored. `groups` are patterns of what it
    may vouch for. `user_prefix` keeps users of several issuers apart.
    """

    name: str
    connection: str
    audiences: tuple[str, ...]
    user_claim: str = "preferred_username"
    group_claims: tuple[str, ...] = ("wlcg.groups", ENTITLEMENTS, "groups")
    entitlements: str = ""
    groups: tuple[str, ...] = ("*",)
    user_prefix: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "wlcg.groups")

    def user_of(self, claims: Mapping[str, Any]) -> str:
        """Name the user as Airflow will know them; ClaimsRefused when the token cannot tell."""
        name = claims.get(self.user_claim)
        if not isinstance(name, str) or not USER_NAME.fullmatch(name):
            raise ClaimsRefused(f"the token's {self.user_claim} is {name!r}: it must name a user")
        return f"{self.user_prefix}{name}"

    def groups_of(self, claims: Mapping[str, Any]) -> list[str]:
        """List the groups that the claims tell and the issuer may vouch for, each once."""
        told = (group for claim in self.group_claims for group in self._told(claim, claims.get(claim)))
        return list(dict.fromkeys(g for g in told if any(fnmatchcase(g, pattern) for pattern in self.groups)))

    def has_groups(self, claims: Mapping[str, Any]) -> bool:
        return any(claim in claims for claim in self.group_claims)

    def _told(self, claim: str, value: Any) -> Iterable[str]:
        texts = [v for v in _as_list(value) if isinstance(v, str)]
        if claim == ENTITLEMENTS:
            return (g for text in texts if (g := _group_of_entitlement(text, self.entitlements)))
        return (text.removeprefix("/") for text in texts)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _group_of_entitlement(text: str, namespace: str) -> str:
    """Read `<namespace>:group:<group>[:<subgroup>...][:role=<role>][#<authority>]`; empty when it is none."""
    prefix = f"{namespace}:group:"
    if not namespace or not text.startswith(prefix):
        return ""
    *path, last = text.removeprefix(prefix).partition("#")[0].split(":")
    if last.startswith("role="):
        role = unquote(last.removeprefix("role="))
        suffix = "" if role == MEMBER else f"/role={role}"
    else:
        path, suffix = [*path, last], ""
    return "/".join(unquote(part) for part in path) + suffix if all(path) and path else ""


def token_issuer(name: str, entry: Mapping[str, Any]) -> TokenIssuer:
    """Make an issuer of its entry in identity.yaml."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
        if key != "title"
    }
    return TokenIssuer(name=name, **values)
