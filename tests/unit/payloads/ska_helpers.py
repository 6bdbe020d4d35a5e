"""What the tests of esap-ska do with cubes; run with the payload's Python. Each function prints JSON.

python ska_helpers.py corrupt DIRECTORY OUTDIR | damage CUBE OUTDIR | vary CUBE OUTDIR |
    blank CUBE SHARE OUTPUT | header FILE | rows CATALOGUE | splits CONFIG
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any


def _pixel(hdu: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def apply(hdus: Any) -> None:
        hdus[hdu].data = change(hdus[hdu].data.copy())

    return apply


def _one(value: float, row: int = 48, column: int = 48) -> Callable[[Any], Any]:
    def change(data: Any) -> Any:
        data[row, column] = value
        return data

    return change


def _key(hdu: str, **changes: Any) -> Callable[[Any], None]:
    def apply(hdus: Any) -> None:
        for name, value in changes.items():
            if value is None:
                hdus[hdu].header.remove(name)
            else:
                hdus[hdu].header[name] = value

    return apply


def _drop(hdu: str) -> Callable[[Any], None]:
    return lambda hdus: hdus.pop(hdus.index_of(hdu))


def _map_changes() -> dict[str, Callable[[Any], None]]:
    import numpy as np

    return {
        "untouched": lambda _hdus: None,
        "nan_map": _pixel("MOMENT0", _one(np.nan)),
        "wrong_wcs": _key("MOMENT0", CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN"),
        "no_wcs": _key("MOMENT1", CTYPE1=None, CTYPE2=None),
        "no_unit": _key("MOMENT0", BUNIT=None),
        "wrong_unit": _key("MOMENT1", BUNIT="m/s"),
        "negative_flux": _pixel("MOMENT0", _one(-100.0)),
        "flux_halved": _pixel("MOMENT0", lambda d: d * 0.5),
        "velocity_outside": _pixel("MOMENT1", lambda d: d + 9000),
        "velocity_lost": _pixel("MOMENT1", lambda d: d * np.nan),
        "dispersion_negative": _pixel("MOMENT2", lambda d: d - 1000),
        "no_moment2": _drop("MOMENT2"),
        "no_beam": _key("PRIMARY", BMAJ=None),
        "other_size": _pixel("MOMENT2", lambda d: d[:-1]),
    }


def corrupt(source: Path, directory: Path) -> list[str]:
    """Write one damaged product for each way; checksums are right except where they are the point."""
    from astropy.io import fits

    for name, change in _map_changes().items():
        with fits.open(source / "moments.fits") as opened:
            hdus = fits.HDUList([hdu.copy() for hdu in opened])
            change(hdus)
            hdus.writeto(directory / f"{name}.fits", checksum=True)
    plain = (source / "moments.fits").read_bytes()
    flipped = bytearray(plain)
    flipped[60_000] ^= 0x10
    (directory / "bit_flip.fits").write_bytes(flipped)
    (directory / "truncated.fits").write_bytes(plain[:50_000])
    (directory / "truncated.fits.gz").write_bytes((source / "mask.fits.gz").read_bytes()[:-500])
    with fits.open(source / "mask.fits.gz") as opened:
        mask = opened[0].copy()
        mask.data = mask.data * 2
        mask.writeto(directory / "labels_doubled.fits", checksum=True)
    text = (source / "catalogue.vot").read_text()
    for name, (old, new) in _text_changes(text).items():
        changed = text.replace(old, new)
        assert changed != text, name
        (directory / f"{name}.vot").write_text(changed)
    (directory / "cut.vot").write_text(text[: len(text) // 2])
    (directory / "cut.png").write_bytes((source / "overview.png").read_bytes()[:-100])
    return sorted(path.name for path in directory.iterdir())


def _text_changes(text: str) -> dict[str, tuple[str, str]]:
    first = rows_of(text)[0]
    ra, flux = f"<TD>{first['ra']}</TD>", f"<TD>{first['f_sum']}</TD>"
    return {
        "off_the_map": (ra, "<TD>211.0</TD>"),
        "off_the_sky": (ra, "<TD>-12.0</TD>"),
        "negative": (flux, "<TD>-3.5</TD>"),
        "flux_changed": (flux, f"<TD>{float(first['f_sum']) * 1.1}</TD>"),
        "flux_unknown": (flux, "<TD>NaN</TD>"),
        "no_frame": (' ref="sky"', ""),
        "other_frame": ('system="ICRS"', 'system="eq_FK5"'),
        "no_rest_frequency": ('name="restfrq"', 'name="wavelength"'),
        "no_units": (' unit="deg"', ""),
        "no_ucd": ('ucd="phot.flux;em.line"', ""),
        "wrong_ucd": ('ucd="phot.flux;em.line"', 'ucd="phot.flow"'),
        "id_wrong": ("<TD>1</TD>", "<TD>7</TD>"),
    }


def rows_of(text: str) -> list[dict[str, str]]:
    """Give the rows of a VOTable as texts."""
    import xml.etree.ElementTree as ET

    root = ET.fromstring(text)
    names = [e.attrib["name"] for e in root.iter() if e.tag.endswith("}FIELD")]
    found = (e for e in root.iter() if e.tag.endswith("}TR"))
    return [dict(zip(names, (c.text or "" for c in row), strict=True)) for row in found]


def _five_pixels(data: Any) -> Any:
    kept = data[:, 10:15, 10].copy()
    data[:] = float("nan")
    data[:, 10:15, 10] = kept
    return data


def damage(cube: Path, directory: Path) -> list[str]:
    """Write cubes that cannot be searched."""
    changes: dict[str, Callable[[Any], None]] = {
        "kelvin": _key("PRIMARY", BUNIT="K"),
        "no_beam": _key("PRIMARY", BMAJ=None),
        "no_velocity": _key("PRIMARY", CTYPE3="VELOCITY"),
        "other_frame": _key("PRIMARY", RADESYS="GAPPT"),
        "no_rest": _key("PRIMARY", RESTFRQ=0.0),
        "beam_in_arcsec": _key("PRIMARY", BMAJ=36.0),
        "galactic": _key("PRIMARY", CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN"),
        "two_stokes": _four_axes(2, [None, 1]),
        "silent": _pixel("PRIMARY", lambda d: d * 0),
        "nearly_blank": _pixel("PRIMARY", _five_pixels),
    }
    _write_changed(cube, changes, directory)
    (directory / "cut.fits").write_bytes(cube.read_bytes()[:2000])
    return sorted(path.name for path in directory.iterdir())


def vary(cube: Path, directory: Path) -> list[str]:
    """Write cubes whose axes are not as those of the toy, and can be searched as well."""
    changes: dict[str, Callable[[Any], None]] = {
        "fk4": _key("PRIMARY", RADESYS="FK4", EQUINOX=1950.0),
        "optical": _key("PRIMARY", CTYPE3="VOPT"),
        "lsr": _key("PRIMARY", CTYPE3="VELO-LSR", VELREF=257, SPECSYS=None),
        "stokes_third": _four_axes(1, [1, None]),
        "stokes_last": _four_axes(1, [None, 1]),
    }
    _write_changed(cube, changes, directory)
    return sorted(changes)


def _four_axes(stokes: int, order: list[int | None]) -> Callable[[Any], None]:
    """Make a change that adds an axis of Stokes parameters, 1 in `order`; None is the spectrum."""

    def apply(hdus: Any) -> None:
        import numpy as np

        head, data = hdus[0].header, hdus[0].data
        spectrum = {k: head[f"{k}3"] for k in ("CTYPE", "CUNIT", "CRVAL", "CDELT", "CRPIX")}
        added = {"CTYPE": "STOKES", "CUNIT": "", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0}
        place = order.index(1)
        hdus[0].data = np.stack([data] * stokes, axis=1 - place)
        for axis, kind in enumerate(order, 3):
            head.update({f"{k}{axis}": v for k, v in (added if kind else spectrum).items()})

    return apply


def _write_changed(cube: Path, changes: dict[str, Callable[[Any], None]], directory: Path) -> None:
    from astropy.io import fits

    for name, change in changes.items():
        with fits.open(cube) as opened:
            hdus = fits.HDUList([hdu.copy() for hdu in opened])
            change(hdus)
            hdus.writeto(directory / f"{name}.fits")


def blank(cube: Path, share: float, output: Path) -> float:
    """Write a cube that has no values outside of a circle, as beyond a primary beam; give the share of it."""
    import numpy as np
    from astropy.io import fits

    with fits.open(cube) as hdus:
        _, height, width = hdus[0].shape
        y, x = np.mgrid[:height, :width] - (width - 1) / 2
        outside = np.pi * (x**2 + y**2) > (1 - share) * width * height
        hdus[0].data[:, outside] = np.nan
        hdus.writeto(output)
    return float(outside.mean())


def header(path: Path) -> dict[str, Any]:
    """Give the first header of a file."""
    from astropy.io import fits

    cards = fits.getheader(path)
    return {k: cards[k] for k in cards if k not in ("COMMENT", "HISTORY", "")}


def splits(config: Path) -> Iterator[str]:
    """Read ways to cut a cube, one a line; give the digest of all that comes of each."""
    base = json.loads(config.read_text())
    for line in sys.stdin:
        edges = json.loads(line)
        boxes = product(*(pairwise(edges[axis]) for axis in ("channel", "y", "x")))
        base["subcubes"] = [
            {"index": n, "x": list(x), "y": list(y), "channel": list(z)} for n, (z, y, x) in enumerate(boxes)
        ]
        yield json.dumps({"digest": _digest(base), "subcubes": len(base["subcubes"])})


def _digest(settings: dict[str, Any]) -> str:
    from esap_ska.parts import find, read_part
    from esap_ska.settings import finding_digest
    from esap_ska.sources import Least, catalogue, moments, reliable
    from esap_ska.unite import unite

    Path("split.json").write_text(json.dumps(settings))
    names = [Path(f"split_{s['index']}.fits") for s in settings["subcubes"]]
    for subcube, name in zip(settings["subcubes"], names, strict=True):
        find(Path("split.json"), subcube["index"], name)
    parts = [read_part(name) for name in names]
    signal = reliable(unite(parts, finding_digest(settings)), Least(20, 4, 2))
    columns, maps = catalogue(signal, parts[0].geometry), moments(signal, parts[0].geometry)
    digest = hashlib.sha256(repr([list(c) for c in columns.values()]).encode())
    for values in maps.values():
        digest.update(values.tobytes())
    return digest.hexdigest()


def main() -> None:
    """Run the helper that the command line names."""
    name, *rest = sys.argv[1:]
    outcome: Any
    if name == "splits":
        for answer in splits(Path(rest[0])):
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()
        return
    if name == "corrupt":
        outcome = corrupt(Path(rest[0]), Path(rest[1]))
    elif name == "damage":
        outcome = damage(Path(rest[0]), Path(rest[1]))
    elif name == "vary":
        outcome = vary(Path(rest[0]), Path(rest[1]))
    elif name == "blank":
        outcome = blank(Path(rest[0]), float(rest[1]), Path(rest[2]))
    elif name == "header":
        outcome = header(Path(rest[0]))
    else:
        outcome = rows_of(Path(rest[0]).read_text())
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()
