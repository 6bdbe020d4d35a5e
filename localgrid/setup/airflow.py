"""Airflow on PostgreSQL: environment of its components, users, connections."""

from __future__ import annotations

import json
import shlex
from importlib import metadata

from localgrid.layout import HOST, PROJECT, USERS, Layout, write_private, write_private_json
from localgrid.setup import diracx, issuer, postgres, rucio, slurm_packages, ssh

PARALLELISM = 8
SCHEMA_STAMP = ("airflow", "schema.txt")
COMPONENTS = ("airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")


def _settings(layout: Layout) -> dict[str, dict[str, object]]:
    secrets = layout.secrets
    connections = {"connections_file_path": str(layout.path("secrets", "connections.json"))}
    return {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": PARALLELISM,
            "dags_folder": PROJECT / "dags",
            "plugins_folder": PROJECT / "plugins",
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "fernet_key": secrets["airflow_fernet_key"],
            "execution_api_server_url": f"{layout.url('airflow-api')}/execution/",
            "auth_manager": "access.manager.EsapAuthManager",
        },
        "database": {
            "sql_alchemy_conn": postgres.url(layout, "airflow", "psycopg2"),
            "sql_alchemy_conn_async": postgres.url(layout, "airflow", "asyncpg"),
            "external_db_managers": "store.manager.EsapDBManager",
        },
        "api": {
            "host": HOST,
            "port": layout.ports["airflow-api"],
            "base_url": layout.url("airflow-api"),
            "workers": 1,
            "secret_key": secrets["airflow_api_secret"],
        },
        "api_auth": {"jwt_secret": secrets["airflow_jwt_secret"]},
        "scheduler": {
            "scheduler_idle_sleep_time": 0.3,
            "enable_health_check": False,
            # Within this time a worker that died with its supervisor is noticed; Airflow's default is 300 s.
            "task_instance_heartbeat_timeout": 30,
            "task_instance_heartbeat_timeout_detection_interval": 5,
            # Tasks of a scheduler that was killed are taken over at the next of these looks (default 300 s).
            "scheduler_health_check_threshold": 15,
            "orphaned_tasks_check_interval": 10,
        },
        # A worker lingers for up to one interval after its task. Airflow's default, 5 s, is longer than our
        # shortest waits: the scheduler hears of a deferral when the task runs again, and takes it for lost.
        "workers": {"min_heartbeat_interval": 1, "max_failed_heartbeats": 15},
        "dag_processor": {
            # New and changed files are found in seconds; others are not parsed over and over.
            "refresh_interval": 5,
            "bundle_refresh_check_interval": 2,
            "min_file_process_interval": 300,
            "parsing_processes": 2,
        },
        "logging": {"base_log_folder": layout.path("airflow", "logs")},
        # Nobody need listen: what is measured is lost then.
        "metrics": {
            "statsd_on": True,
            "statsd_host": HOST,
            "statsd_port": layout.ports["statsd"],
            "statsd_influxdb_enabled": True,
            "legacy_names_on": False,
        },
        "secrets": {
            "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "backend_kwargs": json.dumps(connections),
        },
        "usage_data_collection": {"enabled": False},
    }


def environment(layout: Layout) -> dict[str, str]:
    """All of Airflow's settings, as variables: no file of Airflow's own is read."""
    variables = {
        "AIRFLOW_HOME": str(layout.path("airflow")),
        "ESAP_CONFIG_DIR": str(PROJECT / "config"),
        "ESAP_RUNNER_DIR": str(PROJECT / "runner"),
        "ESAP_KEEPER_TURN_S": "2",
        "PYTHONPATH": str(PROJECT),
        # Tasks and DAG files are forked from these processes and talk to loopback only.
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
    }
    for section, options in _settings(layout).items():
        for option, value in options.items():
            variables[f"AIRFLOW__{section.upper()}__{option.upper()}"] = str(value)
    return variables


def connections(layout: Layout) -> dict[str, object]:
    """Airflow's connections to the grid's services."""
    site: dict[str, object] = {} if slurm_packages.missing() else {"slurm_local": ssh.connection(layout)}
    return site | {
        "dirac_local": {
            "conn_type": "diracx",
            "host": diracx.url(layout),
            "extra": {
                "credentials_dir": str(layout.diracx_credentials),
                "poll_interval": 1.0,
            },
        },
        "esap_iam": {
            "conn_type": "oidc",
            "host": layout.issuer,
            "login": issuer.PORTAL,
            "password": layout.secrets["issuer_esap_secret"],
        },
        "esap_broker": {
            "conn_type": "http",
            "host": layout.url("airflow-api"),
            "password": layout.secrets["broker_task_key"],
        },
        "esap_vault": {"conn_type": "generic", "password": layout.secrets["broker_vault_key"]},
        "rucio_lake": {
            "conn_type": "rucio",
            "host": layout.url("rucio"),
            "login": rucio.ESAP_USER,
            "password": layout.secrets["rucio_esap_password"],
            "extra": {"account": "esap", "auth_type": "userpass", "poll_interval": 1.0},
        },
    }


def create(layout: Layout) -> None:
    """Write connections, passwords and the environment file for developers."""
    write_private_json(layout.path("secrets", "connections.json"), connections(layout))
    if not set(USERS) <= set(layout.passwords):
        raise RuntimeError(f"localgrid: {layout.passwords_file} lacks a user: remove it and start again")
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment(layout).items()]
    write_private(layout.airflow_environment_file, "".join(lines))


def migrate_command(layout: Layout) -> list[str]:
    """What makes Airflow's schema."""
    return [layout.program("airflow", "airflow"), "db", "migrate"]


def has_schema(layout: Layout) -> bool:
    """Whether `airflow db migrate` has come to its end with this Airflow and the service's present tables."""
    stamp = layout.path(*SCHEMA_STAMP)
    return stamp.exists() and stamp.read_text() == _schema_version()


def note_schema(layout: Layout) -> None:
    """Write down that it has."""
    layout.path(*SCHEMA_STAMP).write_text(_schema_version())


def _schema_version() -> str:
    own = sorted(path.stem for path in (PROJECT / "plugins/store/migrations/versions").glob("*.py"))
    return "\n".join([f"apache-airflow {metadata.version('apache-airflow')}", *own, ""])


def command(layout: Layout, component: str) -> list[str]:
    """The command line of one component."""
    airflow = layout.program("airflow", "airflow")
    port = str(layout.ports["airflow-api"])
    return {
        "airflow-api": [airflow, "api-server", "--host", HOST, "--port", port, "--workers", "1"],
        # All components share one file system, so nobody need serve logs, which would bind all interfaces.
        "airflow-scheduler": [airflow, "scheduler", "--skip-serve-logs"],
        "airflow-dag-processor": [airflow, "dag-processor"],
        "airflow-triggerer": [airflow, "triggerer", "--skip-serve-logs"],
    }[component]
