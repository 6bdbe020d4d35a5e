"""The lake for campaigns: the same operations on hundreds of DIDs in one call each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from esap_batch.jobs import InputFile
from esap_batch.obscore import PREFIX as OBSCORE
from esap_batch.observations import Observation
from esap_batch.products import WORK_AREA, Claim, ProductFile, scope_of
from hooks.rucio_lake import RucioLake, in_chunks

BULK = 500  # DIDs a call
COLUMNS = ("project",)  # metadata that Rucio keeps in columns of their own
STAGING = "Staging"  # Rucio's activity for recalls
DAY_S = 86400
# A recall outlives its run for this long only, should nobody be left to release it. Each turn renews it.
RECALL_LIFETIME_S = 7 * DAY_S
RENEWED_BELOW = timedelta(seconds=RECALL_LIFETIME_S / 2)


@dataclass(frozen=True)
class Recall:
    """A staging rule as it stands. `state` is Rucio's: OK, REPLICATING, STUCK, SUSPENDED.

    `expires_soon` when less than half of its lifetime is left.
    """

    rule_id: str
    dataset: str
    rse: str
    state: str
    updated_at: str
    error: str
    expires_soon: bool = False

    @staticmethod
    def summary(recalls: Iterable[Recall]) -> str:
        """Sum up recalls as a text that changes when one of them has ended or got stuck again."""
        return " ".join(sorted(f"{r.rule_id} {r.state} {_stuck_since(r)}".rstrip() for r in recalls))


def _stuck_since(recall: Recall) -> str:
    return recall.updated_at.replace(" ", "T") if recall.state == "STUCK" else ""


@dataclass(frozen=True)
class Publication:
    """A finished product dataset and all that is to be known of it."""

    dataset: str
    files: Sequence[ProductFile]
    metadata: Mapping[str, Any]


class BulkLake:
    """Many datasets at once. Every method may be called again."""

    def __init__(self, lake: RucioLake) -> None:
        self.lake = lake

    def find(self, scope: str, filters: Sequence[Mapping[str, Any]]) -> list[str]:
        """List the DIDs of a scope whose metadata match one of `filters`.

        Rucio keeps some keys in columns and cannot search those together with the others.
        """
        found: set[str] = set()
        for one in filters:
            columns = {k: v for k, v in one.items() if k in COLUMNS}
            others = {k: v for k, v in one.items() if k not in COLUMNS}
            parts = [self._search(scope, part) for part in (columns, others) if part]
            found |= set.intersection(*parts)
        return sorted(found)

    def _search(self, scope: str, conditions: Mapping[str, Any]) -> set[str]:
        with self.lake.asking():
            return {str(n) for n in self.lake.client.list_dids(scope, dict(conditions), did_type="all")}

    def metadata(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Give the metadata of each known DID, those that Rucio keeps in columns with them."""
        return {
            str(row["name"]): {k: v for k, v in row.items() if v is not None}
            for row in self._rows(names, "ALL")
        }

    def open_state(self, names: Sequence[str]) -> dict[str, bool]:
        """Tell of each known dataset whether it is still open."""
        return {str(row["name"]): bool(row["is_open"]) for row in self._rows(names, "DID_COLUMN")}

    def _rows(self, names: Sequence[str], plugin: str) -> Iterable[dict[str, Any]]:
        for some in in_chunks(names, BULK):
            with self.lake.asking():
                rows = list(self.lake.client.get_metadata_bulk(_dids(some), plugin=plugin))
            yield from rows

    def files(self, datasets: Sequence[str]) -> dict[str, tuple[InputFile, ...]]:
        """Give the files of each dataset, by name."""
        found: dict[str, list[InputFile]] = {name: [] for name in datasets}
        for some in in_chunks(datasets, BULK):
            with self.lake.asking():
                rows = list(self.lake.client.bulk_list_files(_dids(some)))
            for row in rows:
                lfn = str(row["name"])
                file = InputFile(lfn.rsplit("/", 1)[-1], lfn, int(row["bytes"]), str(row["adler32"]))
                found[str(row["parent_name"])].append(file)
        return {name: tuple(sorted(files, key=lambda f: f.name)) for name, files in found.items()}

    def places(self, lfns: Sequence[str]) -> dict[str, list[str]]:
        """Give the RSEs where each file is whole."""
        found: dict[str, list[str]] = {}
        for some in in_chunks(lfns, BULK):
            with self.lake.asking():
                for row in self.lake.client.list_replicas(_dids(some), all_states=True):
                    states = row.get("states") or {}
                    whole = [rse for rse in row["rses"] if states.get(rse, "AVAILABLE") == "AVAILABLE"]
                    found[str(row["name"])] = sorted(whole)
        return found

    def claims(
        self, scope: str, conditions: Mapping[str, Any]
    ) -> dict[str, list[tuple[Claim, dict[str, Any]]]]:
        """Give the claims of all products with these metadata, by the product's name without generation."""
        names = self.find(scope, [conditions])
        metadata, is_open = self.metadata(names), self.open_state(names)
        found: dict[str, list[tuple[Claim, dict[str, Any]]]] = {}
        for name in names:
            meta = metadata.get(name, {})
            claim = Claim(name, str(meta.get("esap_run", "")), is_published=not is_open[name])
            found.setdefault(name.rsplit("-g", 1)[0], []).append((claim, meta))
        return found

    def claim(self, datasets: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Create product datasets with their metadata; give those that nobody else had."""
        from rucio.common.exception import DataIdentifierAlreadyExists

        created: set[str] = set()
        for some in in_chunks(sorted(datasets), BULK):
            new = [{**_did(name), "meta": dict(datasets[name])} for name in some]
            with self.lake.asking():
                try:
                    self.lake.client.add_datasets(new)
                    created |= set(some)
                except DataIdentifierAlreadyExists:  # all or nothing: find out which
                    created |= {name for name in some if self.lake.claim(name, datasets[name])}
        return created

    def describe(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Set metadata of many DIDs."""
        for some in in_chunks(sorted(metadata), BULK):
            with self.lake.asking():
                self.lake.client.set_dids_metadata_bulk(
                    [{**_did(n), "meta": dict(metadata[n])} for n in some]
                )

    def recallable(self, observation: Observation, tag: str) -> str:
        """Name the dataset to recall: the observation's own, or one of the files that are wanted of it."""
        if not observation.is_partial:
            return observation.dataset
        dataset = f"{WORK_AREA}/{tag}/recall/obs_{observation.obs_id:06d}"
        self.lake.claim(dataset, {"kind": "inputs", "esap_parents": observation.dataset})
        attachment = {**_did(dataset), "dids": _dids([f.lfn for f in observation.files])}
        self._attach([attachment])
        return dataset

    def recall(self, datasets: Sequence[str], rse: str, tag: str, priority: int) -> dict[str, str]:
        """Ask for datasets on disk, each by a rule of its own with `tag`; give rule ids by dataset.

        Rucio allows an account one rule for a dataset at an RSE. Where another tag has that, or one that was
        released is still there, a dataset of the tag's own with the same files is asked for.
        """
        standing = {_origin(r.dataset, tag): r.rule_id for r in self.recalls(tag) if r.rse == rse}
        options = {"activity": STAGING, "comment": tag, "lifetime": RECALL_LIFETIME_S,
                   "priority": priority, "purge_replicas": True}  # fmt: skip
        rules = {d: standing[d] for d in datasets if d in standing}
        for some in in_chunks([d for d in datasets if d not in standing], BULK):
            rules |= self._ask_or_none(some, rse, options) or {
                d: self._ask_for_copy(d, rse, tag, options) for d in some
            }
        return rules

    def _ask_for_copy(self, dataset: str, rse: str, tag: str, options: Mapping[str, Any]) -> str:
        """Ask for a dataset, or else for the first copy of it that has no rule."""
        asked, number = dataset, 0
        while not (made := self._ask_or_none([asked], rse, options)):
            number += 1
            asked = _copy_of(dataset, tag, number)
            self.lake.claim(asked, {"kind": "inputs", "esap_parents": dataset})
            files = [f.lfn for f in self.files([dataset])[dataset]]
            self._attach([{**_did(asked), "dids": _dids(files)}])
        return made[asked]

    def _ask_or_none(
        self, datasets: Sequence[str], rse: str, options: Mapping[str, Any]
    ) -> dict[str, str] | None:
        """Make a rule a dataset; None, and no rule, when one of them has one already."""
        from rucio.common.exception import DuplicateRule

        with self.lake.asking():
            try:
                return dict(zip(datasets, self._ask_for(datasets, rse, options), strict=True))
            except DuplicateRule:
                return None

    def recalls(self, tag: str) -> list[Recall]:
        """List the standing recalls of a tag."""
        return [recall for name, recall in self._tagged() if name == tag]

    def recall_states(self, tags: Sequence[str]) -> dict[str, str]:
        """Give `Recall.summary` of each tag, in one call."""
        found: dict[str, list[Recall]] = {tag: [] for tag in tags}
        for tag, one in self._tagged():
            if tag in found:
                found[tag].append(one)
        return {tag: Recall.summary(recalls) for tag, recalls in found.items()}

    def _tagged(self) -> list[tuple[str, Recall]]:
        filters = {"activity": STAGING, "account": self.lake.settings.account}
        with self.lake.asking():
            rows = list(self.lake.client.list_replication_rules(filters))
        now = datetime.now(UTC).replace(tzinfo=None)
        return [
            (str(row["comments"]), _recall(row, now))
            for row in rows
            if row["expires_at"] is None or row["expires_at"] > now  # released ones stay for a while
        ]

    def missing(self, rule_id: str) -> list[str]:
        """List the files that a recall has not brought."""
        with self.lake.asking():
            locks = self.lake.client.list_replica_locks(rule_id)
            return sorted(str(lock["name"]) for lock in locks if lock["state"] != "OK")

    def boost(self, rule_id: str) -> None:
        """Try the stuck files of a recall again now."""
        self._update(rule_id, {"boost_rule": True})

    def release(self, rule_id: str) -> None:
        """End a recall, also one under way: its files on disk are deleted unless somebody else wants them."""
        self._update(rule_id, {"lifetime": -1})

    def renew(self, rule_id: str) -> None:
        """Let a recall stand for another `RECALL_LIFETIME_S`."""
        self._update(rule_id, {"lifetime": RECALL_LIFETIME_S})

    def pinned(self, lfns: Iterable[str], rse: str) -> set[str]:
        """Give the files that a rule keeps at an RSE, whoever has asked for it. A call for each file."""
        now, known, found = datetime.now(UTC).replace(tzinfo=None), dict[str, set[str]](), set()
        for lfn in lfns:
            with self.lake.asking():
                rules = list(self.lake.client.list_associated_rules_for_file(scope_of(lfn), lfn))
                for where in {str(r["rse_expression"]) for r in rules} - known.keys():
                    known[where] = {str(r["rse"]) for r in self.lake.client.list_rses(where)}
            standing = [r for r in rules if r["expires_at"] is None or r["expires_at"] > now]
            if any(rse in known[str(r["rse_expression"])] for r in standing):
                found.add(lfn)
        return found

    def _update(self, rule_id: str, options: Mapping[str, Any]) -> None:
        from rucio.common.exception import RuleNotFound

        with self.lake.asking():
            try:
                self.lake.client.update_replication_rule(rule_id, dict(options))
            except RuleNotFound:
                return  # an earlier try has ended it

    def publish(self, rse: str, copies: Sequence[str], products: Sequence[Publication], origin: str) -> None:
        """Register, describe and protect products, and close them last; what an earlier try did is kept."""
        is_open = self.open_state([p.dataset for p in products])
        new = [p for p in products if is_open[p.dataset]]
        if not new:
            return
        self._add_files(rse, new)
        self.describe({name: meta for p in new for name, meta in _described(p)})
        for place in copies:
            self._rules([p.dataset for p in new], place, activity="Production Output", meta=origin)
        for product in new:
            self.lake.close(product.dataset)

    def _add_files(self, rse: str, products: Sequence[Publication]) -> None:
        replicas = [{**_did(f.lfn), "bytes": f.size, "adler32": f.adler32} for p in products for f in p.files]
        known = self.files([p.dataset for p in products])
        there = {f.lfn for files in known.values() for f in files}
        for some in in_chunks([r for r in replicas if r["name"] not in there], BULK):
            with self.lake.asking():
                self.lake.client.add_replicas(rse, list(some))
        attachments = [
            {**_did(p.dataset), "dids": [_did(f.lfn) for f in p.files if f.lfn not in there]}
            for p in products
        ]
        self._attach([a for a in attachments if a["dids"]])

    def _attach(self, attachments: Sequence[dict[str, Any]]) -> None:
        for some in in_chunks(attachments, BULK // 10):
            with self.lake.asking():
                self.lake.client.add_files_to_datasets(list(some), ignore_duplicate=True)

    def _rules(self, datasets: Sequence[str], rse: str, **options: Any) -> dict[str, str]:
        """Make a rule a dataset; one that stands already is adopted."""
        from rucio.common.exception import DuplicateRule

        made: dict[str, str] = {}
        for some in in_chunks(datasets, BULK):
            with self.lake.asking():
                try:
                    ids = self._ask_for(some, rse, options)
                    made |= dict(zip(some, ids, strict=True))
                except DuplicateRule:  # all or nothing: find out which
                    made |= {d: self.lake.add_rule(d, rse, **options) for d in some}
        return made

    def _ask_for(self, datasets: Sequence[str], rse: str, options: Mapping[str, Any]) -> list[str]:
        add: Callable[..., Any] = self.lake.client.add_replication_rule
        return [str(i) for i in add(_dids(datasets), 1, rse, grouping="DATASET", **options)]

    def append(self, ledger: str, lfn: str, run: str, size: int) -> bool:
        """Create a ledger's next entry; False when another run was faster."""
        metadata = {"kind": "budget", "esap_ledger": ledger, "esap_run": run, "esap_bytes": size}
        return self.lake.claim(lfn, metadata)


def _copy_of(dataset: str, tag: str, number: int) -> str:
    return f"{WORK_AREA}/{tag}/recall/copy-{number}{dataset}"


def _origin(dataset: str, tag: str) -> str:
    """Give the dataset that `_copy_of` was called for, or the one given."""
    copy = re.fullmatch(rf"{re.escape(f'{WORK_AREA}/{tag}')}/recall/copy-\d+(/.+)", dataset)
    return copy[1] if copy else dataset


def _did(name: str) -> dict[str, Any]:
    return {"scope": scope_of(name), "name": name}


def _dids(names: Sequence[str]) -> list[dict[str, Any]]:
    return [_did(name) for name in names]


def _described(product: Publication) -> Iterable[tuple[str, dict[str, Any]]]:
    for file in product.files:
        yield file.lfn, {**_of_a_file(product.metadata), "esap_file": file.name}
    yield product.dataset, dict(product.metadata)


def _of_a_file(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out by what products are searched: they are not to be found once more with each file."""
    return {k: v for k, v in metadata.items() if k != "kind" and not k.startswith(OBSCORE)}


def _recall(row: Mapping[str, Any], now: datetime) -> Recall:
    return Recall(
        rule_id=str(row["id"]),
        dataset=str(row["name"]),
        rse=str(row["rse_expression"]),
        state=str(row["state"]),
        updated_at=str(row["updated_at"]),
        error=str(row["error"] or ""),
        expires_soon=bool(row["expires_at"]) and row["expires_at"] - now < RENEWED_BELOW,
    )


def origin_of(run: str) -> str:
    """Write the `meta` of a rule that says who has asked for it."""
    return json.dumps({"esap": run})
