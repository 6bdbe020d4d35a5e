"""Payload of the HI cube analysis."""

from __future__ import annotations

__version__ = "0.2.0"
CREATOR = f"esap-ska {__version__}"
NOTE = "TOY DATA without physical meaning"
