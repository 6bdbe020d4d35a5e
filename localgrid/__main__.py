"""Command line of the local grid: `python -m localgrid --help`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from localgrid.grid import Grid, GridError, ServiceStatus
from localgrid.layout import USERS
from localgrid.services import SERVICES, tail
from localgrid.setup import slurm_packages

WIDTH = 150  # when the output goes to a file
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else WIDTH)
Names = Annotated[list[str] | None, typer.Argument(help=f"services, all by default: {', '.join(SERVICES)}")]


def _grid() -> Grid:
    return Grid(progress=lambda name, seconds: console.print(f"  {name:<24}{seconds:6.1f} s"))


def _guarded(action: Callable[[], object]) -> None:
    try:
        action()
    except (GridError, RuntimeError) as error:
        console.print(str(error), markup=False, highlight=False, style="red")
        console.print("What runs and what does not: python -m localgrid status")
        raise typer.Exit(1) from error


@app.command()
def start(services: Names = None) -> None:
    """Start services, with what they need, and wait until they are healthy."""
    grid, begin = _grid(), time.monotonic()
    _guarded(lambda: grid.start(*(services or ())))
    console.print(f"the local grid in {grid.home} is up ({time.monotonic() - begin:.1f} s)")
    url = grid.info["airflow"]["url"]
    console.print(f"Airflow: {url}   portal: {url}/batch/")
    console.print(f"Users: {', '.join(USERS)}   passwords: {grid.info['issuer']['passwords_file']}")
    if words := slurm_packages.missing_words():
        console.print(words, style="yellow")


@app.command()
def stop(services: Names = None) -> None:
    """Stop services; their state stays."""
    _guarded(lambda: _grid().stop(*(services or ())))


@app.command()
def kill(service: Annotated[str, typer.Argument()]) -> None:
    """Kill every process of one service (SIGKILL), to see what the others make of it."""
    _guarded(lambda: _grid().kill(service))


@app.command()
def restart(services: Names = None) -> None:
    """Stop and start services."""
    _guarded(lambda: _grid().restart(*(services or ())))


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="remove the state directory too")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="with --purge: do not ask")] = False,
) -> None:
    """Stop everything."""
    grid = _grid()
    if purge and grid.home.exists() and not yes:
        # The state directory is easily another than the one in mind, and what is in it cannot be made again.
        typer.confirm(f"Remove {grid.home} with all products, jobs and runs in it?", abort=True)
    _guarded(lambda: grid.down(purge))


@app.command()
def status() -> None:
    """A line for each service; exit code 1 when one is not healthy."""
    grid = _grid()
    rows = grid.status()
    table = Table(box=None, pad_edge=False)
    for title in ("service", "state", "health", "pid", "up", "memory", "port", "stands in for"):
        table.add_column(title, no_wrap=title != "health")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print(
        f"{sum(row.memory_mb for row in rows):.0f} MB in all, state in {grid.home}", highlight=False
    )
    for row in rows:
        if row.crashed:
            console.print(
                f"\n{row.name} has crashed. Last lines of {grid.layout.log(row.name)}:", style="red"
            )
            console.print(tail(grid.layout.log(row.name)), markup=False, highlight=False)
    if not all(row.healthy for row in rows):
        raise typer.Exit(1)


def _cells(row: ServiceStatus) -> tuple[str, ...]:
    colour = "green" if row.healthy else "red"
    up = f"{row.uptime_s:.0f} s" if row.uptime_s else ""
    memory = f"{row.memory_mb:.0f} MB" if row.memory_mb else ""
    health = f"[{colour}]{row.detail}[/{colour}]"
    return row.name, row.state, health, str(row.pid or ""), up, memory, str(row.port or ""), row.stand_in_for


@app.command()
def logs(
    service: Annotated[str, typer.Argument()],
    follow: Annotated[bool, typer.Option("-f", "--follow")] = False,
    lines: Annotated[int, typer.Option("-n")] = 50,
) -> None:
    """The log of one service."""
    log = _grid().layout.log(service)
    if not log.exists():
        known = ", ".join(sorted(path.stem for path in log.parent.glob("*.log")))
        console.print(f"no log of {service!r}; there are: {known or 'none'}", style="red")
        raise typer.Exit(1)
    if not follow:
        console.print(tail(log, lines), markup=False, highlight=False)
        return
    try:
        subprocess.run([str(shutil.which("tail")), "-n", str(lines), "-F", str(log)], check=False)
    except KeyboardInterrupt:
        raise typer.Exit() from None


@app.command()
def env() -> None:
    """How to use the grid from a shell; run it as: eval "$(python -m localgrid env)"."""
    grid = _grid()
    info: dict[str, Any] = {}
    _guarded(lambda: info.update(grid.info))
    typer.echo(f"set -a; . {info['environment_file']}; set +a")
    typer.echo(f"export RUCIO_HOME={Path(info['home']) / 'rucio-client'}")
    typer.echo(f"export DIRACX_URL={info['diracx']['url']}")
    typer.echo(f"export DIRACX_CREDENTIALS_PATH={Path(info['diracx']['credentials_dir']) / 'alice.json'}")


@app.command()
def token(user: Annotated[str, typer.Argument(help=f"one of {', '.join(USERS)}")] = "alice") -> None:
    """Sign a user in at the issuer and print the access token, for scripts."""
    from localgrid.signin import sign_in

    grid = _grid()
    _guarded(lambda: typer.echo(sign_in(grid.info, user)["access_token"]))


@app.command()
def samples(use_case: Annotated[str, typer.Argument(help="a workflow of config/workflows")]) -> None:
    """Put the toy data that a use case's example asks for into the lake; what is there already stays."""
    from localgrid.lake import lake_of
    from localgrid.samples import prepare

    grid = _grid()
    _guarded(lambda: prepare(use_case, grid, lake_of(grid)))


@app.command()
def serve(
    hand_over: Annotated[Path, typer.Option(help="where an Airflow elsewhere finds connections and keys")],
) -> None:
    """Run the grid without Airflow, for one that runs elsewhere, until a signal comes (SIGTERM)."""
    from localgrid.serving import serve_until_told

    _guarded(lambda: serve_until_told(_grid(), hand_over, console.print))


@app.command()
def facilities(
    within: Annotated[float, typer.Option(help="seconds to wait for the result")] = 600,
) -> None:
    """Test every facility with a small job; exit code 1 when one is out of order."""
    from rich.markdown import Markdown

    from localgrid.airflow_api import AirflowApi
    from localgrid.facilities import check

    grid, found = _grid(), []
    _guarded(lambda: found.append(check(AirflowApi.of(grid.info, "carol"), within)))
    (table, well), *_ = found
    console.print(Markdown(table))
    if not well:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
