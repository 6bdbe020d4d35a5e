"""Payload of the analysis with gammapy; its results have the form of esap-fits' own."""

from gammapy import __version__ as gammapy_version

__version__ = "0.2.0"
CREATOR = f"esap-gammapy {__version__}, gammapy {gammapy_version}"
