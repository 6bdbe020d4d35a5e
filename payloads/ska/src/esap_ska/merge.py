"""The last step: parts to the product, which is maps, catalogue, mask and a picture."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from esap_fits.storing import write_fits

from . import CREATOR, NOTE
from .arrays import Floats
from .cube import open_cube
from .geometry import Geometry
from .parts import read_part
from .pictures import draw_overview
from .settings import finding_digest, read_settings
from .sky import SYSTEM
from .sources import KIND_MAPS, KIND_MASK, UNITS, Least, catalogue, moments, reliable
from .unite import Signal, unite
from .votable import write_catalogue

log = logging.getLogger(__name__)
MAPS, CATALOGUE, MASK, OVERVIEW = "moments.fits", "catalogue.vot", "mask.fits.gz", "overview.png"


def merge(config: Path, parts: Sequence[Path], directory: Path) -> None:
    """Write the product; PayloadError when the parts are not those of the whole cube."""
    settings = read_settings(config)
    pieces = [read_part(p) for p in parts]
    geometry, found = pieces[0].geometry, unite(pieces, finding_digest(settings))
    least = Least(settings["min_cells"], settings["min_pixels"], settings["min_channels"])
    signal = reliable(found, least)
    log.info("%d of %d pieces are sources, in %d cells", signal.number, found.number, len(signal.flux))
    maps, columns = moments(signal, geometry), catalogue(signal, geometry)
    directory.mkdir(parents=True, exist_ok=True)
    _write_maps(maps, columns, geometry, settings, directory / MAPS)
    write_catalogue(columns, geometry, settings["production_id"], directory / CATALOGUE)
    _write_mask(signal, geometry, settings, directory / MASK)
    draw_overview(maps, columns, geometry, directory / OVERVIEW)


def _cards(geometry: Geometry, settings: Mapping[str, Any], kind: str) -> fits.Header:
    head = fits.Header()
    head["CREATOR"] = CREATOR
    head["TELESCOP"] = ("TOY", "toy data, no telescope")
    head["KIND"] = kind
    head["OBJECT"] = geometry.target
    head["PRODID"] = (settings["production_id"], "production")
    for key, value in zip(("BMAJ", "BMIN", "BPA"), geometry.beam_deg, strict=True):
        head[key] = (value, "[deg] beam")
    head["COMMENT"] = NOTE
    return head


def _write_maps(
    maps: Mapping[str, Floats],
    columns: Mapping[str, Any],
    geometry: Geometry,
    settings: Mapping[str, Any],
    path: Path,
) -> None:
    primary = fits.PrimaryHDU(header=_cards(geometry, settings, KIND_MAPS))
    primary.header["FLUX"] = (float(np.sum(columns["f_sum"])), "[Jy km/s] flux of all sources")
    lowest, highest = geometry.ends_kms
    primary.header["VMIN"] = (lowest, "[km/s] lowest velocity of the cube")
    primary.header["VMAX"] = (highest, "[km/s] highest velocity of the cube")
    primary.header["CHANNELW"] = (float(geometry.widths.mean()), "[km/s] mean width of a channel")
    hdus = [primary]
    for name, values in maps.items():
        hdu = fits.ImageHDU(values.astype(np.float32), header=geometry.celestial.to_header(), name=name)
        hdu.header["BUNIT"] = UNITS[name]
        hdus.append(hdu)
    write_fits(fits.HDUList(hdus), path, settings["date"])


def _write_mask(signal: Signal, geometry: Geometry, settings: Mapping[str, Any], path: Path) -> None:
    nx, ny, channels = geometry.shape
    labels = np.zeros((channels, ny, nx), dtype=np.int32)
    labels[signal.channel, signal.y, signal.x] = signal.source + 1
    hdu = fits.PrimaryHDU(labels, header=_cards(geometry, settings, KIND_MASK))
    hdu.header.extend((c for c in geometry.cards.cards if c.keyword != "BUNIT"), unique=True)
    hdu.header["NSOURCES"] = (signal.number, "values are 1 to this, 0 is no source")
    write_fits(fits.HDUList([hdu]), path, settings["date"])


def inspect(config: Path, output: Path) -> None:
    """Say what a cube is, before anybody's workflow gets it; PayloadError when it is none."""
    geometry = open_cube(Path(read_settings(config)["cube"])).geometry
    ra, dec = geometry.position(np.array([geometry.shape[0] / 2]), np.array([geometry.shape[1] / 2]))
    document = {
        "format": "esap-hi-cube",
        "schema": 1,
        "target": geometry.target,
        "shape": list(geometry.shape),
        "centre_deg": [float(ra[0]), float(dec[0])],
        "frame": SYSTEM,
        "velocity_kms": list(geometry.ends_kms),
        "channel_kms": float(geometry.widths.mean()),
        "beam_deg": list(geometry.beam_deg),
        "beam_pixels": geometry.beam_pixels,
    }
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
