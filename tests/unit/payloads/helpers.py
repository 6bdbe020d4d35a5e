"""What the payload's tests do with FITS files; run with the payload's Python. Each function prints JSON.

python helpers.py corrupt IN OUTDIR | flips IN COUNT | counts EVENTS LOW HIGH BINS | headers FITS
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _column(hdu: str, name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def apply(hdus: Any) -> None:
        data = hdus[hdu].data[name]
        data[...] = change(data)

    return apply


def _reverse_energy(hdus: Any) -> None:
    for name in ("ENERG_LO", "ENERG_HI"):
        _column("EFFECTIVE AREA", name, lambda d: d[:, ::-1].copy())(hdus)


def _gap(hdus: Any) -> None:
    _column("EFFECTIVE AREA", "ENERG_HI", lambda d: d * 0.9)(hdus)


def _drop_keyword(hdu: str, keyword: str) -> Callable[[Any], None]:
    return lambda hdus: hdus[hdu].header.remove(keyword)


def _drop(hdu: str) -> Callable[[Any], None]:
    return lambda hdus: hdus.pop(hdus.index_of(hdu))


def _unit(hdu: str, name: str, unit: str) -> Callable[[Any], None]:
    def apply(hdus: Any) -> None:
        hdus[hdu].columns[name].unit = unit

    return apply


def _twice(hdus: Any) -> None:
    hdus.append(hdus["EFFECTIVE AREA"].copy())


def _set(hdu: str, keyword: str, value: Any) -> Callable[[Any], None]:
    def apply(hdus: Any) -> None:
        hdus[hdu].header[keyword] = value

    return apply


def _other_grid(hdus: Any) -> None:
    for name in ("ENERG_LO", "ENERG_HI"):
        _column("ENERGY DISPERSION", name, lambda d: d * 2)(hdus)


def _hole(hdus: Any) -> None:
    hdus["ENERGY DISPERSION"].data["MATRIX"][0][0, :, 5] = 0


def _changes() -> dict[str, Callable[[Any], None]]:
    import numpy as np

    return {
        "untouched": lambda hdus: None,
        "wrong_unit": _unit("EFFECTIVE AREA", "EFFAREA", "s"),
        "no_hduclas4": _drop_keyword("EFFECTIVE AREA", "HDUCLAS4"),
        "energy_reversed": _reverse_energy,
        "negative_aeff": _column("EFFECTIVE AREA", "EFFAREA", lambda d: -d),
        "nan_aeff": _column("EFFECTIVE AREA", "EFFAREA", lambda d: np.where(d > 0, np.nan, d)),
        "psf_times_3": _column("POINT SPREAD FUNCTION", "RPSF", lambda d: d * 3),
        "edisp_halved": _column("ENERGY DISPERSION", "MATRIX", lambda d: d * 0.5),
        "no_psf": _drop("POINT SPREAD FUNCTION"),
        "no_bkg": _drop("BACKGROUND"),
        "energy_gap": _gap,
        "aeff_twice": _twice,
        "aeff_huge": _column("EFFECTIVE AREA", "EFFAREA", lambda d: d * 1e4),
        "aeff_zero": _column("EFFECTIVE AREA", "EFFAREA", lambda d: d * 0),
        "wrong_date": _set("BACKGROUND", "DATE", "2026-11-21 06:00:00"),
        "wrong_version": _set("BACKGROUND", "HDUVERS", "9.9"),
        "point_like": _set("BACKGROUND", "HDUCLAS3", "POINT-LIKE"),
        "edisp_other_grid": _other_grid,
        "edisp_hole": _hole,
    }


def corrupt(source: Path, directory: Path) -> list[str]:
    """Write one damaged copy for each way to damage; checksums are right except where they are the point."""
    from astropy.io import fits

    for name, change in _changes().items():
        with fits.open(source) as opened:
            hdus = fits.HDUList([hdu.copy() for hdu in opened])
            change(hdus)
            hdus.writeto(directory / f"{name}.fits", checksum=True)
    plain = (directory / "untouched.fits").read_bytes()
    flipped = bytearray(plain)
    flipped[40_000] ^= 0x01
    (directory / "bit_flip.fits").write_bytes(flipped)
    (directory / "truncated.fits").write_bytes(plain[:90_000])
    (directory / "truncated.fits.gz").write_bytes(source.read_bytes()[:-2000])
    packed = bytearray(source.read_bytes())
    packed[len(packed) // 2] ^= 0x01
    (directory / "bit_flip.fits.gz").write_bytes(packed)
    (directory / "no_fits.fits").write_bytes(b"this is no FITS file\n" * 1000)
    (directory / "empty.fits").write_bytes(b"")
    with fits.open(source) as opened:
        fits.HDUList([hdu.copy() for hdu in opened]).writeto(
            directory / "no_checksum.fits", checksum="remove"
        )
    return sorted(path.name for path in directory.iterdir())


def flips(source: Path, count: int) -> dict[str, list[int]]:
    """Flip single bits at random places of the uncompressed file; give the places by verdict."""
    from esap_fits.irf_checks import Profile, check_irf

    plain = gzip.decompress(source.read_bytes())
    places = random.Random(1).sample(range(len(plain) * 8), count)
    verdicts: dict[str, list[int]] = {"valid": [], "invalid": [], "unreadable": []}
    target = Path("flipped.fits")
    for place in places:
        damaged = bytearray(plain)
        damaged[place // 8] ^= 1 << (place % 8)
        target.write_bytes(damaged)
        verdicts[str(check_irf(target, Profile.read(None)).verdict)].append(place)
    return verdicts


def counts(events: Path, low: float, high: float, bins: int) -> list[int]:
    """Count triggered events in logarithmic bins of true energy."""
    import numpy as np
    from astropy.io import fits

    with fits.open(events) as hdus:
        energies = np.asarray(hdus["EVENTS"].data["TRUE_ENERGY"], dtype=float)
    found, _ = np.histogram(energies, np.geomspace(low, high, bins + 1))
    return [int(n) for n in found]


def headers(path: Path) -> list[dict[str, Any]]:
    """Give the headers of all HDUs."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        return [{k: v for k, v in hdu.header.items() if k not in ("COMMENT", "HISTORY")} for hdu in hdus]


def main() -> None:
    """Run the helper that the command line names."""
    name, *rest = sys.argv[1:]
    outcome: Any
    if name == "corrupt":
        outcome = corrupt(Path(rest[0]), Path(rest[1]))
    elif name == "flips":
        outcome = flips(Path(rest[0]), int(rest[1]))
    elif name == "counts":
        outcome = counts(Path(rest[0]), float(rest[1]), float(rest[2]), int(rest[3]))
    else:
        outcome = headers(Path(rest[0]))
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()
