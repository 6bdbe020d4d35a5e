"""Command line of the payload: `esap-root --help` lists its programs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from esap_fits.reading import PayloadError
from esap_fits.report import Report

from . import CREATOR
from .script import ScriptFailed

REFUSED = 3  # exit code for what the user or the workflow must change


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except PayloadError as error:
        print(f"esap-root {options.command}: {error}", file=sys.stderr)
        return REFUSED
    except ScriptFailed as error:
        print(f"esap-root {options.command}: {error}", file=sys.stderr)
        return error.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="esap-root", description=__doc__)
    parser.add_argument("--version", action="version", version=CREATOR)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, words in (
        ("run", _run, "run the user's script.py of this directory"),
        ("merge", _merge, "one ROOT file of those of several jobs, with summary and picture"),
        ("reduce", _reduce, "one line an event of DAQ files of KM3NeT"),
        ("merge-reduced", _merge_reduced, "one product of the reduced data of several jobs"),
    ):
        step = commands.add_parser(name, help=words)
        step.add_argument("--config", type=Path, required=True)
        step.set_defaults(run=run)
    toy = commands.add_parser("make-candidates", help="toy candidates of K0s")
    toy.add_argument("--config", type=Path, required=True)
    toy.add_argument("--output", type=Path, required=True)
    toy.set_defaults(run=_make_candidates)
    _add_checks(commands)
    return parser


def _add_checks(commands: Any) -> None:
    analysis = commands.add_parser("validate", help="check an analysis' ROOT file; JSON on stdout")
    analysis.add_argument("--profile", type=Path, required=True)
    analysis.set_defaults(run=_validate)
    result = commands.add_parser("validate-result", help="check an analysis' summary; JSON on stdout")
    result.add_argument("--profile", type=Path, required=True)
    result.set_defaults(run=_validate_result)
    reduced = commands.add_parser("validate-reduced", help="check reduced data; JSON on stdout")
    reduced.add_argument("--expect", type=Path, required=True)
    reduced.set_defaults(run=_validate_reduced)
    summary = commands.add_parser("validate-summary", help="check a reduction's summary; JSON on stdout")
    summary.set_defaults(run=_validate_summary)
    for check in (analysis, result, reduced, summary):
        check.add_argument("file", type=Path)
    for check in (result, summary):
        check.add_argument("--root", type=Path, required=True, help="the ROOT file that it is of")


def _run(options: argparse.Namespace) -> int:
    from .script import run_script

    run_script(options.config)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from .merge import merge

    merge(options.config)
    return 0


def _reduce(options: argparse.Namespace) -> int:
    from .reduce import reduce

    reduce(options.config)
    return 0


def _merge_reduced(options: argparse.Namespace) -> int:
    from .reduced_merge import merge_reduced

    merge_reduced(options.config)
    return 0


def _make_candidates(options: argparse.Namespace) -> int:
    from .toy import make_candidates

    make_candidates(options.config, options.output)
    return 0


def _validate(options: argparse.Namespace) -> int:
    from .analysis_checks import check_analysis
    from .profile import Profile

    return _say(check_analysis(options.file, Profile.read(options.profile)))


def _validate_result(options: argparse.Namespace) -> int:
    from .analysis_checks import check_result
    from .profile import Profile

    return _say(check_result(options.file, options.root, Profile.read(options.profile)))


def _validate_reduced(options: argparse.Namespace) -> int:
    from .reduced_checks import check_reduced, read_expected

    return _say(check_reduced(options.file, read_expected(options.expect)))


def _validate_summary(options: argparse.Namespace) -> int:
    from .reduced_checks import check_summary

    return _say(check_summary(options.file, options.root))


def _say(report: Report) -> int:
    print(json.dumps(report.document(), indent=1))
    return int(report.exit_code)


if __name__ == "__main__":
    sys.exit(main())
