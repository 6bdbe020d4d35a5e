"""Snakemake workflows as payloads: ours, a group's own, and those that cannot work in a job."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.payloads.conftest import Result, run
from tests.unit.payloads.ska_programs import (
    SKA_BIN,
    SMALL,
    Production,
    configure,
    edges,
    esap_ska,
    produce,
    subcubes,
)

CUT = subcubes(edges(30, 2), [0, 30], [0, 20])
RESULTS = ["moments.fits", "catalogue.vot", "mask.fits.gz", "overview.png"]
ALONE = (str(shutil.which("unshare")), "--user", "--map-root-user", "--net", "--")
RULE = """
rule all:
    input: "{name}"
rule make:
    output: "{name}"
    shell: "{command}"
"""


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    return produce(tmp_path_factory.mktemp("ska"), SMALL, CUT)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "workflow.json").write_text("{}")
    return tmp_path


def execute(
    here: Path, snakefile: str | None, outputs: list[str], archive: str | None = None, **environment: str
) -> Result:
    if snakefile is not None:
        (here / "Snakefile").write_text(snakefile)
    config = {
        "snakefile": "Snakefile" if snakefile is not None else None,
        "archive": archive,
        "workflow_config": "workflow.json",
        "outputs": outputs,
    }
    (here / "config.json").write_text(json.dumps(config))
    return esap_ska(here, "workflow", "--config", "config.json", **environment)


def test_our_own_workflow_makes_the_same_bytes_as_the_jobs(production: Production, here: Path) -> None:
    shutil.copy(production.directory / "cube.fits", here)
    configure(here, subcubes=CUT)
    (here / "config.json").rename(here / "settings.json")
    given = {"cube": "cube.fits", "settings": "settings.json", "subcubes": [0, 1]}
    (here / "workflow.json").write_text(json.dumps(given))
    result = execute(here, None, RESULTS, ESAP_CORES="2")
    assert result.code == 0, result.stderr
    for name in RESULTS[:3]:
        assert (here / name).read_bytes() == (production.directory / name).read_bytes(), name


def test_a_workflow_gets_its_cores_and_its_configuration(here: Path) -> None:
    (here / "workflow.json").write_text('{"greeting": "hello"}')
    code = 'rule make:\n    output: "out.txt"\n    run:\n'
    code += '        open(output[0], "w").write(f"{config[\'greeting\']} {workflow.cores}")\n'
    result = execute(here, code, ["out.txt"], ESAP_CORES="2")
    assert result.code == 0, result.stderr
    assert (here / "out.txt").read_text() == "hello 2"


@pytest.mark.parametrize("cores", ["0", "-1", "many", ""])
def test_cores_that_are_no_number_are_refused(cores: str, here: Path) -> None:
    result = execute(here, RULE.format(name="a", command="touch a"), ["a"], ESAP_CORES=cores)
    assert result.code == 3
    assert f"ESAP_CORES = {cores!r}: allowed is a whole number of at least 1" in result.stderr


def test_the_log_of_a_failing_rule_comes_last(here: Path) -> None:
    code = RULE.format(name="a", command="echo 'what went wrong' > {log}; exit 7")
    result = execute(here, code.replace("    shell", '    log: "make.log"\n    shell'), ["a"])
    assert result.code == 1
    tail = result.stderr.splitlines()[-3:]
    assert tail == ["esap-ska workflow: rule make failed", "end of make.log:", "  what went wrong"]


def test_a_workflow_that_wants_the_network_fails_and_says_why(here: Path) -> None:
    fetch = "python -c 'import urllib.request as u; u.urlopen(\\\"http://example.org\\\")' 2> {log}"
    code = RULE.format(name="a", command=fetch).replace("    shell", '    log: "make.log"\n    shell')
    result = execute(here, code, ["a"])
    assert result.code == 1
    assert "rule make failed" in result.stderr
    assert "jobs have no network" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("start", "is_warned"), [(ALONE, False), ((), True)])
def test_a_job_that_has_no_network_already_needs_nothing_to_take_it_away(
    start: tuple[str, ...], is_warned: bool, here: Path
) -> None:
    code = 'rule make:\n    output: "a"\n    run:\n        open(output[0], "w").close()\n'
    (here / "Snakefile").write_text(code)
    config = {"snakefile": "Snakefile", "archive": None, "workflow_config": "workflow.json", "outputs": ["a"]}
    (here / "config.json").write_text(json.dumps(config))
    (here / "bin").mkdir()
    program = SKA_BIN / "esap-ska"
    result = run([*start, program, "workflow", "--config", "config.json"], here, PATH=str(here / "bin"))
    assert result.code == 0, result.stderr
    assert ("cannot take the network away" in result.stderr) is is_warned


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            RULE.format(name="/tmp/esap-never", command="touch a"),
            "input /tmp/esap-never: allowed are paths within",
        ),
        (RULE.format(name="../never", command="touch a"), "input ../never: allowed are paths within"),
        ('workdir: "/tmp"\n', "line 1: workdir: not allowed here"),
        ('include: "/etc/rules.smk"\n', "include '/etc/rules.smk': allowed is a path within"),
        ('include: "https://example.org/rules.smk"\n', "include 'https://example.org/rules.smk': allowed"),
        ('rule a:\n    output: "a"\n    wrapper: "v1/bio/x"\n', "line 3: wrapper: not allowed here"),
        ('rule a:\n    output: "a"\n    script: "../x.py"\n', "script '../x.py': allowed is a path within"),
        ("rule a:\n    output: 'a'\n    shell: \"touch a\n", "Snakemake cannot plan this workflow"),
        ('rule a:\n    input: "lost.txt"\n    output: "a"\n    shell: "touch a"\n', "lost.txt"),
        ("", "did not make a"),
    ],
)
def test_what_cannot_work_in_a_job_is_refused(code: str, told: str, here: Path) -> None:
    result = execute(here, code, ["a"])
    assert result.code == 3, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_that_the_workflow_does_not_make_is_named(here: Path) -> None:
    result = execute(here, RULE.format(name="a", command="touch a"), ["a", "b.fits"])
    assert result.code == 3
    assert "the workflow ended well and did not make b.fits" in result.stderr


@pytest.mark.parametrize(
    "name", ["two words.txt", "semi;colon.txt", "a$(touch pwned).txt", "quo'te.txt", "a&b|c.txt"]
)
def test_spaces_and_metacharacters_in_names_are_harmless(name: str, here: Path) -> None:
    quoted = json.dumps(name)
    code = f'rule make:\n    output: {quoted}\n    log: "l og.txt"\n'
    code += '    shell: "touch {output:q} 2> {log:q}"\n'
    result = execute(here, code, [name])
    assert result.code == 0, result.stderr
    assert (here / name).is_file()
    assert not (here / "pwned").exists()


def test_nobodys_profile_and_no_credentials_reach_a_workflow(here: Path) -> None:
    profile = here / ".config" / "snakemake" / "default"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("executor: nowhere\n")
    code = 'rule make:\n    output: "env.txt"\n    shell: "env > {output}"\n'
    result = execute(here, code, ["env.txt"], HOME=str(here), X509_USER_PROXY="secret", RUCIO_TOKEN="secret")
    assert result.code == 0, result.stderr
    assert "secret" not in (here / "env.txt").read_text()


def pack(
    path: Path, *members: tuple[str, str], change: Callable[[tarfile.TarInfo], Any] | None = None
) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content.encode()))


def test_a_workflow_can_come_as_an_archive(here: Path) -> None:
    script = "open(snakemake.output[0], 'w').write('by a script')\n"
    code = 'include: "rules/more.smk"\nrule make:\n    output: "a"\n    script: "scripts/make.py"\n'
    pack(
        here / "flow.tar.gz",
        ("workflow/Snakefile", code),
        ("workflow/scripts/make.py", script),
        ("workflow/rules/more.smk", ""),
    )
    result = execute(here, None, ["a"], archive="flow.tar.gz")
    assert result.code == 0, result.stderr
    assert (here / "a").read_text() == "by a script"


def to_elsewhere(info: tarfile.TarInfo) -> None:
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


@pytest.mark.parametrize(
    ("member", "change", "told"),
    [
        ("../outside", None, "it cannot be unpacked: OutsideDestinationError"),
        ("link", to_elsewhere, "it cannot be unpacked: AbsoluteLinkError"),
        ("config.json", None, "it has files that the job has already: config.json"),
        ("other.txt", None, "allowed is an archive with Snakefile or workflow/Snakefile"),
    ],
)
def test_an_archive_that_would_do_harm_is_refused(
    member: str, change: Callable[[tarfile.TarInfo], Any] | None, told: str, here: Path
) -> None:
    pack(here / "flow.tar", (member, "x"), change=change)
    result = execute(here, None, ["a"], archive="flow.tar")
    assert result.code == 3
    assert told in result.stderr
    assert not (here.parent / "outside").exists()


def test_what_is_no_archive_is_refused(here: Path) -> None:
    (here / "flow.tar").write_bytes(b"no archive")
    result = execute(here, None, ["a"], archive="flow.tar")
    assert result.code == 3
    assert "flow.tar: it cannot be unpacked: ReadError" in result.stderr
