"""First step: reduce observations to one map dataset and one spectrum dataset, with gammapy's makers."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from esap_fits import reading, sky
from esap_fits.analyse import CONFIG, edges_of, off_regions, read_events
from esap_fits.geometry import Geometry
from esap_fits.reading import PayloadError
from esap_fits.response import read_response
from esap_fits.storing import write_fits
from esap_fits.strict import load
from gammapy.data import Observation
from gammapy.datasets import Datasets, MapDataset, SpectrumDataset
from gammapy.makers import (
    MapDatasetMaker,
    ReflectedRegionsBackgroundMaker,
    SafeMaskMaker,
    SpectrumDatasetMaker,
)
from gammapy.maps import MapAxis, RegionGeom, WcsGeom
from regions import CircleSkyRegion

LOG = logging.getLogger(__name__)
OBSERVATIONS = "OBSERVATIONS"  # table with what stacked datasets forget
TRUE_ENERGY_MARGIN, TRUE_BINS_PER_DECADE = 2.0, 8


@dataclass(frozen=True)
class Grid:
    """The empty datasets that observations are reduced to."""

    geometry: Geometry
    map: MapDataset
    spectrum: SpectrumDataset


def analyse(config_path: Path) -> None:
    """Reduce what the configuration names; PayloadError when a file is not what it should be."""
    config, directory = reading.read_document(config_path, CONFIG), config_path.parent
    LOG.info("TOY DATA: these counts have no physical meaning")
    grid = _grid(config)
    rows: list[tuple[int, float]] = []
    spectra = Datasets()
    for part in config["parts"]:
        for name in part["events"]:
            offset_max = _require(directory, name, part, grid.geometry)
            observation = Observation.read(directory / name, directory / part["irf"])
            rows.append((part["obs_id"], float(observation.observation_live_time_duration.to_value("s"))))
            grid.map.stack(_reduced_map(grid.map, observation, offset_max))
            spectra.append(_reduced_spectrum(grid.spectrum, observation, name))
            LOG.info("%s: observation %d, on %d", name, part["obs_id"], int(spectra[-1].counts.data.sum()))
    maps, pha, *_ = config["outputs"]
    grid.map.write(directory / maps, overwrite=True)
    spectra.stack_reduce(name="stacked").write(directory / pha, overwrite=True, format="ogip")
    for name in config["outputs"]:
        _settle(directory / name, config["date"], rows if name == maps else None)


def _require(directory: Path, name: str, part: dict[str, Any], geometry: Geometry) -> float:
    """Refuse what esap-fits refuses, in the same words; give the response's largest offset in deg."""
    events, response = read_events(directory / name, part["obs_id"]), read_response(directory / part["irf"])
    offset = sky.separation(geometry.ra, geometry.dec, *events.pointing)
    if offset + geometry.on_radius > response.max_offset_deg:
        raise PayloadError(f"{name}: the target is {offset:.2f} deg from the pointing, beyond the response")
    if not off_regions(geometry, events.pointing, offset):
        raise PayloadError(
            f"{name}: the target is {offset:.3f} deg from the pointing: no off region has room"
        )
    return float(response.max_offset_deg)


def _grid(config: dict[str, Any]) -> Grid:
    geometry, edges = Geometry.of(config), edges_of(config)
    centre = SkyCoord(geometry.ra, geometry.dec, unit="deg")
    energy = MapAxis.from_energy_edges(edges * u.TeV)
    low, high = edges[0] / TRUE_ENERGY_MARGIN, edges[-1] * TRUE_ENERGY_MARGIN
    true = MapAxis.from_energy_bounds(
        low * u.TeV, high * u.TeV, nbin=TRUE_BINS_PER_DECADE, per_decade=True, name="energy_true"
    )
    pixels = (geometry.pixels, geometry.pixels)
    wcs = WcsGeom.create(skydir=centre, npix=pixels, binsz=geometry.pixel_deg, proj="TAN", axes=[energy])
    region = RegionGeom(CircleSkyRegion(centre, geometry.on_radius * u.deg), axes=[energy])
    return Grid(
        geometry,
        MapDataset.create(wcs, energy_axis_true=true, name="map"),
        SpectrumDataset.create(region, energy_axis_true=true, name="on"),
    )


def _reduced_map(empty: MapDataset, observation: Observation, offset_max: float) -> MapDataset:
    maker = MapDatasetMaker(selection=["counts", "exposure", "background"])
    safe = SafeMaskMaker(methods=["offset-max"], offset_max=offset_max * u.deg)
    blank = MapDataset.create(empty.counts.geom, energy_axis_true=empty.exposure.geom.axes["energy_true"])
    return safe.run(maker.run(blank, observation), observation)


def _reduced_spectrum(empty: SpectrumDataset, observation: Observation, name: str) -> Any:
    maker = SpectrumDatasetMaker(selection=["counts", "exposure", "edisp"], containment_correction=True)
    dataset = maker.run(empty.copy(name=name), observation)
    return ReflectedRegionsBackgroundMaker(min_distance="0.02 deg").run(dataset, observation)


def _settle(path: Path, date: str, rows: list[tuple[int, float]] | None) -> None:
    """Write a file again with checksums and bytes that depend on its content only; add the observations."""
    # From memory: the file is replaced while its tables of variable length are still read from their heap.
    with fits.open(io.BytesIO(load(path)), lazy_load_hdus=False) as hdus:
        if rows:
            columns = [
                fits.Column("OBS_ID", "K", array=np.array([r[0] for r in rows])),
                fits.Column("LIVETIME", "D", "s", array=np.array([r[1] for r in rows])),
            ]
            hdus.append(fits.BinTableHDU.from_columns(columns, name=OBSERVATIONS))
        hdus[0].header["TELESCOP"] = ("TOY", "toy simulation, no telescope")
        write_fits(hdus, path, date)
