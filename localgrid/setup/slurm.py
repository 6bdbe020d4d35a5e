"""The SLURM site: nodes, partitions, places in the state directory, and SLURM's configuration.

Nodes are daemons on this machine that pretend CPUs and memory; they and the jobs are the current user's.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
from pathlib import Path

from localgrid.layout import HOST, Layout, write_private

CLUSTER = "localgrid"
ACCOUNT = "esap"
NODES = ("node1", "node2")
PARTITIONS = {"main": "1-00:00:00", "short": "00:05:00"}  # with the longest time of a job
NODE_MEMORY_MB = 16_000
LONGEST_HOME = 70  # the daemons' sockets lie some 35 characters below it, and a socket's path has 107 at most
UNSAVED_JOBS = 1000  # more than the controller can have started and forgotten within 5 s


def account_name() -> str:
    """The UNIX account that everything of the site runs as: the current one."""
    return pwd.getpwuid(os.geteuid()).pw_name


def directory(layout: Layout) -> Path:
    """What belongs to the site."""
    return layout.path("slurm")


def configuration_file(layout: Layout) -> Path:
    """Every daemon and client reads this one."""
    return directory(layout) / "etc" / "slurm.conf"


def work_area(layout: Layout) -> Path:
    """Where the jobs' directories are: the site's shared file system."""
    return directory(layout) / "work"


def munge_socket(layout: Layout) -> Path:
    """Where the site's own munge daemon listens."""
    return layout.path("run", "munge.sock")


def configuration(layout: Layout, cpus: int) -> str:
    """The text of slurm.conf, for nodes of so many CPUs each."""
    root, user = directory(layout), account_name()
    lines = [
        f"include {_numbers_file(layout)}",
        "DebugFlags=NO_CONF_HASH",  # nodes need not have read the same first number
        f"ClusterName={CLUSTER}",
        f"SlurmctldHost=localhost({HOST})",
        f"SlurmctldPort={layout.ports['slurmctld']}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        # Daemons listen at the address of their host's name, which `environment` makes localhost.
        "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
        "AuthType=auth/munge",
        f"AuthInfo=socket={munge_socket(layout)}",
        "CredType=cred/munge",
        f"StateSaveLocation={root / 'state'}",
        f"SlurmdSpoolDir={root}/%n",
        f"SlurmctldPidFile={layout.path('run', 'slurmctld.pid')}",
        f"SlurmdPidFile={layout.path('run')}/slurmd-%n.pid",
        f"TmpFS={layout.path('tmp')}",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "SwitchType=switch/none",
        # No cgroups: they need rights that a container or an ordinary user has not.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "PropagateResourceLimits=NONE",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=2",
        "JobAcctGatherParams=OverMemoryKill",
        "SlurmdParameters=config_overrides",
        "SlurmctldTimeout=30",
        "SlurmdTimeout=20",
        "ReturnToService=2",
        "InactiveLimit=0",
        "KillWait=5",
        "WaitTime=0",
        "BatchStartTimeout=20",
        "MinJobAge=60",
        "MaxArraySize=1001",
        "JobRequeue=0",
        # With an epilog nodes tell the controller of each end, and it fills the place at once: 50 short jobs
        # a second. Without, the place waits for the next look of the scheduler: 6 a second.
        "Epilog=/bin/true",
        "EnforcePartLimits=ALL",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=5",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "DefMemPerCPU=500",
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={HOST}",
        f"AccountingStoragePort={layout.ports['slurmdbd']}",
        f"AccountingStoragePass={munge_socket(layout)}",
        "AccountingStorageEnforce=associations",
        "AccountingStoreFlags=job_comment",
    ]
    lines += [
        f"NodeName={node} NodeHostname=localhost NodeAddr={HOST} Port={layout.ports[f'slurm-{node}']} "
        f"CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 "
        f"RealMemory={NODE_MEMORY_MB} State=UNKNOWN"
        for node in NODES
    ]
    default = next(iter(PARTITIONS))
    lines += [
        f"PartitionName={name} Nodes={','.join(NODES)} Default={'YES' if name == default else 'NO'} "
        f"MaxTime={longest} DefaultTime={longest if name != default else '01:00:00'} State=UP"
        for name, longest in PARTITIONS.items()
    ]
    return "\n".join([*lines, ""])


def create(layout: Layout, cpus: int) -> None:
    """Write the configuration and make the directories.

    Raises:
        RuntimeError: the state directory's path is too long for the daemons' sockets, or cannot be written
            in SLURM's configuration, which has no quotes.

    """
    if strange := re.sub(r"[\w./@+-]", "", str(layout.home)):
        raise RuntimeError(
            f"localgrid: SLURM cannot have {strange!r} in the path of the state directory {layout.home}. "
            "Choose one of letters, digits and ./@+-_"
        )
    if len(str(layout.home)) > LONGEST_HOME:
        raise RuntimeError(
            f"localgrid: the state directory {layout.home} has too long a path for SLURM's sockets "
            f"({len(str(layout.home))} > {LONGEST_HOME} characters). Choose a shorter one."
        )
    root = directory(layout)
    for path in (root, root / "etc", root / "state", root / "home", work_area(layout)):
        path.mkdir(exist_ok=True, mode=0o700)
    # Whole at any time: jobs read it, while another of the systems that share the directory may start.
    write_private(configuration_file(layout), configuration(layout, cpus))
    (root / "etc" / "cgroup.conf").write_text("IgnoreSystemd=yes\nConstrainCores=no\nConstrainRAMSpace=no\n")
    if not _numbers_file(layout).exists():
        number_jobs(layout)
    key = layout.path("secrets", "munge.key")
    if not key.exists():
        write_private(key, secrets.token_hex(512))


def _numbers_file(layout: Layout) -> Path:
    return directory(layout) / "etc" / "numbers.conf"


def number_jobs(layout: Layout) -> None:
    """Let the controller begin with numbers that no job has had, also after it was killed.

    SLURM saves its state every 5 s at the most: a controller that was killed has forgotten the latest jobs,
    would give their numbers again, and nodes that still have one of that number are drained.
    """
    root = directory(layout)
    traces = [*root.glob("state/hash.*/job.*"), *root.glob("node*/job*")]
    numbers = [int(found[0]) for path in traces if (found := re.findall(r"^job\.?(\d+)$", path.name))]
    latest = max(numbers, default=0)
    first = latest + UNSAVED_JOBS if latest else 1
    _numbers_file(layout).write_text(f"FirstJobId={first}\n")
