"""Which instrument response fits an observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch.jobs import InputFile

CONFIGURATION = ("site", "array_layout", "model_version")
SIGNAL = "gamma"


@dataclass(frozen=True)
class Irf:
    """A published response: the lake's dataset and its metadata as the workflow cta_irf writes them."""

    dataset: str
    metadata: Mapping[str, Any]
    file: InputFile

    def zenith_distance(self, observation: Mapping[str, Any]) -> float:
        return abs(float(self.metadata["request_zenith_deg"]) - float(observation["zenith_deg"]))

    def misses(
        self, observation: Mapping[str, Any], tolerance_deg: float, energies_tev: tuple[float, float]
    ) -> list[str]:
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
        if (distance := self.zenith_distance(observation)) > tolerance_deg:
            found.append(f"its zenith angle is {distance:.3g} deg off, allowed {tolerance_deg:g}")
        low, high = (float(meta.get(f"request_energy_{end}_tev", e)) for end, e in _ends(energies_tev))
        if low > energies_tev[0] or high < energies_tev[1]:
            found.append(f"it is for {low:g} to {high:g} TeV")
        return found


def _ends(energies_tev: tuple[float, float]) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("min", energies_tev[0]), ("max", energies_tev[1])


class NoIrfFits(LookupError):  # noqa: N818 - says what happened
    """No response fits; the message tells what keeps the nearest from it."""


def best_irf(
    observation: Mapping[str, Any],
    irfs: Sequence[Irf],
    tolerance_deg: float,
    energies_tev: tuple[float, float],
) -> Irf:
    """Give the fitting response with the nearest zenith angle, of equal ones the newest; else NoIrfFits."""
    if lacking := [k for k in (*CONFIGURATION, "start_time", "zenith_deg") if k not in observation]:
        raise NoIrfFits(f"no IRF can be chosen: the observation has no metadata {', '.join(lacking)}")
    misses = {irf.dataset: irf.misses(observation, tolerance_deg, energies_tev) for irf in irfs}
    fitting = [irf for irf in irfs if not misses[irf.dataset]]
    if fitting:
        newest_first = sorted(fitting, key=_age, reverse=True)
        return min(newest_first, key=lambda irf: irf.zenith_distance(observation))
    if not irfs:
        raise NoIrfFits("no IRF is published")
    nearest = min(irfs, key=lambda irf: (len(misses[irf.dataset]), irf.zenith_distance(observation)))
    raise NoIrfFits(f"no IRF fits; nearest is {nearest.dataset}: {', '.join(misses[nearest.dataset])}")


def _age(irf: Irf) -> tuple[str, str]:
    return str(irf.metadata.get("product_creation_time", "")), irf.dataset
