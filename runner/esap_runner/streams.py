"""Bytes that pass by: their checksums, and their pace."""

import functools
import hashlib
import time
import zlib
from typing import Any, Callable, Optional

BLOCK = 1 << 20


class Checksums:
    """Size, Adler-32 and SHA-256 of what passes by."""

    def __init__(self) -> None:
        self.size = 0
        self._adler = 1
        self._sha256 = hashlib.sha256()

    @property
    def adler32(self) -> str:
        """Adler-32 as eight hex digits, as Rucio has it."""
        return f"{self._adler & 0xFFFFFFFF:08x}"

    @property
    def sha256(self) -> str:
        """SHA-256 as hex digits."""
        return self._sha256.hexdigest()

    def update(self, block: bytes) -> None:
        """Take the next block."""
        self.size += len(block)
        self._adler = zlib.adler32(block, self._adler)
        self._sha256.update(block)

    def equal(self, size: int, adler32: str) -> bool:
        """True when size and Adler-32 are these."""
        return self.size == size and self.adler32 == adler32.lower()


class Pace:
    """Holds moves of files to so many bytes a second; None lets them go as they can."""

    def __init__(
        self,
        bytes_per_s: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.due = 0.0
        self._clock, self._sleep = clock, sleep

    @property
    def block(self) -> int:
        """Give how much to move at a time, so that the pace is even."""
        return BLOCK if self.bytes_per_s is None else max(1, min(BLOCK, int(self.bytes_per_s / 4)))

    def take(self, size: int) -> None:
        """Wait until so many bytes more may have been moved."""
        if self.bytes_per_s is None:
            return
        self.due = max(self.due, self._clock()) + size / self.bytes_per_s
        self._sleep(max(0.0, self.due - self._clock()))


PACE = Pace()  # of this job's transfers, set from the batch


class Paced:
    """A file that is read at the pace of transfers; `moved` is told of every block."""

    def __init__(self, stream: Any, moved: Optional[Callable[[int], None]] = None) -> None:
        self._stream, self._moved = stream, moved

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes."""
        block: bytes = self._stream.read(PACE.block if size < 0 else min(size, PACE.block))
        PACE.take(len(block))
        if self._moved is not None:
            self._moved(len(block))
        return block


def copy_stream(source: Any, target: Any, sums: Optional[Checksums] = None) -> Checksums:
    """Copy a stream block by block, and give its checksums; `target` None only reads."""
    sums = sums or Checksums()
    for block in iter(functools.partial(source.read, BLOCK), b""):
        sums.update(block)
        if target is not None:
            target.write(block)
    return sums


def checksums_of(path: str) -> Checksums:
    """Give the checksums of a file."""
    with open(path, "rb") as stream:
        return copy_stream(stream, None)
