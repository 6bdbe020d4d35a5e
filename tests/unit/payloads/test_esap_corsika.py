"""The toy showers, compiled here, and their validator, which has to know a real CORSIKA file too."""

from __future__ import annotations

import ast
import gzip
import json
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest

from .conftest import FITS_BIN, PROJECT, Json, Result, failed, run

BIN = PROJECT / "payloads" / "corsika" / "bin"
SOURCE = PROJECT / "payloads" / "corsika" / "src" / "toy_corsika.c"
REAL = next((PROJECT / ".envs" / "testdata").glob("lib/*/site-packages/km3net_testdata/data/corsika"), None)
ZIG = PROJECT / ".envs" / "toolchain" / "bin" / "python"
RECORD = 22932 + 8
CARD = """RUNNR   7
EVTNR   3
NSHOW   12
PRMPAR  14
ESLOPE  -2.7
ERANGE  1000. 50000.
THETAP  10. 30.
PHIP    -180. 180.
SEED    11 0 0
SEED    12 0 0
OBSLEV  2147.E2
ECUTS   0.3 0.1 0.02 0.02
EXIT
"""


def compiled(folder: Path, *defines: str) -> Path:
    """Compile the toy with the C compiler of the machine, or else with that of .envs/toolchain."""
    compiler = ["cc"] if shutil.which("cc") else [str(ZIG), "-m", "ziglang", "cc"]
    models = defines or ("HIGH_MODEL=SIBYLL", "LOW_MODEL=URQMD", "GEOMETRY=FLAT")
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", *(f"-D{d}" for d in models)]
    result = run([*compiler, *flags, SOURCE, "-o", folder / "toy", "-lm"], folder)
    assert result.code == 0, result.stderr
    return folder / "toy"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def made(toy: Path, tmp_path: Path) -> Path:
    """A run of the toy in a folder: DAT000007, run.inp and run.log."""
    (tmp_path / "run.inp").write_text(CARD)
    assert run([toy, "run.inp", "run.log"], tmp_path).code == 0
    return tmp_path


def validate(folder: Path, name: str = "DAT000007", *more: str) -> Result:
    return run([BIN / "esap-corsika", "validate", name, *more], folder)


def everything(folder: Path) -> Result:
    return validate(folder, "DAT000007", "--card", "run.inp", "--log", "run.log")


def change_word(path: Path, block: int, word: int, value: float) -> None:
    """Set a word (counted from 1) of a sub-block (counted from 0) in the first record."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 4 + block * 273 * 4 + (word - 1) * 4, value)
    path.write_bytes(content)


def word(path: Path, block: int, number: int) -> float:
    """Read a word as `change_word` sets it."""
    (value,) = struct.unpack_from("<f", path.read_bytes(), 4 + block * 273 * 4 + (number - 1) * 4)
    return float(value)


def test_is_a_program_that_python_3_6_can_read() -> None:
    assert os.access(BIN / "esap-corsika", os.X_OK)
    tree = ast.parse((BIN / "esap_corsika.py").read_text(), feature_version=(3, 6))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported <= sys.stdlib_module_names


def test_the_toy_says_that_it_is_one(made: Path) -> None:
    log = (made / "run.log").read_text()
    assert log.startswith(" TOY AIR SHOWERS, NOT CORSIKA")
    assert "(TOY OF) SIBYLL" in log
    assert CARD in log


def test_the_toy_is_valid_and_equal_cards_give_equal_bytes(made: Path, toy: Path) -> None:
    result = everything(made)
    assert result.code == 0
    assert result.document["verdict"] == "valid"
    assert result.document["summary"]["showers"] == 12
    first = (made / "DAT000007").read_bytes()
    run([toy, "run.inp", "again.log"], made)
    assert (made / "DAT000007").read_bytes() == first
    (made / "run.inp").write_text(CARD.replace("11 0 0", "13 0 0"))
    run([toy, "run.inp", "again.log"], made)
    assert (made / "DAT000007").read_bytes() != first


@pytest.mark.parametrize(
    "defines",
    [
        ("HIGH_MODEL=EPOS", "LOW_MODEL=FLUKA", "GEOMETRY=CURVED", "THIN", "CERENKOV", "NEUTRINO"),
        ("HIGH_MODEL=QGSJET", "LOW_MODEL=GHEISHA", "GEOMETRY=VOLUMEDET"),
        ("HIGH_MODEL=SIBYLL", "LOW_MODEL=URQMD", "GEOMETRY=VOLUMEDET_CURVED", "NEUTRINO"),
    ],
)
def test_every_configuration_compiles_without_a_warning_and_is_valid(
    tmp_path: Path, defines: tuple[str, ...]
) -> None:
    toy = compiled(tmp_path, *defines)
    (tmp_path / "run.inp").write_text(CARD)
    assert run([toy, "run.inp", "run.log"], tmp_path).code == 0
    assert everything(tmp_path).code == 0


@pytest.mark.parametrize(
    ("geometry", "flag"), [("FLAT", 0), ("VOLUMEDET", 0), ("CURVED", 2), ("VOLUMEDET_CURVED", 2)]
)
def test_a_shower_tells_whether_its_atmosphere_is_curved(tmp_path: Path, geometry: str, flag: int) -> None:
    toy = compiled(tmp_path, "HIGH_MODEL=SIBYLL", "LOW_MODEL=URQMD", f"GEOMETRY={geometry}")
    steepest = 87 if flag else 70
    (tmp_path / "run.inp").write_text(CARD.replace("10. 30.", f"60. {steepest}."))
    assert run([toy, "run.inp", "run.log"], tmp_path).code == 0
    assert everything(tmp_path).code == 0
    assert word(tmp_path / "DAT000007", 1, 79) == flag
    assert word(tmp_path / "DAT000007", 1, 82) == steepest


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("EXIT\n", "", "EXIT"),
        ("NSHOW   12", "NSHOW", "NSHOW: too few numbers"),
        ("PRMPAR  14", "PRIMAR  14", "PRIMAR: unknown keyword"),
        ("SEED    12 0 0\n", "", "SEED"),
        ("1000. 50000.", "1000. 500.", "ERANGE"),
    ],
)
def test_the_toy_refuses_a_wrong_card(toy: Path, tmp_path: Path, line: str, instead: str, words: str) -> None:
    (tmp_path / "run.inp").write_text(CARD.replace(line, instead))
    result = run([toy, "run.inp", "run.log"], tmp_path)
    assert result.code == 2
    assert words in result.stderr


@pytest.mark.skipif(REAL is None, reason="no .envs/testdata: run localgrid/bootstrap.sh testdata")
def test_a_real_file_of_corsika_is_valid(tmp_path: Path) -> None:
    assert REAL is not None
    card, log = REAL / "datacard_run_000001.inp", REAL / "datacard_run_000001.out.gz"
    result = validate(REAL, "DAT000001", "--card", str(card), "--log", str(log))
    assert result.code == 0
    assert result.document["summary"]["showers"] == 10
    assert all(c["passed"] for c in result.document["checks"])
    assert len(result.document["checks"]) == 12


@pytest.mark.skipif(REAL is None, reason="no .envs/testdata: run localgrid/bootstrap.sh testdata")
@pytest.mark.parametrize("size", [0, 3, 100, RECORD - 1, RECORD, 2 * RECORD, 5 * RECORD, 6 * RECORD - 1])
def test_a_real_file_that_is_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    assert REAL is not None
    (tmp_path / "DAT000001").write_bytes((REAL / "DAT000001").read_bytes()[:size])
    result = validate(tmp_path, "DAT000001")
    assert result.code in (1, 2)
    assert result.document["verdict"] in ("invalid", "unreadable")


@pytest.mark.parametrize(
    ("block", "word", "value", "check"),
    [
        (0, 2, 8.0, "corsika.run"),
        (1, 2, 9.0, "corsika.numbers"),
        (1, 3, 5626.0, "corsika.primary"),
        (1, 4, 1e6, "corsika.energy"),
        (1, 11, 1.2, "corsika.zenith"),
        (1, 44, 9.0, "corsika.run"),
        (2, 5, float("nan"), "corsika.finite"),
        (0, 1, 0.0, "corsika.order"),
    ],
)
def test_each_kind_of_damage_is_found(made: Path, block: int, word: int, value: float, check: str) -> None:
    change_word(made / "DAT000007", block, word, value)
    result = everything(made)
    assert result.code == 1
    assert check in failed(result.document)


@pytest.mark.parametrize(
    ("word", "value", "check"),
    [(4, 0.5, "corsika.energy"), (4, 1.00005, ""), (4, 1e7, ""), (4, 1.01e7, "corsika.energy")],
)
def test_a_wide_range_of_energies_is_checked_at_both_ends(
    toy: Path, tmp_path: Path, word: int, value: float, check: str
) -> None:
    (tmp_path / "run.inp").write_text(CARD.replace("1000. 50000.", "1. 1.E7"))
    assert run([toy, "run.inp", "run.log"], tmp_path).code == 0
    change_word(tmp_path / "DAT000007", 1, word, value)
    assert failed(everything(tmp_path).document) == ({check} if check else set())


def test_a_log_that_ends_early_is_found(made: Path) -> None:
    log = made / "run.log"
    log.write_text(log.read_text().partition(" NUMBER OF GENERATED")[0])
    assert failed(everything(made).document) == {"log.end", "log.events"}


def test_fewer_showers_than_the_card_asks_for_are_found(made: Path) -> None:
    (made / "run.inp").write_text(CARD.replace("NSHOW   12", "NSHOW   13"))
    assert failed(everything(made).document) == {"corsika.events"}


def test_a_compressed_file_is_read_and_a_broken_one_refused(made: Path) -> None:
    whole = gzip.compress((made / "DAT000007").read_bytes())
    (made / "DAT000007").write_bytes(whole)
    assert everything(made).code == 0
    (made / "DAT000007").write_bytes(whole[:-100])
    assert everything(made).code == 2


def blocks(path: Path, pairs: int) -> None:
    """Write sub-blocks that begin and end showers, in so many pairs, a particle in each shower."""
    shower = b"".join(
        struct.pack("<4s272f", b"EVTH", *range(2, 274))
        + struct.pack("<273f", 5001, 0, 0, 1, 3e4, 0, 1, *[0] * 266)
        + struct.pack("<4s272f", b"EVTE", *range(2, 274))
        for _ in range(7)
    )
    size = struct.pack("<i", len(shower))
    with path.open("wb") as file:
        for _ in range(pairs // 7):
            file.write(size + shower + size)


MEASURED = """
import sys, tracemalloc
from pathlib import Path
sys.path.insert(0, {folder!r})
from {module} import {names}
{call}
tracemalloc.start()
{call}
print(tracemalloc.get_traced_memory()[1])
"""
CALLS = {
    "validator": (str(BIN), "esap_corsika", "Content", 'Content(Path(sys.argv[1])).words("EVTH", 4)'),
    "summary": (
        str(PROJECT / "payloads" / "fits" / "src"),
        "esap_fits.showers",
        "Showers, _add_run",
        '_add_run(Showers(), Path(sys.argv[1]), "")',
    ),
}


@pytest.mark.parametrize("program", CALLS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, program: str) -> None:
    folder, module, names, call = CALLS[program]
    script = MEASURED.format(folder=folder, module=module, names=names, call=call)
    peaks = []
    for pairs in (700, 2800):
        blocks(tmp_path / "DAT000001", pairs)
        result = run([FITS_BIN / "python", "-c", script, "DAT000001"], tmp_path)
        assert result.code == 0, result.stderr
        peaks.append(int(result.stdout))
    per_shower = (peaks[1] - peaks[0]) / 2100
    assert per_shower < 150, "bytes: some numbers of each shower, not its 3 kB"


# --- the summary ------------------------------------------------------------------------------------


def summarise(folder: Path, *files: str) -> Json:
    config = {
        "files": list(files),
        "cards": dict.fromkeys(files, CARD),
        "production_id": "p",
        "configuration": "SIBYLL",
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = ["summarise-showers", "--config", "config.json", "--output", "s.json", "--plot", "s.png"]
    result = run([FITS_BIN / "esap-fits", *command], folder)
    assert result.code == 0, result.stderr
    document: Json = json.loads((folder / "s.json").read_text())
    return document


def validate_summary(folder: Path, runs: int, showers: int) -> Result:
    expected = ["--runs", str(runs), "--showers", str(showers)]
    return run([BIN / "esap-corsika", "validate-summary", "s.json", *expected], folder)


def test_a_summary_counts_what_the_log_counts_and_draws_it(made: Path) -> None:
    summary = summarise(made, "DAT000007")
    told = [line for line in (made / "run.log").read_text().splitlines() if "MUONS =" in line]
    muons = sum(int(line.split("MUONS =")[1].split()[0]) for line in told)
    assert summary["showers"] == 12
    assert summary["particles_at_first_level"]["muons"] == muons
    assert "TOY" in summary["toy"]
    assert (made / "s.png").read_bytes().startswith(b"\x89PNG")
    assert validate_summary(made, 1, 12).code == 0


def test_a_run_that_cannot_be_read_is_named_and_fails_the_summary(made: Path) -> None:
    (made / "DAT000008").write_bytes((made / "DAT000007").read_bytes()[:1000])
    summary = summarise(made, "DAT000007", "DAT000008")
    assert [r["file"] for r in summary["refused"]] == ["DAT000008"]
    result = validate_summary(made, 2, 24)
    assert result.code == 1
    assert failed(result.document) == {"summary.refused", "summary.runs", "summary.showers"}
