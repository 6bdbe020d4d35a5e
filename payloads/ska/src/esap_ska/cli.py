"""Command line of the payload: `esap-ska --help` lists its programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from esap_fits.program import command_line, run_program, tell, with_files

from . import CREATOR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    return run_program(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, commands = command_line(CREATOR, __doc__)

    cube = commands.add_parser("make-cube", help="a toy cube of a compact group; prints what is in it")
    with_files(cube, "config", "output", run=_make_cube)

    look = commands.add_parser("inspect", help="say what a cube is")
    with_files(look, "config", "output", run=_inspect)

    find = commands.add_parser("find", help="first step: find the cells with signal in one sub-cube")
    find.add_argument("--config", type=Path, required=True)
    find.add_argument("--subcube", type=int, required=True)
    find.add_argument("--output", type=Path, required=True)
    find.set_defaults(run=_find)

    merge = commands.add_parser("merge", help="second step: maps, catalogue, mask and picture of all parts")
    merge.add_argument("--config", type=Path, required=True)
    merge.add_argument("--directory", type=Path, default=Path())
    merge.add_argument("parts", type=Path, nargs="+")
    merge.set_defaults(run=_merge)

    flow = commands.add_parser("workflow", help="run a Snakemake workflow in this directory")
    with_files(flow, "config", run=_workflow)

    validate = commands.add_parser("validate", help="check a file of any kind; JSON on stdout")
    validate.add_argument("file", type=Path)
    validate.add_argument("--maps", type=Path, help="the moments that a catalogue belongs to")
    validate.set_defaults(run=_validate)
    return parser


def _make_cube(options: argparse.Namespace) -> int:
    from .toy import make_cube

    print(json.dumps(make_cube(options.config, options.output)))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from .merge import inspect

    inspect(options.config, options.output)
    return 0


def _find(options: argparse.Namespace) -> int:
    from .parts import find

    find(options.config, options.subcube, options.output)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from .merge import merge

    merge(options.config, options.parts, options.directory)
    return 0


def _workflow(options: argparse.Namespace) -> int:
    from .workflow import run_workflow

    return run_workflow(options.config)


def _validate(options: argparse.Namespace) -> int:
    from .checks import check

    return tell(check(options.file, options.maps))


if __name__ == "__main__":
    sys.exit(main())
