"""What Debian has mended is in the images that are built here."""

from __future__ import annotations

import re

import pytest

from tests.deploy.deployment import Deployment
from tests.deploy.images import OWN

SECURITY = "bookworm-security"
# No version in [] where a package is new.
INSTALLED = re.compile(r"^Inst (\S+)(?: \[([^]]*)\])? \((\S+) ([^)]*)\)", re.MULTILINE)
LOOK = """
apt-get update --error-on=any >&2
apt-cache policy | grep security | sed 's/^/Archive /'
apt-get --simulate dist-upgrade
"""
pytestmark = pytest.mark.timeout(2400)


def late(told: str) -> list[str]:
    """Give the packages of which the security archive has a newer version, by `apt-get --simulate`."""
    return [
        f"{name} {old or 'missing'}: {new}"
        for name, old, new, where in INSTALLED.findall(told)
        if "security" in where.lower()
    ]


def test_what_is_late_is_seen() -> None:
    told = """
Inst libssl3 [3.0.15-1~deb12u1] (3.0.17-1~deb12u2 Debian-Security:12/oldstable-security [amd64])
Inst tzdata [2024a-0+deb12u1] (2025b-0+deb12u1 Debian:12.11/oldstable [all])
Inst linux-libc-dev [6.1.1] (6.1.2 Debian:12.11/oldstable, Debian-Security:12/oldstable-security [amd64])
Conf libssl3 (3.0.17-1~deb12u2 Debian-Security:12/oldstable-security [amd64])
"""
    assert late(told) == ["libssl3 3.0.15-1~deb12u1: 3.0.17-1~deb12u2", "linux-libc-dev 6.1.1: 6.1.2"]


@pytest.mark.parametrize("image", OWN)
def test_no_package_of_an_image_is_behind_the_security_archive(deployment: Deployment, image: str) -> None:
    command = ("run", "--rm", "--user", "0", "--network", "host", "--entrypoint", "sh", image, "-ec", LOOK)
    told = deployment.engine.docker(*command)
    assert re.search(rf"^Archive .*{SECURITY}", told, re.MULTILINE), "the security archive was not asked"
    assert late(told) == []
