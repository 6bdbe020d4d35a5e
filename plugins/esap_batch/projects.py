"""Observing projects, and whose data they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esap_batch.configuration import read_mapping
from esap_batch.identity import Identity


@dataclass(frozen=True)
class Project:
    """A project with the users and groups that may read its data."""

    title: str
    users: frozenset[str]
    groups: frozenset[str]

    def admits(self, identity: Identity) -> bool:
        return identity.user in self.users or not self.groups.isdisjoint(identity.groups)


@dataclass(frozen=True)
class Projects:
    """All projects by their id."""

    by_id: Mapping[str, Project]

    def refuses(self, project: str, identity: Identity) -> str:
        """Say why a user may not read the data of a project; empty when they may."""
        if not project:
            return "not permitted: it belongs to no project"
        known = self.by_id.get(project)
        if known is None or not known.admits(identity):
            return f"not permitted: user {identity.user} may not read project {project}"
        return ""

    def readable(self, identity: Identity) -> list[str]:
        """List the projects that a user may read."""
        return sorted(name for name, project in self.by_id.items() if project.admits(identity))


def load_projects(path: Path) -> Projects:
    """Read projects.yaml; ConfigurationError when it is missing or against projects.schema.json beside it."""
    document = read_mapping(path, path.with_name("projects.schema.json"))
    return Projects(
        {
            name: Project(p["title"], frozenset(p.get("users", ())), frozenset(p.get("groups", ())))
            for name, p in document["projects"].items()
        }
    )
