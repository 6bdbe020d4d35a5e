"""Payload of the reprocessing with ctapipe. Its raw data come from a toy and say so."""

__version__ = "0.2.0"
CREATOR = f"esap-ctapipe {__version__}"
