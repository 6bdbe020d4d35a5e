"""JSON documents that callers send."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from esap_batch.errors import Problem
from esap_batch.text import is_printable
from portal.core.refusals import BadRequest

DEEPEST = 32  # levels of nesting
LARGEST = 2**63 - 1


def read_json(raw: bytes, where: str = "body of the request") -> Any:
    """Read JSON strictly: UTF-8, finite numbers, no name twice; BadRequest says what is wrong.

    What is read can be stored anywhere: numbers are in range, and text has no control characters.
    """
    try:
        document = json.loads(
            raw.decode(),
            object_pairs_hook=_once,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
        _require_storable(document)
    except UnicodeDecodeError:
        raise BadRequest(f"{where}: allowed is UTF-8") from None
    except RecursionError:
        raise BadRequest(f"{where}: allowed is JSON that is not nested that deeply") from None
    except ValueError as error:
        raise BadRequest(f"{where}: allowed is JSON ({error})") from None
    return document


def read_object(raw: bytes, where: str = "body of the request") -> dict[str, Any]:
    """Read a JSON object."""
    document = read_json(raw, where)
    if not isinstance(document, dict):
        raise BadRequest(f"{where}: allowed is a JSON object")
    return document


def fields_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Give fields by name; BadRequest names those that are given more than once."""
    names = [name for name, _ in pairs]
    fields = dict(pairs)
    if twice := sorted(name for name in fields if names.count(name) > 1):
        raise BadRequest([Problem(n, fields[n], "one value", "it is given more than once") for n in twice])
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"given more than once: {', '.join(twice)[:200]!r}")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")


def _whole(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(number := int(text)) > LARGEST:
        raise ValueError(f"{text[:40]} is out of range: at most {LARGEST}")
    return number


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:40]} is out of range")
    return number


def _require_storable(node: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(node, dict):
        for name, value in node.items():
            _require_storable(name, depth)
            _require_storable(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            _require_storable(value, depth + 1)
    elif isinstance(node, str) and not is_printable(node):
        raise ValueError(f"control characters in {node[:40]!r}")
