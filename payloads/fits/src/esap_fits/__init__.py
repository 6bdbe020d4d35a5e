"""Payload of the IRF production. Every number it makes comes from a toy and says so."""

__version__ = "0.2.0"
CREATOR = f"esap-fits {__version__}"
