"""What tests of DL0 to DL3 do with FITS files, in the environment that has astropy; run by `dl3_helper`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def rewritten(source: Path, target: Path, change: Callable[[Any], None], checksum: bool | str = True) -> None:
    """Write a copy with a change and right checksums."""
    from astropy.io import fits

    with fits.open(source) as hdus:
        copy = fits.HDUList([hdu.copy() for hdu in hdus])
    change(copy)
    copy.writeto(target, overwrite=True, checksum=checksum)


def corrupt_dl3(source: Path, directory: Path) -> list[str]:
    """Write files that are wrong in one way each; give their names."""
    import gzip

    plain = gzip.decompress(source.read_bytes())
    (directory / "truncated.fits").write_bytes(plain[: len(plain) - 3000])
    flipped = bytearray(plain)
    flipped[len(plain) // 2] ^= 4
    (directory / "bit_flip.fits").write_bytes(flipped)
    (directory / "cut.fits.gz").write_bytes(source.read_bytes()[:-500])
    for name, change in DL3_CHANGES.items():
        rewritten(source, directory / f"{name}.fits", change)
    rewritten(source, directory / "untouched.fits", lambda _hdus: None)
    rewritten(source, directory / "no_checksum.fits", lambda _hdus: None, checksum="remove")
    return sorted(path.name for path in directory.iterdir())


def reports(directory: Path, *command: str) -> dict[str, dict[str, Any]]:
    """Validate all FITS files of a directory in one process; give exit code and report of each."""
    import io
    from contextlib import redirect_stdout

    from esap_fits.cli import main as esap_fits

    found = {}
    for path in sorted(directory.glob("*.fits*")):
        with redirect_stdout(io.StringIO()) as said:
            code = esap_fits([command[0], str(path), *command[1:]])
        found[path.name.split(".")[0]] = {"code": code, "document": json.loads(said.getvalue())}
    return found


def _column(hdu: str, name: str, row: int, value: float) -> Callable[[Any], None]:
    def change(hdus: Any) -> None:
        hdus[hdu].data[name][row] = value

    return change


def _header(hdu: str, key: str, value: Any) -> Callable[[Any], None]:
    def change(hdus: Any) -> None:
        if value is None:
            del hdus[hdu].header[key]
        else:
            hdus[hdu].header[key] = value

    return change


def _split_gti(starts: list[float], stops: list[float]) -> Callable[[Any], None]:
    """Give the GTI other intervals, in parts of the right one."""

    def change(hdus: Any) -> None:
        from astropy.io import fits

        first, last = hdus["GTI"].data["START"][0], hdus["GTI"].data["STOP"][-1]
        columns = [
            fits.Column(name, "D", "s", array=[first + part * (last - first) for part in parts])
            for name, parts in (("START", starts), ("STOP", stops))
        ]
        table = fits.BinTableHDU.from_columns(columns, header=hdus["GTI"].header, name="GTI")
        hdus[2] = table

    return change


def _without_gti(hdus: Any) -> None:
    del hdus["GTI"]


def _without_rows(hdus: Any) -> None:
    hdus["EVENTS"].data = hdus["EVENTS"].data[:0]


def _unit(hdus: Any) -> None:
    hdus["EVENTS"].columns["ENERGY"].unit = "s"


def _renamed(hdus: Any) -> None:
    hdus["EVENTS"].columns["ENERGY"].name = "ENRGY"


DL3_CHANGES: dict[str, Callable[[Any], None]] = {
    "wrong_unit": _unit,
    "no_energy": _renamed,
    "time_outside_gti": _split_gti([0.0, 0.6], [0.5, 1.0]),
    "gti_unsorted": _split_gti([0.5, 0.0], [1.0, 0.5]),
    "gti_overlaps": _split_gti([0.0, 0.4], [0.5, 1.0]),
    "gti_negative": _split_gti([0.5], [0.1]),
    "gti_too_long": _split_gti([0.0], [1.5]),
    "no_gti": _without_gti,
    "no_events": _without_rows,
    "time_before_start": _column("EVENTS", "TIME", 3, 1.0),
    "negative_energy": _column("EVENTS", "ENERGY", 5, -0.5),
    "energy_nan": _column("EVENTS", "ENERGY", 5, float("nan")),
    "declination_100": _column("EVENTS", "DEC", 2, 100.0),
    "far_from_pointing": _column("EVENTS", "RA", 2, 200.0),
    "doubled_event": _column("EVENTS", "EVENT_ID", 1, 1),
    "livetime_too_long": _header("EVENTS", "LIVETIME", 5000.0),
    "ontime_not_gti": _header("EVENTS", "ONTIME", 1250.0),
    "deadc_zero": _header("EVENTS", "DEADC", 0.0),
    "no_obs_id": _header("EVENTS", "OBS_ID", None),
    "obs_id_text": _header("EVENTS", "OBS_ID", "123"),
    "other_obs_id": _header("EVENTS", "OBS_ID", 124),
    "other_pointing": _header("EVENTS", "DEC_PNT", 21.5145),
    "no_clock": _header("EVENTS", "MJDREFI", None),
    "wrong_class": _header("EVENTS", "HDUCLAS1", "RESPONSE"),
    "wrong_version": _header("EVENTS", "HDUVERS", "1.0"),
    "stop_before_start": _header("EVENTS", "TSTOP", 0.0),
}


def corrupt_indices(source: Path, directory: Path) -> list[str]:
    """Write index tables that are wrong in one way each beside a DL3 file; give their names."""
    from shutil import copyfile

    for path in source.glob("dl3_*.fits.gz"):
        copyfile(path, directory / path.name)
    for name, (table, change) in INDEX_CHANGES.items():
        kind = "obs" if table == "OBS_INDEX" else "hdu"
        rewritten(source / f"{kind}-index.fits.gz", directory / f"{name}.fits", change)
    return sorted(path.name for path in directory.iterdir())


def _index(table: str, name: str, value: Any) -> tuple[str, Callable[[Any], None]]:
    return table, _column(table, name, 0, value)


INDEX_CHANGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "obs_untouched": ("OBS_INDEX", lambda _hdus: None),
    "hdu_untouched": ("HDU_INDEX", lambda _hdus: None),
    "missing_file": _index("HDU_INDEX", "FILE_NAME", "dl3_000999.fits.gz"),
    "missing_hdu": _index("HDU_INDEX", "HDU_NAME", "EVENTZ"),
    "other_obs_id": _index("HDU_INDEX", "OBS_ID", 124),
    "other_size": _index("HDU_INDEX", "SIZE", 17),
    "unknown_type": _index("HDU_INDEX", "HDU_TYPE", "evnts"),
    "absolute": _index("HDU_INDEX", "FILE_DIR", "/"),
    "other_pointing": _index("OBS_INDEX", "RA_PNT", 90.0),
    "other_livetime": _index("OBS_INDEX", "LIVETIME", 3.0),
    "ends_before_start": _index("OBS_INDEX", "TSTOP", 0.0),
    "wrong_class": ("OBS_INDEX", _header("OBS_INDEX", "HDUCLAS2", "HDU")),
}


def change_raw(source: Path, target: Path, key: str, value: Any) -> None:
    """Write a raw file with another header value."""
    rewritten(source, target, _header("TRIGGERS", key, value))


def table(path: Path, hdu: str, *names: str) -> dict[str, list[Any]]:
    """Give columns of a table."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        return {name: hdus[hdu].data[name].tolist() for name in names}


def header(path: Path, hdu: str) -> dict[str, Any]:
    """Give the header of an HDU."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        return {k: v for k, v in hdus[hdu].header.items() if k not in ("COMMENT", "HISTORY")}


def planes() -> dict[str, float]:
    """Compare our tangent plane and our clock with astropy's; give the largest differences in deg and s."""
    import astropy.units as u
    import numpy as np
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from esap_fits import sky

    rng = np.random.default_rng(1)
    off, back = 0.0, 0.0
    for ra, dec in ((83.6, 22.0), (359.9, -60.0), (0.1, 89.0), (180.0, 0.0)):
        pointing = SkyCoord(ra, dec, unit="deg")
        angle, radius = rng.uniform(0, 360, 100), rng.uniform(0, 5, 100)
        there = pointing.directional_offset_by(angle * u.deg, radius * u.deg)
        plane = np.degrees(np.tan(np.radians(radius)))
        east, north = plane * np.sin(np.radians(angle)), plane * np.cos(np.radians(angle))
        ours = SkyCoord(*sky.from_plane(east, north, ra, dec), unit="deg")
        off = max(off, float(ours.separation(there).deg.max()))
        east_again, north_again = sky.to_plane(there.ra.deg, there.dec.deg, ra, dec)
        back = max(back, float(np.hypot(east_again - east, north_again - north).max()))
        ours_off = sky.separation(ra, dec, float(there.ra.deg[0]), float(there.dec.deg[0]))
        off = max(off, abs(ours_off - float(radius[0])))
    clock = sky.seconds("2026-11-05T22:00:00.250")
    theirs = (Time("2026-11-05T22:00:00.250").tt - Time("2000-01-01T12:00:00", scale="tt")).sec
    return {"off": off, "back": back, "clock": abs(clock - theirs), "year": float(sky.utc(clock)[:4])}


def main() -> None:
    """Run the helper that the command line names; JSON on standard output."""
    name, *rest = sys.argv[1:]
    outcomes: dict[str, Callable[..., Any]] = {
        "corrupt_dl3": lambda source, target: corrupt_dl3(Path(source), Path(target)),
        "corrupt_indices": lambda source, target: corrupt_indices(Path(source), Path(target)),
        "reports": lambda directory, *command: reports(Path(directory), *command),
        "change_raw": lambda s, t, key, value: change_raw(Path(s), Path(t), key, json.loads(value)),
        "table": lambda path, hdu, *names: table(Path(path), hdu, *names),
        "header": lambda path, hdu: header(Path(path), hdu),
        "planes": planes,
    }
    sys.stdout.write(json.dumps(outcomes[name](*rest)))


if __name__ == "__main__":
    main()
