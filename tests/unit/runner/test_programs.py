"""What holds for every program that runs at the sites."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.unit.runner.conftest import PROJECT

MODULES = sorted((PROJECT / "runner").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_python_3_6_can_read_it_and_needs_nothing_else(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    roots = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    roots |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
    assert {root.split(".")[0] for root in roots} <= sys.stdlib_module_names
    assert "capture_output" not in source  # 3.7
    assert "missing_ok" not in source  # 3.8
