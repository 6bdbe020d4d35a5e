"""Histogram the mass of K0s candidates above a transverse momentum (toy data).

Started as: python script.py --config parameters.json --output OUTPUT INPUT...
"""

import argparse
import json
from pathlib import Path

import numpy as np
import uproot

parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path)
parser.add_argument("--output")
parser.add_argument("inputs", nargs="+")
options = parser.parse_args()
parameters = json.loads(options.config.read_text())
pt_min = parameters.get("pt_min_gev", 0.2)

with uproot.recreate(options.output) as output:
    output.mktree("candidates", {"run": "i4", "mass": "f8", "pt": "f8"})
    counts, edges = np.zeros(120), np.linspace(0.44, 0.56, 121)  # GeV
    for part in uproot.iterate([f"{name}:candidates" for name in options.inputs], library="np"):
        kept = part["pt"] > pt_min
        near = kept & (part["mass"] > edges[0]) & (part["mass"] < edges[-1])
        counts += np.histogram(part["mass"][kept], bins=edges)[0]
        output["candidates"].extend({name: column[near] for name, column in part.items()})
    output["mass"] = counts, edges
print(f"{counts.sum():.0f} candidates with pt above {pt_min} GeV from {len(options.inputs)} files")
