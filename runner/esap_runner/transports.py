"""Ways to storage: a mounted file system, HTTP(S), WebDAV."""

import contextlib
import errno
import http.client
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Iterator, Optional

from .stages import STAGE
from .streams import Checksums, Paced, checksums_of, copy_stream

HTTP_TIMEOUT_S = 60.0
PARTIAL_CONTENT, NO_SUCH_RANGE = 206, 416
GONE = (401, 403, 404, 410)  # HTTP answers that trying again does not change
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class TransferError(Exception):
    """One try to move a file did not work; `final` when another cannot either.

    `corrupt` when all of it came, and it is not what it must be. `status` is what an HTTP server answered.
    """

    def __init__(self, message: str, final: bool = False, corrupt: bool = False, status: int = 0) -> None:
        super().__init__(message)
        self.final = final
        self.corrupt = corrupt
        self.status = status


def sync_directory(path: str) -> None:
    """Have a rename in a directory survive a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileTransport:
    """Storage that is mounted on the worker node."""

    @staticmethod
    def path(url: str) -> str:
        """Give the path of a file URL."""
        return urllib.parse.unquote(urllib.parse.urlsplit(url).path)

    def fetch(self, url: str, target: str) -> Checksums:
        """Copy a file here."""
        try:
            with open(self.path(url), "rb") as source, open(target, "wb") as stream:
                return copy_stream(Paced(source, STAGE.moved), stream)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise TransferError(
                str(error), final=error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR)
            ) from error

    def standing(self, url: str) -> Optional[Checksums]:
        """Give the checksums of what lies there already, None when nothing does."""
        path = self.path(url)
        return checksums_of(path) if os.path.isfile(path) else None

    def store(self, source: str, url: str, sums: Checksums) -> None:
        """Copy a file there. It appears under its name only when it is complete and on disk."""
        path = self.path(url)
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(folder, f".{name}~{socket.gethostname()}-{os.getpid()}.part")
        try:
            with open(source, "rb") as stream, open(part, "wb") as target:
                written = copy_stream(Paced(stream, STAGE.moved), target)
                target.flush()
                os.fsync(target.fileno())
            if not written.equal(sums.size, sums.adler32):
                raise TransferError(f"{source} changed while it was uploaded", final=True)
            os.rename(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        sync_directory(folder)
        self.remove_parts(folder, name)

    @staticmethod
    def remove_parts(folder: str, name: str) -> None:
        """Remove what killed attempts to store the same file have left (a living one tries again)."""
        for other in os.listdir(folder):
            if other.startswith("." + name + "~") and other.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, other))


class HttpTransport:
    """Storage behind HTTP(S), or WebDAV."""

    @staticmethod
    @contextlib.contextmanager
    def request(
        url: str, method: str = "GET", body: Any = None, size: int = 0, start: int = 0
    ) -> Iterator[Any]:
        """Make one request; TransferError names the answer that is no success."""
        headers = {"Content-Length": str(size)} if body is not None else {}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310
                yield response
        except urllib.error.HTTPError as error:
            message = f"{method} {url} answered {error.code} {error.reason}"
            raise TransferError(message, final=error.code in GONE, status=error.code) from error
        except (urllib.error.URLError, http.client.HTTPException, socket.timeout, ConnectionError) as error:
            raise TransferError(f"{method} {url}: {error}") from error

    def fetch(self, url: str, target: str) -> Checksums:
        """Download a file here, or the rest of it where a part of it lies."""
        start = os.path.getsize(target) if os.path.exists(target) else 0
        try:
            with self.request(url, start=start) as response:
                go_on = start > 0 and response.status == PARTIAL_CONTENT
                sums = checksums_of(target) if go_on else Checksums()
                with open(target, "ab" if go_on else "wb") as stream:
                    STAGE.begin_file(sums.size)
                    copy_stream(Paced(response, STAGE.moved), stream, sums)
                if response.length:  # http.client takes a cut connection for the end
                    raise TransferError(f"GET {url} was cut off, {response.length} bytes before its end")
                return sums
        except TransferError as error:
            if error.status == NO_SUCH_RANGE:
                os.unlink(target)
            raise

    def standing(self, url: str) -> Optional[Checksums]:
        """Give the checksums of what lies there already, None when nothing does."""
        try:
            with self.request(url) as response:
                return copy_stream(Paced(response), None)
        except TransferError as error:
            if error.final:
                return None
            raise

    def store(self, source: str, url: str, sums: Checksums) -> None:
        """Upload a file with one PUT, which a server makes visible when it is complete."""
        with open(source, "rb") as stream, self.request(url, "PUT", Paced(stream, STAGE.moved), sums.size):
            pass


TRANSPORTS: Dict[str, Any] = {"file": FileTransport(), "http": HttpTransport(), "https": HttpTransport()}


def transport_of(url: str) -> Any:
    """Give what moves files to and from an URL."""
    return TRANSPORTS[urllib.parse.urlsplit(url).scheme]
