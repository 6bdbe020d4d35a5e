"""Which instrument response fits an observation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch.jobs import InputFile

CONFIGURATION = ("site", "array_layout", "model_version")
NEEDED = (*CONFIGURATION, "start_time", "zenith_deg")  # of an observation's metadata
AZIMUTH = "azimuth_deg"  # not among what early DL3 tells
SIGNAL = "gamma"
ROUNDING = 1e-9  # of energies: the share that two ways to compute one may differ


@dataclass(frozen=True)
class Fit:
    """How far off a response may be in deg, and the energies in TeV that it has to cover."""

    zenith_deg: float
    azimuth_deg: float
    energies_tev: tuple[float, float]


@dataclass(frozen=True)
class Irf:
    """A published response: the lake's dataset and its metadata as the workflow cta_irf writes them."""

    dataset: str
    metadata: Mapping[str, Any]
    file: InputFile

    def zenith_distance(self, observation: Mapping[str, Any]) -> float:
        return abs(float(self.metadata["request_zenith_deg"]) - float(observation["zenith_deg"]))

    def azimuth_distance(self, observation: Mapping[str, Any]) -> float | None:
        """Give the azimuths' difference in deg; None when that of the observation is not known."""
        if AZIMUTH not in observation:
            return None
        turn = float(self.metadata["request_azimuth_deg"]) - float(observation[AZIMUTH])
        return abs((turn + 180) % 360 - 180)

    def angle(self, observation: Mapping[str, Any]) -> float:
        """Angle in deg between the two pointings; their angles to the Earth's field differ by no more.

        Without the observation's azimuth it is the difference of the zenith angles.
        """
        turn = self.azimuth_distance(observation)
        if turn is None:
            return round(self.zenith_distance(observation), 6)
        zeniths = float(self.metadata["request_zenith_deg"]), float(observation["zenith_deg"])
        one, other = map(math.radians, zeniths)
        turned = math.sin(math.radians(turn) / 2) ** 2
        half = math.sin((one - other) / 2) ** 2 + math.sin(one) * math.sin(other) * turned
        return round(math.degrees(2 * math.asin(math.sqrt(min(1.0, half)))), 6)

    def misses(self, observation: Mapping[str, Any], fit: Fit) -> list[str]:
        """Say all that does not fit; nothing when it fits."""
        meta, day = self.metadata, str(observation["start_time"])[:10]
        found = []
        if meta.get("request_particle", SIGNAL) != SIGNAL:
            found.append(f"it is for {meta['request_particle']}s")
        found += [
            f"{key} is {meta.get(f'request_{key}')}, not {observation[key]}"
            for key in CONFIGURATION
            if meta.get(f"request_{key}") != observation[key]
        ]
        first, last = str(meta["request_period_start"]), str(meta["request_period_end"])
        if not first <= day <= last:
            found.append(f"its period is {first} to {last}, not {day}")
        return [*found, *self._direction_misses(observation, fit), *self._energy_misses(fit)]

    def _direction_misses(self, observation: Mapping[str, Any], fit: Fit) -> list[str]:
        found = []
        if (distance := self.zenith_distance(observation)) > fit.zenith_deg:
            found.append(f"its zenith angle is {distance:.3g} deg off, allowed {fit.zenith_deg:g}")
        turn = self.azimuth_distance(observation)
        # Near the zenith the azimuth says nothing.
        if turn is not None and turn > fit.azimuth_deg and self.angle(observation) > fit.zenith_deg:
            found.append(f"its azimuth is {turn:.3g} deg off, allowed {fit.azimuth_deg:g}")
        return found

    def _energy_misses(self, fit: Fit) -> list[str]:
        lowest, highest = fit.energies_tev
        low = float(self.metadata.get("request_energy_min_tev", lowest))
        high = float(self.metadata.get("request_energy_max_tev", highest))
        if low <= lowest * (1 + ROUNDING) and high >= highest * (1 - ROUNDING):
            return []
        return [f"it is for {low:g} to {high:g} TeV, needed is {lowest:.4g} to {highest:.4g}"]


class NoIrfFits(LookupError):  # noqa: N818 - says what happened
    """No response fits; the message tells what keeps the nearest from it."""


def best_irf(observation: Mapping[str, Any], irfs: Sequence[Irf], fit: Fit) -> Irf:
    """Give the fitting response nearest in direction, of equal ones the most precise, then the newest.

    NoIrfFits when there is none.
    """
    if lacking := [key for key in NEEDED if key not in observation]:
        raise NoIrfFits(f"no IRF can be chosen: the observation has no metadata {', '.join(lacking)}")
    misses = {irf.dataset: irf.misses(observation, fit) for irf in irfs}
    fitting = [irf for irf in irfs if not misses[irf.dataset]]
    if fitting:
        newest_first = sorted(fitting, key=_age, reverse=True)
        return min(newest_first, key=lambda irf: (irf.angle(observation), _uncertainty(irf)))
    if not irfs:
        raise NoIrfFits("no IRF is published")
    nearest = min(irfs, key=lambda irf: (len(misses[irf.dataset]), irf.angle(observation)))
    raise NoIrfFits(f"no IRF fits; nearest is {nearest.dataset}: {', '.join(misses[nearest.dataset])}")


def _uncertainty(irf: Irf) -> float:
    return float(irf.metadata.get("request_statistical_uncertainty", math.inf))


def _age(irf: Irf) -> tuple[str, str]:
    return str(irf.metadata.get("product_creation_time", "")), irf.dataset
