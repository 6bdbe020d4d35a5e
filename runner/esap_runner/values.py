"""What the members of a description may be."""

import os
import re
import urllib.parse
from typing import Any, Callable

from .reports import RESERVED
from .transports import TRANSPORTS

SHA256 = re.compile(r"^[0-9a-f]{64}$")


def is_text(value: Any) -> bool:
    """True for a non-empty string."""
    return isinstance(value, str) and bool(value)


def is_plain_name(value: Any) -> bool:
    """True for the name of a file in the job's directory that is not one of the runner's own."""
    return is_text(value) and os.path.basename(value) == value and value not in RESERVED | {".", ".."}


def is_command(value: Any) -> bool:
    """True for a list of strings with a program in front."""
    return (
        isinstance(value, list)
        and bool(value)
        and is_text(value[0])
        and all(isinstance(v, str) for v in value)
    )


def is_limit(value: Any) -> bool:
    """True for a number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def is_texts(value: Any) -> bool:
    """True for an object of strings, as an environment is."""
    return isinstance(value, dict) and all(
        isinstance(v, str) and is_text(k) and "=" not in k for k, v in value.items()
    )


def is_address(value: Any) -> bool:
    """True for an URL that the runner can read and write."""
    if not is_text(value):
        return False
    parts = urllib.parse.urlsplit(value)
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return parts.scheme in TRANSPORTS and bool(parts.netloc)


def is_checksum(value: Any) -> bool:
    """True for eight hex digits."""
    return isinstance(value, str) and re.match(r"^[0-9a-fA-F]{8}$", value) is not None


def is_size(value: Any) -> bool:
    """True for a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_software(value: Any) -> bool:
    """True for software pinned by a name and a version that are plain names."""
    return isinstance(value, dict) and all(is_plain_name(value.get(k)) for k in ("name", "version"))


def is_count(value: Any) -> bool:
    """True for a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Give the test for a list of such values."""
    return lambda value: isinstance(value, list) and all(map(accepts, value))


def is_path(value: Any) -> bool:
    """True for an absolute path without `..`."""
    return is_text(value) and value.startswith("/") and ".." not in value.split("/")


def or_nothing(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Give the test for such a value, or none at all."""
    return lambda value: value is None or accepts(value)
