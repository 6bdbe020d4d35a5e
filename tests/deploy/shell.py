"""Running programs, with what they said when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, within: float = 900
) -> str:
    """Run a command and give what it wrote; `within` is in seconds.

    Raises:
        RuntimeError: it failed; carries the end of what it said.

    """
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within,
    )
    if done.returncode:
        words = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{words}")
    return done.stdout
