from __future__ import annotations

from pathlib import Path

import pytest

from esap_batch.errors import ConfigurationError
from esap_batch.identity import Identity, load_identities
from esap_batch.projects import load_projects

CONFIG = Path(__file__).parents[3] / "config"
PROJECTS = load_projects(CONFIG / "projects.yaml")
IDENTITIES = load_identities(CONFIG / "identity.yaml")


def user(name: str) -> Identity:
    return IDENTITIES.identity_of(name)


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("alice", ["PI-2026-001"]),
        ("bob", ["PI-2026-002"]),
        ("dave", ["KM3NET-TESTDATA"]),
        ("sofia", ["HI-2026-016"]),
        ("frank", ["CBM-2026-001"]),
        ("carol", sorted(PROJECTS.by_id)),
    ],
)
def test_each_user_reads_their_own_projects(name: str, readable: list[str]) -> None:
    assert PROJECTS.readable(user(name)) == readable
    for project in PROJECTS.by_id:
        assert (PROJECTS.refuses(project, user(name)) == "") == (project in readable)


def test_a_refusal_does_not_tell_whether_the_project_exists() -> None:
    known = PROJECTS.refuses("PI-2026-002", user("alice"))
    unknown = PROJECTS.refuses("PI-2099-999", user("alice"))
    assert known.replace("PI-2026-002", "X") == unknown.replace("PI-2099-999", "X")


def test_data_of_no_project_are_nobodys() -> None:
    assert "belongs to no project" in PROJECTS.refuses("", user("carol"))


def test_a_file_against_its_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "projects.schema.json").write_text((CONFIG / "projects.schema.json").read_text())
    (tmp_path / "projects.yaml").write_text("projects: {P: {users: [alice]}}")
    with pytest.raises(ConfigurationError, match="title"):
        load_projects(tmp_path / "projects.yaml")
