"""Command line of the payload: `esap-ctapipe --help` lists its programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from esap_fits.program import command_line, run_program, with_files

from . import CREATOR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    parser, commands = command_line(CREATOR, __doc__)
    raw = commands.add_parser("make-dl0", help="toy waveforms; a line of JSON for each file")
    with_files(raw, "config", "directory", run=_make_dl0)
    reprocess = commands.add_parser("reprocess", help="raw data of an observation to DL2, DL3 and index")
    with_files(reprocess, "config", run=_reprocess)
    return run_program(parser, arguments)


def _make_dl0(options: argparse.Namespace) -> int:
    from .waveforms import make_dl0

    for file in make_dl0(options.config, options.directory):
        print(json.dumps(file))
    return 0


def _reprocess(options: argparse.Namespace) -> int:
    from .reprocess import reprocess

    reprocess(options.config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
