"""Configuration of Rucio."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from localgrid.layout import Layout
from localgrid.setup import rucio


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    rucio.create(layout)
    return layout


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    assert parser.read(path)
    return parser


def test_server_has_the_policy_and_really_moves_files(layout: Layout) -> None:
    config = read(layout.path("rucio", "etc", "rucio.cfg"))
    assert config["policy"]["package"] == "bdms_rucio_policy"
    assert config["common"]["extract_scope"] == "ctao_bdms"
    assert config["conveyor"]["transfertool"] == "fts3"
    assert "127.0.0.1" in config["core"]["geoip_download_url"]


def test_alembic_has_its_formatters(layout: Layout) -> None:
    config = read(layout.path("rucio", "etc", "alembic.ini"))
    assert config.get("formatter_generic", "format") == "%(levelname)-5.5s [%(name)s] %(message)s"
    assert config["alembic"]["sqlalchemy.url"].endswith("/rucio")


def test_files_with_passwords_are_private(layout: Layout) -> None:
    for path in (*layout.path("rucio", "etc").iterdir(), *layout.path("rucio-client", "etc").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600
    client = read(layout.path("rucio-client", "etc", "rucio.cfg"))
    assert client["client"]["account"] == "esap"
    assert client["client"]["password"] != layout.secrets["rucio_root_password"]
