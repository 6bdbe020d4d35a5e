"""The command line."""

import argparse
import json
import os
import sys
import traceback
from typing import List

from .answers import answer
from .node import run


def main() -> None:
    """Run as a program."""
    sys.exit(work(sys.argv[1:]))


def work(arguments: List[str]) -> int:
    """Do what the command line says; give the exit code."""
    parser = argparse.ArgumentParser(prog="esap_slurm.pyz", description="Jobs of batches at a SLURM site.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("call", help="answer the question on standard input")
    runs = commands.add_parser("run", help="run a task on a worker node")
    runs.add_argument("area")
    runs.add_argument("serial", type=int)
    options = parser.parse_args(arguments)
    if options.command == "run":
        return run(options.area, options.serial, int(os.environ["SLURM_ARRAY_TASK_ID"]))
    if options.command != "call":
        parser.error("allowed are: call, run")
    try:
        said = answer(json.load(sys.stdin))
    except Exception as error:
        traceback.print_exc()
        said = {"error": {"kind": "refused", "message": f"{type(error).__name__}: {error}"}}
    json.dump(said, sys.stdout)
    return 0
