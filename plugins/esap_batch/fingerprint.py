"""What makes two productions the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

# The rest of a steering file says for whom, where and how it runs, and how the product is judged.
DECIDING = ("workflow", "request", "software", "production", "calibration", "selection")


def fingerprint(steering: Mapping[str, Any]) -> str:
    """Give SHA-256, as 64 hex digits, of what decides the result.

    Fields of the request that `steering["without_effect"]` lists are left out. ValueError for a number that
    is not finite.
    """
    ignored = set(steering.get("without_effect", ()))
    deciding = {name: steering[name] for name in DECIDING if name in steering}
    deciding["request"] = {k: v for k, v in steering["request"].items() if k not in ignored}
    return hashlib.sha256(canonical_json(deciding).encode()).hexdigest()


def canonical_json(document: Any) -> str:
    """Write JSON so that equal documents give equal text: sorted keys, 1 for 1.0, 0 for -0.0."""
    return json.dumps(_normal(document), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _normal(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(k): _normal(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_normal(v) for v in node]
    if isinstance(node, float):
        if not math.isfinite(node):
            raise ValueError(f"number = {node}: allowed are finite ones")
        return int(node) if node.is_integer() else node
    return node
