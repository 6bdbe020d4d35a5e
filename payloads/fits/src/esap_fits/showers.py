"""Sums up particle files of CORSIKA 7: numbers as JSON, and a picture of what arrives at the ground."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from .detector import Floats
from .reading import PayloadError

mpl.use("Agg")
LOG = logging.getLogger(__name__)
SUMMARY_SCHEMA = 1
BLOCKS, WORDS, THINNED_WORDS = 21, 273, 312
RECORDS = {BLOCKS * words * 4: words for words in (WORDS, THINNED_WORDS)}  # bytes: words of a sub-block
TAGS = (b"RUNH", b"EVTH", b"LONG", b"EVTE", b"RUNE")
# By CORSIKA's particle codes. Additional information on muons (75, 76) is no particle.
KINDS = {"photons": (1,), "electrons": (2, 3), "muons": (5, 6), "hadrons": tuple(range(7, 66))}
CM_PER_M, LONGEST_M, RADIAL_BINS, ENERGY_BINS = 100.0, 1500.0, 30, 25
EDGES_M = np.geomspace(5.0, LONGEST_M, RADIAL_BINS + 1)
SIZE, DPI = (12.5, 5.2), 110


@dataclass
class Showers:
    """Primaries' energies in GeV, and per kind of particle what arrives at the first observation level.

    `counts` are numbers of particles, thinned ones by their weight, `profile` the same in bins of the
    distance from the core (`EDGES_M`): what is kept does not grow with the number of particles.
    """

    energies: array[float] = field(default_factory=lambda: array("d"))
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    profile: dict[str, Floats] = field(default_factory=lambda: {k: np.zeros(RADIAL_BINS) for k in KINDS})

    def add(self, other: Showers) -> None:
        """Take the showers of another run too."""
        self.energies += other.energies
        for kind in KINDS:
            self.counts[kind] += other.counts[kind]
            self.profile[kind] += other.profile[kind]


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
        "particles_at_first_level": all_showers.counts,
        "runs": runs,
        "refused": refused,
    }
    output.write_text(json.dumps(document, indent=1) + "\n")
    draw(all_showers, config, plot)


def _add_run(showers: Showers, path: Path, card: str) -> dict[str, Any]:
    one = Showers()
    run = 0.0
    with path.open("rb") as stream:
        for tags, words in read_records(stream):
            for tag, block in zip(tags, words, strict=True):
                if tag == b"RUNH":
                    run = float(block[1])
                elif tag == b"EVTH":
                    one.energies.append(float(block[3]))
            _add_particles(one, words[~np.isin(tags, TAGS)])
    if not one.energies:
        raise ValueError("it holds no shower")
    showers.add(one)
    return {"file": path.name, "run": int(run), "showers": len(one.energies), **one.counts, "card": card}


def _add_particles(showers: Showers, blocks: Floats) -> None:
    """Take the particles of sub-blocks that arrive at the first observation level."""
    rows = blocks.reshape(-1, 8 if blocks.shape[1] == THINNED_WORDS else 7)
    code, level = (rows[:, 0] // 1000).astype(int), (rows[:, 0] % 10).astype(int)
    distance = np.hypot(rows[:, 4], rows[:, 5]) / CM_PER_M
    weight = rows[:, 7] if rows.shape[1] > 7 else np.ones(len(rows))  # noqa: PLR2004 - thinned
    for kind, codes in KINDS.items():
        chosen = np.isin(code, codes) & (level <= 1)
        showers.counts[kind] += float(weight[chosen].sum())
        showers.profile[kind] += np.histogram(distance[chosen], EDGES_M, weights=weight[chosen])[0]


def read_records(stream: IO[bytes]) -> Iterator[tuple[NDArray[np.bytes_], Floats]]:
    """Give the first four bytes and the words of the sub-blocks of each record.

    ValueError where the file is not made of whole records.
    """
    at = 0
    while head := stream.read(4):
        size = int.from_bytes(head, "little")
        raw = stream.read(size + 4) if size in RECORDS else b""
        if len(raw) != size + 4 or raw[size:] != head:
            raise ValueError(f"no whole record at byte {at}")
        blocks = np.frombuffer(raw, "<f4", size // 4).reshape(BLOCKS, RECORDS[size])
        tags = np.frombuffer(raw, "S4", size // 4)[:: RECORDS[size]]
        yield tags, blocks.astype(float)
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
    area = np.pi * np.diff(EDGES_M**2) * len(showers.energies)
    colours = dict(zip(KINDS, ("#4477aa", "#66ccee", "#ee6677", "#228833"), strict=True))
    for kind, colour in colours.items():
        density = showers.profile[kind] / area
        if density.any():
            shown = np.where(density > 0, density, np.nan)
            axes.stairs(
                shown, EDGES_M, color=colour, linewidth=1.8, label=f"{kind} ({showers.counts[kind]:,.0f})"
            )
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
