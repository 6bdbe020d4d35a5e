from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from esap_batch.containers import ImageOrder, ImageSource, containerfile, recipe_of
from payloads.build.payload import labels_of, names

PROJECT = Path(__file__).parents[3]
HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(content: str) -> subprocess.CompletedProcess[str]:
    command = [str(HADOLINT), "--config", str(PROJECT / ".hadolint.yaml"), "-"]
    return subprocess.run(command, input=content, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", names())
def test_a_payloads_containerfile_has_no_faults(name: str) -> None:
    content = (PROJECT / "payloads" / name / "Containerfile").read_text()
    done = lint(content)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\nUSER 65534:65534\n" in content
    assert "\nADD " not in content


def test_the_containerfile_of_images_made_on_demand_has_no_faults() -> None:
    how = ImageSource("toy.c", "/usr/bin/corsika", ("-O2",))
    content = containerfile(recipe_of(ImageOrder("corsika", "0.1.0", {"THIN": ""}), how, b"int main;"))
    done = lint(content)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\nUSER 65534:65534\n" in content


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("FROM localhost/base:latest", "DL3007"),
        ("FROM docker.io/library/python:3.11", "DL3026"),
        ("FROM scratch\nADD rootfs /", "DL3020"),
        ("FROM scratch", "DL3049"),
    ],
)
def test_the_lint_sees_faults(line: str, rule: str) -> None:
    done = lint(line + "\n")
    assert done.returncode == 1
    assert rule in done.stdout


def test_every_payload_has_a_containerfile() -> None:
    folders = {path.parent.name for path in (PROJECT / "payloads").glob("*/pyproject.toml")}
    assert set(names()) == folders | {"noop"}


@pytest.mark.parametrize("name", names())
def test_an_image_is_labelled_as_the_payload_is_called(name: str) -> None:
    labels = labels_of(name)
    assert labels["title"] == f"esap-{name}"
    package = PROJECT / "payloads" / name / "pyproject.toml"
    if package.exists():
        assert labels["version"] == tomllib.loads(package.read_text())["project"]["version"]
