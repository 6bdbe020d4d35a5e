"""Command line of the payload: `esap-gammapy analyse | combine`, with the configurations of `esap-fits`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from esap_fits.reading import PayloadError

from . import CREATOR

REFUSED = 3  # exit code for what the user or the workflow must change


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("gammapy").setLevel(logging.WARNING)
    options = _parser().parse_args(arguments)
    try:
        if options.command == "analyse":
            from .analyse import analyse

            analyse(options.config)
        else:
            from .combine import combine

            combine(options.config)
    except PayloadError as error:
        print(f"esap-gammapy {options.command}: {error}", file=sys.stderr)
        return REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="esap-gammapy", description=__doc__)
    parser.add_argument("--version", action="version", version=CREATOR)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("analyse", "reduce some observations"), ("combine", "make the results of all")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--config", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
