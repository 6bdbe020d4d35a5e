"""Opens an IRF with gammapy's own classes and evaluates it: `python check_gammapy.py irf.fits.gz`.

Run with an environment of requirements/gammapy.txt. Prints what it found as JSON; exit 0 when every component
was read and gives sensible numbers, 1 when one does not.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import astropy.units as u
import numpy as np
from gammapy.irf import load_irf_dict_from_file

ENERGY, OFFSET = 1 * u.TeV, 0.5 * u.deg
TOLERANCE = 0.05


def evaluate(path: str) -> dict[str, Any]:
    """Give values at 1 TeV and 0.5 deg off axis, with the integrals of the two densities."""
    irfs = load_irf_dict_from_file(path)
    migration = irfs["edisp"].axes["migra"]
    density = irfs["edisp"].evaluate(energy_true=ENERGY, migra=migration.center, offset=OFFSET)
    containment = irfs["psf"].containment(rad=1 * u.deg, energy_true=ENERGY, offset=OFFSET)
    return {
        "classes": {name: type(irf).__name__ for name, irf in irfs.items()},
        "aeff_m2": float(irfs["aeff"].evaluate(energy_true=ENERGY, offset=OFFSET).to_value("m2")),
        "edisp_integral": float(np.sum(density.to_value("") * migration.bin_width.to_value(""))),
        "psf_containment_1deg": float(np.squeeze(containment)),
        "psf_r68_deg": float(
            np.squeeze(
                irfs["psf"]
                .containment_radius(fraction=0.68, energy_true=ENERGY, offset=OFFSET)
                .to_value("deg")
            )
        ),
        "bkg_per_mev_s_sr": float(
            irfs["bkg"].evaluate(energy=ENERGY, offset=OFFSET).to_value("MeV-1 s-1 sr-1")
        ),
    }


def problems_of(found: dict[str, Any]) -> list[str]:
    """Name what is missing or makes no sense."""
    missing = {"aeff", "edisp", "psf", "bkg"} - set(found["classes"])
    problems = [f"{name} is missing" for name in sorted(missing)]
    problems += [f"{key} = {found[key]}" for key in ("aeff_m2", "psf_r68_deg") if not found[key] > 0]
    problems += [
        f"{key} = {found[key]}, must be 1"
        for key in ("edisp_integral", "psf_containment_1deg")
        if not abs(found[key] - 1) < TOLERANCE
    ]
    return problems


def main() -> int:
    """Check the file named on the command line."""
    found = evaluate(sys.argv[1])
    problems = problems_of(found)
    print(json.dumps({**found, "problems": problems}, indent=1))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
