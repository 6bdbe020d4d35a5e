"""How far running jobs are with the files that their runners move."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from operator import add

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
KB = 1000
# As runner/esap_runner/stages.py writes it.
_LINE = re.compile(r"^([a-z ]+): ([0-9]+) of ([0-9]+) files, ([0-9]+) of ([0-9]+) bytes$")


@dataclass(frozen=True)
class Moves:
    """What jobs of one stage move: numbers of jobs and files, sizes in bytes."""

    jobs: int = 0
    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0

    def __add__(self, other: Moves) -> Moves:
        return Moves(*map(add, astuple(self), astuple(other)))

    def times(self, jobs: int) -> Moves:
        """Give the same for so many times as many jobs."""
        return Moves(*(n * jobs for n in astuple(self)))

    def words(self, stage: str) -> str:
        """Say it in a few words: `1 fetching inputs: 1.2 of 4.0 GB`."""
        power, whole = 0, float(self.of_bytes)
        while whole >= KB and power < len(UNITS) - 1:
            power, whole = power + 1, whole / KB
        digits = 1 if power else 0
        part = self.bytes / KB**power
        return f"{self.jobs} {stage}: {part:.{digits}f} of {whole:.{digits}f} {UNITS[power]}"


def parse_stage(text: str) -> tuple[str, Moves] | None:
    """Read what the runner of one job says; None for anything else."""
    match = _LINE.match(text)
    return (match[1], Moves(1, *map(int, match.groups()[1:]))) if match else None
