"""How far the moves of a job's files are, told in a small file for as long as they last."""

import contextlib
import os
import time
from typing import Callable, Iterator, List

from .logs import say

TELL_S = 5.0  # at least, between two times that it is told
FETCHING, STORING = "fetching inputs", "storing outputs"


class Stage:
    """Says what is moved: `fetching inputs: 1 of 3 files, 1200000 of 4000000 bytes`.

    The file is there whole or not at all. A job never fails for it: what cannot be told is logged once.
    """

    def __init__(self, path: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._what, self._due, self._works = "", 0.0, True
        self._files = self._of_files = 0
        self._whole = self._bytes = self._of_bytes = 0

    @contextlib.contextmanager
    def told(self, what: str, sizes: List[int]) -> Iterator[None]:
        """Tell of a stage that moves files of such sizes (bytes); when it is over, nothing is told."""
        self._what, self._files, self._of_files = what, 0, len(sizes)
        self._whole, self._bytes, self._of_bytes = 0, 0, sum(sizes)
        if sizes:
            self._tell()
        try:
            yield
        finally:
            self._what = ""
            with contextlib.suppress(OSError):  # it is not there, or cannot be reached any more
                os.unlink(self.path)

    def begin_file(self, there: int = 0) -> None:
        """Begin a file, or begin it again; so many bytes of it are there."""
        self._bytes = self._whole + there

    def moved(self, size: int) -> None:
        """Count bytes that were moved, and tell when that is due."""
        self._bytes += size
        if self._clock() >= self._due:
            self._tell()

    def end_file(self, size: int) -> None:
        """Count a file that is where it belongs."""
        self._files += 1
        self._whole += size
        self._bytes = self._whole
        self.moved(0)

    def _tell(self) -> None:
        self._due = self._clock() + TELL_S
        if not (self.path and self._what and self._works):
            return
        files, size = f"{self._files} of {self._of_files} files", f"{self._bytes} of {self._of_bytes} bytes"
        try:
            with open(self.path + ".part", "w", encoding="ascii") as stream:
                stream.write(f"{self._what}: {files}, {size}")
            os.rename(self.path + ".part", self.path)
        except OSError as error:
            say(f"how far it is cannot be told: {error}")
            self._works = False


STAGE = Stage()  # of this job, its path set from the command line
