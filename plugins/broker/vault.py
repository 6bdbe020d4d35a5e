"""Secrets of users, encrypted at rest with keys of the broker's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from hooks.broker import keys_of

VAULT_CONNECTION = "esap_vault"  # its password: keys of Fernet, separated by commas; the first one encrypts


class VaultError(RuntimeError):
    """A secret cannot be read: it is another's, was changed, or its key is gone."""


class Vault:
    """Encrypts JSON documents. What is sealed for one owner and system opens for no other."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def standing(cls) -> Vault:
        """Read the keys from their connection; VaultError when there are none that can be used."""
        from airflow.sdk.bases.hook import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return cls(keys_of(BaseHook.get_connection(VAULT_CONNECTION)))
        except (AirflowNotFoundException, ValueError) as error:
            raise VaultError(
                f"the connection {VAULT_CONNECTION} with the keys for credentials cannot be used"
            ) from error

    def seal(self, owner: str, system: str, document: Mapping[str, Any]) -> bytes:
        return self._fernet.encrypt(json.dumps([owner, system, document]).encode())

    def open(self, owner: str, system: str, sealed: bytes) -> dict[str, Any]:
        """Give the document back; VaultError when that cannot be done."""
        try:
            whose, where, document = json.loads(self._fernet.decrypt(sealed))
        except (InvalidToken, ValueError) as error:
            raise VaultError(f"no key of the connection {VAULT_CONNECTION} opens what is stored") from error
        if (whose, where) != (owner, system):
            raise VaultError("it was stored for somebody else")
        return dict(document)
