"""Payload of the reprocessing with ctapipe. Its raw data come from a toy and say so."""

__version__ = "0.1.0"
CREATOR = f"esap-ctapipe {__version__}"
