"""The schema of UWS 1.1, as the IVOA publishes it (UWS-v1.1.xsd of 2016-10-24, here from Debian's STILTS)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

DATA = Path(__file__).parent / "data" / "uws"
NAMES = {"uws": "http://www.ivoa.net/xml/UWS/v1.0", "xlink": "http://www.w3.org/1999/xlink"}
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
HREF = "{http://www.w3.org/1999/xlink}href"


class _Local(etree.Resolver):
    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:
        return self.resolve_filename(str(DATA / system_url.rsplit("/", 1)[-1]), context)


@cache
def schema() -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local())
    return etree.XMLSchema(etree.parse(DATA / "UWS-v1.1.xsd", parser))


def parsed(document: bytes) -> Any:
    """Parse a document that has to be valid."""
    root = etree.fromstring(document)
    schema().assertValid(root)
    return root


def said(root: Any, name: str) -> str | None:
    """Give the text of an element of UWS, None for one that is nil; it has to be there once."""
    (found,) = root.findall(f"uws:{name}", NAMES)
    return None if found.get(NIL) == "true" else found.text or ""
