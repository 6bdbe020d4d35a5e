"""SLURM's daemons, how they are started, and what is asked of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from localgrid.layout import Layout
from localgrid.setup.slurm import configuration_file, munge_socket
from localgrid.setup.slurm_packages import NAME_LIBRARY, SYSTEM_PATH, path_of

COMMAND_TIMEOUT_S = 5.0  # clients wait for minutes for a controller that is away


def environment(layout: Layout) -> Mapping[str, str]:
    """What the daemons have: their configuration, and `localhost` for the name of this machine.

    Machines whose own name resolves to nothing, or to a public address, are common.
    """
    return {
        "SLURM_CONF": str(configuration_file(layout)),
        "LD_PRELOAD": NAME_LIBRARY,
        "NSS_WRAPPER_HOSTNAME": "localhost",
    }


def munge_command(layout: Layout) -> list[str]:
    """The command line of munge's daemon."""
    # --force: it wants its socket where everyone can reach it, which is what ours is not meant to be.
    return [
        *(path_of("munged"), "--foreground", "--force", f"--key-file={layout.path('secrets', 'munge.key')}"),
        *(f"--socket={munge_socket(layout)}", f"--pid-file={layout.path('run', 'munged.pid')}"),
        *(f"--log-file={layout.log('munge')}", f"--seed-file={layout.path('run', 'munge.seed')}"),
    ]


def controller_command(layout: Layout) -> list[str]:
    """The command line of the controller."""
    return [path_of("slurmctld"), "-D", "-f", str(configuration_file(layout))]


def node_command(layout: Layout, node: str) -> list[str]:
    """The command line of one node's daemon."""
    return [path_of("slurmd"), "-D", "-f", str(configuration_file(layout)), "-N", node]


def resume(layout: Layout) -> None:
    """Take drained nodes into service again, as a site's operator would.

    The controller drains a node on which a job could not be started or ended.
    """
    told = ask(layout, "sinfo", "--noheader", "--Node", "--format=%N %T")
    for node, state in {tuple(line.split()) for line in told.splitlines()}:  # a line for each partition
        if state.startswith("drain"):
            ask(layout, "scontrol", "update", f"NodeName={node}", "State=RESUME")


def tell_down(layout: Layout, node: str) -> None:
    """Tell the controller that a node went down: its jobs end as NODE_FAIL, until it registers again.

    The controller itself would not miss the jobs of a node that comes back before its silence is noticed.
    """
    ask(layout, "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=restarted")


def ask(layout: Layout, *command: str) -> str:
    """What a client of SLURM answers.

    Raises:
        RuntimeError: it fails or takes too long; carries its words.

    """
    variables = {
        "PATH": SYSTEM_PATH,
        "SLURM_CONF": str(configuration_file(layout)),
        "SLURM_TIME_FORMAT": "%s",
    }
    try:
        done = subprocess.run(
            command,
            env=variables,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]}: no answer within {COMMAND_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise RuntimeError(f"{command[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout
