"""Toy raw data with waveforms (R1), one file an observation, as the unmodified `ctapipe-process` reads them.

A small array of one kind of telescope sees elongated images that point to where the shower came from. The
camera's axes are taken for the sky's: what lies east of the pointing has a larger azimuth by the same angle.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import EarthLocation
from astropy.time import Time
from ctapipe.containers import (
    ArrayEventContainer,
    CoordinateFrameType,
    EventIndexContainer,
    EventType,
    ObservationBlockContainer,
    R1CameraContainer,
    SchedulingBlockContainer,
    SimulatedCameraContainer,
    SimulatedEventContainer,
    SimulatedShowerContainer,
    SimulationConfigContainer,
    TelescopeImpactParameterContainer,
    TelescopePointingContainer,
    TelescopeTriggerContainer,
)
from ctapipe.core import Provenance
from ctapipe.instrument import (
    CameraDescription,
    CameraGeometry,
    CameraReadout,
    OpticsDescription,
    SubarrayDescription,
    TelescopeDescription,
)
from ctapipe.io import DataLevel, DataWriter, EventSource
from esap_fits import sky
from esap_fits.dl0 import file_name, read_observations

LOG = logging.getLogger(__name__)
Floats: TypeAlias = npt.NDArray[np.float64]
FOCAL_M, PIXELS, CAMERA_M, SAMPLES = 16.0, 30, 1.1, 25
RADIUS_M = 113.0  # of the circle that the telescopes stand on
LIGHT_POOL_M, PE_AT_CENTRE = 140.0, 600.0  # image charge: PE_AT_CENTRE * E^SLOPE * exp(-r / LIGHT_POOL_M)
SLOPE = 0.9
LEAST_PE, LEAST_TELESCOPES = 60.0, 2
SIGNAL_SHARE = 0.7
LOWEST_TEV, HIGHEST_TEV = 0.1, 100.0
FIELD_DEG, CORE_M = 1.5, 120.0
LENGTH_M, WIDTH_M = 0.09, 0.035  # of an image in the camera


def subarray(telescopes: list[int], site: str) -> SubarrayDescription:
    """Describe the toy array: telescopes on a circle."""
    span = (-CAMERA_M, CAMERA_M)
    geometry = CameraGeometry.make_rectangular(npix_x=PIXELS, npix_y=PIXELS, range_x=span, range_y=span)
    geometry.name = "ToyCam"
    time = np.arange(0, 40, 0.25)
    pulse = np.exp(-0.5 * ((time - 20) / 2.5) ** 2)[None]
    readout = CameraReadout("ToyCam", 1 * u.GHz, pulse, 0.25 * u.ns, 1, geometry.n_pixels, SAMPLES)
    camera = CameraDescription("ToyCam", geometry, readout)
    focal = FOCAL_M * u.m
    optics = OpticsDescription("ToyMST", "MST", 1, focal, focal, 88 * u.m**2, 86, "DAVIES_COTTON")
    telescope = TelescopeDescription("ToyMST", optics, camera)
    angles = np.pi / 4 + 2 * np.pi * np.arange(len(telescopes)) / len(telescopes)
    positions = {
        tel_id: np.array([RADIUS_M * np.cos(a), RADIUS_M * np.sin(a), 0]) * u.m
        for tel_id, a in zip(telescopes, angles, strict=True)
    }
    place = sky.SITES[site]
    location = EarthLocation(
        lon=place.longitude * u.deg, lat=place.latitude * u.deg, height=place.height * u.m
    )
    return SubarrayDescription("ToyArray", positions, dict.fromkeys(positions, telescope), location)


class ToySource(EventSource):
    """The events of one observation, drawn at random."""

    input_url = None

    def __init__(self, observation: Mapping[str, Any]) -> None:
        self.observation = observation
        self._subarray = subarray(observation["telescopes"], observation["site"])
        super().__init__()

    subarray = property(lambda self: self._subarray)
    is_compatible = staticmethod(lambda _path: False)
    is_simulation = property(lambda _self: True)
    datalevels = property(lambda _self: (DataLevel.R1,))

    @property
    def scheduling_blocks(self) -> dict[int, SchedulingBlockContainer]:
        sb_id = self.observation["sb_id"]
        return {sb_id: SchedulingBlockContainer(sb_id=np.uint64(sb_id), producer_id="toy")}

    @property
    def observation_blocks(self) -> dict[int, ObservationBlockContainer]:
        o = self.observation
        block = ObservationBlockContainer(
            obs_id=np.uint64(o["obs_id"]),
            sb_id=np.uint64(o["sb_id"]),
            producer_id="toy",
            # ctapipe finds shower cores only when this is horizontal; the sky's is in the file's attributes.
            subarray_pointing_lon=self._pointing[1],
            subarray_pointing_lat=self._pointing[0],
            subarray_pointing_frame=CoordinateFrameType.ALTAZ,
            actual_start_time=Time(o["start_time"], scale="utc"),
            actual_duration=o["duration_s"] * u.s,
        )
        return {o["obs_id"]: block}

    @property
    def simulation_config(self) -> dict[int, SimulationConfigContainer]:
        altitude, azimuth = self._pointing
        config = SimulationConfigContainer(
            run_number=self.observation["obs_id"],
            n_showers=self.observation["events"],
            energy_range_min=LOWEST_TEV * u.TeV,
            energy_range_max=HIGHEST_TEV * u.TeV,
            spectral_index=-2.0,
            min_alt=altitude,
            max_alt=altitude,
            min_az=azimuth,
            max_az=azimuth,
            min_scatter_range=0 * u.m,
            max_scatter_range=CORE_M * u.m,
            min_viewcone_radius=0 * u.deg,
            max_viewcone_radius=FIELD_DEG * u.deg,
            shower_reuse=1,
            diffuse=True,
        )
        return {self.observation["obs_id"]: config}

    @property
    def _pointing(self) -> tuple[u.Quantity, u.Quantity]:
        o = self.observation
        return np.radians(90 - o["zenith_deg"]) * u.rad, np.radians(o["azimuth_deg"]) * u.rad

    def _generator(self) -> Iterator[ArrayEventContainer]:
        o = self.observation
        rng = np.random.default_rng([o["seed"], o["obs_id"]])
        source = sky.to_plane(o["ra_obj_deg"], o["dec_obj_deg"], o["ra_pnt_deg"], o["dec_pnt_deg"])
        times = np.sort(rng.uniform(0, o["duration_s"], o["events"]))
        for number, time in enumerate(times):
            when = Time(o["start_time"], scale="utc") + time * u.s
            event = self._event(rng, number, when, (float(source[0]), float(source[1])))
            if len(event.trigger.tels_with_trigger) >= LEAST_TELESCOPES:
                yield event

    def _event(
        self, rng: np.random.Generator, number: int, when: Time, source: tuple[float, float]
    ) -> ArrayEventContainer:
        o, (altitude, azimuth) = self.observation, self._pointing
        event = ArrayEventContainer(
            index=EventIndexContainer(obs_id=o["obs_id"], event_id=number + 1), count=number
        )
        is_signal = rng.random() < SIGNAL_SHARE
        radius, angle = FIELD_DEG * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        east, north = source if is_signal else (radius * np.cos(angle), radius * np.sin(angle))
        energy = LOWEST_TEV / rng.uniform(LOWEST_TEV / HIGHEST_TEV, 1)
        core = rng.uniform(-CORE_M, CORE_M, 2)
        az, alt = sky.from_plane(east, north, azimuth.to_value(u.deg), altitude.to_value(u.deg))
        event.simulation = SimulatedEventContainer(
            shower=_shower(energy, alt, az, core, 0 if is_signal else 101)
        )
        event.monitoring.pointing.array_altitude = altitude
        event.monitoring.pointing.array_azimuth = azimuth
        seen = []
        for tel_id, position in self.subarray.positions.items():
            event.monitoring.tel[tel_id].pointing = TelescopePointingContainer(
                azimuth=azimuth, altitude=altitude
            )
            away = core - position.to_value(u.m)[:2]
            charge = PE_AT_CENTRE * energy**SLOPE * np.exp(-np.hypot(*away) / LIGHT_POOL_M)
            if charge >= LEAST_PE:
                self._put_image(rng, event, tel_id, (charge, away, east, north), when)
                seen.append(tel_id)
        event.trigger.time = when
        event.trigger.tels_with_trigger = np.array(seen, dtype=int)
        event.trigger.event_type = EventType.SUBARRAY
        return event

    def _put_image(
        self,
        rng: np.random.Generator,
        event: ArrayEventContainer,
        tel_id: int,
        image: tuple[float, Floats, float, float],
        when: Time,
    ) -> None:
        charge, away, east, north = image
        distance = float(np.hypot(*away))
        geometry = self.subarray.tel[tel_id].camera.geometry
        # In ctapipe's camera frame x goes with the altitude, y with the azimuth.
        along = away / distance
        middle = FOCAL_M * np.tan(np.radians([north, east]))
        middle = middle + FOCAL_M * np.tan(np.radians(min(0.4 + distance / 110, 2.6))) * along
        x, y = geometry.pix_x.to_value(u.m) - middle[0], geometry.pix_y.to_value(u.m) - middle[1]
        lengthwise, across = x * along[0] + y * along[1], y * along[0] - x * along[1]
        shape = np.exp(-0.5 * ((lengthwise / LENGTH_M) ** 2 + (across / WIDTH_M) ** 2))
        light = rng.poisson(charge * shape / max(shape.sum(), 1e-12)) + rng.normal(0, 0.8, x.size)
        peak = 12 + rng.normal(0, 0.4, (x.size, 1))
        pulse = np.exp(-0.5 * ((np.arange(SAMPLES) - peak) / 2.5) ** 2) / (2.5 * np.sqrt(2 * np.pi))
        waveform = (light[:, None] * pulse + rng.normal(0, 0.1, pulse.shape))[None]
        event.r1.tel[tel_id] = R1CameraContainer(
            event_type=EventType.SUBARRAY,
            event_time=when,
            waveform=waveform.astype("f4"),
            selected_gain_channel=np.zeros(geometry.n_pixels, "i1"),
            pixel_status=np.full(geometry.n_pixels, 0b100, "u1"),
        )
        event.trigger.tel[tel_id] = TelescopeTriggerContainer(time=when)
        event.simulation.tel[tel_id] = SimulatedCameraContainer(
            true_image_sum=int(charge),
            impact=TelescopeImpactParameterContainer(distance=distance * u.m, prefix="true_impact"),
        )


def _shower(energy: float, alt: Any, az: Any, core: Floats, particle: int) -> SimulatedShowerContainer:
    return SimulatedShowerContainer(
        energy=energy * u.TeV,
        alt=float(alt) * u.deg,
        az=float(az) * u.deg,
        core_x=core[0] * u.m,
        core_y=core[1] * u.m,
        h_first_int=2e4 * u.m,
        x_max=300 * u.g / u.cm**2,
        starting_grammage=0 * u.g / u.cm**2,
        shower_primary_id=particle,
    )


def make_dl0(config_path: Path, directory: Path) -> Iterator[dict[str, Any]]:
    """Write one file an observation, whatever `files_per_telescope` says; give name, size and adler32."""
    observations, _ = read_observations(config_path)
    directory.mkdir(parents=True, exist_ok=True)
    LOG.info("TOY DATA: these observations have no physical meaning")
    for observation in observations:
        path = directory / file_name(observation["obs_id"], 0, 0, "dl0.h5")
        _write(observation, path)
        content = path.read_bytes()
        yield {
            "obs_id": observation["obs_id"],
            "tel_id": 0,
            "chunk": 0,
            "name": path.name,
            "bytes": len(content),
            "adler32": f"{zlib.adler32(content):08x}",
        }


def _write(observation: Mapping[str, Any], path: Path) -> None:
    import tables

    part = path.with_name(f".{path.name}.part.h5")
    part.unlink(missing_ok=True)
    Provenance().start_activity("esap-ctapipe make-dl0")
    written = {"write_r1_waveforms": True, "write_dl1_parameters": False}
    stored = {
        "transform_waveform": True,
        "waveform_dtype": "uint16",
        "waveform_offset": 2000,
        "waveform_scale": 50.0,
    }
    with (
        ToySource(observation) as source,
        DataWriter(source, output_path=part, **written, **stored) as writer,
    ):
        for event in source:
            writer(event)
    Provenance().finish_activity()
    with tables.open_file(part, "r+") as file:
        attributes = file.root._v_attrs  # PyTables has no other name for it
        attributes["TELESCOP"] = "TOY"
        attributes["RA_PNT"], attributes["DEC_PNT"] = observation["ra_pnt_deg"], observation["dec_pnt_deg"]
    part.replace(path)
