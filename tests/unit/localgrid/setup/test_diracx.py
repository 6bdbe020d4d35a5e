"""Configuration and keys of DiracX."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from localgrid.layout import Layout
from localgrid.setup import diracx


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_users_see_only_their_own_jobs(layout: Layout) -> None:
    operations = diracx.configuration(layout)["Operations"]["ctao"]
    assert operations["Services"]["JobMonitoring"]["GlobalJobsInfo"] is False
    assert {"User", "MCSimulation", "Merging"} <= set(operations["JobDescription"]["AllowedJobTypes"])


def test_every_user_is_in_the_own_group(layout: Layout) -> None:
    registry = diracx.configuration(layout)["Registry"]
    for vo, users in diracx.MEMBERS.items():
        assert set(registry[vo]["Groups"]) == set(users.values())
        for user, group in users.items():
            assert registry[vo]["Groups"][group]["Users"].count(layout.subject(user)) == 1


def test_each_vo_has_its_own_users(layout: Layout) -> None:
    registry, dave = diracx.configuration(layout)["Registry"], layout.subject("dave")
    assert set(registry["km3net"]["Users"]) == {dave}
    assert dave not in registry["ctao"]["Users"]


def test_people_log_in_at_the_issuer(layout: Layout) -> None:
    registry = diracx.configuration(layout)["Registry"]
    assert {registry[vo]["IdP"]["URL"] for vo in diracx.MEMBERS} == {layout.issuer}


def test_creating_twice_keeps_keys_and_history(layout: Layout) -> None:
    diracx.create(layout)
    keys = layout.path("secrets", "diracx-jwks.json")
    head = (layout.path("diracx", "cs", ".git") / "refs" / "heads" / "master").read_text()
    before = keys.read_text()
    diracx.create(layout)
    assert keys.read_text() == before
    assert (layout.path("diracx", "cs", ".git") / "refs" / "heads" / "master").read_text() == head
    assert keys.stat().st_mode & 0o777 == 0o600
    (key,) = json.loads(before)["keys"]
    assert key["crv"] == "Ed25519"
    assert key["d"] != key["x"]


def test_databases_are_in_write_ahead_mode(layout: Layout) -> None:
    diracx.create(layout)
    for path in layout.path("diracx", "db").glob("*.db"):
        assert sqlite3.connect(path).execute("pragma journal_mode").fetchone() == ("wal",)


def test_no_git_is_said_with_the_way_on(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(layout.home))
    with pytest.raises(RuntimeError, match="apt-get install git"):
        diracx.create(layout)


def test_the_software_area_follows_its_programs(layout: Layout) -> None:
    diracx.create_software_area(layout)
    link = layout.software_area / "esap-noop" / "0.1.0" / "bin"
    link.unlink()
    link.symlink_to("/elsewhere")
    diracx.create_software_area(layout)
    assert (link / "esap-noop").exists()
