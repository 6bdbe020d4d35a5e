"""Images built by the real podman, which must hold the same as those that are packed without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from esap_batch.containers import ImageOrder
from hooks.image_builder import ImageBuilder, podman_works

CONFIG = Path(__file__).parents[2] / "config"
ORDER = ImageOrder("corsika", "0.1.0", {"HIGH_MODEL": "EPOS", "LOW_MODEL": "FLUKA", "GEOMETRY": "FLAT"})
MISSING = "podman is not there: apt-get install podman"
WHY = MISSING if shutil.which("podman") is None else "podman is there, but podman info fails"


def builder(folder: Path, kind: str) -> ImageBuilder:
    document = yaml.safe_load((CONFIG / "containers.yaml").read_text())
    (folder / "containers.yaml").write_text(yaml.safe_dump(document | {"builder": kind}))
    shutil.copy(CONFIG / "containers.schema.json", folder)
    return ImageBuilder.configured(folder)


@pytest.mark.skipif(not podman_works(), reason=WHY)
def test_podman_builds_the_image_that_packing_makes(tmp_path: Path) -> None:
    by_podman, packed = (
        (made := builder(tmp_path, kind)).build(made.recipe(ORDER)) for kind in ("podman", "rootfs")
    )
    assert (by_podman.made["builder"], packed.made["builder"]) == ("podman", "rootfs")
    assert by_podman.sha256 == packed.sha256
