"""Command line of the payload: `esap-root --help` lists its programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esap_fits.program import command_line, run_program, tell, with_files

from . import CREATOR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    return run_program(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, commands = command_line(CREATOR, __doc__)
    for name, run, words in (
        ("run", _run, "run the user's script.py of this directory"),
        ("merge", _merge, "one ROOT file of those of several jobs, with summary and picture"),
        ("reduce", _reduce, "one line an event of DAQ files of KM3NeT"),
        ("merge-reduced", _merge_reduced, "one product of the reduced data of several jobs"),
    ):
        step = commands.add_parser(name, help=words)
        with_files(step, "config", run=run)
    toy = commands.add_parser("make-candidates", help="toy candidates of K0s")
    with_files(toy, "config", "output", run=_make_candidates)
    _add_checks(commands)
    return parser


def _add_checks(commands: Any) -> None:
    analysis = commands.add_parser("validate", help="check an analysis' ROOT file; JSON on stdout")
    with_files(analysis, "profile", run=_validate)
    result = commands.add_parser("validate-result", help="check an analysis' summary; JSON on stdout")
    with_files(result, "profile", run=_validate_result)
    reduced = commands.add_parser("validate-reduced", help="check reduced data; JSON on stdout")
    with_files(reduced, "expect", run=_validate_reduced)
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

    return tell(check_analysis(options.file, Profile.read(options.profile)))


def _validate_result(options: argparse.Namespace) -> int:
    from .analysis_checks import check_result
    from .profile import Profile

    return tell(check_result(options.file, options.root, Profile.read(options.profile)))


def _validate_reduced(options: argparse.Namespace) -> int:
    from .reduced_checks import check_reduced, read_expected

    return tell(check_reduced(options.file, read_expected(options.expect)))


def _validate_summary(options: argparse.Namespace) -> int:
    from .reduced_checks import check_summary

    return tell(check_summary(options.file, options.root))


if __name__ == "__main__":
    sys.exit(main())
