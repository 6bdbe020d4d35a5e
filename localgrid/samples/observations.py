"""Observations for the local grid's lake: files on storage, and what Rucio has to know, in bulk calls."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esap_batch.observations import KIND
from hooks.lake_bulk import BULK, BulkLake
from hooks.rucio_lake import in_chunks
from hooks.storage_element import local_path

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake


@dataclass(frozen=True)
class SampleFile:
    """A file as it lies on this machine: size in bytes, adler32 as eight hex digits, metadata of its own."""

    lfn: str
    path: Path
    size: int
    adler32: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """A dataset's LFN with its metadata (flat JSON, the files get them too) and files."""

    dataset: str
    metadata: Mapping[str, Any]
    files: Sequence[SampleFile]


def register_observations(
    lake: RucioLake, *, scope: str, rse: str, observations: Sequence[Observation]
) -> list[str]:
    """Copy files to `rse` and publish one closed dataset an observation; give the datasets that were new.

    What is published stays as it is, what an earlier try left half done is finished. No rule is made: a
    replica without one has no tombstone, so Rucio's reaper never takes it.

    Raises:
        ValueError: a file is known to Rucio with another size or checksum.

    """
    bulk = BulkLake(lake)
    is_open = bulk.open_state([o.dataset for o in observations])
    todo = [o for o in observations if is_open.get(o.dataset, True)]
    files = [f for o in todo for f in o.files]
    _refuse_others(bulk, files)
    _copy(lake, rse, files)
    for some in in_chunks(files, BULK):
        replicas = [_did(scope, f.lfn) | {"bytes": f.size, "adler32": f.adler32} for f in some]
        lake.client.add_replicas(rse, replicas)
    bulk.claim({o.dataset: {} for o in todo if o.dataset not in is_open})
    for attachments in _attachments(scope, todo):
        lake.client.add_files_to_datasets(attachments, ignore_duplicate=True)
    bulk.describe(dict(_metadata(todo)))
    for observation in todo:
        lake.close(observation.dataset)
    return [o.dataset for o in todo]


def sample_file(path: Path, lfn: str, **metadata: Any) -> SampleFile:
    """Describe a file of this machine by its content."""
    content = path.read_bytes()
    return SampleFile(lfn, path, len(content), f"{zlib.adler32(content):08x}", metadata)


def unpublished(lake: RucioLake, datasets: Sequence[str]) -> list[str]:
    """Give those datasets that are not in the lake, or still open."""
    is_open = BulkLake(lake).open_state(datasets)
    return [dataset for dataset in datasets if is_open.get(dataset, True)]


def _did(scope: str, name: str) -> dict[str, Any]:
    return {"scope": scope, "name": name}


def _refuse_others(bulk: BulkLake, files: Sequence[SampleFile]) -> None:
    wanted = {f.lfn: f for f in files}
    for name, row in bulk.metadata(list(wanted)).items():
        file = wanted[name]
        if (row["bytes"], row["adler32"]) != (file.size, file.adler32):
            raise ValueError(
                f"{file.lfn} is known with {row['bytes']} bytes and adler32 {row['adler32']}, "
                f"this one has {file.size} bytes and {file.adler32}"
            )


def _copy(lake: RucioLake, rse: str, files: Sequence[SampleFile]) -> None:
    places = lake.pfns(rse, [f.lfn for f in files])
    for file in files:
        target = local_path(places[file.lfn])
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(file.path, part)
        part.replace(target)


def _attachments(scope: str, observations: Sequence[Observation]) -> Iterator[list[dict[str, Any]]]:
    """Give one attachment for each piece of an observation, in lists of at most `BULK` files."""
    pending: list[dict[str, Any]] = []
    room = BULK
    for observation in observations:
        for some in in_chunks(observation.files, BULK):
            if pending and len(some) > room:
                yield pending
                pending, room = [], BULK
            dids = [_did(scope, f.lfn) for f in some]
            pending.append(_did(scope, observation.dataset) | {"dids": dids})
            room -= len(dids)
    if pending:
        yield pending


def _metadata(observations: Sequence[Observation]) -> Iterator[tuple[str, dict[str, Any]]]:
    for observation in observations:
        for file in observation.files:
            yield file.lfn, {**observation.metadata, **file.metadata}
        yield observation.dataset, {**observation.metadata, "kind": KIND}
