"""Second step: stack all datasets; ring background and excess map, fit of a power law, flux points."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from esap_fits import reading
from esap_fits.analyse import edges_of
from esap_fits.combine import CONFIG
from esap_fits.geometry import Geometry
from esap_fits.reading import PayloadError
from esap_fits.response import REFERENCE_AMPLITUDE, REFERENCE_INDEX
from esap_fits.results import Outcome, write_outcome
from esap_fits.skymap import LEAST_INNER, RING_INNER, RING_WIDTH, SkyMaps
from esap_fits.spectrum import LEAST_SIGNIFICANCE, FluxPoint
from esap_fits.strict import DamagedError, load, parse
from gammapy.datasets import Datasets, MapDataset, SpectrumDatasetOnOff
from gammapy.estimators import ExcessMapEstimator, FluxPointsEstimator
from gammapy.makers import RingBackgroundMaker
from gammapy.maps import Map
from gammapy.modeling import Fit
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel

from . import CREATOR
from .analyse import OBSERVATIONS

LOG = logging.getLogger(__name__)
FLUX = "cm-2 s-1 TeV-1"


def combine(config_path: Path) -> None:
    """Make all results; PayloadError when the datasets do not belong together."""
    config, directory = reading.read_document(config_path, CONFIG), config_path.parent
    LOG.info("TOY DATA: this result has no physical meaning")
    maps = [directory / n for n in config["counts"] if n.startswith("map_")]
    if not maps:
        raise PayloadError(f"{config_path}: counts = {config['counts']}: allowed are files named map_*")
    rows = np.concatenate([_observations(path) for path in maps])
    dataset = _stacked_spectrum([_pha_of(path) for path in maps])
    fit = _fit(dataset)
    counts, counts_off = int(dataset.counts.data.sum()), int(dataset.counts_off.data.sum())
    background = float(np.nansum(dataset.background.data))
    outcome = Outcome(
        processor=CREATOR,
        config=config,
        units=len(maps),
        obs_ids=sorted({int(i) for i in rows["OBS_ID"]}),
        livetime_s=float(rows["LIVETIME"].sum()),
        n_on=counts,
        n_off=counts_off,
        alpha=background / counts_off if counts_off else float(np.nanmean(dataset.alpha.data)),
        maps=_sky_maps(Geometry.of(config), maps),
        points=_flux_points(dataset, edges_of(config)),
        fit=fit,
    )
    write_outcome(outcome, directory)
    LOG.info("on %d, off %d, significance %s, fit %s", counts, counts_off, outcome.significance, fit)


def _pha_of(path: Path) -> Path:
    return path.with_name(path.name.replace("map_", "pha_", 1))


def _observations(path: Path) -> Any:
    try:
        hdus = parse(load(path))
        return np.asarray(hdus[OBSERVATIONS].data)
    except (DamagedError, KeyError) as error:
        raise PayloadError(f"{path.name} is no map of esap-gammapy: {error}") from error


def _stacked_spectrum(paths: Sequence[Path]) -> SpectrumDatasetOnOff:
    datasets = Datasets([SpectrumDatasetOnOff.read(p, format="ogip", name=p.name) for p in paths])
    return datasets.stack_reduce(name="stacked")


def _fit(dataset: SpectrumDatasetOnOff) -> dict[str, Any] | None:
    """Fit a power law; None when the fit does not succeed, e.g. without an excess."""
    model = PowerLawSpectralModel(
        index=REFERENCE_INDEX, amplitude=REFERENCE_AMPLITUDE * u.Unit(FLUX), reference=1 * u.TeV
    )
    dataset.models = [SkyModel(model, name="source")]
    result = Fit().run(Datasets([dataset]))
    found = {
        "model": "power law",
        "index": float(model.index.value),
        "index_error": float(model.index.error),
        "amplitude": float(model.amplitude.quantity.to_value(FLUX)),
        "amplitude_error": float((model.amplitude.error * model.amplitude.unit).to_value(FLUX)),
        "reference_tev": 1.0,
    }
    numbers = [v for v in found.values() if isinstance(v, float)]
    if result.success and all(map(math.isfinite, numbers)) and model.amplitude.value > 0:
        return found
    LOG.warning("the fit has not succeeded: %s", result.message)
    dataset.models = [SkyModel(PowerLawSpectralModel(index=REFERENCE_INDEX), name="source")]
    return None


def _flux_points(dataset: SpectrumDatasetOnOff, edges: Any) -> list[FluxPoint]:
    estimator = FluxPointsEstimator(
        energy_edges=edges * u.TeV, source="source", selection_optional=["errn-errp", "ul"], n_sigma_ul=2
    )
    table = estimator.run(Datasets([dataset])).to_table(sed_type="dnde", formatted=False)
    counts, off, alpha = (getattr(dataset, n).data.ravel() for n in ("counts", "counts_off", "alpha"))
    centres = np.sqrt(edges[1:] * edges[:-1])
    points = []
    for row in table:
        bin_ = int(np.argmin(np.abs(np.log(centres / row["e_ref"]))))
        point = _point(row, float(counts[bin_]), float(off[bin_]), float(alpha[bin_]))
        if _is_sound(point):
            points.append(point)
        else:
            LOG.warning("no flux point at %.3g TeV: gammapy could not estimate it", point.e_ref)
    return points


def _point(row: Any, n_on: float, n_off: float, alpha: float) -> FluxPoint:
    significance = float(np.nan_to_num(row["sqrt_ts"]))
    return FluxPoint(
        e_ref=float(row["e_ref"]),
        e_min=float(row["e_min"]),
        e_max=float(row["e_max"]),
        dnde=float(row["dnde"]),
        dnde_errn=float(row["dnde_errn"]),
        dnde_errp=float(row["dnde_errp"]),
        dnde_ul=float(row["dnde_ul"]),
        is_ul=significance < LEAST_SIGNIFICANCE,
        sqrt_ts=significance,
        n_on=n_on,
        n_off=n_off,
        alpha=alpha,
        npred=float(np.sum(row["npred"])),
    )


def _is_sound(point: FluxPoint) -> bool:
    if point.is_ul:
        return math.isfinite(point.dnde_ul) and point.dnde_ul > 0
    values = (point.dnde, point.dnde_errn, point.dnde_errp, point.dnde_ul)
    return all(math.isfinite(v) for v in values) and point.dnde > 0


def _sky_maps(geometry: Geometry, paths: Sequence[Path]) -> SkyMaps:
    stacked = MapDataset.read(paths[0], name="stacked")
    for path in paths[1:]:
        stacked.stack(MapDataset.read(path, name=path.name))
    image = stacked.to_image()
    inner = max(RING_INNER * geometry.on_radius, LEAST_INNER)
    mask = Map.from_geom(image.counts.geom, data=(geometry.offsets >= inner)[None])
    ring = RingBackgroundMaker(r_in=inner * u.deg, width=RING_WIDTH * u.deg, exclusion_mask=mask)
    estimator = ExcessMapEstimator(correlation_radius=geometry.on_radius * u.deg, correlate_off=False)
    found = estimator.run(ring.run(image))
    on, background, significance = (
        np.asarray(found[n].data[0], dtype=float) for n in ("counts", "npred_background", "sqrt_ts")
    )
    background = np.where(np.isfinite(background) & (background > 0), background, np.nan)
    significance = np.where(np.isfinite(background), significance, np.nan)
    return SkyMaps(geometry, image.counts.data[0], background, np.rint(on) - background, significance)
