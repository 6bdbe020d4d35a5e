"""Observations for the local grid's lake: files on storage, and what Rucio has to know, in bulk calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from esap_batch.observations import KIND
from hooks.storage_element import local_path

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake

T = TypeVar("T")
BULK = 500  # DIDs a call


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
    is_open = _is_open(lake, scope, [o.dataset for o in observations])
    todo = [o for o in observations if is_open.get(o.dataset, True)]
    files = [f for o in todo for f in o.files]
    _refuse_others(lake, scope, files)
    _copy(lake, rse, files)
    client = lake.client
    for some in chunks(files, BULK):
        replicas = [_did(scope, f.lfn) | {"bytes": f.size, "adler32": f.adler32} for f in some]
        client.add_replicas(rse, replicas)
    _in_bulk(client.add_datasets, [_did(scope, o.dataset) for o in todo if o.dataset not in is_open])
    for attachments in _attachments(scope, todo):
        client.add_files_to_datasets(attachments, ignore_duplicate=True)
    _in_bulk(client.set_dids_metadata_bulk, list(_metadata(scope, todo)))
    for observation in todo:
        lake.close(observation.dataset)
    return [o.dataset for o in todo]


def unpublished(lake: RucioLake, scope: str, datasets: Sequence[str]) -> list[str]:
    """Give those datasets that are not in the lake, or still open."""
    is_open = _is_open(lake, scope, datasets)
    return [dataset for dataset in datasets if is_open.get(dataset, True)]


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _in_bulk(call: Callable[[Sequence[dict[str, Any]]], object], dids: Sequence[dict[str, Any]]) -> None:
    for some in chunks(dids, BULK):
        call(some)


def _did(scope: str, name: str) -> dict[str, Any]:
    return {"scope": scope, "name": name}


def _known(lake: RucioLake, scope: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the columns of those DIDs that Rucio knows."""
    for some in chunks(names, BULK):
        yield from lake.client.get_metadata_bulk([_did(scope, n) for n in some])


def _is_open(lake: RucioLake, scope: str, datasets: Sequence[str]) -> dict[str, bool]:
    """Tell of each dataset that Rucio knows whether it is still open."""
    return {str(row["name"]): bool(row["is_open"]) for row in _known(lake, scope, datasets)}


def _refuse_others(lake: RucioLake, scope: str, files: Sequence[SampleFile]) -> None:
    wanted = {f.lfn: f for f in files}
    for row in _known(lake, scope, list(wanted)):
        file = wanted[row["name"]]
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
        for some in chunks(observation.files, BULK):
            if pending and len(some) > room:
                yield pending
                pending, room = [], BULK
            dids = [_did(scope, f.lfn) for f in some]
            pending.append(_did(scope, observation.dataset) | {"dids": dids})
            room -= len(dids)
    if pending:
        yield pending


def _metadata(scope: str, observations: Sequence[Observation]) -> Iterator[dict[str, Any]]:
    for observation in observations:
        meta = dict(observation.metadata)
        # Rucio keeps `project` in a column of its own, which no search may combine with other metadata.
        if "project" in meta:
            meta["project_id"] = meta["project"]
        for file in observation.files:
            yield _did(scope, file.lfn) | {"meta": meta | dict(file.metadata)}
        yield _did(scope, observation.dataset) | {"meta": meta | {"kind": KIND}}
