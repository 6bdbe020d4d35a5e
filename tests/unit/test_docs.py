"""What the README and docs/ name has to exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgrid.layout import PROJECT

README = PROJECT / "README.md"
PAGES = [README, *sorted((PROJECT / "docs").rglob("*.md"))]
EXAMPLE = "config/workflows/cta_irf/example.json"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
CODE = re.compile(r"```[\s\S]*?```|`[^`\n]+`|(?<=\n\n)(?: {4}.*\n)+")  # fenced, in a line, indented
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
PYTHON_MODULE = re.compile(r"python -m (localgrid[a-z_.]*)(?: ([a-z]+))?")
ROW = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def in_code(page: Path) -> str:
    """Give what a page shows as code: prose may well say "make sure"."""
    return "\n".join(CODE.findall(page.read_text()))


def relative_links(page: Path) -> Iterator[str]:
    return (link for link in LINK.findall(page.read_text()) if "://" not in link)


def section(title: str) -> str:
    """Give a section of the README."""
    _, _, rest = README.read_text().partition(f"\n## {title}\n")
    assert rest, f"README has no section {title!r}"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_every_relative_link_and_image_exists(page: Path) -> None:
    missing = [link for link in relative_links(page) if not (page.parent / link).exists()]
    assert missing == []


def test_every_picture_is_used() -> None:
    pictures = {f"docs/images/{p.name}" for p in (PROJECT / "docs" / "images").glob("*.png")}
    assert pictures
    assert pictures <= set(relative_links(README))


def test_every_decision_is_in_the_readme() -> None:
    decisions = {f"docs/adr/{p.name}" for p in (PROJECT / "docs" / "adr").glob("*.md")}
    assert decisions <= set(relative_links(README))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_every_make_target_exists(page: Path) -> None:
    targets = set(TARGET.findall((PROJECT / "Makefile").read_text()))
    assert set(MAKE.findall(in_code(page))) <= targets


def test_the_readme_begins_with_the_two_commands() -> None:
    assert MAKE.findall(in_code(README))[:2] == ["demo", "test"]


def test_every_command_of_the_local_grid_exists() -> None:
    from localgrid.__main__ import app

    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    named = PYTHON_MODULE.findall(README.read_text())
    assert named
    for module, command in named:
        path = PROJECT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
        if module == "localgrid":
            assert command in commands


def test_the_workflows_of_the_readme_are_those_that_there_are() -> None:
    named = set(ROW.findall(section("What it does")))
    assert named == {p.name for p in (PROJECT / "config" / "workflows").iterdir() if p.is_dir()}
    others = {"campaign_files", "facilities_check", "housekeeping"}
    assert named | others == {p.stem for p in (PROJECT / "dags").glob("*.py")}


def test_the_tasks_of_the_readme_are_those_of_the_dag() -> None:
    in_dag = re.findall(r'task_id="([a-z_]+)"', (PROJECT / "dags" / "cta_irf.py").read_text())
    steps = section("What happens in a run of `cta_irf`")
    assert in_dag
    assert [t for t in in_dag if f"`{t}`" not in steps] == []


def test_the_folders_of_the_readme_exist() -> None:
    first_cells = re.findall(r"^\| (`.*?) \|", section("Folders"), re.MULTILINE)
    folders = re.findall(r"`([^`]+)`", " ".join(first_cells))
    assert "dags/" in folders
    assert [f for f in folders if not (PROJECT / f).is_dir()] == []


def test_the_curl_example_sends_the_example_request() -> None:
    assert f"$(cat {EXAMPLE})" in section("Make a request")
    assert isinstance(json.loads((PROJECT / EXAMPLE).read_text()), dict)


def test_the_refusals_of_the_readme_are_those_of_the_code() -> None:
    from esap_batch.request import resolve, validate
    from esap_batch.use_cases import cta_irf
    from esap_batch.workflows import load_workflow

    conf = {
        "period_start": "2025-12-01",
        "period_end": "2026-01-15",
        "energy_min_tev": 100,
        "energy_max_tev": 10,
    }
    workflow = load_workflow(PROJECT / "config", "cta_irf")
    assert validate(conf, workflow) == []
    problems = cta_irf.check(resolve(conf, workflow, "alice", "cta_irf/run")["request"], workflow)
    shown = section("Bad input")
    assert len(problems) == 2
    assert [str(p) for p in problems if str(p) not in shown] == []
