"""Programs of ours that run at the sites: packages of `runner/`, each packed into one file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

RUNNER = "esap_runner"
BEGINNING = (1980, 1, 1, 0, 0, 0)  # of time, to a zip file
READABLE = 0o644 << 16
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "import sys\n\nfrom {}.program import main\n\nsys.exit(main())\n"


def file_name(package: str) -> str:
    """Name the file that a package is packed into."""
    return f"{package}.pyz"


def packed(folder: Path, package: str) -> bytes:
    """Pack a package of a folder into a program that Python >= 3.6 runs (zipapp).

    Equal sources give equal bytes: the standard library's own packer would put their times in.
    """
    sources = {f"{package}/{path.name}": path.read_text() for path in (folder / package).glob("*.py")}
    if not sources:
        raise FileNotFoundError(f"no package {package} in {folder}")
    content = io.BytesIO()
    content.write(SHEBANG)
    with zipfile.ZipFile(content, "w") as archive:
        for name, source in sorted({"__main__.py": MAIN.format(package), **sources}.items()):
            member = zipfile.ZipInfo(name, BEGINNING)
            member.external_attr = READABLE
            archive.writestr(member, source)
    return content.getvalue()
