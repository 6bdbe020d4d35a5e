"""What tests of an analysis do with its files, in the environment that has astropy.

python analysis_helpers.py corrupt-map IN DIR | corrupt-spectrum IN DIR | numbers ON OFF ALPHA | maps IN
    | rewrite IN OUT CHANGE | sums IN
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Any], None]


def _image(name: str, change: Callable[[Any], Any]) -> Change:
    def apply(hdus: Any) -> None:
        hdus[name].data = change(hdus[name].data)

    return apply


def _pixel(name: str, value: float) -> Change:
    def apply(hdus: Any) -> None:
        hdus[name].data[0, 0] = value

    return apply


def _card(name: str, key: str, value: Any) -> Change:
    def apply(hdus: Any) -> None:
        hdus[name].header[key] = value

    return apply


def _cell(column: str, value: float, limit: bool = False) -> Change:
    def apply(hdus: Any) -> None:
        data = hdus["FLUXPOINTS"].data
        (row, *_) = [n for n, is_limit in enumerate(data["is_ul"]) if bool(is_limit) is limit]
        data[column][row] = value

    return apply


def _without(name: str) -> Change:
    return lambda hdus: hdus.pop(hdus.index_of(name))


def _nothing(_hdus: Any) -> None:
    return


MAPS: dict[str, Change] = {
    "untouched": _nothing,
    "missing": _without("EXCESS"),
    "shape": _image("EXCESS", lambda d: d[:-1]),
    "projection": _card("COUNTS", "CTYPE1", "RA---XXX"),
    "negative": _pixel("COUNTS", -1),
    "background": _pixel("BACKGROUND", -5),
    "unknown": _pixel("EXCESS", float("nan")),
    "sums": _image("EXCESS", lambda d: d + 0.4),
    "signs": _image("SIGNIFICANCE", lambda d: -d),
}
SPECTRA: dict[str, Change] = {
    "untouched": _nothing,
    "kind": _card("FLUXPOINTS", "SED_TYPE", "e2dnde"),
    "energies": _cell("e_max", 1e-3),
    "negative": _cell("dnde", -1e-12),
    "nan": _cell("dnde", float("nan")),
    "limit": _cell("dnde_ul", 0.0),
}


def _unit(hdu: str, column: str, unit: str, factor: float = 1) -> Change:
    """Give a column another unit, with its values multiplied."""

    def apply(hdus: Any) -> None:
        hdus[hdu].data[column] *= factor
        hdus[hdu].columns[column].unit = unit

    return apply


def _all(*changes: Change) -> Change:
    def apply(hdus: Any) -> None:
        for change in changes:
            change(hdus)

    return apply


# The same content as others write it, and what cannot be understood.
REWRITTEN: dict[str, Change] = {
    "no checksums": _nothing,
    "no units": _unit("EVENTS", "ENERGY", ""),
    "seconds": _unit("EVENTS", "RA", "s"),
    "GeV and rad": _all(
        _unit("EVENTS", "ENERGY", "GeV", 1e3),
        *(_unit("EVENTS", n, "rad", 0.017453292519943295) for n in ("RA", "DEC")),
    ),
    "irf: no units": _unit("EFFECTIVE AREA", "EFFAREA", ""),
    "irf: cm2, TeV-1, arcmin, GeV, deg-2": _all(
        _unit("EFFECTIVE AREA", "EFFAREA", "cm2", 1e4),
        _unit("BACKGROUND", "BKG", "TeV-1 s-1 sr-1", 1e6),
        *(_unit("BACKGROUND", f"THETA_{end}", "arcmin", 60) for end in ("LO", "HI")),
        *(_unit("ENERGY DISPERSION", f"ENERG_{end}", "GeV", 1e3) for end in ("LO", "HI")),
        *(_unit("EFFECTIVE AREA", f"ENERG_{end}", "GeV", 1e3) for end in ("LO", "HI")),
        _unit("POINT SPREAD FUNCTION", "RPSF", "deg-2", 0.017453292519943295**2),
    ),
}


def rewrite(source: Path, target: Path, change: str) -> None:
    from astropy.io import fits

    with fits.open(source) as hdus:
        copy = fits.HDUList([hdu.copy() for hdu in hdus])
    REWRITTEN[change](copy)
    copy.writeto(target, checksum="remove" if change == "no checksums" else True)


def sums(path: Path) -> dict[str, float]:
    """Sum up what a file of counts holds."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        images = {name: float(hdus[name].data.sum()) for name in ("COUNTS", "ACCEPTANCE")}
        table = hdus["ONOFF"].data
        return images | {name: float(table[name].sum()) for name in ("N_ON", "N_OFF", "EXPECTED")}


def corrupt(source: Path, directory: Path, changes: dict[str, Change]) -> None:
    from astropy.io import fits

    for name, change in changes.items():
        with fits.open(source) as hdus:
            copy = fits.HDUList([hdu.copy() for hdu in hdus])
        change(copy)
        copy.writeto(directory / f"{name}.fits", checksum=True)
    content = (directory / "untouched.fits").read_bytes()
    (directory / "truncated.fits").write_bytes(content[: len(content) - 4000])
    flipped = bytearray(content)
    flipped[len(content) - 2880 + 8] ^= 1  # in the last block of data
    (directory / "flipped.fits").write_bytes(flipped)


def reports(directory: Path, command: str) -> dict[str, Any]:
    """Validate all files of a directory in one process; give exit code and failed checks of each."""
    import io
    from contextlib import redirect_stdout

    from esap_fits.cli import main as esap_fits

    found = {}
    for path in sorted(directory.glob("*.fits")):
        with redirect_stdout(io.StringIO()) as said:
            code = esap_fits([command, str(path)])
        failed = {c["name"] for c in json.loads(said.getvalue())["checks"] if not c["passed"]}
        found[path.stem] = [code, sorted(failed)]
    return found


def numbers(on: float, off: float, alpha: float) -> dict[str, Any]:
    import numpy as np
    from esap_fits.counting import interval, li_ma, upper_limit

    values = [np.array(v) for v in (on, off, alpha)]
    return {
        "significance": float(li_ma(*values)),
        "interval": interval(on, off, alpha),
        "limit": upper_limit(on, off, alpha),
    }


def maps(path: Path) -> dict[str, Any]:
    """Give the counts of a map, its largest significance, and where that is, in deg."""
    import numpy as np
    from astropy.io import fits
    from astropy.wcs import WCS

    with fits.open(path) as hdus:
        image = hdus["SIGNIFICANCE"].data
        row, column = np.unravel_index(np.nanargmax(image), image.shape)
        place = WCS(hdus["SIGNIFICANCE"].header).pixel_to_world(column, row)
        off_source = np.sort(image[np.isfinite(image)])[: image.size // 2]
        return {
            "counts": int(hdus["COUNTS"].data.sum()),
            "largest": float(np.nanmax(image)),
            "lowest": float(off_source[0]),
            "at": [float(place.ra.deg), float(place.dec.deg)],
            "telescope": hdus["COUNTS"].header["TELESCOP"],
        }


def main(command: str, *arguments: str) -> Any:
    match command:
        case "corrupt-map" | "corrupt-spectrum":
            kind = command.removeprefix("corrupt-")
            corrupt(Path(arguments[0]), Path(arguments[1]), MAPS if kind == "map" else SPECTRA)
            return reports(Path(arguments[1]), f"validate-{kind}")
        case "numbers":
            return numbers(*map(float, arguments))
        case "rewrite":
            return rewrite(Path(arguments[0]), Path(arguments[1]), arguments[2])
        case "sums":
            return sums(Path(arguments[0]))
        case _:
            return maps(Path(arguments[0]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
