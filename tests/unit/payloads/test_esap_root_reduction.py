"""The reduction of KM3NeT's detector files, real ones, and the checks of what came out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.payloads.conftest import PROJECT, Json, Result, failed
from tests.unit.payloads.test_esap_root_analysis import esap_root, helper

DATA = PROJECT / ".envs" / "testdata"
ONLINE = next(DATA.glob("lib/*/site-packages/km3net_testdata/data/online"), Path())
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="no .envs/testdata: run localgrid/bootstrap.sh testdata"
)
RUNS = {"KM3NeT_00000133_JDAQEvent.root": 13340, "events_sample.root": 6884, "km3net_online.root": 6633}
CAMPAIGN: Json = {
    "name": "2026.1",
    "software_version": "0.2.0",
    "tot_min_ns": 5,
    "tot_max_ns": 254,
    "trigger_mask": 0,
    "min_triggered_hits": 5,
    "min_doms": 3,
}


def step(directory: Path, command: str, config: Json) -> Result:
    (directory / "config.json").write_text(json.dumps(config))
    return esap_root(directory, command, "--config", "config.json")


def reduce(directory: Path, *names: str, output: str = "r.root", **changes: Any) -> Result:
    for name in names:
        if not (directory / name).exists():
            (directory / name).symlink_to(ONLINE / name)
    inputs = {name: RUNS[name] for name in names}
    return step(directory, "reduce", {"inputs": inputs, "output": output, "campaign": CAMPAIGN | changes})


def merge(directory: Path, *files: str, **changes: Any) -> Result:
    names = {"output": "reduced.root", "summary": "summary.json", "picture": "reduced.png"}
    return step(directory, "merge-reduced", {**names, "files": files, "campaign": CAMPAIGN | changes})


def validate(directory: Path, file: str | Path, **expected: Any) -> Result:
    about = {"runs": sorted(RUNS.values()), "campaign": CAMPAIGN} | expected
    (directory / "expect.json").write_text(json.dumps(about))
    return esap_root(directory, "validate-reduced", file, "--expect", "expect.json")


@pytest.fixture(scope="module")
def reduction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two jobs' outputs and the product. Nothing may be written to it."""
    directory = tmp_path_factory.mktemp("reduction")
    first, *others = RUNS
    for output, names in (("r0.root", [first]), ("r1.root", others)):
        done = reduce(directory, *names, output=output)
        assert done.code == 0, done.stderr
    done = merge(directory, "r0.root", "r1.root")
    assert done.code == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def corrupted(reduction: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corrupted")
    helper("corrupt-reduced", reduction / "reduced.root", directory)
    return directory


def test_real_runs_become_one_line_an_event(reduction: Path, tmp_path: Path) -> None:
    summary = json.loads((reduction / "summary.json").read_text())
    read = {r["run"]: (r["detector_id"], r["events_read"], r["hits_read"]) for r in summary["runs"]}
    assert read == {6633: (44, 3, 298), 6884: (44, 10, 1078), 13340: (133, 10, 9144)}
    assert summary["total"]["bytes_read"] == sum((ONLINE / name).stat().st_size for name in RUNS)
    assert (reduction / "reduced.root").stat().st_size < summary["total"]["bytes_read"] / 50
    assert (reduction / "reduced.png").read_bytes().startswith(b"\x89PNG")
    events = helper("events", reduction / "reduced.root")
    assert events["run"] == sorted(events["run"])
    assert len(events["run"]) == 23
    assert events["utc_s"][0] == 1573257612  # 2019-11-09, of run 6633
    assert set(events["wr_status"]) == {0}
    assert all(k <= n for k, n in zip(events["hits"], events["snapshot_hits"], strict=True))
    checked = validate(tmp_path, reduction / "reduced.root")
    assert (checked.code, checked.document["verdict"]) == (0, "valid")


@pytest.mark.parametrize("status", [0, 1])
def test_the_bit_of_the_clock_is_no_part_of_the_time(status: int) -> None:
    assert helper("clock", str(1573257612 + (status << 31))) == [1573257612, status]


def test_the_cuts_of_the_campaign_take_hits_and_events_away(tmp_path: Path) -> None:
    name = "KM3NeT_00000133_JDAQEvent.root"
    assert reduce(tmp_path, name).code == 0
    loose = helper("runs", tmp_path / "r.root")
    assert reduce(tmp_path, name, tot_min_ns=26, min_triggered_hits=20).code == 0
    strict = helper("runs", tmp_path / "r.root")
    assert strict["hits_read"] == loose["hits_read"]
    assert 0 < strict["hits_kept"][0] < loose["hits_kept"][0]
    assert 0 < strict["events_kept"][0] < loose["events_kept"][0]
    assert reduce(tmp_path, name, trigger_mask=1 << 40).code == 0
    empty = helper("runs", tmp_path / "r.root")
    assert (empty["events_kept"], empty["detector_id"]) == ([0], [133])
    checked = validate(tmp_path, "r.root", runs=[13340], campaign=CAMPAIGN | {"trigger_mask": 1 << 40})
    assert checked.code == 0, checked.stdout


def test_runs_of_a_job_are_in_order_and_files_of_one_run_count_together(tmp_path: Path) -> None:
    for name, source in (
        ("a.root", "events_sample"),
        ("b.root", "km3net_online"),
        ("c.root", "events_sample"),
    ):
        (tmp_path / name).symlink_to(ONLINE / f"{source}.root")
    inputs = {"a.root": 6884, "b.root": 6633, "c.root": 6884}
    done = step(tmp_path, "reduce", {"inputs": inputs, "output": "r.root", "campaign": CAMPAIGN})
    assert done.code == 0, done.stderr
    runs = helper("runs", tmp_path / "r.root")
    assert (runs["run"], runs["events_read"]) == ([6633, 6884], [3, 20])
    checked = validate(tmp_path, "r.root", runs=[6633, 6884])
    assert failed(checked.document) == set()


def test_files_of_one_run_from_several_jobs_count_together(tmp_path: Path) -> None:
    name = "KM3NeT_00000133_JDAQEvent.root"
    for output in ("r0.root", "r1.root"):
        assert reduce(tmp_path, name, output=output).code == 0
    assert merge(tmp_path, "r0.root", "r1.root").code == 0
    assert helper("runs", tmp_path / "reduced.root")["events_read"] == [20]
    assert validate(tmp_path, "reduced.root", runs=[13340]).code == 0


@pytest.mark.parametrize(
    ("name", "code", "checks"),
    [
        ("untouched", 0, set()),
        ("tree-missing", 1, {"objects.present"}),
        ("campaign-missing", 1, {"objects.present"}),
        ("campaign-no-json", 2, {"file.readable"}),
        ("column-missing", 1, {"tree.columns"}),
        ("event-lost", 1, {"counts.agree"}),
        ("run-lost", 1, {"runs.expected"}),
        ("module-lost", 1, {"counts.agree"}),
        ("negative", 1, {"values.range"}),
        ("count", 1, {"counts.agree"}),
        ("hits", 1, {"counts.agree", "campaign.cuts"}),
        ("strange-run", 1, {"counts.agree", "runs.expected"}),
        ("cut", 1, {"campaign.cuts"}),
        ("campaign", 1, {"campaign.parameters"}),
    ],
)
def test_each_fault_is_found(corrupted: Path, tmp_path: Path, name: str, code: int, checks: set[str]) -> None:
    checked = validate(tmp_path, corrupted / f"{name}.root")
    assert (checked.code, failed(checked.document)) == (code, checks)


@pytest.mark.parametrize("share", [0.99, 0.3, 0])
def test_a_truncated_file_is_unreadable_and_ends_the_step_that_needs_it(
    reduction: Path, tmp_path: Path, share: float
) -> None:
    content = (reduction / "reduced.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(content[: int(len(content) * share)])
    assert validate(tmp_path, "cut.root").code == 2
    done = merge(tmp_path, "cut.root")
    assert done.code == 3
    assert "cannot read cut.root" in done.stderr


def test_a_truncated_detector_file_is_refused(tmp_path: Path) -> None:
    name = "KM3NeT_00000133_JDAQEvent.root"
    content = (ONLINE / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    done = reduce(tmp_path, name)
    assert done.code == 3
    assert f"cannot read {name}: it has" in done.stderr


def test_a_file_that_is_none_of_the_detector_is_refused(reduction: Path, tmp_path: Path) -> None:
    shutil.copy(reduction / "r0.root", tmp_path / "events_sample.root")
    done = reduce(tmp_path, "events_sample.root")
    assert done.code == 3
    assert "no DAQ file of KM3NeT" in done.stderr


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"inputs": {"events_sample.root": 1}}, "has events of run 6884, the lake says run 1"),
        ({"campaign": CAMPAIGN | {"software_version": "0.1.0"}}, "is for esap-root 0.1.0, this is 0.2.0"),
        (
            {"campaign": CAMPAIGN | {"tot_min_ns": 300}},
            "tot_min_ns = 300: allowed a whole number from 0 to 255",
        ),
        ({"inputs": {}}, "inputs = {}"),
    ],
)
def test_what_does_not_fit_the_campaign_is_refused(tmp_path: Path, config: Json, told: str) -> None:
    (tmp_path / "events_sample.root").symlink_to(ONLINE / "events_sample.root")
    good = {"inputs": {"events_sample.root": 6884}, "output": "r.root", "campaign": CAMPAIGN}
    done = step(tmp_path, "reduce", good | config)
    assert done.code == 3
    assert told in done.stderr


def test_jobs_of_another_campaign_are_not_merged(reduction: Path, tmp_path: Path) -> None:
    shutil.copy(reduction / "r0.root", tmp_path)
    done = merge(tmp_path, "r0.root", min_doms=4)
    assert done.code == 3
    assert "of another campaign, or of other parameters of it" in done.stderr


def test_the_summary_is_compared_with_the_file(reduction: Path, tmp_path: Path) -> None:
    line = ("validate-summary", "summary.json", "--root", reduction / "reduced.root")
    good = json.loads((reduction / "summary.json").read_text())
    for document, code, checks in (
        (good, 0, set()),
        (good | {"modules": 3}, 1, {"summary.agrees"}),
        (good | {"total": {}}, 1, {"summary.agrees"}),
        (good | {"format": "other"}, 1, {"summary.members"}),
        ([], 2, {"file.readable"}),
    ):
        (tmp_path / "summary.json").write_text(json.dumps(document))
        checked = esap_root(tmp_path, *line)
        assert (checked.code, failed(checked.document)) == (code, checks)
