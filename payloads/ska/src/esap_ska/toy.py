"""A toy cube: galaxies that rotate and a bridge of gas between two of them, in correlated noise.

Nothing of it is physical: it looks like a compact group, has known fluxes, and its seed decides it all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from esap_fits.reading import Key, choice, integer, number, read_document, text
from esap_fits.storing import FIXED_DATE, write_fits
from scipy import ndimage

from . import CREATOR
from .arrays import Floats
from .detect import FWHM
from .geometry import HI_REST_HZ, LIGHT_KMS

GALAXY = ("x", "y", "v_kms", "angle_deg", "radius_pix", "inclination_deg", "rotation_kms", "flux_jy_kms")
BRIDGE = ("from", "to", "width_pix", "flux_jy_kms")
KEYS = {
    "seed": integer(0, 2**31, default=16),
    "size_pixels": integer(16, 1024, default=96),
    "channels": integer(8, 1024, default=64),
    "pixel_arcsec": number(0.1, 120, "arcsec", default=10.0),
    "channel_kms": number(0.1, 100, "km/s", default=20.0),
    "first_kms": number(0, 1e5, "km/s", default=3340.0),
    "beam_arcsec": number(0.1, 300, "arcsec", default=35.0),
    "ra_deg": number(0, 360, "deg", default=32.39),
    "dec_deg": number(-90, 90, "deg", default=-10.16),
    "noise_mjy": number(0.001, 1000, "mJy/beam", default=0.4),
    "spectral_axis": choice("VRAD", "FREQ", default="VRAD"),
    "target": text(40, default="HCG 16 (toy)"),
    "galaxies": Key(f"a list of objects with {', '.join(GALAXY)}", lambda v: isinstance(v, list), ()),
    "bridges": Key(f"a list of objects with {', '.join(BRIDGE)}", lambda v: isinstance(v, list), ()),
}
DISPERSION_KMS = 18.0  # of the gas of a galaxy
STEPS = 60  # clouds that a bridge is made of


def make_cube(config: Path, output: Path) -> dict[str, Any]:
    """Write the cube; give the sources as they were put in, fluxes in Jy km/s."""
    settings = read_document(config, KEYS)
    channels, side = settings["channels"], settings["size_pixels"]
    sky = np.zeros((channels, side, side))
    for galaxy in settings["galaxies"]:
        sky += _scaled(_galaxy(settings, galaxy), galaxy["flux_jy_kms"], settings)
    for bridge in settings["bridges"]:
        sky += _scaled(_bridge(settings, bridge), bridge["flux_jy_kms"], settings)
    cells = sky + _noise(settings)
    header = _header(settings)
    write_fits(fits.HDUList([fits.PrimaryHDU(cells.astype(np.float32), header=header)]), output, FIXED_DATE)
    galaxies, bridges = list(settings["galaxies"]), list(settings["bridges"])
    flux = sum(source["flux_jy_kms"] for source in (*galaxies, *bridges))
    shape = [side, side, channels]
    return {"shape": shape, "galaxies": galaxies, "bridges": bridges, "flux_jy_kms": flux}


def _axes(settings: Mapping[str, Any]) -> tuple[Floats, Floats, Floats]:
    v = settings["first_kms"] + settings["channel_kms"] * np.arange(settings["channels"])
    y, x = np.mgrid[: settings["size_pixels"], : settings["size_pixels"]].astype(float)
    return v[:, None, None], y[None], x[None]


def _galaxy(settings: Mapping[str, Any], galaxy: Mapping[str, float]) -> Floats:
    v, y, x = _axes(settings)
    angle, squeeze = np.radians(galaxy["angle_deg"]), np.cos(np.radians(galaxy["inclination_deg"]))
    along = (x - galaxy["x"]) * np.cos(angle) + (y - galaxy["y"]) * np.sin(angle)
    across = (-(x - galaxy["x"]) * np.sin(angle) + (y - galaxy["y"]) * np.cos(angle)) / max(squeeze, 0.25)
    radius = np.hypot(along, across)
    cosine = along / np.maximum(radius, 1e-6)
    turning = galaxy["rotation_kms"] * np.tanh(radius / (0.4 * galaxy["radius_pix"])) * cosine
    disc = np.exp(-0.5 * (radius / (0.5 * galaxy["radius_pix"])) ** 2)
    return np.asarray(disc * np.exp(-0.5 * ((v - galaxy["v_kms"] - turning) / DISPERSION_KMS) ** 2))


def _bridge(settings: Mapping[str, Any], bridge: Mapping[str, Any]) -> Floats:
    v, y, x = _axes(settings)
    one, other = settings["galaxies"][bridge["from"]], settings["galaxies"][bridge["to"]]
    sky = np.zeros(np.broadcast_shapes(v.shape, y.shape))
    for share in np.linspace(0, 1, STEPS):
        cx, cy, cv = (one[k] + share * (other[k] - one[k]) for k in ("x", "y", "v_kms"))
        cy += 3.0 * np.sin(np.pi * share)
        blob = np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / bridge["width_pix"] ** 2)
        sky += blob * np.exp(-0.5 * ((v - cv) / DISPERSION_KMS) ** 2)
    return sky


def _beam_pixels(settings: Mapping[str, Any]) -> float:
    return float(np.pi / (4 * np.log(2)) * (settings["beam_arcsec"] / settings["pixel_arcsec"]) ** 2)


def _smeared(cells: Floats, settings: Mapping[str, Any]) -> Floats:
    sigma = settings["beam_arcsec"] / settings["pixel_arcsec"] / FWHM
    return np.asarray(ndimage.gaussian_filter(cells, (0, sigma, sigma), mode="constant"))


def _scaled(cells: Floats, flux: float, settings: Mapping[str, Any]) -> Floats:
    """Smear with the beam and scale, in Jy/beam, to a flux in Jy km/s."""
    seen = _smeared(cells, settings)
    return seen * (flux * _beam_pixels(settings) / (seen.sum() * settings["channel_kms"]))


def _noise(settings: Mapping[str, Any]) -> Floats:
    shape = (settings["channels"], settings["size_pixels"], settings["size_pixels"])
    noise = _smeared(np.random.default_rng(settings["seed"]).normal(size=shape), settings)
    return noise * (settings["noise_mjy"] * 1e-3 / noise.std())


def _header(settings: Mapping[str, Any]) -> fits.Header:
    pixel, middle = settings["pixel_arcsec"] / 3600, (settings["size_pixels"] + 1) / 2
    first, step = settings["first_kms"], settings["channel_kms"]
    spectral: dict[str, Any] = {
        "CTYPE3": "VRAD",
        "CUNIT3": "m/s",
        "CRVAL3": first * 1000,
        "CDELT3": step * 1000,
    }
    if settings["spectral_axis"] == "FREQ":
        start, width = HI_REST_HZ * (1 - first / LIGHT_KMS), -HI_REST_HZ * step / LIGHT_KMS
        spectral = {"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": start, "CDELT3": width}
    sky = {"CTYPE": ("RA---TAN", "DEC--TAN"), "CUNIT": ("deg", "deg"), "CRPIX": (middle, middle)}
    sky |= {"CRVAL": (settings["ra_deg"], settings["dec_deg"]), "CDELT": (-pixel, pixel)}
    header = fits.Header()
    header.update({f"{key}{n}": value for key, values in sky.items() for n, value in enumerate(values, 1)})
    header.update(spectral)
    beam = settings["beam_arcsec"] / 3600
    header.update({"CRPIX3": 1.0, "SPECSYS": "BARYCENT", "RADESYS": "ICRS", "RESTFRQ": HI_REST_HZ})
    header.update({"BUNIT": "Jy/beam", "BMAJ": beam, "BMIN": beam, "BPA": 0.0})
    header.update({"OBJECT": settings["target"], "TELESCOP": "TOY", "CREATOR": CREATOR})
    header["COMMENT"] = "TOY DATA without physical meaning"
    return header
