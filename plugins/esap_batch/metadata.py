"""Metadata of a product in the lake.

Source: CTAO's reference metadata as ctapipe writes it (ctapipe.io.metadata: contact, product, process,
activity, instrument), as flat keys in lower case so that Rucio can search them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esap_batch.provenance import BatchActivity

LONGEST_TEXT = 1000  # characters of a value of the request


def product_metadata(
    steering: Mapping[str, Any],
    description: Mapping[str, Any],
    production_id: str,
    steps: Sequence[BatchActivity],
    verdict: Mapping[str, Any],
    service_version: str,
) -> dict[str, Any]:
    """Describe a product: what it is (`description`, from product.yaml), and how this one came about.

    Values of the request are found under `request_<name>`, of long texts SHA-256 as `request_<name>_sha256`.
    """
    last = steps[-1]
    return {
        "process_type": "Simulation",
        **{str(k): v for k, v in description.items()},
        **dict(_recorded(steering["request"])),
        **steering.get("about", {}),
        "product_id": production_id,
        "product_creation_time": last.finished,
        "process_id": steering["run_id"],
        "activity_name": steering["workflow"],
        "activity_id": last.group,
        "activity_start_time": min(s.started for s in steps),
        "activity_stop_time": last.finished,
        "activity_software_name": ", ".join(s["name"] for s in last.software),
        "activity_software_version": ", ".join(s["version"] for s in last.software),
        "esap_facility": last.facility,
        "esap_fingerprint": steering["fingerprint"],
        "esap_owner": steering["owner"],
        "esap_service_version": service_version,
        "esap_workflow": steering["workflow"],
        "esap_checks": verdict["checks"],
        "esap_verdict": "passed" if verdict["passed"] else "failed",
        "esap_state": "published",
    }


def _recorded(request: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in request.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            yield f"request_{name}_sha256", hashlib.sha256(value.encode()).hexdigest()
        elif isinstance(value, str | int | float):
            yield f"request_{name}", value
