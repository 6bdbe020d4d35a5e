"""Programs of the node that the runner needs itself."""

import subprocess
from typing import Dict, List

from .reasons import JobError

ENGINE_TIMEOUT_S = 600.0  # for what an engine does beside running a payload


def run_tool(command: List[str], environment: Dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of the node to its end; JobError when there is none such."""
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=ENGINE_TIMEOUT_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise JobError("SOFTWARE_MISSING", f"this node has no {command[0]}: {error}") from error
    except subprocess.TimeoutExpired as error:
        message = f"{command[0]} did not answer for {ENGINE_TIMEOUT_S:g} s"
        raise JobError("SOFTWARE_MISSING", message) from error
