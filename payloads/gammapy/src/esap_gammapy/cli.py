"""Command line of the payload: `esap-gammapy analyse | combine`, with the configurations of `esap-fits`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from esap_fits.program import command_line, run_program, with_files

from . import CREATOR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.getLogger("gammapy").setLevel(logging.WARNING)
    parser, commands = command_line(CREATOR, __doc__)
    with_files(commands.add_parser("analyse", help="reduce some observations"), "config", run=_analyse)
    with_files(commands.add_parser("combine", help="make the results of all"), "config", run=_combine)
    return run_program(parser, arguments)


def _analyse(options: argparse.Namespace) -> int:
    from .analyse import analyse

    analyse(options.config)
    return 0


def _combine(options: argparse.Namespace) -> int:
    from .combine import combine

    combine(options.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
