"""Inputs and outputs, moved and checked until they are where they belong."""

import contextlib
import os
import time
from typing import Any, Callable

from .logs import say
from .reasons import JobError, Json
from .stages import STAGE
from .streams import Checksums
from .transports import DISK_FULL, TransferError, transport_of

RETRY_DELAYS_S = tuple(float(s) for s in os.environ.get("ESAP_RETRY_DELAYS_S", "1,4,10").split(","))


def persist(action: Callable[[], Any], what: str) -> Any:
    """Try something until it works, at most once more for each of `RETRY_DELAYS_S`."""
    for delay in (*RETRY_DELAYS_S, None):
        try:
            return action()
        except (TransferError, OSError) as error:
            final = getattr(error, "final", False) or getattr(error, "errno", None) in DISK_FULL
            if final or delay is None:
                raise
            say(f"{what}: {error}; next try in {delay:g} s")
            time.sleep(delay)
    raise AssertionError("unreachable")


def fetch_input(one: Json) -> None:
    """Fetch an input and compare it with what it must be; JobError when that does not work or it differs."""

    def fetch() -> None:
        STAGE.begin_file()
        sums = transport_of(one["pfn"]).fetch(one["pfn"], one["name"])
        if not sums.equal(one["size"], one["adler32"]):
            os.unlink(one["name"])
            message = "it has {} bytes and adler32 {}, must have {} bytes and {}"
            raise TransferError(
                message.format(sums.size, sums.adler32, one["size"], one["adler32"]), corrupt=True
            )
        os.chmod(one["name"], 0o444)

    what = "input {} ({})".format(one["name"], one["pfn"])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(one["name"])
    try:
        persist(fetch, what)
    except TransferError as error:
        reason = "INPUT_CORRUPT" if error.corrupt else "INPUT_MISSING" if error.final else "INPUT_UNREACHABLE"
        raise JobError(reason, f"{what}: {error}") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise JobError("INPUT_UNREACHABLE", f"{what}: {error}") from error


def upload_output(one: Json, sums: Checksums) -> None:
    """Upload an output, or adopt an equal file that lies there already; JobError when neither works."""

    def upload() -> str:
        STAGE.begin_file()
        transport = transport_of(one["pfn"])
        standing = transport.standing(one["pfn"])
        if standing is not None and standing.equal(sums.size, sums.adler32):
            return "adopted, an equal file was there"
        transport.store(one["name"], one["pfn"], sums)
        return "uploaded" if standing is None else "replaced another file"

    what = "output {} to {}".format(one["name"], one["pfn"])
    try:
        say(f"{what}: {persist(upload, what)}")
    except (TransferError, OSError) as error:
        raise JobError("UPLOAD_FAILED", f"{what}: {error}") from error
