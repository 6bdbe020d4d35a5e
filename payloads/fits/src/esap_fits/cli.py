"""Command line of the payload: `esap-fits simulate | merge | validate | validate-events | efficiency`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import CREATOR
from .reading import PayloadError

REFUSED = 3  # exit code for what the user or the workflow must change


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except PayloadError as error:
        print(f"esap-fits {options.command}: {error}", file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="esap-fits", description=__doc__)
    parser.add_argument("--version", action="version", version=CREATOR)
    commands = parser.add_subparsers(dest="command", required=True)

    simulate = commands.add_parser("simulate", help="toy simulation: write triggered events")
    simulate.add_argument("--config", type=Path, required=True)
    simulate.add_argument("--output", type=Path, required=True)
    simulate.set_defaults(run=_simulate)

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

    efficiency = commands.add_parser("efficiency", help="print trigger efficiencies")
    efficiency.add_argument("--config", type=Path)
    efficiency.add_argument("--format", choices=("json", "yaml"), default="json")
    efficiency.set_defaults(run=_efficiency)
    return parser


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

    report = check_irf(options.file, Profile.read(options.profile))
    print(json.dumps(report.document(), indent=1))
    return report.exit_code


def _validate_events(options: argparse.Namespace) -> int:
    from .event_checks import check_events

    report = check_events(options.file)
    print(json.dumps(report.document(), indent=1))
    return report.exit_code


def _efficiency(options: argparse.Namespace) -> int:
    import yaml

    from .efficiency import tables

    document = tables(options.config)
    if options.format == "yaml":
        print(yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100))
    else:
        print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
