"""The lake as a source of inputs: what is known of files, and bringing them near to the jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch.products import scope_of
from hooks.lake_bulk import BULK, BulkLake
from hooks.rucio_lake import in_chunks

ACTIVITY = "Analysis Input"
ANY_DISK = "rse_type=DISK"  # an expression of Rucio's


@dataclass(frozen=True)
class Staging:
    """How far a rule for inputs has come. `state` is Rucio's (OK, REPLICATING, STUCK, SUSPENDED) or GONE."""

    state: str
    files_ok: int = 0
    files: int = 0
    error: str = ""
    updated_at: str = ""

    def __str__(self) -> str:
        stuck = f", stuck: {self.error}" if self.state == "STUCK" else ""
        return f"inputs {self.files_ok} of {self.files} files staged{stuck}"


class InputLake(BulkLake):
    """Inputs of jobs. Every method may be called again."""

    def columns(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Give `did_type`, `is_open`, `bytes` and `adler32` of each name that the lake knows."""
        found: dict[str, dict[str, Any]] = {}
        for some in in_chunks([n for n in names if _is_lfn(n)], BULK):
            dids = [{"scope": scope_of(n), "name": n} for n in some]
            with self.lake.asking():
                found |= {str(row["name"]): row for row in self.lake.client.get_metadata_bulk(dids)}
        return found

    def dataset_of(self, lfn: str) -> str:
        """Give the dataset of the file's own scope that it is in, the last by name; empty without one."""
        scope = scope_of(lfn)
        with self.lake.asking():
            parents = [
                str(p["name"])
                for p in self.lake.client.list_parent_dids(scope, lfn)
                if p["type"] == "DATASET" and p["scope"] == scope
            ]
        return max(parents, default="")

    def collect(
        self, dataset: str, lfns: Sequence[str], metadata: Mapping[str, Any], lifetime_s: int
    ) -> None:
        """Make a dataset, for a time, of files in the lake; what an earlier try did is kept."""
        self.lake.claim(dataset, metadata)
        self.lake.expire(dataset, lifetime_s)
        for some in in_chunks(lfns, BULK):
            dids = [{"scope": scope_of(lfn), "name": lfn} for lfn in some]
            attachment = {"scope": scope_of(dataset), "name": dataset, "dids": dids}
            with self.lake.asking():
                self.lake.client.add_files_to_datasets([attachment], ignore_duplicate=True)

    def bring(self, dataset: str, rse: str, lifetime_s: int) -> str:
        """Ask for the files of a dataset at `rse`, for a time; give the rule.

        At `ANY_DISK` each file stays where it lies, if that is on disk. A rule that stands already is
        adopted, and stands for as long as a new one: `ReleaseInputs` may have told it to end soon.
        """
        grouping = {"grouping": "NONE"} if rse == ANY_DISK else {}
        rule = self.lake.add_rule(dataset, rse, activity=ACTIVITY, lifetime=lifetime_s, **grouping)
        self.expire(rule, lifetime_s)
        return rule

    def stagings(self, rule_ids: Sequence[str]) -> dict[str, Staging]:
        """Say how far rules of `bring` have come: one call however many there are."""
        filters = {"activity": ACTIVITY, "account": self.lake.settings.account}
        with self.lake.asking():
            rows = {str(r["id"]): r for r in self.lake.client.list_replication_rules(filters)}
        return {i: _staging(rows[i]) if i in rows else Staging("GONE") for i in rule_ids}

    def hold(self, dataset: str, rule_id: str, seconds: int) -> bool:
        """Let a dataset of `collect`, and its rule, stand for so long more; False when the rule is gone."""
        if self.stagings([rule_id])[rule_id].state == "GONE":
            return False
        self.lake.expire(dataset, seconds)
        self.expire(rule_id, seconds)
        return True

    def expire(self, rule_id: str, seconds: int) -> None:
        """Let a rule stand for so many seconds more."""
        self._update(rule_id, {"lifetime": seconds})


def _is_lfn(name: str) -> bool:
    try:
        scope_of(name)
    except ValueError:
        return False
    return True


def _staging(row: Mapping[str, Any]) -> Staging:
    counts = [int(row[f"locks_{name}_cnt"]) for name in ("ok", "replicating", "stuck")]
    error, changed = str(row["error"] or ""), str(row["updated_at"])
    return Staging(str(row["state"]), counts[0], sum(counts), error, changed)
