"""Payload for ROOT files. Its reports and the reading of its configurations are those of esap-fits."""

__version__ = "0.2.0"
CREATOR = f"esap-root {__version__}"
