"""The data lake: Rucio, as the one place where products, claims and replicas are known."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.bases.hook import BaseHook

from esap_batch.products import Claim, ProductFile, generation_of, scope_of
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from rucio.client import Client

SYSTEM = "Rucio"
BULK_ADDRESSES = 25  # LFNs a call: they go into the URL, of which common servers take 4 kB
T = TypeVar("T")


@dataclass(frozen=True)
class RucioSettings:
    """Where the lake is and who asks."""

    url: str
    account: str
    auth_type: str = "userpass"
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, connection: Connection) -> RucioSettings:
        """Read an Airflow connection: host, login and password, extras `account` and `auth_type`."""
        extra = connection.extra_dejson
        credentials = {"username": connection.login or "", "password": connection.password or ""}
        auth_type = extra.get("auth_type", "userpass")
        return cls(str(connection.host), extra["account"], auth_type, credentials)


class RucioLake:
    """Datasets, replicas, rules and metadata. Every method may be called again."""

    def __init__(self, settings: RucioSettings) -> None:
        self.settings = settings

    @classmethod
    def from_connection(cls, conn_id: str) -> RucioLake:
        return cls(RucioSettings.of(BaseHook.get_connection(conn_id)))

    @cached_property
    def client(self) -> Client:
        """Rucio's own client, for what is not here."""
        from hooks.lake_client import LakeClient

        settings = self.settings
        # Rucio caches its token under the account's name alone: two lakes would share one.
        key = hashlib.sha256(f"{settings.url} {settings.credentials.get('username')}".encode()).hexdigest()
        place = Path(tempfile.gettempdir(), f"esap-rucio-{key[:16]}-")
        lake_client = type("LakeClient", (LakeClient,), {"TOKEN_PATH_PREFIX": str(place)})
        return lake_client(
            rucio_host=settings.url,
            auth_host=settings.url,
            account=settings.account,
            auth_type=settings.auth_type,
            creds=dict(settings.credentials),
            timeout=60,
        )

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Turn the client library's many errors into the two kinds that callers tell apart."""
        import requests
        from rucio.common.exception import (
            AccessDenied,
            CannotAuthenticate,
            DatabaseException,
            ReplicationRuleCreationTemporaryFailed,
            RucioException,
            ServerConnectionException,
            ServiceUnavailable,
        )

        try:
            yield
        except (
            ServerConnectionException,
            ServiceUnavailable,
            DatabaseException,
            ReplicationRuleCreationTemporaryFailed,
        ) as error:
            raise BackendUnavailable(SYSTEM, self.settings.url, error) from error
        except (CannotAuthenticate, AccessDenied) as error:
            raise RefusedForGood(SYSTEM, self.settings.url, error) from error
        except RucioException as error:
            # Without a code of its own it is what the client makes of an answer that is not Rucio's.
            kind = BackendUnavailable if type(error) is RucioException else BackendRefused
            raise kind(SYSTEM, self.settings.url, error) from error
        except (requests.RequestException, OSError) as error:
            raise BackendUnavailable(SYSTEM, self.settings.url, error) from error

    def claims(self, base: str) -> list[Claim]:
        """List the generations of a product."""
        scope = scope_of(base)
        with self.asking():
            names = list(self.client.list_dids(scope, {"name": f"{base}-g*"}, did_type="dataset"))
            return [self._claim(scope, name) for name in sorted(names, key=generation_of)]

    def _claim(self, scope: str, name: str) -> Claim:
        is_open = bool(self.client.get_did(scope, name)["open"])
        meta = self.client.get_metadata(scope, name, plugin="JSON")
        counts = int(meta.get("esap_missing_jobs", 0)), int(meta.get("esap_jobs", 0))
        return Claim(name, str(meta.get("esap_run", "")), not is_open, *counts)

    def claim(self, dataset: str, metadata: Mapping[str, Any]) -> bool:
        """Create a product's dataset with its metadata in one transaction; False when it is there already."""
        from rucio.common.exception import DataIdentifierAlreadyExists

        with self.asking():
            try:
                self.client.add_dataset(scope_of(dataset), dataset, meta=dict(metadata))
            except DataIdentifierAlreadyExists:
                return False
        return True

    def pfns(self, rse: str, lfns: Sequence[str]) -> dict[str, str]:
        """Give the PFN of each LFN at an RSE; one call for every `BULK_ADDRESSES` of them."""
        dids = [f"{scope_of(lfn)}:{lfn}" for lfn in lfns]
        known: dict[str, str] = {}
        with self.asking():
            for some in in_chunks(dids, BULK_ADDRESSES):
                known |= self.client.lfns2pfns(rse, list(some), operation="write")
        return {lfn: str(known[did]) for lfn, did in zip(lfns, dids, strict=True)}

    def is_published(self, dataset: str) -> bool:
        with self.asking():
            return not self.client.get_did(scope_of(dataset), dataset)["open"]

    def metadata(self, lfn: str) -> dict[str, Any]:
        with self.asking():
            return dict(self.client.get_metadata(scope_of(lfn), lfn, plugin="JSON"))

    def files(self, dataset: str) -> list[dict[str, Any]]:
        """List a dataset's files with `name`, `bytes` and `adler32`."""
        with self.asking():
            return [dict(f) for f in self.client.list_files(scope_of(dataset), dataset)]

    def set_metadata(self, lfn: str, metadata: Mapping[str, Any]) -> None:
        with self.asking():
            self.client.set_metadata_bulk(scope_of(lfn), lfn, dict(metadata))

    def add_files(self, dataset: str, rse: str, files: Sequence[ProductFile]) -> None:
        """Register files that lie at `rse` and attach them; what an earlier try did is kept."""
        scope = scope_of(dataset)
        dids = [{"scope": scope, "name": f.lfn} for f in files]
        with self.asking():
            known = {str(r["name"]): r for r in self.client.list_replicas(dids)}
            self._refuse_others(files, known)
            new = [f for f in files if rse not in known.get(f.lfn, {}).get("rses", {})]
            if new:
                self.client.add_replicas(rse, [_replica(scope, f) for f in new])
            attached = {f["name"] for f in self.client.list_content(scope, dataset)}
            lacking = [d for d in dids if d["name"] not in attached]
            if lacking:
                self.client.attach_dids(scope, dataset, lacking)

    def _refuse_others(self, files: Sequence[ProductFile], known: Mapping[str, Mapping[str, Any]]) -> None:
        for file in files:
            standing = known.get(file.lfn)
            if standing and standing["adler32"] != file.adler32:
                raise RefusedForGood(
                    SYSTEM,
                    self.settings.url,
                    f"{file.lfn} is known with adler32 {standing['adler32']}, this one has {file.adler32}",
                )

    def add_rule(self, dataset: str, rse: str, **options: Any) -> str:
        """Ask for a copy at `rse`, an expression of Rucio's; a rule that stands already is adopted."""
        from rucio.common.exception import DuplicateRule

        scope = scope_of(dataset)
        with self.asking():
            try:
                rules = self.client.add_replication_rule(
                    [{"scope": scope, "name": dataset}], 1, rse, **{"grouping": "DATASET", **options}
                )
                return str(rules[0])
            except DuplicateRule:
                return self.rules(dataset)[rse]

    def rules(self, dataset: str) -> dict[str, str]:
        """Give the rules of a dataset by RSE expression."""
        with self.asking():
            standing = self.client.list_did_rules(scope_of(dataset), dataset)
            return {str(r["rse_expression"]): str(r["id"]) for r in standing}

    def rule(self, rule_id: str) -> dict[str, Any]:
        """Give a rule's `state`, lock counts and `error`."""
        with self.asking():
            return dict(self.client.get_replication_rule(rule_id))

    def expire(self, dataset: str, seconds: int) -> None:
        """Let a dataset live for so long only: with it go its rules, and its name is free again."""
        with self.asking():
            self.client.set_metadata(scope_of(dataset), dataset, "lifetime", seconds)

    def close(self, dataset: str) -> None:
        """Publish: from now on the dataset is complete for every reader."""
        from rucio.common.exception import UnsupportedOperation

        with self.asking():
            try:
                self.client.set_status(scope_of(dataset), dataset, open=False)
            except UnsupportedOperation:
                if self.client.get_did(scope_of(dataset), dataset)["open"]:
                    raise

    def find(self, scope: str, filters: Mapping[str, Any]) -> list[str]:
        """List the datasets of a scope that match metadata filters."""
        with self.asking():
            return sorted(self.client.list_dids(scope, dict(filters), did_type="dataset"))


def _replica(scope: str, file: ProductFile) -> dict[str, Any]:
    return {
        "scope": scope,
        "name": file.lfn,
        "bytes": file.size,
        "adler32": file.adler32,
        "meta": {},
    }


def in_chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def dump(document: Mapping[str, Any] | Iterable[Any]) -> bytes:
    """Write a JSON document as it is kept in the lake."""
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
