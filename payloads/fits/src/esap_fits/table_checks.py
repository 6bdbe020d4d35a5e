"""Checks that tables of every kind share: HDUs that have to be there, their classes, columns and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from .detector import Floats
from .report import Report
from .units import scale_to

VERSIONS = (["0", "2"], ["0", "3"])
Columns = Mapping[str, tuple[str, str | None]]  # name: form of FITS, unit
NUMBERS = "BIJKED"


def find_table(hdus: fits.HDUList, name: str, report: Report) -> Any:
    """Give the table of that name when there is just one; None, and the reason in the report, otherwise."""
    found = [hdu for hdu in hdus if hdu.name == name and isinstance(hdu, fits.BinTableHDU)]
    report.add(
        "file.hdus",
        name,
        len(found) == 1,
        value=len(found),
        allowed="1",
        message=f"{len(found)} tables are named {name}",
    )
    return found[0] if len(found) == 1 else None


def check_classes(hdu: Any, classes: Sequence[str], report: Report) -> None:
    """Check HDUCLASS, HDUCLAS1 and so on, HDUDOC and HDUVERS against GADF."""
    wanted = {"HDUCLASS": "GADF"} | {f"HDUCLAS{n}": name for n, name in enumerate(classes, 1)}
    wrong = [
        f"{key} = {hdu.header.get(key)!r}, allowed {value!r}"
        for key, value in wanted.items()
        if str(hdu.header.get(key, "")).strip() != value
    ]
    if not str(hdu.header.get("HDUDOC", "")).strip():
        wrong.append("HDUDOC is missing")
    version = str(hdu.header.get("HDUVERS", "")).strip().lstrip("v")
    if version.split(".")[:2] not in VERSIONS:
        wrong.append(f"HDUVERS = {version!r}, allowed 0.2 or 0.3")
    report.add(
        "gadf.classes",
        hdu.name,
        not wrong,
        value="; ".join(wrong) or "as GADF has them",
        allowed=", ".join(f"{key} = {value}" for key, value in wanted.items()),
        message="; ".join(wrong),
    )


def check_keywords(hdu: Any, wanted: Mapping[str, type], report: Report) -> bool:
    """Check that keywords are there and hold what they should; gives whether they do."""
    wrong = []
    for key, kind in wanted.items():
        if key not in hdu.header:
            wrong.append(f"{key} is missing")
        elif not _is(hdu.header[key], kind):
            wrong.append(f"{key} = {hdu.header[key]!r} is no {WORDS[kind]}")
    return report.add(
        "gadf.keywords",
        hdu.name,
        not wrong,
        value="; ".join(wrong) or "all there",
        allowed=", ".join(wanted),
        message="; ".join(wrong),
    )


WORDS: Mapping[type, str] = {int: "whole number", float: "finite number", str: "text"}


def _is(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) if kind is int else bool(np.isfinite(value))


def read_columns(hdu: Any, wanted: Columns, report: Report) -> dict[str, Any] | None:
    """Give columns in the units of `wanted`; None, and the reason in the report, when that cannot be done."""
    missing = [name for name in wanted if name not in hdu.columns.names]
    wrong = [f"{name} is missing" for name in missing]
    wrong += [
        f"{name} has the form {hdu.columns[name].format}"
        for name, (form, _) in wanted.items()
        if name not in missing and not _fits_form(str(hdu.columns[name].format), form)
    ]
    report.add(
        "gadf.columns",
        hdu.name,
        not wrong,
        value="; ".join(wrong) or "all there",
        allowed=", ".join(wanted),
        message="; ".join(wrong),
    )
    if wrong:
        return None
    scales = {name: scale_to(hdu, name, unit) for name, (_, unit) in wanted.items() if unit}
    bad = [f"{n} in {hdu.columns[n].unit!r}, not in {wanted[n][1]}" for n, s in scales.items() if s is None]
    report.add(
        "gadf.units",
        hdu.name,
        not bad,
        value="; ".join(bad) or "convertible",
        allowed=", ".join(f"{name} in {unit}" for name, (_, unit) in wanted.items() if unit),
        message="; ".join(bad),
    )
    if bad:
        return None
    return {name: _values(hdu, name, scales.get(name), form) for name, (form, _) in wanted.items()}


def _fits_form(found: str, wanted: str) -> bool:
    letter = found.lstrip("0123456789")
    if wanted == "A":
        return letter == "A"
    repeat = found[: len(found) - len(letter)] or "1"
    return repeat == "1" and letter in NUMBERS


def _values(hdu: Any, name: str, scale: float | None, form: str) -> Any:
    if form == "A":
        return [str(text).strip() for text in hdu.data[name]]
    if form in "BIJK" and scale is None:
        return np.asarray(hdu.data[name])
    return np.asarray(hdu.data[name], dtype=np.float64) * (1.0 if scale is None else scale)


def count_check(report: Report, name: str, target: str, bad: Floats | Any, what: str) -> bool:
    """Note a check that no row is bad; `bad` is true for those that are."""
    count = int(np.count_nonzero(bad))
    return report.add(name, target, not count, value=count, allowed="0", message=f"{count} {what}")
