"""Command line of the payload: `esap-fits --help` lists its programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import CREATOR
from .program import command_line, run_program, tell, with_files

ANALYSIS_CHECKS = {
    "validate-fits": "that a FITS file is whole",
    "validate-map": "sky maps",
    "validate-spectrum": "flux points",
    "validate-result": "the summary of an analysis",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    return run_program(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, commands = command_line(CREATOR, __doc__)

    simulate = commands.add_parser("simulate", help="toy simulation: write triggered events")
    with_files(simulate, "config", "output", run=_simulate)

    merge = commands.add_parser("merge", help="make one IRF of event files, and its plot")
    merge.add_argument("--config", type=Path, required=True)
    merge.add_argument("--output", type=Path, required=True)
    merge.add_argument("--plot", type=Path, required=True)
    merge.add_argument("--threads", type=int, default=1, help="files read at the same time")
    merge.set_defaults(run=_merge)

    validate = commands.add_parser("validate", help="check an IRF against GADF; JSON on stdout")
    validate.add_argument("file", type=Path)
    validate.add_argument("--profile", type=Path, help="tolerances of the producer")
    validate.set_defaults(run=_validate)

    events = commands.add_parser("validate-events", help="check an event file; JSON on stdout")
    events.add_argument("file", type=Path)
    events.set_defaults(run=_validate_events)

    showers = commands.add_parser("summarise-showers", help="numbers and a picture of CORSIKA's files")
    with_files(showers, "config", "output", "plot", run=_summarise_showers)

    efficiency = commands.add_parser("efficiency", help="print trigger efficiencies")
    efficiency.add_argument("--config", type=Path)
    efficiency.add_argument("--format", choices=("json", "yaml"), default="json")
    efficiency.set_defaults(run=_efficiency)

    _add_reprocessing(commands)
    sample = commands.add_parser("make-dl3", help="toy event lists from a response; a line of JSON for each")
    with_files(sample, "config", "directory", run=_make_dl3)

    for name, run, words in (
        ("analyse", _analyse, "first step of an analysis: count the events of observations"),
        ("combine", _combine, "second step: sky map, spectrum and significance from all counts"),
    ):
        step = commands.add_parser(name, help=words)
        with_files(step, "config", run=run)

    for name, words in ANALYSIS_CHECKS.items():
        check = commands.add_parser(name, help=f"check {words}; JSON on stdout")
        check.add_argument("file", type=Path)
        check.set_defaults(run=_validate_analysis)
    return parser


def _add_reprocessing(commands: Any) -> None:
    raw = commands.add_parser("make-dl0", help="toy raw data of observations; a line of JSON for each file")
    with_files(raw, "config", "directory", run=_make_dl0)

    reprocess = commands.add_parser("reprocess", help="raw data of an observation to DL2, DL3 and index")
    with_files(reprocess, "config", run=_reprocess)

    dl3 = commands.add_parser("validate-dl3", help="check an event list against GADF; JSON on stdout")
    dl3.add_argument("file", type=Path)
    dl3.add_argument("--expect", type=Path, help="JSON: obs_id, pointing, times, n_events_min")
    dl3.set_defaults(run=_validate_dl3)

    dl2 = commands.add_parser("validate-dl2", help="check reconstructed events; JSON on stdout")
    dl2.add_argument("file", type=Path)
    dl2.set_defaults(run=_validate_dl2)

    index = commands.add_parser("validate-index", help="check an index table of GADF; JSON on stdout")
    index.add_argument("file", type=Path)
    index.set_defaults(run=_validate_index)


def _simulate(options: argparse.Namespace) -> int:
    from .events import simulate

    simulate(options.config, options.output)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from .irf import merge

    merge(options.config, options.output, options.plot, options.threads)
    return 0


def _validate(options: argparse.Namespace) -> int:
    from .irf_checks import Profile, check_irf

    return tell(check_irf(options.file, Profile.read(options.profile)))


def _validate_events(options: argparse.Namespace) -> int:
    from .event_checks import check_events

    return tell(check_events(options.file))


def _summarise_showers(options: argparse.Namespace) -> int:
    from .showers import summarise

    summarise(options.config, options.output, options.plot)
    return 0


def _efficiency(options: argparse.Namespace) -> int:
    import yaml

    from .efficiency import tables

    document = tables(options.config)
    if options.format == "yaml":
        print(yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100))
    else:
        print(json.dumps(document))
    return 0


def _make_dl0(options: argparse.Namespace) -> int:
    from .dl0 import make_dl0

    for file in make_dl0(options.config, options.directory):
        print(json.dumps(file))
    return 0


def _reprocess(options: argparse.Namespace) -> int:
    from .reprocess import reprocess

    reprocess(options.config)
    return 0


def _validate_dl3(options: argparse.Namespace) -> int:
    from .dl3_checks import check_dl3, read_expected

    return tell(check_dl3(options.file, read_expected(options.expect)))


def _validate_dl2(options: argparse.Namespace) -> int:
    from .dl2_checks import check_dl2

    return tell(check_dl2(options.file))


def _validate_index(options: argparse.Namespace) -> int:
    from .index_checks import check_index

    return tell(check_index(options.file))


def _make_dl3(options: argparse.Namespace) -> int:
    from .make_dl3 import make_dl3

    for line in make_dl3(options.config, options.directory):
        print(json.dumps(line))
    return 0


def _analyse(options: argparse.Namespace) -> int:
    from .analyse import analyse

    analyse(options.config)
    return 0


def _combine(options: argparse.Namespace) -> int:
    from .combine import combine

    combine(options.config)
    return 0


def _validate_analysis(options: argparse.Namespace) -> int:
    from . import analysis_checks

    check = getattr(analysis_checks, f"check_{options.command.removeprefix('validate-')}")
    return tell(check(options.file))


if __name__ == "__main__":
    sys.exit(main())
