"""A user's own analysis: the script gets input files, the name of its output and its configuration."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from esap_fits.program import ProgramFailed
from esap_fits.reading import Key, PayloadError, names, read_document, text

from .toy import make_candidates

log = logging.getLogger(__name__)
SCRIPT, PARAMETERS, TOY = "script.py", "parameters.json", "toy.json"


class ScriptFailed(ProgramFailed):
    """The user's script has not done its work."""


FILES = names()
KEYS = {
    "inputs": Key(f"{FILES.allowed}, or [] with toy", lambda v: v == [] or FILES.accepts(v), []),
    "output": text(120),
    "parameters": Key("an object", lambda v: isinstance(v, dict), {}),
    "toy": Key("an object (run, events, seed)", lambda v: isinstance(v, dict), None),
}


def run_script(config: Path) -> None:
    """Run `script.py` of the job's directory; it must end with 0 and leave its output.

    Its command line is `python -I script.py --config parameters.json --output OUTPUT INPUT...`. With `toy`
    its one input is made here first.
    """
    told = read_document(config, KEYS)
    inputs: list[str] = told["inputs"]
    if told["toy"] is not None:
        inputs = ["toy_candidates.root"]
        Path(TOY).write_text(json.dumps(told["toy"]))
        make_candidates(Path(TOY), Path(inputs[0]))
    if not inputs:
        raise PayloadError(f"{config}: neither inputs nor toy are there, so the script has nothing to read")
    Path(PARAMETERS).write_text(json.dumps(told["parameters"]))
    line = [sys.executable, "-I", SCRIPT, "--config", PARAMETERS, "--output", told["output"], *inputs]
    log.info("runs the user's script with %d input files", len(inputs))
    code = subprocess.run(line, check=False).returncode
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ScriptFailed(f"the user's script {how}: see its messages above")
    if not Path(told["output"]).is_file():
        raise ScriptFailed(f"the user's script ended well but has not written {told['output']}")
