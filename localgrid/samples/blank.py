"""Observations with nothing in them but random bytes, for tests of campaigns and for the benchmark."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localgrid.samples.observations import Observation, SampleFile, register_observations

if TYPE_CHECKING:
    from hooks.rucio_lake import RucioLake

TAPE = "LAPALMA-TAPE"
AREA = "/ctao/acada/DL0/LaPalma/blank"
FIRST_NIGHT = datetime(2026, 1, 1, 20, tzinfo=UTC)


def fill_blank(
    lake: RucioLake, folder: Path, *, project: str, first: int, count: int, files: int, size: int = 1000
) -> list[str]:
    """Put `count` observations of `files` files of `size` bytes on tape; give their datasets.

    :param folder: where the files are made. :param first: observation id of the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    observations = list(_observations(folder, project, range(first, first + count), files, size))
    return register_observations(lake, scope="acada", rse=TAPE, observations=observations)


def _observations(folder: Path, project: str, numbers: range, files: int, size: int) -> Iterator[Observation]:
    for number in numbers:
        base, content = f"{AREA}/{project}/obs_{number:06d}", random.Random(number)  # noqa: S311
        made = [_file(folder, base, n, content.randbytes(size)) for n in range(files)]
        yield Observation(base, _metadata(number, project), made)


def _file(folder: Path, base: str, number: int, content: bytes) -> SampleFile:
    name = f"{base.rsplit('/', 1)[-1]}_tel001_{number:02d}.dat"
    path = folder / name
    path.write_bytes(content)
    return SampleFile(f"{base}/{name}", path, len(content), f"{zlib.adler32(content):08x}", {"tel_id": 1})


def _metadata(number: int, project: str) -> dict[str, Any]:
    start = FIRST_NIGHT + timedelta(minutes=30 * (number % 10_000))
    return {
        "obs_id": number,
        "sb_id": number // 10,
        "project": project,
        "target": "nothing (blank)",
        "site": "LaPalma",
        "start_time": start.strftime("%Y-%m-%dT%H:%M:%S"),
        "stop_time": (start + timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S"),
        "ra_pnt_deg": 0.0,
        "dec_pnt_deg": 0.0,
        "data_level": "DL0",
    }
