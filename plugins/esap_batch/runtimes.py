"""Ways to start a payload on a worker node, and which of a facility's a batch takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esap_batch.facilities import Facility

PLAIN = "plain"
# What the runner can start an image with. All mount the inputs read-only; see docs/runner.md for udocker.
CONTAINED = ("rootfs", "podman", "apptainer", "docker", "udocker")
ANY = (*CONTAINED, PLAIN)  # the site's image where it has one


def runtime_for(
    facility: Facility, accepted: Sequence[str], software: Sequence[str] = (), *, own_image: bool = False
) -> Mapping[str, Any]:
    """Choose among a facility's runtimes, in its own order: one with an image comes before a plain one.

    LookupError when the facility has none that will do.

    :param accepted: types that the workflow takes, none for any.
    :param software: names of what the jobs need; the site has one image for each, so that an image can do
        only where there is one name.
    :param own_image: the batch brings its image, so that the site's do not matter.
    """
    offered = [r for r in facility.runtimes if not accepted or r["type"] in accepted]
    contained = [r for r in offered if r["type"] in CONTAINED]
    if own_image:
        fitting = [{k: v for k, v in r.items() if k not in ("images", "images_of")} for r in contained]
    else:
        fitting = [dict(r) for r in contained if [*software] in [[name] for name in r.get("images_of", ())]]
        fitting += [dict(r) for r in offered if r["type"] == PLAIN]
    if not fitting:
        there = ", ".join(facility.types)
        image = "the batch's own image" if own_image else f"an image of {', '.join(software)}, or plain"
        wanted = " or ".join(accepted) or "any"
        raise LookupError(f"facility {facility.name} has {there}: needed is {wanted} with {image}")
    fitting[0].pop("images_of", None)
    return fitting[0]
