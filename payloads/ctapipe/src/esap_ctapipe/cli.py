"""Command line of the payload: `esap-ctapipe --help` lists its programs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from esap_fits.cli import REFUSED
from esap_fits.reading import PayloadError

from . import CREATOR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="esap-ctapipe", description=__doc__)
    parser.add_argument("--version", action="version", version=CREATOR)
    commands = parser.add_subparsers(dest="command", required=True)
    raw = commands.add_parser("make-dl0", help="toy waveforms; a line of JSON for each file")
    raw.add_argument("--config", type=Path, required=True)
    raw.add_argument("--directory", type=Path, required=True)
    raw.set_defaults(run=_make_dl0)
    reprocess = commands.add_parser("reprocess", help="raw data of an observation to DL2, DL3 and index")
    reprocess.add_argument("--config", type=Path, required=True)
    reprocess.set_defaults(run=_reprocess)
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except PayloadError as error:
        print(f"esap-ctapipe {options.command}: {error}", file=sys.stderr)
        return int(REFUSED)


def _make_dl0(options: argparse.Namespace) -> int:
    from .waveforms import make_dl0

    for file in make_dl0(options.config, options.directory):
        print(json.dumps(file))
    return 0


def _reprocess(options: argparse.Namespace) -> int:
    from .reprocess import ToolError, reprocess

    try:
        reprocess(options.config)
    except ToolError as error:
        print(f"esap-ctapipe reprocess: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
