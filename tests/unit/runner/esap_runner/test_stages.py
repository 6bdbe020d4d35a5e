from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from runner.esap_runner.stages import FETCHING, TELL_S, Stage
from tests.unit.runner.conftest import Node, sh, wait_until


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stage(tmp_path: Path, clock: Clock) -> Stage:
    return Stage(str(tmp_path / "stage"), clock)


def said(stage: Stage) -> str:
    return Path(stage.path).read_text()


def says(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except FileNotFoundError:
        return False


def test_it_tells_when_it_begins_and_takes_it_back_when_it_is_over(stage: Stage) -> None:
    with stage.told(FETCHING, [100, 300]):
        assert said(stage) == "fetching inputs: 0 of 2 files, 0 of 400 bytes"
    assert list(Path(stage.path).parent.iterdir()) == []


def test_it_tells_rarely(stage: Stage, clock: Clock) -> None:
    with stage.told(FETCHING, [100, 300]):
        stage.begin_file()
        stage.moved(60)
        assert said(stage).endswith("0 of 400 bytes")
        clock.now += TELL_S
        stage.moved(40)
        assert said(stage) == "fetching inputs: 0 of 2 files, 100 of 400 bytes"
        clock.now += TELL_S
        stage.end_file(100)
        assert said(stage) == "fetching inputs: 1 of 2 files, 100 of 400 bytes"


def test_a_file_that_is_begun_again_is_not_counted_twice(stage: Stage, clock: Clock) -> None:
    with stage.told(FETCHING, [100, 300]):
        stage.begin_file()
        stage.end_file(100)
        stage.begin_file()
        stage.moved(200)
        stage.begin_file(150)
        clock.now += TELL_S
        stage.moved(10)
        assert said(stage) == "fetching inputs: 1 of 2 files, 260 of 400 bytes"


def test_nothing_is_told_of_no_files(stage: Stage) -> None:
    with stage.told(FETCHING, []):
        assert not Path(stage.path).exists()


def test_what_moves_outside_a_stage_is_not_told(stage: Stage, clock: Clock) -> None:
    with stage.told(FETCHING, [1]):
        pass
    clock.now += TELL_S
    stage.moved(5)
    assert not Path(stage.path).exists()


def test_a_stage_that_fails_is_over(stage: Stage) -> None:
    with pytest.raises(OSError, match="no"), stage.told(FETCHING, [1]):
        raise OSError("no")
    assert not Path(stage.path).exists()


def test_a_job_does_not_fail_for_it(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(str(tmp_path / "stage"), clock)
    with stage.told(FETCHING, [100]):
        (tmp_path / "stage.part").mkdir()
        for _ in range(2):
            clock.now += TELL_S
            stage.moved(60)
    assert capsys.readouterr().out.count("cannot be told") == 1
    assert not Path(stage.path).exists()


def test_a_job_tells_while_it_fetches_and_stores(node: Node) -> None:
    given = node.give("in.bin", b"a" * 600_000)
    job = node.job(sh("mv in.bin out.bin"), inputs=[given], outputs=[node.output("out.bin")])
    process = node.start(None, document=node.document(job) | {"transfer": {"max_mb_per_s": 0.6}})
    told = node.directory / "job-stage.txt"
    for words in ("fetching inputs", "storing outputs"):
        begun = f"{words}: 0 of 1 files, 0 of 600000 bytes"
        wait_until(partial(says, told, begun), words)
    assert node.finish(process).report["reason"] == "OK"
    assert not told.exists()


def test_the_file_may_lie_elsewhere(node: Node) -> None:
    given = node.give("in.bin", b"a" * 300_000)
    document = node.document(node.job(sh("true"), inputs=[given])) | {"transfer": {"max_mb_per_s": 0.3}}
    told = node.root / "told"
    process = node.start(None, document=document, more=["--stage", str(told)])
    wait_until(told.exists, "it is told")
    assert node.finish(process).report["reason"] == "OK"
    assert not told.exists()
    assert not (node.directory / "job-stage.txt").exists()
