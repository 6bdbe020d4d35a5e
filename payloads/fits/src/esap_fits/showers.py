"""Sums up particle files of CORSIKA 7: numbers as JSON, and a picture of what arrives at the ground."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from .detector import Floats
from .reading import PayloadError

mpl.use("Agg")
LOG = logging.getLogger(__name__)
SUMMARY_SCHEMA = 1
BLOCKS, WORDS, THINNED_WORDS = 21, 273, 312
TAGS = (b"RUNH", b"EVTH", b"LONG", b"EVTE", b"RUNE")
# By CORSIKA's particle codes. Additional information on muons (75, 76) is no particle.
KINDS = {"photons": (1,), "electrons": (2, 3), "muons": (5, 6), "hadrons": tuple(range(7, 66))}
CM_PER_M, LONGEST_M, RADIAL_BINS, ENERGY_BINS = 100.0, 1500.0, 30, 25
SIZE, DPI = (12.5, 5.2), 110


@dataclass
class Showers:
    """Primaries' energies in GeV, and per kind of particle the distances from the core in m with weights."""

    energies: list[float] = field(default_factory=list)
    distances: dict[str, list[Floats]] = field(default_factory=lambda: {k: [] for k in KINDS})
    weights: dict[str, list[Floats]] = field(default_factory=lambda: {k: [] for k in KINDS})

    def count(self, kind: str) -> float:
        """Number of particles of a kind at the first observation level, thinned ones by their weight."""
        return float(sum(w.sum() for w in self.weights[kind]))


def summarise(config_path: Path, output: Path, plot: Path) -> None:
    """Write summary and picture of the files of a configuration.

    A file that cannot be read is named in the summary and left out: whether that matters is for the
    validator to say.
    """
    config = json.loads(config_path.read_text())
    all_showers, runs, refused = Showers(), [], []
    for name in config["files"]:
        try:
            runs.append(_add_run(all_showers, Path(name), config["cards"][name]))
        except (OSError, ValueError) as error:
            LOG.warning("%s cannot be read: %s", name, error)
            refused.append({"file": name, "reason": str(error)})
    if not runs:
        raise PayloadError(f"none of {len(config['files'])} files can be read")
    document = {
        "schema": SUMMARY_SCHEMA,
        "toy": "the showers are a TOY without physical meaning",
        "production_id": config["production_id"],
        "configuration": config["configuration"],
        "showers": len(all_showers.energies),
        "particles_at_first_level": {kind: all_showers.count(kind) for kind in KINDS},
        "runs": runs,
        "refused": refused,
    }
    output.write_text(json.dumps(document, indent=1) + "\n")
    draw(all_showers, config, plot)


def _add_run(showers: Showers, path: Path, card: str) -> dict[str, Any]:
    one = Showers()
    run = 0.0
    for tag, words in read_blocks(path.read_bytes()):
        if tag == "RUNH":
            run = float(words[1])
        elif tag == "EVTH":
            one.energies.append(float(words[3]))
        elif not tag:
            _add_particles(one, words)
    if not one.energies:
        raise ValueError("it holds no shower")
    showers.energies += one.energies
    for kind in KINDS:
        showers.distances[kind] += one.distances[kind]
        showers.weights[kind] += one.weights[kind]
    counts = {kind: one.count(kind) for kind in KINDS}
    return {"file": path.name, "run": int(run), "showers": len(one.energies), **counts, "card": card}


def _add_particles(showers: Showers, words: Floats) -> None:
    """Take the particles of one sub-block that arrive at the first observation level."""
    rows = words.reshape(-1, 8 if len(words) == THINNED_WORDS else 7)
    code, level = (rows[:, 0] // 1000).astype(int), (rows[:, 0] % 10).astype(int)
    distance = np.hypot(rows[:, 4], rows[:, 5]) / CM_PER_M
    weight = rows[:, 7] if rows.shape[1] > 7 else np.ones(len(rows))  # noqa: PLR2004 - thinned
    for kind, codes in KINDS.items():
        chosen = np.isin(code, codes) & (level <= 1)
        showers.distances[kind].append(distance[chosen])
        showers.weights[kind].append(weight[chosen])


def read_blocks(raw: bytes) -> Iterator[tuple[str, Floats]]:
    """Give tag and words of every sub-block; ValueError where the file is not made of whole records."""
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        if size not in (BLOCKS * WORDS * 4, BLOCKS * THINNED_WORDS * 4) or at + 8 + size > len(raw):
            raise ValueError(f"no whole record at byte {at} of {len(raw)}")
        step = size // BLOCKS
        for place in range(at + 4, at + 4 + size, step):
            tag = raw[place : place + 4]
            words = np.frombuffer(raw, "<f4", step // 4, place).astype(float)
            yield (tag.decode() if tag in TAGS else ""), words
        at += size + 8


def draw(showers: Showers, config: Mapping[str, Any], path: Path) -> None:
    """Draw how dense particles are around the core, and the primaries' energies."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE, dpi=DPI, layout="constrained")
    title = f"{len(showers.energies)} air showers ({config['configuration']}) — toy simulation"
    figure.suptitle(title, fontsize=13)
    _draw_density(left, showers)
    _draw_energies(right, np.array(showers.energies))
    figure.savefig(path, format="png", metadata={"Software": None})
    plt.close(figure)


def _draw_density(axes: Any, showers: Showers) -> None:
    edges = np.geomspace(5.0, LONGEST_M, RADIAL_BINS + 1)
    area = np.pi * np.diff(edges**2) * len(showers.energies)
    colours = dict(zip(KINDS, ("#4477aa", "#66ccee", "#ee6677", "#228833"), strict=True))
    for kind, colour in colours.items():
        distances = np.concatenate([np.zeros(0), *showers.distances[kind]])
        weights = np.concatenate([np.zeros(0), *showers.weights[kind]])
        density = np.histogram(distances, edges, weights=weights)[0] / area
        if density.any():
            shown = np.where(density > 0, density, np.nan)
            axes.stairs(shown, edges, color=colour, linewidth=1.8, label=f"{kind} ({weights.sum():,.0f})")
    axes.set(xscale="log", yscale="log", xlabel="distance from the core (m)")
    axes.set(ylabel="particles per shower and m²", title="Lateral distribution at the first level")
    axes.grid(alpha=0.25)
    if axes.has_data():
        axes.legend(frameon=False)


def _draw_energies(axes: Any, energies: Floats) -> None:
    low, high = energies.min() / 1.05, energies.max() * 1.05
    axes.hist(energies, np.geomspace(low, high, ENERGY_BINS + 1), color="#4477aa")
    axes.set(xscale="log", xlabel="energy of the primary (GeV)", ylabel="showers", title="Primaries")
    axes.grid(alpha=0.25)
