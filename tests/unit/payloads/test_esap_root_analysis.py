"""A user's analysis of ROOT files: the script's job, the merge, and the checks of what came out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.payloads.conftest import PROJECT, Json, Result, failed, run

ROOT_BIN = PROJECT / ".envs" / "root" / "bin"
HELPERS = Path(__file__).parent / "root_helpers.py"
SCRIPT = PROJECT / "config" / "workflows" / "fair_analysis" / "k0s.py"
PROFILE: Json = {
    "required": {"candidates": "TTree", "mass": "TH1"},
    "min_entries": 100,
    "peak": {"histogram": "mass", "search_gev": [0.4726, 0.5226], "window_gev": [0.4926, 0.5026]},
}
TOY: Json = {"run": 1, "events": 20_000, "seed": 1}


def esap_root(directory: Path, *arguments: str | Path) -> Result:
    """Run `esap-root` of the environment that `localgrid/bootstrap.sh root` makes."""
    program = ROOT_BIN / "esap-root"
    assert program.exists(), "no .envs/root: run `localgrid/bootstrap.sh root`"
    return run([program, *arguments], directory, MPLCONFIGDIR=str(PROJECT / ".envs" / "root"))


def helper(*arguments: str | Path) -> Any:
    result = run([ROOT_BIN / "python", HELPERS, *arguments], Path.cwd())
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def run_script(directory: Path, script: str | None = None, **config: Any) -> Result:
    """Run a script, the shipped one by default, as its job does."""
    (directory / "script.py").write_text(SCRIPT.read_text() if script is None else script)
    (directory / "config.json").write_text(json.dumps({"output": "a.root", **config}))
    return esap_root(directory, "run", "--config", "config.json")


def merge(directory: Path, *files: str) -> Result:
    names = {"output": "k0s.root", "result": "result.json", "picture": "mass.png", "title": "toy"}
    (directory / "merge.json").write_text(json.dumps({**names, "files": files, "profile": PROFILE}))
    return esap_root(directory, "merge", "--config", "merge.json")


def validate(directory: Path, file: str | Path, **profile: Any) -> Result:
    (directory / "profile.json").write_text(json.dumps(PROFILE | profile))
    return esap_root(directory, "validate", file, "--profile", "profile.json")


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two jobs' outputs and the product. Nothing may be written to it."""
    directory = tmp_path_factory.mktemp("analysis")
    for seed in (1, 2):
        done = run_script(directory, output=f"a{seed}.root", inputs=[], toy=TOY | {"seed": seed})
        assert done.code == 0, done.stderr
    done = merge(directory, "a1.root", "a2.root")
    assert done.code == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def corrupted(analysis: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corrupted")
    helper("corrupt-analysis", analysis / "k0s.root", directory)
    return directory


def test_the_product_holds_all_candidates_and_the_peak(analysis: Path, tmp_path: Path) -> None:
    result = json.loads((analysis / "result.json").read_text())
    each = [len(helper("candidates", analysis / f"a{n}.root")["mass"]) for n in (1, 2)]
    assert result["entries"] == {"candidates": sum(each)}
    assert result["histograms"] == {"mass": sum(each)}
    assert result["files"] == 2
    assert result["peak"]["mean_gev"] == pytest.approx(0.4976, abs=0.0005)
    assert helper("objects", analysis / "k0s.root") == ["candidates", "mass"]
    assert (analysis / "mass.png").read_bytes().startswith(b"\x89PNG")
    checked = validate(tmp_path, analysis / "k0s.root")
    assert (checked.code, checked.document["verdict"]) == (0, "valid")


def test_the_summary_is_compared_with_the_file(analysis: Path, tmp_path: Path) -> None:
    for name in ("k0s.root", "result.json"):
        shutil.copy(analysis / name, tmp_path)
    validate(tmp_path, "k0s.root")
    line = ("validate-result", "result.json", "--root", "k0s.root", "--profile", "profile.json")
    assert esap_root(tmp_path, *line).code == 0
    good = json.loads((tmp_path / "result.json").read_text())
    changes: list[Json] = [{"entries": {"candidates": 1}}, {"peak": None}, {"histograms": {}}]
    for change in changes:
        (tmp_path / "result.json").write_text(json.dumps(good | change))
        checked = esap_root(tmp_path, *line)
        assert (checked.code, failed(checked.document)) == (1, {"result.agrees"})
    (tmp_path / "result.json").write_text(json.dumps(good | {"format": "other"}))
    assert failed(esap_root(tmp_path, *line).document) == {"result.members"}
    (tmp_path / "result.json").write_text("[]")
    assert esap_root(tmp_path, *line).code == 2


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        ("untouched", set()),
        ("tree-missing", {"objects.present"}),
        ("histogram-missing", {"objects.present"}),
        ("swapped", {"objects.class"}),
        ("two-dimensions", {"objects.class"}),
        ("few-entries", {"tree.entries"}),
        ("nan", {"values.finite"}),
        ("infinite", {"values.finite"}),
        ("bin-nan", {"values.finite", "histogram.contents", "peak.window"}),
        ("bin-negative", {"histogram.contents"}),
        ("empty", {"histogram.contents", "peak.window"}),
        ("peak-moved", {"peak.window"}),
        ("flat", {"peak.window"}),
        ("other-range", {"peak.window"}),
    ],
)
def test_each_fault_is_found(corrupted: Path, tmp_path: Path, name: str, checks: set[str]) -> None:
    checked = validate(tmp_path, corrupted / f"{name}.root")
    assert failed(checked.document) == checks
    assert checked.code == (1 if checks else 0)


def test_a_peak_must_be_significant(analysis: Path, tmp_path: Path) -> None:
    peak = PROFILE["peak"] | {"min_significance": 1e5}
    checked = validate(tmp_path, analysis / "k0s.root", peak=peak)
    assert failed(checked.document) == {"peak.significance"}


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01, 0])
def test_a_truncated_file_is_unreadable(analysis: Path, tmp_path: Path, share: float) -> None:
    content = (analysis / "k0s.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(content[: int(len(content) * share)])
    checked = validate(tmp_path, "cut.root")
    assert (checked.code, checked.document["verdict"]) == (2, "unreadable")


def test_what_is_no_root_file_is_unreadable(analysis: Path, tmp_path: Path) -> None:
    (tmp_path / "text.root").write_text("root? not at all")
    content = bytearray((analysis / "k0s.root").read_bytes())
    middle = len(content) // 3
    content[middle : middle + 4096] = bytes(4096)
    (tmp_path / "holes.root").write_bytes(content)
    for name in ("text.root", "holes.root", "missing.root"):
        checked = validate(tmp_path, name)
        assert (checked.code, checked.document["verdict"]) == (2, "unreadable"), name


def test_a_tree_that_counts_wrongly_is_found(analysis: Path, tmp_path: Path) -> None:
    content = (analysis / "k0s.root").read_bytes()
    count = len(helper("candidates", analysis / "k0s.root")["mass"])
    one, other = (n.to_bytes(8, "big") for n in (count, count - 7))
    assert one in content
    (tmp_path / "wrong.root").write_bytes(content.replace(one, other, 1))
    checked = validate(tmp_path, "wrong.root")
    assert checked.code == 1
    assert "tree.complete" in failed(checked.document)


def test_a_script_gets_its_inputs_and_parameters(tmp_path: Path) -> None:
    script = "import json, sys\nprint(json.dumps(sys.argv[1:]))\nprint(open('parameters.json').read())\n"
    script += "open(sys.argv[sys.argv.index('--output') + 1], 'w').write('x')\n"
    odd = "a b; rm -rf $HOME 'x'.root"
    done = run_script(tmp_path, script, output="out.root", inputs=[odd], parameters={"pt": "$(id) {{ x }}"})
    assert done.code == 0, done.stderr
    line, parameters = done.stdout.splitlines()
    assert json.loads(line) == ["--config", "parameters.json", "--output", "out.root", odd]
    assert json.loads(parameters) == {"pt": "$(id) {{ x }}"}


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise ValueError('no such cut')", "ended with exit code 1"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "was ended by signal 11"),
        ("pass", "has not written a.root"),
    ],
)
def test_a_script_that_fails_says_how(tmp_path: Path, script: str, told: str) -> None:
    done = run_script(tmp_path, script, toy=TOY | {"events": 10})
    assert done.code == 1
    assert told in done.stderr
    if "ValueError" in script:
        assert "no such cut" in done.stderr


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "neither inputs nor toy"),
        ({"inputs": ["../secret"]}, "inputs = "),
        ({"toy": {"run": 1, "events": 0, "seed": 1}}, "events = 0: allowed a whole number from 1"),
        ({"colour": "red"}, "colour is unknown"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path: Path, config: Json, told: str) -> None:
    done = run_script(tmp_path, "pass", **config)
    assert done.code == 3
    assert told in done.stderr


def test_errors_of_weighted_histograms_are_those_of_their_weights(tmp_path: Path) -> None:
    names = helper("weighted", tmp_path, "10", "20")
    done = merge(tmp_path, *names)
    assert done.code == 0, done.stderr
    found = helper("histogram", tmp_path / "k0s.root", "mass")
    assert found["values"] == [30, 60, 30, 0, 0]
    assert found["errors"] == pytest.approx([500**0.5, 1000**0.5, 500**0.5, 0, 0])
    assert (found["fEntries"], found["fTsumw"], found["fTsumw2"]) == (8, 90, 1500)
    assert (found["fTsumwx"], found["fTsumwx2"]) == (75, 82.5)


def test_a_merged_histogram_without_weights_has_the_entries_of_all(analysis: Path) -> None:
    each = [helper("histogram", analysis / f"{name}.root", "mass") for name in ("a1", "a2", "k0s")]
    for member in ("fEntries", "fTsumw", "fTsumw2", "fTsumwx", "fTsumwx2"):
        assert each[2][member] == pytest.approx(each[0][member] + each[1][member]), member
    assert each[2]["errors"] == pytest.approx([value**0.5 for value in each[2]["values"]])


def test_the_significance_of_a_peak_does_not_grow_with_the_weights(analysis: Path, tmp_path: Path) -> None:
    plain = helper("significance", analysis / "k0s.root", "1")
    assert helper("significance", analysis / "k0s.root", "100") == pytest.approx(plain)


def test_a_branch_that_cannot_be_merged_is_found_in_the_file_of_its_job(
    analysis: Path, tmp_path: Path
) -> None:
    helper("jagged", analysis / "a1.root", tmp_path / "jagged.root")
    checked = validate(tmp_path, "jagged.root")
    assert (checked.code, failed(checked.document)) == (1, {"tree.plain"})
    (problem,) = [c["message"] for c in checked.document["checks"] if not c["passed"]]
    assert problem == "no plain numbers: hits: files of several jobs cannot be merged"
    done = merge(tmp_path, "jagged.root")
    assert done.code == 3
    assert "jagged.root: candidates has branches of no plain numbers: hits" in done.stderr


def test_files_that_do_not_belong_together_are_refused(
    analysis: Path, corrupted: Path, tmp_path: Path
) -> None:
    shutil.copy(analysis / "a1.root", tmp_path)
    for name, told in (
        ("tree-missing", "not in every file: candidates"),
        ("other-range", "the bins of mass are not those"),
        ("swapped", "elsewhere a"),
    ):
        shutil.copy(corrupted / f"{name}.root", tmp_path)
        done = merge(tmp_path, "a1.root", f"{name}.root")
        assert done.code == 3
        assert told in done.stderr
    (tmp_path / "cut.root").write_bytes((analysis / "a1.root").read_bytes()[:-100])
    done = merge(tmp_path, "a1.root", "cut.root")
    assert done.code == 3
    assert "cannot read cut.root" in done.stderr
