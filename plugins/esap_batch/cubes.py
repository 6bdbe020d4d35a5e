"""Cubes of the data lake: from basket or name to one cube and its sub-cubes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from esap_batch.basket import LAKE, Entry
from esap_batch.fingerprint import canonical_json
from esap_batch.jobs import InputFile
from esap_batch.products import scope_of
from esap_batch.selection import FILE, Catalogue, DataSelection, Policy, SelectionRefused, select
from esap_batch.subcubes import SubCube

# Metadata that a cube's dataset needs: numbers of cells, and widths in deg and km/s.
SIZES = ("naxis1", "naxis2", "naxis3")
FOURTH = "naxis4"  # if there is one, it or the third is of length 1: one Stokes parameter
WIDTHS = ("pixel_deg", "bmaj_deg")


@dataclass(frozen=True)
class CubeSelection(DataSelection):
    """One cube, how it is cut, and the archive of a workflow that goes with it.

    `shape` is x, y, channel; `overlap` in pixels and channels.
    """

    shape: tuple[int, int, int] = (0, 0, 0)
    subcubes: tuple[SubCube, ...] = ()
    overlap: tuple[int, int] = (0, 0)
    archive: InputFile | None = None

    @property
    def cube(self) -> InputFile:
        return self.chosen[0].observation.files[0]

    @property
    def inputs(self) -> list[InputFile]:
        return [self.cube, *([self.archive] if self.archive else [])]

    @property
    def digest(self) -> str:
        """Give SHA-256 of cube and archive; how the cube is cut decides nothing."""
        files = [[f.lfn, f.adler32] for f in self.inputs]
        return hashlib.sha256(canonical_json(files).encode()).hexdigest()

    def needs(self, places: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        read = (s.read_cells(self.shape, self.overlap) for s in self.subcubes)
        sizes = {"cells": math.prod(self.shape), "cells_per_job": max(read)}
        return {**super().needs(places), **sizes, "jobs": len(self.subcubes)}

    @property
    def about(self) -> dict[str, Any]:
        shape = " x ".join(map(str, self.shape))
        told = {"cube": self.cube.lfn, "cube_shape": shape, "subcubes": len(self.subcubes)}
        return {**super().about, **told, **({"workflow": self.archive.lfn} if self.archive else {})}

    def document(self) -> dict[str, Any]:
        cut = {
            "cube": asdict(self.cube),
            "archive": asdict(self.archive) if self.archive else None,
            "shape": list(self.shape),
            "overlap": list(self.overlap),
            "subcubes": [s.document() for s in self.subcubes],
        }
        return {**super().document(), **cut}


def find_cube(entries: Sequence[Entry], catalogue: Catalogue, policy: Policy) -> DataSelection:
    """Find the one cube of some entries; SelectionRefused when there is none, or more than one."""
    found = select(entries, catalogue, policy)
    files = [f.lfn for c in found.chosen for f in c.observation.files]
    if len(files) != 1:
        raise SelectionRefused(f"cube: {len(files)} are named: {', '.join(files)}; allowed is one for a run")
    return found


def cube_entry(name: str) -> Entry:
    """Give the entry of a cube that a request names; SelectionRefused when it is no name of the lake's."""
    try:
        return Entry("cube", LAKE, name, scope_of(name))
    except ValueError as error:
        raise SelectionRefused(f"cube = {name!r}: {error}") from None


def shape_of(found: DataSelection) -> tuple[int, int, int]:
    """Read a cube's size off its metadata; SelectionRefused when it does not say."""
    observation = found.chosen[0].observation
    names = (*SIZES, *([FOURTH] if FOURTH in observation.metadata else []))
    nx, ny, *beyond = (int(n) for n in _numbers(found, names, whole=True))
    if sum(n > 1 for n in beyond) > 1:
        told = ", ".join(f"{name} = {n}" for name, n in zip(names[2:], beyond, strict=True))
        raise SelectionRefused(f"{observation.dataset}: metadata {told}: allowed is 1 for one of them")
    return nx, ny, max(beyond)


def beam_pixels(found: DataSelection) -> float:
    """Read off a cube's metadata how many pixels the beam's major axis has."""
    pixel, beam = _numbers(found, WIDTHS, whole=False)
    return beam / pixel


def _numbers(found: DataSelection, names: Sequence[str], *, whole: bool) -> list[float]:
    observation = found.chosen[0].observation
    values = [observation.metadata.get(name) for name in names]
    kinds = (int,) if whole else (int, float)
    wrong = [
        f"{name} = {value!r}"
        for name, value in zip(names, values, strict=True)
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf
    ]
    if wrong:
        allowed = "a whole number above 0" if whole else "a number above 0, in deg"
        raise SelectionRefused(f"{observation.dataset}: metadata {', '.join(wrong)}: allowed is {allowed}")
    return [float(value) for value in values if value is not None]


def find_archive(name: str, catalogue: Catalogue, policy: Policy, most_bytes: int) -> InputFile:
    """Find an archive in the lake; SelectionRefused unless the user may read it, and it is not too large."""
    rows = catalogue.columns([name])
    row = rows.get(name)
    if row is None or row["did_type"] != FILE:
        raise SelectionRefused(f"workflow_archive = {name!r}: allowed is a file in the data lake")
    dataset = catalogue.dataset_of(name)
    project = str(catalogue.metadata([dataset]).get(dataset, {}).get("project") or "") if dataset else ""
    if reason := policy.refuses(project):
        raise SelectionRefused(f"workflow_archive = {name!r}: {reason}")
    if int(row["bytes"]) > most_bytes:
        raise SelectionRefused(
            f"workflow_archive = {name!r}: {row['bytes']} bytes: allowed at most {most_bytes}"
        )
    return InputFile(name.rsplit("/", 1)[-1], name, int(row["bytes"]), str(row["adler32"]))


def with_plan(
    found: DataSelection, subcubes: Sequence[SubCube], overlap: tuple[int, int], archive: InputFile | None
) -> CubeSelection:
    """Add to a selection of one cube how it is cut."""
    members = {f.name: getattr(found, f.name) for f in fields(DataSelection)}
    return CubeSelection(
        **members, shape=shape_of(found), subcubes=tuple(subcubes), overlap=overlap, archive=archive
    )
