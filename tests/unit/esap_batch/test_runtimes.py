from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esap_batch.facilities import load_facilities
from esap_batch.runtimes import CONTAINED, runtime_for

PLACE = load_facilities(Path(__file__).parents[3] / "config" / "facilities.yaml")[0]
PLAIN: dict[str, Any] = {"type": "plain", "software_root_env": "SW"}
PODMAN: dict[str, Any] = {"type": "podman", "images": "images", "images_of": ["prog"], "options": ["--x"]}
ROOTFS: dict[str, Any] = {"type": "rootfs", "software_root_env": "SW"}


@pytest.mark.parametrize(
    ("accepted", "software", "own_image", "chosen"),
    [
        (("plain",), ["prog"], False, PLAIN),
        ((), ["prog"], False, {k: v for k, v in PODMAN.items() if k != "images_of"}),
        (("plain", "podman"), ["prog"], False, {k: v for k, v in PODMAN.items() if k != "images_of"}),
        (("plain", "podman"), ["other"], False, PLAIN),
        (("plain", "podman"), ["prog", "other"], False, PLAIN),
        (("plain", "podman"), [], False, PLAIN),
        (("rootfs",), [], True, ROOTFS),
        (CONTAINED, [], True, ROOTFS),
        (("docker", "podman"), [], True, {"type": "podman", "options": ["--x"]}),
    ],
)
def test_a_container_comes_before_a_plain_start(
    accepted: tuple[str, ...], software: list[str], own_image: bool, chosen: dict[str, Any]
) -> None:
    place = replace(PLACE, runtimes=(PLAIN, ROOTFS, PODMAN))
    assert runtime_for(place, accepted, software, own_image=own_image) == chosen


@pytest.mark.parametrize(
    ("accepted", "own_image", "told"),
    [
        (("apptainer",), True, "lapalma has plain, podman: needed is apptainer with the batch's own image"),
        (("podman",), False, "needed is podman with an image of other, or plain"),
        ((), True, "needed is any with the batch's own image"),
    ],
)
def test_a_facility_without_what_is_needed(accepted: tuple[str, ...], own_image: bool, told: str) -> None:
    runtimes = (PLAIN, PODMAN) if accepted else (PLAIN,)
    with pytest.raises(LookupError) as error:
        runtime_for(replace(PLACE, runtimes=runtimes), accepted, ["other"], own_image=own_image)
    assert told in str(error.value)
