"""What payloads ran in, as the provenance of their product tells it."""

from __future__ import annotations

import json
from pathlib import Path

from localgrid.layout import PROJECT


def image_of(payload: str) -> tuple[str, ...]:
    """Give how a batch tells that it ran in the site's image of a payload: the runtime, and its digest."""
    index = PROJECT / ".envs" / "images" / f"esap-{payload}-0.2.0.tar.gz.sha256"
    return ("rootfs", index.read_text().split()[0])


def ran_in(provenance: Path) -> set[tuple[str, ...]]:
    """Give runtime and images of each batch that a product came from."""
    activities = json.loads(provenance.read_text())["activity"].values()
    batches = [a for a in activities if "esap:runtime" in a]
    return {(a["esap:runtime"], *a.get("esap:image_sha256", ())) for a in batches}
