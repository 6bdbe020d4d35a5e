"""The catalogue as a VOTable: columns with units and UCDs, and the frames of positions and velocities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astropy import units as u
from astropy.io.votable.tree import CooSys, Info, Param, VOTableFile
from astropy.table import Column, Table

from . import CREATOR, NOTE
from .geometry import Geometry
from .sky import SYSTEM
from .sources import COLUMNS

SKY, PLACE = "sky", ("ra", "dec")  # ID of the frame, and the columns that are in it
UNKNOWN = "UNKNOWN"
FRAMES = ("specsys", "restfrq")  # parameters of the velocities


def write_catalogue(columns: Mapping[str, Any], geometry: Geometry, production: str, path: Path) -> None:
    """Write the columns of `COLUMNS`, only ever complete."""
    table = Table()
    for name, (unit, _, description) in COLUMNS.items():
        kind = {"dtype": "U30"} if name == "name" else {}
        table[name] = Column(
            columns[name], unit=u.Unit(unit) if unit else None, description=description, **kind
        )
    document = VOTableFile.from_table(table)
    document.resources[0].coordinate_systems.append(CooSys(ID=SKY, system=SYSTEM))
    element = document.get_first_table()
    for field in element.fields:
        field.ucd = COLUMNS[str(field.name)][1]
        if field.name in PLACE:
            field.ref = SKY
    element.params.extend(_spectral_frame(document, geometry))
    element.description = f"HI sources of {geometry.target}. {NOTE}"
    told = {"creator": CREATOR, "production": production, "target": geometry.target}
    document.resources[0].infos.extend(Info(name=k, value=v) for k, v in told.items())
    part = path.with_name(f"{path.name}.part")
    document.to_xml(str(part), tabledata_format="tabledata")
    part.replace(path)


def _spectral_frame(document: VOTableFile, geometry: Geometry) -> list[Param]:
    """Say in which frame velocities are, and of which frequency: keywords of FITS, of the same meaning."""
    cards = geometry.cards
    frame = Param(
        document, name="specsys", datatype="char", arraysize="*", value=cards.get("SPECSYS", UNKNOWN)
    )
    frame.description = "standard of rest of the velocities, as SPECSYS of FITS"
    rest = Param(document, name="restfrq", datatype="double", unit="Hz", value=cards["RESTFRQ"])
    rest.ucd, rest.description = "em.freq", "frequency at rest that the velocities are of"
    return [frame, rest]
