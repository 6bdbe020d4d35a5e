"""The lake as the place where results are: what a run has published, and where its files can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esap_batch.observations import KIND
from esap_batch.products import scope_of
from hooks.lake_bulk import BULK, BulkLake
from hooks.rucio_lake import in_chunks


@dataclass(frozen=True)
class LakeFile:
    """A file of a product. `size` in bytes, `adler32` eight hex digits, `sha256` where it is known."""

    lfn: str
    dataset: str
    size: int
    adler32: str
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.lfn.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Replica:
    """A whole copy of a file at a storage element."""

    rse: str
    pfn: str


class OutputLake(BulkLake):
    """Products as their users want them. Every method only reads."""

    def published_by(self, scope: str, run: str) -> list[str]:
        """List the products of observations that a run has published, by name.

        `kind` tells them from their files, which Rucio finds by metadata as well.
        """
        names = self.lake.find(scope, {"kind": KIND, "esap_run": run})
        is_open = self.open_state(names)
        return [name for name in names if is_open.get(name) is False]

    def product_files(self, datasets: Sequence[str]) -> list[LakeFile]:
        """List the files of datasets, by dataset and name: two calls, however many there are."""
        files = self.files(datasets)
        described = self.metadata([f.lfn for name in datasets for f in files[name]])
        return [
            LakeFile(f.lfn, name, f.size, f.adler32, str(described.get(f.lfn, {}).get("esap_sha256", "")))
            for name in datasets
            for f in files[name]
        ]

    def replicas(self, lfns: Sequence[str]) -> dict[str, list[Replica]]:
        """Give the whole copies of each file, those that Rucio finds nearest first and tape last."""
        found: dict[str, list[Replica]] = {}
        for some in in_chunks(lfns, BULK):
            dids = [{"scope": scope_of(lfn), "name": lfn} for lfn in some]
            with self.lake.asking():
                for row in self.lake.client.list_replicas(dids):
                    places = sorted(
                        row["pfns"].items(), key=lambda p: (p[1]["type"] == "TAPE", p[1]["priority"], p[0])
                    )
                    found[str(row["name"])] = [Replica(str(p["rse"]), str(pfn)) for pfn, p in places]
        return found
