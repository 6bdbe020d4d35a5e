"""PostgreSQL from its wheel, really made and started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from localgrid.layout import Layout
from localgrid.setup import postgres


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path)
    layout.make()
    postgres.create(layout)
    server = subprocess.Popen(postgres.command(layout), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not answers(layout):
        assert server.poll() is None
        assert time.monotonic() < deadline
    yield layout
    server.send_signal(signal.SIGINT)
    server.wait(20)


def answers(layout: Layout) -> bool:
    try:
        return postgres.query(layout, "select 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def test_databases_are_made_once_and_files_stay_ours(layout: Layout) -> None:
    postgres.create(layout)
    postgres.create_databases(layout)
    postgres.create_databases(layout)
    names = {row[0] for row in postgres.query(layout, "select datname from pg_database")}
    assert set(postgres.DATABASES) <= names
    if postgres.unprivileged()[:1] != ("setpriv",):
        assert layout.path("postgres", "PG_VERSION").stat().st_uid == os.geteuid()


def test_a_failing_initdb_carries_its_words(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "other")
    layout.make()
    layout.path("postgres").mkdir()
    layout.path("postgres", "something").write_text("in the way")
    with pytest.raises(RuntimeError, match="initdb failed"):
        postgres.create(layout)
