"""What the command lines of all payloads share: their parser, messages on stderr, and exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .reading import PayloadError
from .report import Report

REFUSED = 3  # exit code for what the user or the workflow must change
Run = Callable[[argparse.Namespace], int]


class ProgramFailed(Exception):  # noqa: N818 - says what happened
    """What a payload has started has not done its work; `code` is the job's exit code."""

    code = 1


def command_line(creator: str, words: str | None) -> tuple[argparse.ArgumentParser, Any]:
    """Make a parser and what takes its subcommands; each of them sets `run`.

    :param creator: the program's name and version. :param words: what `--help` begins with.
    """
    parser = argparse.ArgumentParser(prog=creator.split(maxsplit=1)[0], description=words)
    parser.add_argument("--version", action="version", version=creator)
    return parser, parser.add_subparsers(dest="command", required=True)


def with_files(command: argparse.ArgumentParser, *names: str, run: Run) -> None:
    """Have a subcommand take files as options that must be given, and say what runs it."""
    for name in names:
        command.add_argument(f"--{name}", type=Path, required=True)
    command.set_defaults(run=run)


def run_program(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parser.parse_args(arguments)
    run: Run = options.run
    try:
        return run(options)
    except (PayloadError, ProgramFailed) as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        return REFUSED if isinstance(error, PayloadError) else error.code


def tell(report: Report) -> int:
    """Print a validator's report; give the exit code that says the same."""
    print(json.dumps(report.document(), indent=1))
    return report.exit_code
