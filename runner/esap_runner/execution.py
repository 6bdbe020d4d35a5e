"""How the commands of a job are run: as they are, or in a container."""

import os
import re
import shutil
import signal
from typing import Any, Dict, List, Optional

from .cache import IMAGE_CACHE
from .containers import CONTAINED, DOCKER, INSIDE, Container
from .engines import ENGINES, find_engine
from .images import image_of, load_into_docker, mounts_of, unpacked
from .limits import Watched
from .logs import PAYLOAD_LOG, last_words, say, tail_of
from .reasons import JobError, Json
from .software import has_software_inside
from .tools import run_tool

SETTLE_S = 1.0  # what podman has started tidies up by itself
SIGNALLED = 128  # exit codes above it tell of a signal where a shell or a container stands between


class Execution:
    """Runs payload and validators of one job with the runtime of its batch."""

    def __init__(
        self, batch: Json, job: Json, attempt: int, environment: Dict[str, str], watched: Watched
    ) -> None:
        self.batch, self.job, self.environment, self.watched = batch, job, environment, watched
        self.runtime: Json = batch["runtime"]
        parts = (batch["group"], job["index"], attempt)
        self.container_name = re.sub(r"[^A-Za-z0-9_.-]", "_", "esap-{}-{}-{}".format(*parts))
        is_contained = self.runtime["type"] in CONTAINED
        self.engine = find_engine(self.runtime["type"], self.runtime.get("engine")) if is_contained else ""
        self.box: Optional[Container] = None

    def contain(self) -> Json:
        """Make the image ready, when the payload runs in one, and say what it runs in.

        JobError when there is none.
        """
        runtime = self.runtime
        if not self.engine:
            return runtime
        if self.engine == DOCKER:
            path, digest = image_of(self.batch)
            root, mounts = load_into_docker(path, digest), mounts_of(runtime, None)
        else:
            root, digest = unpacked(self.batch)
            mounts = mounts_of(runtime, root)
        own = {k: v for k, v in self.environment.items() if k.startswith("ESAP_") and k != IMAGE_CACHE}
        places = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": INSIDE, "TMPDIR": INSIDE}
        self.box = Container(
            root=root,
            directory=os.getcwd(),
            environment=dict(places, LANG="C.UTF-8", **dict(own, **self.job["environment"])),
            name=self.container_name,
            read_only=tuple(one["name"] for one in self.job["inputs"] if os.path.isfile(one["name"])),
            mounts=mounts,
            network=bool(runtime.get("network")),
            memory_mb=self.job["limits"]["memory_mb"],
            options=tuple(runtime.get("options") or ()),
        )
        return dict(runtime, engine=self.engine, sha256=digest)

    def payload(self, command: List[str], stdout: Any, stderr: Any) -> int:
        """Run a command as the runtime has it, and give its exit code as subprocess has it."""
        if self.box is None:
            return self.watched.run(command, self.environment, stdout, stderr)
        engine = ENGINES[self.engine]
        program, *settings = engine.command(self.box, command)
        line, environment = [str(shutil.which(program)), *settings], engine.environment(self.box)
        self.watched.settle_s = SETTLE_S if engine.remove else 0.0
        self.remove_container()  # that a killed runner has left
        try:
            code = self.watched.run(line, environment, stdout, stderr)
            self.check_docker()
        finally:
            self.remove_container()
        is_signal = code > SIGNALLED and code - SIGNALLED in set(signal.Signals)
        return SIGNALLED - code if is_signal else code  # as a container tells of a signal

    def validator(self, command: List[str], stdout: Any, stderr: Any) -> int:
        """Run a validator: in the image when that is the software, else with the site's own."""
        if has_software_inside(self.runtime):
            return self.payload(command, stdout, stderr)
        return self.watched.run(command, self.environment, stdout, stderr)

    def check_docker(self) -> None:
        """Raise JobError when docker, whose processes the runner does not see, has held the memory limit."""
        if self.engine == DOCKER:
            command = ["docker", "inspect", "--format={{.State.OOMKilled}}", self.container_name]
            if run_tool(command, dict(os.environ)).stdout.strip() == b"true":
                raise JobError("MEMORY_LIMIT", "docker ended it at its memory limit")

    def remove_container(self) -> None:
        """End the container, whoever runs it, and forget it."""
        engine = ENGINES[self.engine]
        if not engine.remove:
            return
        done = run_tool([*engine.remove, self.container_name], dict(os.environ))
        if done.returncode and b"No such container" not in done.stderr:
            say(f"the container {self.container_name} is not removed: {last_words(done.stderr)}")

    def check_engine(self, code: int) -> None:
        """Raise JobError when it is the engine that ended with a code, not the payload."""
        if not self.engine or code not in ENGINES[self.engine].codes:
            return
        told = (tail_of(PAYLOAD_LOG).splitlines() or [""])[-1]
        if re.match(ENGINES[self.engine].broken, told):
            raise JobError("SOFTWARE_MISSING", f"{self.engine} could not start the payload: {told}")
